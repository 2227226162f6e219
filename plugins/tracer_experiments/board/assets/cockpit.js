// One run as in a cockpit: how it goes above, then what says why, side by side.
{
  const ORDER = ["training", "step", "gradients", "curvature", "activations", "histograms", "images", "other"];
  const TILES = 8;

  page.fact = (name, value, kind = null) => page.make("div", { class: kind ? `fact ${kind}` : "fact" }, page.make("dt", { text: name }), page.make("dd", { text: value }));

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
    const sections = page.sections(panels, () => [page.focused()].filter(Boolean), { groups, folding: false });

    return () => {
      const run = page.focused();
      menu.fill(run);
      const found = sections();
      if (!run) {
        facts.replaceChildren();
        return found;
      }
      const place = (name) => ORDER.indexOf(page.charts[name]?.group ?? "training");
      const numbers = [...run.series].filter(([name, { kind }]) => kind === "number" && !name.includes("/"))
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
