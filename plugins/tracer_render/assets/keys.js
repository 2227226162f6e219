// Buttons and keys.
{
  const byId = (id) => document.getElementById(id);
  const host = byId("view");
  const search = byId("search");
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // Go from what is chosen along a line, or to its other half; false where nothing is there.
  const walk = (key) => {
    if (!page.chosen) return false;
    const here = page.scene.at.get(`${page.chosen.item}${page.chosen.back ? "b" : ""}`);
    if (!here) return false;
    const [dx, dy] = arrows[key];
    const { before, after } = page.neighbours(page.chosen);
    const near = [...before, ...after];
    if (dx) near.push({ item: here.item, back: !here.back });
    let best = null;
    for (const each of near) {
      const part = page.scene.at.get(`${each.item}${each.back ? "b" : ""}`);
      if (!part) continue;
      const [x, y] = [part.x - here.x, part.y - here.y];
      const along = x * dx + y * dy;
      const across = Math.abs(x * dy) + Math.abs(y * dx);
      if (along <= 1 || (dy && along < 0.2 * across)) continue;
      if (!best || across < best.across || (across === best.across && along < best.along))
        best = { each, part, along, across };
    }
    if (!best) return true;
    page.choose(best.each);
    page.bringIn(best.part);
    page.draw();
    page.elementOf(best.each.item, best.each.back)?.focus({ preventScroll: true });
    return true;
  };

  const actions = {
    "+": () => page.zoom(0.8),
    "=": () => page.zoom(0.8),
    "-": () => page.zoom(1.25),
    0: () => page.fit(),
    "/": () => search.focus(),
    ",": () => page.stepBy(-1),
    ".": () => page.stepBy(1),
    a: () => page.goToStep(null),
    f: () => page.switchTo(page.now.time === "folded" ? "unrolled" : "folded"),
    e: () => page.openAll(),
    c: () => page.closeAll(),
    m: () => page.showSidebar(byId("sidebar").hidden),
    s: () => page.save(),
    n: () => page.next(1),
    p: () => page.next(-1),
    o: () => {
      const menu = byId("overlay");
      if (!menu.hidden) menu.focus();
    },
    "?": () => byId("help").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (byId("help").open) return;
    if (event.key === "Escape") {
      page.clearSearch();
      page.choose(null);
      host.focus();
      return;
    }
    if (event.target === search || event.target.matches("select")) return;
    if (event.target === byId("step") && event.key in arrows) return;
    const node = event.target.closest?.("#view [data-node], #view [data-group]");
    if (event.key in arrows) {
      if (event.target.closest?.("aside")) return;
      if (!walk(event.key)) page.pan(...arrows[event.key].map((d) => -60 * d));
    } else if (node && event.key === "Enter") page.press(node, true);
    else if (node && event.key === " ") {
      const part = page.partOf(node);
      page.choose({ item: part.item, back: part.back });
    } else if (event.key in actions && !event.target.closest?.("button, a")) actions[event.key]();
    else if (event.key in actions && /^[^ ]$/.test(event.key)) actions[event.key]();
    else return;
    event.preventDefault();
  });

  // The keyboard may go to what is out of the window: it comes in.
  host.addEventListener("focusin", (event) => {
    const part = event.target !== host && page.partOf(event.target.closest("[data-node], [data-group]"));
    if (part && event.target.matches(":focus-visible")) page.bringIn(part);
  });

  byId("in").addEventListener("click", () => page.zoom(0.8));
  byId("out").addEventListener("click", () => page.zoom(1.25));
  byId("fit").addEventListener("click", page.fit);
  byId("open-all").addEventListener("click", page.openAll);
  byId("close-all").addEventListener("click", page.closeAll);
  byId("save").addEventListener("click", () => page.save());
  byId("keys").addEventListener("click", () => byId("help").showModal());

  // The current view, with all that it shows of the picture, as a file.
  page.save = () => {
    page.draw(true);
    const copy = page.svg.cloneNode(true);
    page.keepingFocus(() => {
      page.clear();
      page.draw();
    });
    // The part of the picture that is seen, as large as it is on the screen.
    const { seen, scene } = page;
    const [x, y] = [Math.max(seen.x, -16), Math.max(seen.y, -16)];
    const width = Math.max(Math.min(seen.x + seen.width, scene.width + 16) - x, 1);
    const height = Math.max(Math.min(seen.y + seen.height, scene.height + 16) - y, 1);
    const unit = page.scale();
    copy.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    copy.setAttribute("width", Math.round(width / unit));
    copy.setAttribute("height", Math.round(height / unit));
    for (const [key, value] of [["x", x], ["y", y], ["width", width], ["height", height]])
      copy.querySelector(".paper").setAttribute(key, value);
    for (const each of copy.querySelectorAll("[tabindex]")) each.removeAttribute("tabindex");
    for (const each of copy.querySelectorAll(".off, .chosen, .hit, .near, .holds"))
      each.classList.remove("off", "chosen", "hit", "near", "holds");
    const text = new XMLSerializer().serializeToString(copy);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    link.download = `${page.data.title.replace(/[^\w.-]+/g, "_") || "trace"}.svg`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
}
