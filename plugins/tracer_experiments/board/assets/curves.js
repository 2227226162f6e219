// Curves that were fetched, and those that the charts in sight still want: in chunks, a few at a time.
{
  const AT_ONCE = 50;
  const FLYING = 3;
  const flying = new Set();
  const failed = new Set();
  let store = new Map();
  let axis = "";

  const most = () => {
    const runs = page.shown().length;
    return runs <= 40 ? 400 : runs <= 200 ? 200 : 100;
  };
  const entry = (name, run) => {
    if (!store.has(name)) store.set(name, new Map());
    const runs = store.get(name);
    if (!runs.has(run)) runs.set(run, { whole: null, part: null });
    return runs.get(run);
  };
  const holds = (outer, inner) => outer[0] <= inner[0] && outer[1] >= inner[1];

  // The part of the axis that is asked for: some more than is seen, so that it can be dragged.
  const wider = ([from, to]) => {
    if (page.state.logx && from > 0) return [from / (to / from) ** 0.6, to * (to / from) ** 0.6];
    return [from - 0.6 * (to - from), to + 0.6 * (to - from)];
  };

  // What a curve lacks: "whole", "part" or nothing. Parts are finer; they are fetched where the
  // whole curve shows too little in what is seen.
  const lacks = (name, run, span) => {
    const count = run.series.get(name)?.count ?? 0;
    if (!count) return null;
    const { whole, part } = entry(name, run.id);
    if (!whole || whole.of !== count) return "whole";
    if (!span || whole.exact || !whole.x?.length) return null;
    if (span[1] < whole.x[0] || span[0] > whole.x.at(-1)) return null;
    if (part && part.of === count && holds(part.span, span) && part.span[1] - part.span[0] < 8 * (span[1] - span[0])) return null;
    const inside = page.within(whole.x, span);
    return inside[1] - inside[0] < whole.x.length / 2 ? "part" : null;
  };

  // The first and last place of ascending numbers that lie in a span, one more on either side.
  page.within = (x, [from, to]) => {
    const search = (wanted) => {
      let [low, high] = [0, x.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (x[middle] < wanted) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    return [Math.max(search(from) - 1, 0), Math.min(search(to) + 1, x.length)];
  };

  const keyOf = (name, run, what) => `${axis}|${what}|${run}|${name}`;

  // The next request: a series, one chunk of runs, whole or a part; null where nothing lacks.
  const next = () => {
    const { span } = page.state;
    for (const card of page.cardsInSight()) {
      if (!card.series) continue;
      for (const name of card.series()) {
        const found = { whole: [], part: [] };
        for (const run of card.runs()) {
          const what = lacks(name, run, span);
          if (what && !flying.has(keyOf(name, run.id, what)) && !failed.has(keyOf(name, run.id, what))) found[what].push(run);
        }
        for (const what of ["whole", "part"])
          if (found[what].length) return { name, what, runs: found[what].slice(0, AT_ONCE) };
      }
    }
    return null;
  };

  const take = (request, asked, tables, counts) => {
    const byRun = new Map(tables.map((table) => [table.run, table]));
    for (const run of request.runs) {
      const table = byRun.get(run.id);
      const x = table?.[asked.axis];
      const made = { exact: true, ...table, x, of: counts.get(run.id), span: asked.span };
      if (x) {
        made.low ??= made.mean;
        made.high ??= made.mean;
      }
      entry(request.name, run.id)[request.what] = made;
    }
  };

  // Curves by another axis are others.
  const forget = () => {
    const now = `${page.state.axis}|${page.state.logx}`;
    if (now === axis) return;
    axis = now;
    store = new Map();
    failed.clear();
  };

  // Fetch what is lacking until nothing is.
  page.fetchCurves = () => {
    const { state } = page;
    forget();
    while (flying.size < FLYING * AT_ONCE && page.requests < FLYING) {
      const request = next();
      if (!request) break;
      const keys = request.runs.map((run) => keyOf(request.name, run.id, request.what));
      for (const key of keys) flying.add(key);
      const counts = new Map(request.runs.map((run) => [run.id, run.series.get(request.name).count]));
      const span = request.what === "part" ? wider(state.span) : null;
      const asked = { axis: state.axis, span };
      const into = store;
      page.requests += 1;
      page.source.curves(request.name, request.runs.map(({ id }) => id), state.axis, span, most(), state.logx)
        .then((tables) => {
          if (into !== store) return;
          take(request, asked, tables, counts);
          page.curvesCame(request.name);
        })
        .catch(() => {
          for (const key of keys) failed.add(key);
          setTimeout(() => {
            for (const key of keys) failed.delete(key);
            page.fetchCurves();
          }, 3000);
        })
        .finally(() => {
          page.requests -= 1;
          for (const key of keys) flying.delete(key);
          page.fetchCurves();
        });
    }
  };
  page.requests = 0;

  // The curve of a run as it is to be drawn now, or null: {x, mean, low, high, marks, smooth}.
  page.curve = (name, run) => {
    forget();
    const { whole, part } = store.get(name)?.get(run.id) ?? {};
    const { span, smooth } = page.state;
    const table = span && part?.x?.length && part.of >= (whole?.of ?? 0) && holds(part.span, span) ? part : whole;
    if (!table?.x?.length) return null;
    const length = whole.x.at(-1) - whole.x[0];
    if (smooth && table.smoothedBy !== smooth) {
      table.smooth = smoothed(table.x, table.mean, smooth, length);
      table.smoothedBy = smooth;
    }
    return { run, x: table.x, mean: table.mean, low: table.low, high: table.high, marks: table.marks,
      exact: table.exact, smooth: smooth ? table.smooth : null };
  };

  // Exponential average over a share of the curve's length, corrected for where it begins: the same
  // however many points are drawn of it.
  const smoothed = (x, values, smooth, length) => {
    const reach = length * 0.3 * smooth ** 2 || 1;
    const made = new Float64Array(values.length);
    let [average, weight] = [0, 0];
    for (let at = 0; at < values.length; at += 1) {
      if (Number.isNaN(values[at])) {
        made[at] = NaN;
        continue;
      }
      const keep = at ? Math.exp(-Math.max(x[at] - x[at - 1], 0) / reach) : 0;
      weight = keep * weight + (1 - keep || 1);
      const part = (1 - keep || 1) / weight;
      // A constant stays what it is, to the last bit: an axis of rounding would be all noise.
      if (values[at] !== average) average = (1 - part) * average + part * values[at];
      made[at] = average;
    }
    return made;
  };
}
