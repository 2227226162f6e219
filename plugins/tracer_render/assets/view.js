// What is seen of the picture: the window's part of it, in its units, and the minimap.
{
  const host = document.getElementById("view");
  page.svg = host.querySelector("svg");
  const map = document.getElementById("map");
  const LARGEST = 1; // zoom at which a picture opens at most
  const NEAREST = 0.05; // units of a pixel, zoomed in
  const READABLE = 0.8; // zoom below which texts are too small to open with

  page.seen = { x: 0, y: 0, width: 1, height: 1 };
  page.seenOf = new Map(); // of the view in time that is not shown

  // The window; of one that has no room, as a hidden tab has none, a pixel.
  const room = () => {
    const { left, top, width, height } = host.getBoundingClientRect();
    return { left, top, width: Math.max(width, 1), height: Math.max(height, 1) };
  };
  let unseen = false;
  page.scale = () => {
    const { width, height } = room();
    return Math.max(page.seen.width / width, page.seen.height / height);
  };

  let asked = false;
  // Show what is seen now, and draw what came into the window, once a frame.
  page.show = () => {
    const { x, y, width, height } = page.seen;
    page.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      page.draw();
      page.mark();
      page.keepAddress();
    });
  };

  const margin = 16;
  // Everything.
  page.fit = () => {
    const { width, height } = page.scene;
    const window = room();
    const unit = Math.max((width + 2 * margin) / window.width, (height + 2 * margin) / window.height, 1 / LARGEST);
    page.seen = {
      x: width / 2 - (window.width * unit) / 2, y: height / 2 - (window.height * unit) / 2,
      width: window.width * unit, height: window.height * unit,
    };
    page.show();
  };

  // As it opens: everything where texts are legible then, else the input, at the top; no box is
  // under what stands in the corner.
  page.start = () => {
    unseen = Math.min(room().width, room().height) <= 1;
    page.fit();
    if (page.scale() > 1 / READABLE) atTheInput();
    page.clearCorner(1 / READABLE);
  };

  const atTheInput = () => {
    const window = room();
    const { width, axis, boxes } = page.scene;
    const unit = Math.min(Math.max((width + 2 * margin) / window.width, 1), 1 / READABLE);
    page.seen.width = window.width * unit;
    page.seen.height = window.height * unit;
    const free = page.seen.width - width; // of a narrow picture, on both sides of it
    const middle = axis !== null && free >= 0 ? width / 2 : (boxes.find((box) => !box.back)?.x ?? 0);
    const left = Math.min(-margin * unit, -free / 2);
    page.seen.x = Math.max(Math.min(middle - page.seen.width / 2, Math.max(left, -free - left)), left);
    page.seen.y = -margin * unit;
    page.show();
  };

  page.zoom = (factor, clientX, clientY) => {
    const { seen } = page;
    const window = room();
    const unit = page.scale();
    const { width, height } = page.scene;
    const farthest = 2 * Math.max(width / window.width, height / window.height, 1);
    const limited = Math.min(Math.max(unit * factor, NEAREST), farthest);
    const change = limited / unit;
    const dx = ((clientX ?? window.left + window.width / 2) - window.left - window.width / 2) * unit;
    const dy = ((clientY ?? window.top + window.height / 2) - window.top - window.height / 2) * unit;
    const centre = { x: seen.x + seen.width / 2, y: seen.y + seen.height / 2 };
    seen.width = window.width * limited;
    seen.height = window.height * limited;
    seen.x = centre.x + dx * (1 - change) - seen.width / 2;
    seen.y = centre.y + dy * (1 - change) - seen.height / 2;
    page.show();
  };

  page.pan = (dx, dy) => {
    const unit = page.scale();
    page.seen.x -= dx * unit;
    page.seen.y -= dy * unit;
    page.show();
  };

  // Move a part of the picture to the middle, no smaller than `unit`.
  page.centre = (part, unit = page.scale()) => {
    const window = room();
    const [width, height] = [window.width * unit, window.height * unit];
    page.seen = { x: part.x - width / 2, y: part.y - height / 2, width, height };
    page.show();
  };

  // Move a part of the picture to where it is read.
  page.bringNear = (part) => page.centre(part, Math.min(page.scale(), 1 / READABLE));

  // Move as little as is needed for a part to be in the window.
  page.bringIn = (part) => {
    const { seen } = page;
    const edge = 24 * page.scale();
    const shift = (low, high, from, to) => {
      if (high - low > to - from - 2 * edge) return low - edge - from;
      return low < from + edge ? low - from - edge : high > to - edge ? high - to + edge : 0;
    };
    seen.x += shift(part.x - part.width / 2, part.x + part.width / 2, seen.x, seen.x + seen.width);
    seen.y += shift(part.y - part.height / 2, part.y + part.height / 2, seen.y, seen.y + seen.height);
    page.show();
  };

  // The box or frame that the keyboard is at; null where it is elsewhere.
  const atKeyboard = () => {
    const node = document.activeElement?.closest("#view [data-node], #view [data-group]");
    return node ? page.partOf(node) : null;
  };

  // What an item of another view is in this one: itself by its name, or the innermost group around
  // it that is here, too.
  const sameHere = (view, { item, back }) => {
    if (view === page.now) return { item, back };
    const around = view.chain(item).filter((g) => g > 0).reverse();
    const names = [view.id(item, back), ...around.map((g) => view.id(~g, back) ?? view.id(~g, false))];
    return names.map((name) => page.now.ids.get(name)).find(Boolean);
  };

  // Give the keyboard to what is drawn of an item, or to the picture; what is out of the window
  // comes in.
  page.focusOn = ({ item, back }) => {
    const drawn = page.drawnAs(item);
    const part = page.scene.at.get(`${drawn}${back ? "b" : ""}`) ?? page.scene.at.get(`${drawn}`);
    if (part && !page.elementOf(part.item, part.back)) {
      page.bringIn(part);
      page.draw();
    }
    const made = part && page.elementOf(part.item, part.back);
    (made ?? host).focus({ preventScroll: true });
  };

  // Do what draws anew. The keyboard stays at its box, or goes to the group that this is in now, or
  // to the picture: never to nothing.
  let isKept = false;
  page.keepingFocus = (change) => {
    if (isKept) return change(); // within another change: that looks after it
    const [before, part, view] = [document.activeElement, atKeyboard(), page.now];
    isKept = true;
    try {
      change();
    } finally {
      isKept = false;
    }
    const now = document.activeElement;
    if (now === before && !now.closest("[hidden]")) return;
    const lost = !now || now === document.body || now.closest("[hidden]");
    if (!lost || before === document.body) return;
    const same = part && sameHere(view, part);
    if (same) page.focusOn(same);
    else host.focus({ preventScroll: true });
  };

  // Lay out anew, with `still` (an item and its side) where it was in the window.
  page.update = (still) => page.keepingFocus(() => layOut(still));
  const layOut = (still) => {
    const before = still && page.scene?.at.get(`${still.item}${still.back ? "b" : ""}`);
    page.scene = page.layout(page.now);
    page.scene.step = page.step;
    page.svg.classList.toggle("valued", page.isValued());
    page.clear();
    paint();
    const after = still && page.scene.at.get(`${still.item}${still.back ? "b" : ""}`);
    if (before && after) {
      page.seen.x += after.x - before.x;
      page.seen.y += after.y - after.height / 2 - (before.y - before.height / 2);
    }
    page.refreshTree();
    page.show();
    page.draw();
  };

  // -- minimap -----------------------------------------------------------------------------------

  const SIDE = 168;
  let ratio = 1;
  let painted = null;
  const paint = () => {
    const { width, height, boxes, frames } = page.scene;
    ratio = SIDE / Math.max(width, height, 1);
    const pixels = window.devicePixelRatio || 1;
    map.width = Math.max(1, Math.ceil(width * ratio * pixels));
    map.height = Math.max(1, Math.ceil(height * ratio * pixels));
    map.style.width = `${map.width / pixels}px`;
    map.style.height = `${map.height / pixels}px`;
    const pen = map.getContext("2d");
    pen.setTransform(ratio * pixels, 0, 0, ratio * pixels, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const colours = { frame: style.getPropertyValue("--line"), value: style.getPropertyValue("--value"), back: style.getPropertyValue("--back") };
    pen.globalAlpha = 0.5;
    pen.fillStyle = colours.frame;
    for (const r of frames) pen.fillRect(r.x - r.width / 2, r.y - r.height / 2, r.width, r.height);
    pen.globalAlpha = 1;
    const least = 1 / ratio;
    for (const r of boxes) {
      pen.fillStyle = r.back ? colours.back : colours.value;
      pen.fillRect(r.x - r.width / 2, r.y - r.height / 2, Math.max(r.width, least), Math.max(r.height, least));
    }
    painted = document.createElement("canvas");
    [painted.width, painted.height] = [map.width, map.height];
    painted.getContext("2d").drawImage(map, 0, 0);
  };

  // The window's part, on the minimap.
  page.mark = () => {
    const pixels = window.devicePixelRatio || 1;
    const pen = map.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, map.width, map.height);
    pen.drawImage(painted, 0, 0);
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    pen.lineWidth = 1.5 * pixels;
    const { x, y, width, height } = page.seen;
    // A window that is wider than the picture is marked along its edge, so that it stays a rectangle.
    const within = (at, most) => Math.min(Math.max(at * ratio * pixels, pen.lineWidth / 2), most - pen.lineWidth / 2);
    const [left, right] = [within(x, map.width), within(x + width, map.width)];
    const [top, bottom] = [within(y, map.height), within(y + height, map.height)];
    pen.strokeRect(left, top, right - left, bottom - top);
    map.hidden = width >= page.scene.width && height >= page.scene.height;
  };

  const follow = (event) => {
    const r = map.getBoundingClientRect();
    page.seen.x = (event.clientX - r.left) / ratio - page.seen.width / 2;
    page.seen.y = (event.clientY - r.top) / ratio - page.seen.height / 2;
    page.show();
  };
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    follow(event);
  });
  map.addEventListener("pointermove", (event) => {
    if (event.buttons) follow(event);
  });

  // -- mouse -------------------------------------------------------------------------------------

  let start = null;
  const pointers = new Map();
  host.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, event);
    start = { x: event.clientX, y: event.clientY, moved: false, target: event.target };
  });
  host.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      const apart = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      pointers.set(event.pointerId, event);
      const [c, d] = [...pointers.values()];
      const now = Math.hypot(c.clientX - d.clientX, c.clientY - d.clientY);
      if (now > 0) page.zoom(apart / now, (c.clientX + d.clientX) / 2, (c.clientY + d.clientY) / 2);
      if (start) start.moved = true;
      return;
    }
    if (start && !start.moved && Math.hypot(event.clientX - start.x, event.clientY - start.y) > 4) {
      start.moved = true;
      host.setPointerCapture(event.pointerId);
      host.classList.add("dragging");
    }
    if (start?.moved) page.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    pointers.set(event.pointerId, event);
  });
  const end = (event) => {
    pointers.delete(event.pointerId);
    if (pointers.size === 0) host.classList.remove("dragging");
  };
  host.addEventListener("pointerup", end);
  host.addEventListener("pointercancel", end);
  host.addEventListener("click", (event) => {
    const moved = start?.moved;
    start = null;
    if (moved) return;
    page.press(event.target.closest("[data-node], [data-group]"), false, Boolean(event.target.closest(".scope")));
  });
  host.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      page.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004), event.clientX, event.clientY);
    },
    { passive: false },
  );
  new ResizeObserver(() => {
    if (!page.scene) return;
    if (unseen) {
      page.start();
      return;
    }
    const unit = page.scale();
    const window = room();
    page.seen.width = window.width * unit;
    page.seen.height = window.height * unit;
    page.show();
  }).observe(host);
}
