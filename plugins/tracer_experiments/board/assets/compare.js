// Two runs beside each other: configurations, curves over each other, and what differs in graphs.
{
  page.compare = (host) => {
    const menus = ["first", "second"].map((which) => page.runMenu(which === "first" ? "First run" : "Second run", (id) => page.changed({ [which]: id })));
    const swatches = menus.map(() => page.make("i", { class: "swatch" }));
    const swap = page.make("button", { text: "⇄", title: "Exchange", "aria-label": "Exchange the runs", on: { click: () => {
      const [first, second] = pair();
      if (second) page.changed({ first: second.id, second: first.id });
    } } });
    const box = page.make("input", { type: "checkbox", on: { change: () => page.changed({ differing: box.checked }) } });
    const table = page.make("tbody", {});
    const names = page.make("tr", {});
    const graphs = page.make("section", { class: "section graphs", "aria-label": "Graphs" });
    const charts = page.make("div", {});
    host.append(
      page.make("div", { class: "heading" }, swatches[0], menus[0].select, swap, swatches[1], menus[1].select,
        page.make("label", { class: "check" }, box, " only what differs")),
      page.make("div", { class: "beside" }, page.make("div", { class: "scroll short" },
        page.make("table", { class: "configurations" }, page.make("thead", {}, names), table)), graphs),
      charts,
    );

    const pair = () => {
      const { first, second } = page.state;
      const all = page.shown().length > 1 ? page.shown() : page.passing();
      const b = page.runs.get(second) ?? all.findLast(({ id }) => id !== first) ?? null;
      const a = page.runs.get(first) ?? all.findLast(({ id }) => id !== b?.id) ?? null;
      return [a, b];
    };
    const planned = (runs) => page.planned(runs).filter(({ kind, names: of }) => kind === "line" && runs.every((run) => run.series.has(of[0])));
    const sections = page.sections(charts, () => pair().filter(Boolean), {
      planned, maker: { line: (plan) => Object.assign(page.lineCard(plan), { plain: true }) },
    });

    const facts = (run) => ({
      status: run.status, group: run.group, seed: run.seed, begun: page.date(run.begun), duration: page.duration(page.runTime(run)),
      ...(run.error ? { error: run.error } : {}), ...run.flat,
    });
    const lasts = (run) => Object.fromEntries([...run.series].filter(([name, { kind }]) => kind === "number" && !name.includes("/")).map(([name, { last }]) => [name, last]));

    const rows = (one, other, kind) => {
      const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])];
      return keys.flatMap((key) => {
        const texts = [one, other].map((side) => (key in side ? page.told(side[key]) : ""));
        const same = texts[0] === texts[1];
        if (same && page.state.differing) return [];
        const [a, b] = [one[key], other[key]];
        const change = kind === "metric" && typeof a === "number" && typeof b === "number" && a ? `${b >= a ? "+" : "−"}${page.short(Math.abs((100 * (b - a)) / a), 3)} %` : "";
        return [page.make("tr", { class: same ? "same" : "differs" }, page.make("th", { scope: "row", text: kind === "metric" ? `last ${key}` : key }),
          page.make("td", { text: texts[0] }), page.make("td", { text: texts[1] }), page.make("td", { class: "faint", text: change }))];
      });
    };

    const picture = page.make("img", { alt: "Both graphs in one picture" });
    let asked = "";
    const lists = (found) => ["removed", "added", "changed"].flatMap((of) => found[of].length ? [page.make("details", { open: found[of].length <= 12 },
      page.make("summary", { text: `${found.counts[of]} ${of}` }), page.make("ul", { class: of }, ...found[of].map((text) => page.make("li", { text }))))] : []);
    const askGraphs = async (a, b) => {
      const has = [a, b].every((run) => run && [...run.series.values()].some(({ kind }) => kind === "graph"));
      const key = has ? `${a.id}|${b.id}|${page.ink("dark")}` : "";
      if (key === asked) return;
      asked = key;
      graphs.hidden = !has;
      if (!has) return;
      const heading = page.make("h2", { text: "Graphs" });
      graphs.replaceChildren(heading, page.make("p", { class: "faint", text: "Comparing …" }));
      try {
        const found = await page.source.difference(a.id, b.id);
        if (asked !== key) return;
        if (!Object.values(found.counts).some(Boolean)) {
          graphs.replaceChildren(heading, page.make("p", { text: "Both runs have the same graph." }));
          return;
        }
        const place = page.make("div", { class: "picture" }, picture);
        graphs.replaceChildren(heading, page.make("div", { class: "difference" }, page.make("div", { class: "lists" }, ...lists(found)), place));
        const address = await page.source.differencePicture(a.id, b.id);
        if (asked === key) picture.src = address;
      } catch (error) {
        if (asked === key) graphs.replaceChildren(heading, page.make("p", { class: "note", text: error.message }));
      }
    };

    return () => {
      const [a, b] = pair();
      box.checked = page.state.differing;
      [a, b].forEach((run, at) => {
        menus[at].fill(run);
        swatches[at].style.background = run ? page.colour(run.id) : "none";
      });
      if (!a || !b) {
        table.replaceChildren(page.make("tr", {}, page.make("td", { class: "faint", text: "Two runs are needed." })));
        names.replaceChildren();
        graphs.hidden = true;
        return sections();
      }
      names.replaceChildren(page.make("th", {}), ...[a, b].map((run) => page.make("th", { text: page.nameOf(run) })), page.make("th", {}));
      table.replaceChildren(...rows(facts(a), facts(b), "config"), ...rows(lasts(a), lasts(b), "metric"));
      askGraphs(a, b);
      return sections();
    };
  };
}
