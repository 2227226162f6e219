// Places of the parts of one group, by dagre, which is then set straight.
{
  const { GAP, FRAME } = page;
  const keptLayouts = new Map();

  // Places of the children of a group, and of its ports, by dagre. `parts` are [key, width, height, height without leaves].
  const placed = (parts, edges, enter, leave) => {
    const signature = JSON.stringify([parts.map((p) => p.slice(1)), edges, enter, leave]);
    const known = keptLayouts.get(signature);
    if (known) return known;
    const found = chained(parts, edges, enter, leave) ?? byDagre(parts, edges, enter, leave);
    if (keptLayouts.size > 4000) keptLayouts.clear();
    keptLayouts.set(signature, found);
    return found;
  };

  // Parts that follow one another: a column. Edges are [from, to, weight, out, into] by numbers of
  // parts and, after them, of ports; the last two say how far beside the
  // middle of an open group they leave and enter, null of others.
  const chained = (parts, edges, enter, leave) => {
    const total = parts.length + enter + leave;
    if (total === 0) return { width: 1, height: 1, points: [], routes: [] };
    if (enter > 1 || leave > 1) return null;
    const next = new Array(total).fill(-1);
    const before = new Array(total).fill(-1);
    for (const [from, to] of edges) {
      if (next[from] >= 0 || before[to] >= 0) return null;
      [next[from], before[to]] = [to, from];
    }
    const starts = before.flatMap((b, i) => (b < 0 ? [i] : []));
    if (starts.length !== 1) return null;
    const order = [];
    for (let i = starts[0]; i >= 0; i = next[i]) order.push(i);
    if (order.length !== total) return null;
    const width = Math.max(...parts.map((p) => p[1]), 1);
    const points = [];
    let y = 0;
    for (const i of order) {
      if (i >= parts.length) points[i] = [width / 2, y];
      else {
        points[i] = [width / 2, y + parts[i][2] / 2];
        y += parts[i][2] + GAP.rank;
      }
    }
    const height = Math.max(y - GAP.rank, 1);
    for (const i of order) if (i >= parts.length + enter) points[i][1] = height;
    const routes = edges.map(() => []);
    page.alignPorts(parts, edges, points, routes, enter);
    return { width, height, points, routes };
  };

  const byDagre = (parts, edges, enter, leave) => {
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    graph.setGraph({ nodesep: GAP.node, edgesep: 14, ranksep: GAP.rank, marginx: 0, marginy: 0 });
    graph.setDefaultEdgeLabel(() => ({}));
    const total = parts.length + enter + leave;
    const [above, below] = [new Array(total).fill(0), new Array(total).fill(0)];
    for (const [from, to] of edges) {
      below[from]++;
      above[to]++;
    }
    parts.forEach(([, width, height], i) => graph.setNode(`${i}`, { width, height }));
    for (let i = parts.length; i < total; i++) graph.setNode(`${i}`, { width: 1, height: 0 });
    edges.forEach(([from, to, weight], e) => graph.setEdge(`${from}`, `${to}`, { weight }, `${e}`));
    // Ports are the highest and the lowest of all: they hang on nodes above and below.
    if (enter) {
      graph.setNode("above", { width: 0, height: 0 });
      for (let i = 0; i < total; i++) {
        const isPort = i >= parts.length && i < parts.length + enter;
        if (isPort || (!above[i] && i < parts.length))
          graph.setEdge("above", `${i}`, { weight: isPort ? 99 : 0, minlen: isPort ? 1 : 2 }, "_");
      }
    }
    if (leave) {
      graph.setNode("below", { width: 0, height: 0 });
      for (let i = 0; i < total; i++) {
        const isPort = i >= parts.length + enter;
        if (isPort || (!below[i] && i < parts.length))
          graph.setEdge(`${i}`, "below", { weight: isPort ? 99 : 0, minlen: isPort ? 1 : 2 }, "_");
      }
    }
    const called = (name) => (Number(name) < parts.length ? Number(name) : undefined);
    dagre.layout(graph, { customOrder: page.orderOf(called) });
    const points = [];
    for (let i = 0; i < total; i++) {
      const { x, y } = graph.node(`${i}`);
      points.push([x, y]);
    }
    const routes = edges.map(([from, to], e) =>
      graph.edge(`${from}`, `${to}`, `${e}`).points.slice(1, -1).map(({ x, y }) => [x, y]),
    );
    straighten(parts, edges, points, routes);
    pastRows(parts, edges, points, routes);
    page.alignPorts(parts, edges, points, routes, enter);
    page.snap(parts, edges, points, routes);
    // What is around all of it, ports and guides left out.
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    parts.forEach(([, width, height], i) => {
      left = Math.min(left, points[i][0] - width / 2);
      right = Math.max(right, points[i][0] + width / 2);
      top = Math.min(top, points[i][1] - height / 2);
      bottom = Math.max(bottom, points[i][1] + height / 2);
    });
    for (const [x] of [...routes.flat(), ...points.slice(parts.length)]) {
      if (typeof x === "string") continue;
      left = Math.min(left, x - 4);
      right = Math.max(right, x + 4);
    }
    const moved = ([x, y]) => [typeof x === "string" ? x : x - left, Math.min(Math.max(y - top, -FRAME.port), bottom - top + FRAME.port / 2)];
    // Lines from a port bend above what is highest, those to one below what is lowest.
    const between = (route) => route.filter(([, y]) => y > top - 0.1 && y < bottom + 0.1);
    return {
      width: right - left, height: bottom - top, points: points.map(moved),
      routes: routes.map((route) => between(route).map(moved)),
    };
  };

  // Heights that are one but for rounding.
  const rowOf = (y) => Math.round(y + 0.237);

  // The longest way down stands in one line, what is in its way moves aside, and lines that pass
  // several ranks run straight.
  const straighten = (parts, edges, points, routes) => {
    // What joins neighbouring ranks needs no point between.
    for (const route of routes) if (route.length < 2) route.length = 0;
    const spine = longest(parts.length, edges);
    if (spine.size < 2) return;
    const along = new Set(
      routes.filter((_, e) => spine.has(edges[e][1]) && spine.get(edges[e][1]) === edges[e][0]),
    );
    const rows = new Map();
    const into = (y, thing) => {
      const key = rowOf(y);
      if (!rows.has(key)) rows.set(key, []);
      rows.get(key).push(thing);
    };
    parts.forEach(([, width], i) => into(points[i][1], { at: points[i], width, spine: spine.has(i) }));
    for (const route of routes)
      for (const at of route) into(at[1], { at, width: 14, route, spine: along.has(route) });
    const xs = [...spine.keys()].map((i) => points[i][0]).sort((a, b) => a - b);
    const x = xs[xs.length >> 1];
    for (const row of rows.values()) {
      row.sort((a, b) => a.at[0] - b.at[0]);
      const middle = row.findIndex((thing) => thing.spine);
      if (middle < 0) continue;
      row[middle].at[0] = x;
      for (const [step, sign] of [[1, 1], [-1, -1]]) {
        for (let i = middle + step; i >= 0 && i < row.length; i += step) {
          const [before, thing] = [row[i - step], row[i]];
          const near = before.at[0] + sign * ((before.width + thing.width) / 2 + GAP.node / 2);
          if (sign * (thing.at[0] - near) < 0) thing.at[0] = near;
        }
      }
    }
    const columns = [];
    const long = routes.filter((route) => route.length > 1 && !along.has(route)).sort((a, b) => a.length - b.length);
    for (const route of long) {
      const mean = route.reduce((sum, [at]) => sum + at, 0) / route.length;
      const sign = mean < x ? -1 : 1;
      const reach = route.map(([at]) => at);
      let column = sign < 0 ? Math.min(...reach) : Math.max(...reach);
      const [top, bottom] = [route[0][1], route[route.length - 1][1]];
      for (const other of columns) {
        if (other.sign !== sign || other.bottom < top || other.top > bottom) continue;
        if (sign * (column - other.column) < 14) column = other.column + sign * 14;
      }
      const free = route.every(([, y]) =>
        rows.get(rowOf(y)).every(
          (thing) => thing.route || Math.abs(thing.at[0] - column) >= thing.width / 2 + 6,
        ),
      );
      if (!free) continue;
      columns.push({ column, sign, top, bottom });
      for (const at of route) at[0] = column;
    }
  };

  // Lines bend between rows alone: past the boxes of a row, also the highest, they run straight down,
  // at the x of their "tail" or "head" where that is a box.
  const pastRows = (parts, edges, points, routes) => {
    const half = new Map();
    const row = rowOf;
    parts.forEach(([, , height], i) => {
      const key = row(points[i][1]);
      half.set(key, Math.max(half.get(key) ?? 0, height / 2));
    });
    const reach = (y) => half.get(row(y)) ?? 0;
    edges.forEach(([from, to, , out, into], e) => {
      const way = [];
      const [tail, head] = [points[from], points[to]];
      if (from < parts.length && reach(tail[1]) > parts[from][3] / 2 + 1)
        way.push([out === null ? "tail" : tail[0] + out, tail[1] + reach(tail[1])]);
      for (const [x, y] of routes[e]) {
        if (reach(y) > 0) way.push([x, y - reach(y)], [x, y + reach(y)]);
      }
      if (to < parts.length && reach(head[1]) > parts[to][3] / 2 + 1)
        way.push([into === null ? "head" : head[0] + into, head[1] - reach(head[1])]);
      routes[e] = way;
    });
  };

  // The parts on the longest way along lines that are no leaves', each with the one before it.
  const longest = (count, edges) => {
    const next = Array.from({ length: count }, () => []);
    const waiting = new Array(count).fill(0);
    for (const [from, to, weight] of edges) {
      if (weight < 2 || from >= count || to >= count) continue;
      next[from].push(to);
      waiting[to]++;
    }
    const length = new Array(count).fill(1);
    const before = new Array(count).fill(-1);
    const ready = waiting.flatMap((n, i) => (n ? [] : [i]));
    let end = -1;
    for (let k = 0; k < ready.length; k++) {
      const i = ready[k];
      if (end < 0 || length[i] > length[end]) end = i;
      for (const to of next[i]) {
        if (length[i] + 1 > length[to]) [length[to], before[to]] = [length[i] + 1, i];
        if (--waiting[to] === 0) ready.push(to);
      }
    }
    const found = new Map();
    for (let i = end; i >= 0; i = before[i]) found.set(i, before[i]);
    return found;
  };

  page.placed = placed;
}
