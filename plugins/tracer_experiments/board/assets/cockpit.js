// One run as in a cockpit: how it goes above, then what says why, side by side.
{
  const ORDER = ["training", "step", "gradients", "curvature", "activations", "histograms", "images", "other"];
  const TILES = 8;

  page.fact = (name, value, kind = null) => page.make("div", { class: kind ? `fact ${kind}` : "fact" }, page.make("dt", { text: name }), page.make("dd", { text: value }));

  // What a loop records and an instrument measures, as loss and Loss, once: that with the most points,
  // with the chart that either has.
  const once = (names, run) => {
    const found = new Map();
    for (const name of names) {
      const before = found.get(name.toLowerCase());
      if (!before || run.series.get(name).count > run.series.get(before).count) found.set(name.toLowerCase(), name);
    }
    return new Set(found.values());
  };
  const plannedOnce = (runs) => {
    const plans = page.planned(runs);
    const lines = plans.filter(({ kind }) => kind === "line");
    const taken = once(lines.map(({ names }) => names[0]), runs[0]);
    const charted = new Map(lines.filter(({ names }) => page.charts[names[0]]).map((plan) => [plan.names[0].toLowerCase(), plan]));
    return plans.filter(({ kind, names }) => kind !== "line" || taken.has(names[0])).map((plan) => {
      const other = plan.kind === "line" && charted.get(plan.names[0].toLowerCase());
      return other ? { ...plan, chart: other.chart, group: other.group, title: other.title } : plan;
    });
  };

  // A drop-down list of all runs, newest first.
  page.runMenu = (label, choose) => {
    const select = page.make("select", { "aria-label": label, on: { change: () => choose(Number(select.value)) } });
    const fill = (run) => {
      const runs = page.passing().slice(-500).reverse();
      const all = run && !runs.includes(run) ? [run, ...runs] : runs;
      page.choices(select, all.map((each) => [String(each.id), page.nameOf(each)]), run?.id ?? "");
    };
    return { select, fill };
  };

  page.cockpit = (host) => {
    const menu = page.runMenu("Run in the cockpit", (id) => page.changed({ focus: id }));
    const facts = page.make("dl", { class: "facts" });
    const panels = page.make("div", { class: "panels" });
    host.append(page.make("div", { class: "heading" }, menu.select, facts), panels);
    const groups = ORDER.map((group) => page.groups.find(([name]) => name === group));
    const sections = page.sections(panels, () => [page.focused()].filter(Boolean), { groups, folding: false, planned: plannedOnce });

    return () => {
      const run = page.focused();
      menu.fill(run);
      const found = sections();
      if (!run) {
        facts.replaceChildren();
        return found;
      }
      const place = (name) => ORDER.indexOf(page.charts[name]?.group ?? "training");
      const plain = [...run.series].filter(([name, { kind }]) => kind === "number" && !name.includes("/"));
      const taken = once(plain.map(([name]) => name), run);
      const numbers = plain.filter(([name]) => taken.has(name))
        .sort(([a], [b]) => place(a) - place(b)).slice(0, TILES);
      facts.replaceChildren(
        page.fact("status", run.status, `status ${run.status}`), page.fact("duration", page.duration(page.runTime(run))),
        page.fact("step", String(Math.max(0, ...[...run.series.values()].map(({ step }) => step)))),
        ...numbers.map(([name, { last }]) => page.fact(page.charts[name]?.title || name, last === null ? "not finite" : page.short(last))),
      );
      if (run.error) facts.append(page.fact("error", run.error, "wide"));
      return found;
    };
  };
}
