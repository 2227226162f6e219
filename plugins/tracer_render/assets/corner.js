// What stands over a corner of the picture (scale, legend, minimap) covers no box as the page opens.
{
  const corner = document.querySelector(".corner");
  const host = document.getElementById("view");
  const FREE = 8; // pixels between it and boxes
  const MOST = 0.4; // part of a window that is given up for it

  // The rectangles of what is shown there, in the window.
  const rectangles = () =>
    [...corner.children].map((each) => each.getBoundingClientRect()).filter(({ width }) => width > 0);

  // How far boxes have to move to the right, in pixels, for none to be covered.
  const needed = () => {
    const window = host.getBoundingClientRect();
    const unit = page.scale();
    const boxes = page.scene.boxes.map(({ x, y, width, height }) => ({
      left: window.left + (x - width / 2 - page.seen.x) / unit,
      right: window.left + (x + width / 2 - page.seen.x) / unit,
      top: window.top + (y - height / 2 - page.seen.y) / unit,
      bottom: window.top + (y + height / 2 - page.seen.y) / unit,
    }));
    const over = rectangles();
    let shift = 0;
    for (let again = true; again; ) {
      again = false;
      for (const r of over)
        for (const box of boxes) {
          const beside = box.left + shift >= r.right + FREE - 0.5 || box.right + shift <= r.left;
          if (beside || box.top >= r.bottom + FREE || box.bottom <= r.top - FREE) continue;
          shift = r.right + FREE - box.left;
          again = true;
        }
    }
    return shift;
  };

  // Move the picture clear of the corner: into the room on its right, else smaller down to
  // `farthest` units of a pixel, else on the right out of the window.
  page.clearCorner = (farthest) => {
    page.mark();
    const shift = needed();
    if (!shift) return;
    const window = host.getBoundingClientRect();
    const wide = Math.max(...rectangles().map(({ right }) => right)) - window.left + FREE;
    if (wide > MOST * window.width) return; // a small window has them below the picture
    const unit = page.scale();
    const { seen, scene } = page;
    if (shift <= (seen.x + seen.width - scene.width) / unit) seen.x -= shift * unit;
    else {
      const fitting = Math.max(unit, scene.width / (window.width - wide - FREE));
      const smaller = Math.min(fitting, Math.max(farthest, unit));
      const first = scene.boxes.find((box) => !box.back);
      const isSeen = first.x + first.width / 2 < (window.width - wide) * smaller;
      if (!isSeen) return; // the input is in the middle of a picture that is wider than the window
      [seen.width, seen.height] = [window.width * smaller, window.height * smaller];
      [seen.x, seen.y] = [-wide * smaller, (seen.y / unit) * smaller];
    }
    page.show();
  };
}
