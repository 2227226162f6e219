// The table of configurations: sorted by any column; what is the same for all can be left out.
{
  const AT_ONCE = 100;
  const MOST_METRICS = 30;

  const fixed = [
    ["name", (run) => page.nameOf(run), (run) => run.name],
    ["id", (run) => String(run.id), (run) => run.id],
    ["status", (run) => run.status, (run) => run.status],
    ["group", (run) => run.group, (run) => run.group],
    ["seed", (run) => page.told(run.seed ?? ""), (run) => run.seed],
    ["begun", (run) => page.date(run.begun), (run) => run.begun],
    ["duration", (run) => page.duration(page.runTime(run)), (run) => page.runTime(run)],
  ];

  const differs = (runs, key) => {
    const first = page.told(runs[0]?.flat[key]);
    return runs.some((run) => page.told(run.flat[key]) !== first);
  };

  const columns = (runs) => {
    const keys = new Set();
    const metrics = new Set();
    for (const run of runs) {
      for (const key of Object.keys(run.flat)) keys.add(key);
      for (const [name, { kind }] of run.series) if (kind === "number" && name !== "epoch" && !(name.includes("/") && page.charts[name])) metrics.add(name);
    }
    const { differing } = page.state;
    const told = [...keys].filter((key) => !(differing && runs.length > 1) || differs(runs, key));
    const anything = (read) => runs.some((run) => read(run));
    return [
      ...fixed.filter(([name, read]) => !["group", "seed"].includes(name) || anything(read)).map(([name, text, value]) => ({ name, text, value, kind: "own" })),
      ...told.map((name) => ({ name, kind: "config", value: (run) => run.flat[name], text: (run) => (name in run.flat ? page.told(run.flat[name]) : "") })),
      ...[...metrics].slice(0, MOST_METRICS).map((name) => ({
        name, kind: "metric", value: (run) => run.series.get(name)?.last,
        text: (run) => (run.series.has(name) ? (run.series.get(name).last === null ? "–" : page.short(run.series.get(name).last)) : ""),
      })),
    ];
  };

  // Numbers by size, texts by letters, what is missing last in either direction.
  const sorted = (runs, value, falling) => {
    const sign = falling ? -1 : 1;
    const missing = (each) => each === undefined || each === null || each === "";
    return runs.map((run) => [value(run), run]).sort(([a], [b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      if (typeof a === "number" && typeof b === "number") return sign * (a - b);
      return sign * page.told(a).localeCompare(page.told(b), undefined, { numeric: true });
    }).map(([, run]) => run);
  };

  page.table = (host) => {
    const head = page.make("tr", {});
    const body = page.make("tbody", {});
    const box = page.make("input", { type: "checkbox", on: { change: () => page.changed({ differing: box.checked }) } });
    const more = page.make("button", { class: "more", hidden: true });
    const scroll = page.make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Configurations of runs" },
      page.make("table", { class: "configurations" }, page.make("thead", {}, head), body), more);
    host.append(page.make("div", { class: "heading" }, page.make("label", { class: "check" }, box, " only what differs"),
      page.make("span", { class: "faint", text: "A click on a column sorts, one on a name opens its cockpit. The filter takes lr<0.1, status=failed, words." })), scroll);
    let most = AT_ONCE;
    more.addEventListener("click", () => {
      most += AT_ONCE;
      page.changed();
    });
    new IntersectionObserver((entries) => {
      if (entries.some((each) => each.isIntersecting) && !more.hidden) more.click();
    }).observe(more);
    let last = "";

    return () => {
      const { sort, differing } = page.state;
      box.checked = differing;
      const runs = page.passing();
      const shown = columns(runs);
      const [by, falling] = [sort.replace(/^-/, ""), sort.startsWith("-")];
      const column = shown.find(({ name }) => name === by) ?? shown[1];
      const order = sorted(runs, column.value, falling).slice(0, most);
      more.hidden = runs.length <= most;
      page.say(more, `${runs.length - most} more`);
      const rows = order.map((run) => [run, shown.map(({ text }) => text(run))]);
      const key = JSON.stringify([sort, differing, page.ink("dark"), page.state.focus, shown.map(({ name }) => name), rows.map(([run, texts]) => [run.id, page.state.off.has(run.id), texts])]);
      if (key === last) return { number: runs.length };
      last = key;
      head.replaceChildren(page.make("th", { class: "box" }, page.make("span", { class: "hidden", text: "shown" })), ...shown.map(({ name, kind, value }) => {
        const mine = name === column.name;
        const numbers = kind === "metric" || runs.some((run) => typeof value(run) === "number");
        return page.make("th", { class: numbers ? `${kind} number` : kind, "aria-sort": mine ? (falling ? "descending" : "ascending") : "none" },
          page.make("button", { text: `${name}${mine ? (falling ? " ↓" : " ↑") : ""}`, on: { click: () => page.changed({ sort: mine && !falling ? `-${name}` : name }) } }));
      }));
      const active = document.activeElement?.closest?.("tr")?.dataset.run;
      body.replaceChildren(...rows.map(([run, texts]) => {
        const toggle = page.showBox(run);
        toggle.checked = !page.state.off.has(run.id);
        const cells = texts.map((text, at) => {
          const { name, kind } = shown[at];
          if (name === "name") return page.make("th", { scope: "row" }, page.make("button", { class: "name", text, on: { click: () => page.changed({ focus: run.id, view: "cockpit" }) } }));
          if (name === "status") return page.make("td", {}, page.statusMark(run), text);
          const number = typeof shown[at].value(run) === "number";
          return page.make("td", { class: number || kind === "metric" ? "number" : null, text: text.length > 60 ? `${text.slice(0, 58)}…` : text, title: text.length > 60 ? text : null });
        });
        return page.make("tr", { "data-run": run.id, class: run.id === page.state.focus ? "focused" : null }, page.make("td", { class: "box" }, toggle), ...cells);
      }));
      if (active) body.querySelector(`[data-run="${CSS.escape(active)}"] .show`)?.focus();
      return { number: runs.length };
    };
  };
}
