// The fragment of the address keeps the view, so that a link or a reload shows the same.
{
  let ready = false;
  let waiting = 0;
  let written = "";

  const write = () => {
    const view = page.now;
    const { x, y, width } = page.seen;
    const parts = new URLSearchParams();
    if (page.views.size > 1) parts.set("time", view.time);
    const initial = new Set(view.initial);
    const name = (g) => view.id(~g, false);
    const opened = [...view.open].filter((g) => g > 0 && !initial.has(g)).map(name);
    const closed = view.initial.filter((g) => g > 0 && !view.open.has(g)).map(name);
    if (opened.length && opened.length <= 400) parts.set("open", opened.join(" "));
    if (closed.length && closed.length <= 400) parts.set("closed", closed.join(" "));
    parts.set("at", [x, y, width].map((n) => Math.round(n)).join(" "));
    if (page.chosen) parts.set("chosen", view.id(page.chosen.item, page.chosen.back));
    if (page.overlay) parts.set("overlay", page.overlay.label);
    if (page.step !== null) parts.set("step", String(page.data.steps.times[page.step]));
    written = `#${parts}`;
    history.replaceState(null, "", written);
  };

  page.keepAddress = () => {
    if (!ready || waiting) return;
    waiting = setTimeout(() => {
      waiting = 0;
      try {
        write();
      } catch {
        // a browser that allows no address to a file: it is not kept
      }
    }, 200);
  };

  // Whether the address says what is seen; unknown names in it are passed over.
  page.readAddress = () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    const time = parts.get("time");
    if (time && page.views.has(time) && time !== page.now.time) page.switchTo(time);
    const view = page.now;
    view.open = new Set(view.initial);
    const groups = (key) =>
      (parts.get(key)?.split(" ") ?? []).flatMap((id) => {
        const found = view.ids.get(id);
        return found && found.item < 0 ? [~found.item] : [];
      });
    for (const g of groups("open")) view.open.add(g);
    for (const g of groups("closed")) view.open.delete(g);
    if (parts.has("overlay")) {
      const number = page.data.overlays.findIndex(({ label }) => label === parts.get("overlay"));
      page.setOverlay(number);
    }
    page.update();
    const at = (parts.get("at") ?? "").split(" ").map(Number);
    if (at.length === 3 && at.every((n) => Math.abs(n) < 1e7) && at[2] > 1) {
      const window = page.svg.getBoundingClientRect();
      const [x, y, width] = at;
      page.seen = { x, y, width, height: (width * window.height) / window.width };
      page.show();
    } else page.start();
    const chosen = parts.has("chosen") && view.ids.get(parts.get("chosen"));
    if (chosen && page.drawnAs(chosen.item) === chosen.item) page.choose(chosen);
    if (parts.get("step") && page.data.steps) {
      const place = page.data.steps.times.indexOf(Number(parts.get("step")));
      if (place >= 0) page.goToStep(place);
    }
    ready = true;
  };

  addEventListener("hashchange", () => {
    if (location.hash !== written) page.readAddress();
  });
}
