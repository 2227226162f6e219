// The cards of a view: made of the series that there are, by the chart that is kept with each, in
// sections by its group. Those that are not in sight draw nothing and fetch nothing.
{
  const GROUPS = [
    ["training", "Training"], ["step", "Step"], ["gradients", "Gradients"], ["curvature", "Curvature"],
    ["activations", "Activations"], ["histograms", "Histograms"], ["images", "Images"], ["other", "Other"],
  ];
  page.groups = GROUPS;
  const KINDS = { number: "line", histogram: "histogram", image: "image" };
  const inSight = new Set();
  const byElement = new WeakMap();

  // How a series is drawn: by its own chart, or that of what it is a part of, or as it seems fit.
  page.chartOf = ({ name, kind }) => {
    const whole = name.slice(0, Math.max(name.indexOf("/"), 0));
    const own = page.charts[name] ?? page.charts[whole];
    const drawn = kind === "number" ? "line" : own?.kind?.startsWith("histogram") || own?.kind === "image" ? own.kind : KINDS[kind];
    const group = own?.group ?? (kind === "histogram" ? "histograms" : kind === "image" ? "images" : "training");
    return { title: page.charts[name]?.title || name, scale: "linear", lines: [], about: "", unit: "", ...own, ...{ kind: drawn, group } };
  };

  const sights = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const card = byElement.get(target);
      if (!card) continue;
      if (isIntersecting) {
        inSight.add(card);
        card.draw();
      } else inSight.delete(card);
    }
    page.fetchCurves();
  }, { rootMargin: "150px" });
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const card = byElement.get(target.parentElement);
      if (card && inSight.has(card)) card.draw();
    }
  });
  page.watch = (card) => {
    byElement.set(card.element, card);
    sights.observe(card.element);
    sizes.observe(card.place);
  };
  page.unwatch = (card) => {
    sights.unobserve(card.element);
    sizes.unobserve(card.place);
    inSight.delete(card);
  };
  page.cardsInSight = () => [...inSight].sort((a, b) => (a.element.compareDocumentPosition(b.element) & 4 ? -1 : 1));
  page.drawInSight = () => {
    for (const card of page.cardsInSight()) card.draw();
    page.fetchCurves();
  };

  const MAKERS = { line: page.lineCard, histogram: page.histogramCard, histogram2d: page.histogramCard, image: page.imageCard, layers: page.layersCard };

  // What cards there are to be, of the series of some runs: {key, names, kind, group, title, chart}.
  page.planned = (runs) => {
    const there = new Set();
    for (const run of runs) for (const name of run.series.keys()) there.add(name);
    // epochs are an axis
    const known = page.series.filter(({ name, kind }) => there.has(name) && KINDS[kind] && name !== "epoch");
    const kinds = new Map(known.map((each) => [each.name, each]));
    const parts = new Map();
    const chosen = new Map();
    for (const { name, kind } of kinds.values()) {
      const whole = name.slice(0, Math.max(name.indexOf("/"), 0));
      if (kind === "number" && whole && (kinds.get(whole)?.kind === "number" || page.charts[whole])) parts.set(whole, [...(parts.get(whole) ?? []), name]);
      if (kind === "histogram" && kinds.get(whole)?.kind === "histogram") chosen.set(whole, [...(chosen.get(whole) ?? []), name]);
    }
    const inParts = new Set([...parts.values()].filter((names) => names.length > 1).flat());
    for (const names of chosen.values()) for (const name of names) inParts.add(name);
    const plans = [];
    for (const each of kinds.values()) {
      if (inParts.has(each.name)) continue;
      const chart = page.chartOf(each);
      plans.push({ key: `${chart.kind}:${each.name}`, names: [each.name, ...(chosen.get(each.name) ?? [])], kind: chart.kind, group: chart.group, title: chart.title, chart });
    }
    for (const [whole, names] of parts) {
      if (names.length < 2) continue;
      const chart = page.chartOf({ name: whole, kind: "number" });
      plans.push({ key: `layers:${whole}`, names, kind: "layers", group: chart.group, title: `${chart.title} by layer`, chart });
    }
    return plans;
  };

  const matcher = (search) => {
    try {
      return [new RegExp(search, "i"), ""];
    } catch (error) {
      return [null, error.message.split(": ").at(-1)];
    }
  };

  // Sections with cards in `host`, kept as they are where they stay. `order` are the groups in it.
  page.sections = (host, runs, { groups = GROUPS, folding = true, planned = page.planned, maker = MAKERS } = {}) => {
    const held = new Map();
    const frames = new Map();
    const frame = (group, title) => {
      const count = page.make("small", {});
      const grid = page.make("div", { class: "grid" });
      const fold = page.make("button", { class: "fold", text: title, "aria-expanded": "true", on: { click: () => {
        const closed = new Set(page.state.closed.split(" ").filter(Boolean));
        if (!closed.delete(group)) closed.add(group);
        page.changed({ closed: [...closed].join(" ") });
      } } });
      const heading = folding ? page.make("h2", {}, fold, count) : page.make("h2", { text: title });
      const element = page.make("section", { class: `section of-${group}`, "aria-label": title }, heading, grid);
      return { element, grid, fold, count };
    };

    return () => {
      const [pattern, wrong] = matcher(page.state.search);
      const plans = planned(runs()).filter(({ names, title }) => !pattern || pattern.test(title) || names.some((name) => pattern.test(name)));
      const closed = new Set(folding ? page.state.closed.split(" ") : []);
      const wanted = new Map();
      for (const plan of plans) wanted.set(`${plan.key}|${JSON.stringify(plan.chart)}|${plan.names.length}`, plan);
      for (const [key, card] of held) {
        if (wanted.has(key) && !closed.has(wanted.get(key).group)) continue;
        page.unwatch(card);
        card.element.remove();
        held.delete(key);
      }
      const shownGroups = groups.filter(([group]) => plans.some((plan) => plan.group === group));
      for (const [group, { element }] of frames) if (!shownGroups.some(([each]) => each === group)) {
        element.remove();
        frames.delete(group);
      }
      for (const [place, [group, title]] of shownGroups.entries()) {
        if (!frames.has(group)) frames.set(group, frame(group, title));
        const { element, grid, fold, count } = frames.get(group);
        if (host.children[place] !== element) host.insertBefore(element, host.children[place] ?? null);
        const isClosed = closed.has(group);
        fold.setAttribute("aria-expanded", String(!isClosed));
        grid.hidden = isClosed;
        let number = 0;
        for (const [key, plan] of wanted) {
          if (plan.group !== group) continue;
          number += 1;
          if (isClosed) continue;
          if (!held.has(key)) {
            held.set(key, maker[plan.kind]({ ...plan, runs }));
            page.watch(held.get(key));
          }
          const card = held.get(key);
          if (grid.children[number - 1] !== card.element) grid.insertBefore(card.element, grid.children[number - 1] ?? null);
        }
        page.say(count, String(number));
      }
      return { number: plans.length, wrong };
    };
  };
}
