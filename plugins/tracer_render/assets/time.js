// Time: which step is shown, as its place among those to choose from; null for all of them.
{
  const byId = (id) => document.getElementById(id);
  const { steps } = page.data;
  const slider = byId("step");
  const spoken = (number) => number.toLocaleString("en");
  page.step = null;

  // What is known of a box of the folded picture at the step: undefined of what is not in a loop,
  // null where it does not run.
  page.entryOf = (item, back) => {
    if (page.step === null || page.now.time !== "folded") return undefined;
    return steps.statistics[page.now.id(item, back)]?.[page.step];
  };

  // In how many steps of the outermost loop a box of the folded picture runs.
  page.stepsOf = (item, back) => {
    const entries = steps.statistics[page.now.id(item, back)];
    return (entries.filter((entry) => entry !== null).length / entries.length) * steps.count;
  };

  page.atStep = (item, back) => {
    const entry = page.entryOf(item, back);
    if (!entry) return {};
    const [norm, min, max] = entry;
    return { time: steps.times[page.step], norm, min, max };
  };

  const short = (number) => (typeof number === "number" ? +number.toPrecision(3) : number);
  page.toldAtStep = (view, item, back, told) => {
    if (view !== page.now || page.step === null || view.time !== "folded") return told;
    if (item < 0) {
      const at = `t = ${spoken(steps.times[page.step])}`;
      const notes = (told.notes ?? []).map((note) => (note.startsWith("T = ") ? at : note));
      return { ...told, notes };
    }
    const entry = page.entryOf(item, back);
    if (!entry) return told;
    const when = `t = ${spoken(steps.times[page.step])}`;
    const line = entry[0] === null ? when : `${when}, norm ${short(entry[0])}`;
    return { ...told, notes: (told.notes ?? []).map((note) => (note.startsWith("T = ") ? line : note)) };
  };

  // Whether an item does not run at the step that is shown.
  page.isOff = (item, back) => {
    if (page.step === null) return false;
    const time = steps.times[page.step];
    if (page.now.time === "folded") return page.entryOf(item, back) === null;
    const span = page.now.span(item);
    return !span || time < span[0] || time > span[1];
  };

  page.showStep = () => {
    if (steps === null) return;
    const time = page.step === null ? null : steps.times[page.step];
    const all = `${spoken(steps.count)} steps`;
    const where = time === null ? `all ${all}` : `t = ${spoken(time)}, of ${all}`;
    byId("when").value = where;
    slider.value = page.step ?? 0;
    slider.setAttribute("aria-valuetext", where);
    byId("all").setAttribute("aria-pressed", String(time === null));
    page.keepingFocus(() => {
      if (page.step === null && page.scene.step !== null) page.update(); // texts are longer again
      page.clear();
      page.draw();
      if (time !== null && page.now.time !== "folded") lookAt();
    });
    page.describe();
  };

  // Bring what runs at the step into the window, if it is not.
  const lookAt = () => {
    const on = page.scene.boxes.filter((box) => !page.isOff(box.item, box.back));
    if (on.length === 0) return;
    const left = Math.min(...on.map((r) => r.x - r.width / 2));
    const top = Math.min(...on.map((r) => r.y - r.height / 2));
    const right = Math.max(...on.map((r) => r.x + r.width / 2));
    const bottom = Math.max(...on.map((r) => r.y + r.height / 2));
    const { seen } = page;
    if (left >= seen.x && right <= seen.x + seen.width && top >= seen.y && bottom <= seen.y + seen.height) return;
    const part = { x: (left + right) / 2, y: (top + bottom) / 2 };
    const window = page.svg.getBoundingClientRect();
    const unit = 1.05 * Math.max((right - left) / window.width, (bottom - top) / window.height);
    page.centre(part, Math.max(page.scale(), unit));
  };

  page.goToStep = (place) => {
    if (steps === null) return;
    page.step = place === null ? null : Math.min(Math.max(place, 0), steps.times.length - 1);
    page.showStep();
  };

  page.stepBy = (by) => {
    if (steps === null) return;
    page.goToStep(page.step === null ? (by > 0 ? 0 : steps.times.length - 1) : page.step + by);
  };

  page.switchTo = (time) => {
    if (page.views.has(time) && time !== page.now.time) page.keepingFocus(() => change(time));
  };

  const change = (time) => {
    page.choose(null);
    page.seenOf.set(page.now.time, page.seen);
    page.now = page.views.get(time);
    byId("view").dataset.time = time;
    byId("subtitle").textContent = page.data.subtitles[time];
    for (const name of page.views.keys()) {
      byId(name).setAttribute("aria-pressed", String(name === time));
    }
    page.update();
    if (page.seenOf.has(time)) page.seen = page.seenOf.get(time);
    else page.start();
    page.show();
    page.draw();
    page.find();
    page.showStep();
  };

  if (steps !== null) {
    slider.addEventListener("input", () => page.goToStep(Number(slider.value)));
    byId("before").addEventListener("click", () => page.stepBy(-1));
    byId("after").addEventListener("click", () => page.stepBy(1));
    byId("all").addEventListener("click", () => page.goToStep(null));
  }
  if (page.views.size > 1) {
    for (const name of page.views.keys()) byId(name).addEventListener("click", () => page.switchTo(name));
  }
}
