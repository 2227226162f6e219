// The runs at the side: which are shown, in their colours, and how they are.
{
  const AT_ONCE = 150;
  const filter = page.byId("filter");
  const list = page.byId("runs");
  const count = page.byId("count");
  const rows = new Map();
  let most = AT_ONCE;

  const STATUS = { running: "running", finished: "finished", failed: "failed", interrupted: "interrupted", killed: "killed: no sign of life" };

  page.statusMark = (run) => page.make("span", { class: `dot ${run.status}`, title: run.error ? `${run.status}: ${run.error}` : STATUS[run.status] ?? run.status, role: "img", "aria-label": run.status });

  // A box that shows or hides the curves of a run, in its colour.
  page.showBox = (run) => {
    const box = page.make("input", { type: "checkbox", class: "show", "aria-label": `Show ${page.nameOf(run)}`, on: { change: () => page.show([run.id], box.checked) } });
    box.style.setProperty("--own", page.colour(run.id));
    return box;
  };

  const made = (run) => {
    const box = page.showBox(run);
    const name = page.make("button", { class: "name", on: {
      click: () => page.changed({ focus: page.state.focus === run.id ? 0 : run.id }),
      dblclick: () => page.showOnly(run.id),
    } });
    const mark = page.make("span", {});
    const element = page.make("li", {}, box, name, mark);
    return { element, box, name, mark };
  };

  const fill = (row, run) => {
    const key = `${page.nameOf(run)}|${run.status}|${run.error}|${page.ink("dark")}|${run.group}|${page.bandOf(run)}`;
    if (row.key !== key) {
      row.key = key;
      page.say(row.name, page.nameOf(run));
      row.name.title = `${run.name}, run ${run.id}${run.group ? `, group ${run.group}` : ""}. Click: the run that the cockpit and the model show; twice: only this one`;
      row.mark.replaceChildren(page.statusMark(run));
      const band = page.state.band ? page.bandOf(run) : null;
      row.box.style.setProperty("--own", band === null ? page.colour(run.id) : page.bandColour(band));
    }
    row.box.checked = !page.state.off.has(run.id);
    row.element.classList.toggle("focused", run.id === page.state.focus);
    row.name.setAttribute("aria-pressed", String(run.id === page.state.focus));
  };

  const more = page.make("button", { class: "more", on: { click: () => {
    most += AT_ONCE;
    page.changed();
  } } });
  new IntersectionObserver((entries) => {
    if (entries.some((each) => each.isIntersecting) && more.isConnected) more.click();
  }).observe(more);

  page.drawSide = () => {
    const passing = page.passing();
    if (document.activeElement !== filter) filter.value = page.state.filter;
    const newest = passing.toReversed().slice(0, most);
    const wanted = new Set(newest.map(({ id }) => id));
    for (const [id, row] of rows) if (!wanted.has(id)) {
      row.element.remove();
      rows.delete(id);
    }
    newest.forEach((run, at) => {
      if (!rows.has(run.id)) rows.set(run.id, made(run));
      const row = rows.get(run.id);
      fill(row, run);
      if (list.children[at] !== row.element) list.insertBefore(row.element, list.children[at] ?? null);
    });
    if (passing.length > most) {
      page.say(more, `${passing.length - most} older ones`);
      if (list.lastElementChild !== more) list.append(more);
    } else more.remove();
    const shown = page.shown().length;
    const of = passing.length === page.runs.size ? `${page.runs.size}` : `${passing.length} found of ${page.runs.size}`;
    page.say(count, `${shown} shown, ${of} run${page.runs.size === 1 ? "" : "s"}`);
    count.title = "How many runs are shown, and how many there are";
  };

  filter.addEventListener("input", page.after(120, () => page.changed({ filter: filter.value })));
  page.byId("show-all").addEventListener("click", () => page.show(page.passing().map(({ id }) => id), true));
  page.byId("show-none").addEventListener("click", () => page.show(page.passing().map(({ id }) => id), false));
}
