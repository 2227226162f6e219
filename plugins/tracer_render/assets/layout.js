// Where everything of a view is: each open group is laid out by itself, inner ones first, so that
// opening one lays out that and the groups around it anew. Values are placed; cotangents are their
// mirror image, each at the height of its value. Coordinates are in pixels at zoom 1.
{
  const GAP = { rank: 26, node: 22, leaf: 12, leaves: 5, port: 9, halves: 48 };
  const FRAME = { top: 30, side: 12, bottom: 18, port: 12 };
  const SIZES = { title: 12, note: 9, line: 1.25, fixed: 0.605 };

  // -- sizes of boxes ---------------------------------------------------------------------------

  const pen = document.createElement("canvas").getContext("2d");
  const FONT = 'Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif';
  const widths = new Map();
  const widthOf = (text, size, bold) => {
    const key = `${size}${bold ? "b" : ""}${text}`;
    if (!widths.has(key)) {
      pen.font = `${bold ? "600 " : ""}${size}px ${FONT}`;
      widths.set(key, pen.measureText(text).width);
    }
    return widths.get(key);
  };

  const sizeOfTexts = (told, closes) => {
    const [notes, rows] = [told.notes ?? [], told.rows ?? []];
    const wide = Math.max(
      widthOf(told.title, SIZES.title, true),
      ...notes.map((note) => widthOf(note, SIZES.note, false)),
      ...rows.map((row) => SIZES.fixed * SIZES.note * row.length),
    );
    const lines = SIZES.title + SIZES.note * (notes.length + rows.length);
    const room = (told.kind === "input" ? 16 : 0) + (closes ? 22 : 0);
    return {
      width: Math.max(wide + 18 + room, 34),
      height: lines * SIZES.line + 12 + (told.kind === "parameter" ? 8 : 0),
    };
  };

  // A box is as large as its value's and its cotangent's texts need.
  const sizeOf = (view, item) => {
    const own = sizeOfTexts(page.told(view, item, false), item < 0);
    const back = page.told(view, item, true);
    const other = back ? sizeOfTexts(back, item < 0) : own;
    return { width: Math.max(own.width, other.width), height: Math.max(own.height, other.height) };
  };

  // -- lines, in each group that they pass -------------------------------------------------------

  // Where a line leaves an open group, or enters it, is a port there, one for each value.
  const levelsOf = (view, lines) => {
    const levels = new Map();
    const at = (g) => {
      if (!levels.has(g)) levels.set(g, { edges: new Map(), enter: new Map(), leave: new Map() });
      return levels.get(g);
    };
    // An end is {item} or {port}; `port` of an item says where on an open group the line ends.
    const add = (g, from, to, line) => {
      const key = `${from.key}>${to.key}`;
      const { edges } = at(g);
      if (!edges.has(key)) edges.set(key, { from, to, spine: false, delayed: line.delayed });
      edges.get(key).spine ||= line.spine;
      return { g, key };
    };
    for (const line of lines) {
      const [up, down] = [view.chain(line.tail), view.chain(line.head)];
      let shared = 0;
      while (shared < up.length && shared < down.length && up[shared] === down[shared]) shared++;
      line.way = [];
      if (line.delayed) continue;
      const name = line.tail;
      let from = { item: line.tail, key: `${line.tail}` };
      for (let level = up.length - 1; level >= shared; level--) {
        const g = up[level];
        const port = { port: "leave", name, key: `leave${name}` };
        at(g).leave.set(name, port);
        line.way.push(add(g, from, port, line));
        from = { item: ~g, port: "leave", name, key: `${~g}:${name}` };
      }
      const target = shared < down.length ? ~down[shared] : line.head;
      const ends = shared < down.length ? { item: target, port: "enter", name, key: `${target}:${name}` }
        : { item: target, key: `${target}` };
      line.way.push(add(up[shared - 1], from, ends, line));
      for (let level = shared; level < down.length; level++) {
        const g = down[level];
        const port = { port: "enter", name, key: `enter${name}` };
        at(g).enter.set(name, port);
        const inside = level + 1 < down.length ? ~down[level + 1] : line.head;
        const to = level + 1 < down.length
          ? { item: inside, port: "enter", name, key: `${inside}:${name}` }
          : { item: inside, key: `${inside}` };
        line.way.push(add(g, port, to, line));
      }
    }
    return levels;
  };

  // -- one group ---------------------------------------------------------------------------------

  // Leaves that one box uses stand beside it, and are no nodes of the layout.
  const besides = (view, children, edges) => {
    const users = new Map();
    const used = new Set();
    for (const { from, to } of edges.values()) {
      if (to.item !== undefined && to.item >= 0) used.add(to.item);
      if (from.item !== undefined && from.item >= 0) {
        if (!users.has(from.item)) users.set(from.item, []);
        users.get(from.item).push(to);
      }
    }
    const found = new Map();
    for (const child of children) {
      if (child < 0 || used.has(child)) continue;
      if (!["parameter", "constant"].includes(view.values.kind(child))) continue;
      const [user, ...others] = users.get(child) ?? [];
      if (user === undefined || others.length || user.port || user.item === undefined) continue;
      if (!found.has(user.item)) found.set(user.item, []);
      found.get(user.item).push(child);
    }
    return found;
  };

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

  // Parts that follow one another: a column. Edges are [from, to, weight] by numbers of parts and,
  // after them, of ports.
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
    return { width, height, points, routes: edges.map(() => []) };
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
    dagre.layout(graph);
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
    // What is around all of it, ports and guides left out.
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    parts.forEach(([, width, height], i) => {
      left = Math.min(left, points[i][0] - width / 2);
      right = Math.max(right, points[i][0] + width / 2);
      top = Math.min(top, points[i][1] - height / 2);
      bottom = Math.max(bottom, points[i][1] + height / 2);
    });
    for (const [x] of [...routes.flat(), ...points.slice(parts.length)]) {
      left = Math.min(left, x - 4);
      right = Math.max(right, x + 4);
    }
    const moved = ([x, y]) => [x - left, Math.min(Math.max(y - top, -FRAME.port), bottom - top + FRAME.port / 2)];
    return {
      width: right - left, height: bottom - top, points: points.map(moved),
      routes: routes.map((route) => route.map(moved)),
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

  // Lines bend between rows alone: past the boxes of a row, also the highest, they run straight down.
  const pastRows = (parts, edges, points, routes) => {
    const half = new Map();
    const row = rowOf;
    parts.forEach(([, , height], i) => {
      const key = row(points[i][1]);
      half.set(key, Math.max(half.get(key) ?? 0, height / 2));
    });
    const reach = (y) => half.get(row(y)) ?? 0;
    edges.forEach(([from, to], e) => {
      const way = [];
      const [tail, head] = [points[from], points[to]];
      if (from < parts.length && reach(tail[1]) > parts[from][3] / 2 + 1)
        way.push([tail[0], tail[1] + reach(tail[1])]);
      for (const [x, y] of routes[e]) {
        if (reach(y) === 0) way.push([x, y]);
        else way.push([x, y - reach(y)], [x, y + reach(y)]);
      }
      if (to < parts.length && reach(head[1]) > parts[to][3] / 2 + 1)
        way.push([head[0], head[1] - reach(head[1])]);
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

  // The inside of an open group: its size, and where its children, ports and lines are in it.
  const insideOf = (view, g, levels, found) => {
    const level = levels.get(g) ?? { edges: new Map(), enter: new Map(), leave: new Map() };
    const children = view.children(g);
    const leaves = besides(view, children, level.edges);
    const beside = new Set([...leaves.values()].flat());
    const parts = [];
    const number = new Map();
    const boxes = new Map();
    for (const child of children) {
      if (beside.has(child)) continue;
      const inner = child < 0 && view.open.has(~child) ? found.get(~child) : null;
      const size = inner
        ? {
            width: Math.max(inner.width + 2 * FRAME.side, titleWidth(view, child)),
            height: inner.height + FRAME.top + FRAME.bottom,
          }
        : sizeOf(view, child);
      const mine = (leaves.get(child) ?? []).map((leaf) => ({ leaf, ...sizeOf(view, leaf) }));
      const side = mine.length ? Math.max(...mine.map((leaf) => leaf.width)) + GAP.leaf : 0;
      const column = mine.reduce((sum, leaf) => sum + leaf.height + GAP.leaves, -GAP.leaves);
      boxes.set(child, { size, mine, column });
      number.set(`${child}`, parts.length);
      parts.push([child, size.width + 2 * side, Math.max(size.height, column), size.height]);
    }
    const ports = [...level.enter.values(), ...level.leave.values()];
    ports.forEach((port, i) => number.set(port.key, parts.length + i));
    const drawn = [...level.edges.entries()].filter(
      ([, { from, to, delayed }]) =>
        !delayed && !(from.item !== undefined && beside.has(from.item)) && nodeOf(from) !== nodeOf(to),
    );
    const edges = drawn.map(([, { from, to, spine }]) => [
      number.get(nodeOf(from)), number.get(nodeOf(to)), spine ? 8 : 1,
    ]);
    const { width, height, points, routes } = placed(parts, edges, level.enter.size, level.leave.size);
    const places = new Map();
    for (const [child, { size, mine, column }] of boxes) {
      const [x, y] = points[number.get(`${child}`)];
      places.set(child, { x, y, ...size });
      let top = y - column / 2;
      for (const leaf of mine) {
        places.set(leaf.leaf, {
          x: x - size.width / 2 - GAP.leaf - leaf.width / 2, y: top + leaf.height / 2,
          width: leaf.width, height: leaf.height, beside: true,
        });
        top += leaf.height + GAP.leaves;
      }
    }
    const portAt = new Map(ports.map((port) => [port.key, points[number.get(port.key)][0]]));
    const ways = new Map(drawn.map(([key], e) => [key, routes[e]]));
    return { width, height, places, portAt, ways, edges: level.edges };
  };

  const nodeOf = (end) => (end.item !== undefined ? `${end.item}` : end.key);

  const titleWidth = (view, child) =>
    widthOf(page.frameTitle(view, ~child), SIZES.note, false) + 44;

  // -- the whole ---------------------------------------------------------------------------------

  // Curves through points from top to bottom, vertical in each, as SVG path data.
  const curve = (points) => {
    const [[x, y], ...rest] = points;
    let path = `M${x.toFixed(1)} ${y.toFixed(1)}`;
    let [x0, y0] = [x, y];
    for (const [x1, y1] of rest) {
      const middle = ((y0 + y1) / 2).toFixed(1);
      path += Math.abs(x1 - x0) < 0.05 || Math.abs(y1 - y0) < 0.05 ? `L${x1.toFixed(1)} ${y1.toFixed(1)}`
        : `C${x0.toFixed(1)} ${middle} ${x1.toFixed(1)} ${middle} ${x1.toFixed(1)} ${y1.toFixed(1)}`;
      [x0, y0] = [x1, y1];
    }
    return path;
  };

  // From a leaf to what it stands beside.
  const sideways = ([[x0, y0], [x1, y1]]) => {
    const middle = ((x0 + x1) / 2).toFixed(1);
    const [start, end] = [[x0, y0], [x1, y1]].map((at) => at.map((n) => n.toFixed(1)).join(" "));
    return `M${start}C${middle} ${y0.toFixed(1)} ${middle} ${y1.toFixed(1)} ${end}`;
  };

  page.layout = (view) => {
    view.resolve();
    const lines = view.visibleLines();
    const levels = levelsOf(view, lines);
    const inner = new Map();
    const visit = (g) => {
      for (const child of view.children(g)) if (child < 0 && view.open.has(~child)) visit(~child);
      inner.set(g, insideOf(view, g, levels, inner));
    };
    visit(0);
    // Absolute places.
    const rectangles = new Map();
    const origins = new Map();
    const place = (g, left, top) => {
      origins.set(g, [left, top]);
      for (const [child, r] of inner.get(g).places) {
        const at = { ...r, x: r.x + left, y: r.y + top };
        rectangles.set(child, at);
        if (child < 0 && view.open.has(~child)) {
          const own = inner.get(~child);
          place(~child, at.x - own.width / 2, at.y - at.height / 2 + FRAME.top);
        }
      }
    };
    place(0, 0, 0);
    const { width, height } = inner.get(0);
    const back = view.cotangents !== null;
    const axis = width + GAP.halves / 2;
    const scene = { width: back ? 2 * axis : width, height, axis: back ? axis : null, boxes: [], frames: [], lines: [], pairs: [] };
    for (const [item, r] of rectangles) {
      const list = item < 0 && view.open.has(~item) ? scene.frames : scene.boxes;
      list.push({ item, back: false, ...r });
      if (back && page.told(view, item, true)) list.push({ item, back: true, ...r, x: 2 * axis - r.x });
    }
    drawLines(view, scene, lines, inner, origins, rectangles);
    pairUp(view, scene, rectangles, axis);
    scene.at = new Map();
    for (const box of [...scene.frames, ...scene.boxes]) scene.at.set(`${box.item}${box.back ? "b" : ""}`, box);
    return scene;
  };

  // The points of a line: through every group that it passes, from port to port.
  const pointsOf = (line, inner, origins, rectangles, fan) => {
    const [tail, head] = [rectangles.get(line.tail), rectangles.get(line.head)];
    if (tail.beside && line.way.length === 1) {
      const room = Math.max(head.height / 2 - 5, 0);
      const y = Math.min(Math.max(tail.y, head.y - room), head.y + room);
      return [[tail.x + tail.width / 2, tail.y], [head.x - head.width / 2, y]];
    }
    const points = [[tail.x + (fan.get(line)?.tail ?? 0), tail.y + tail.height / 2]];
    line.way.forEach(({ g, key }, step) => {
      const [left, top] = origins.get(g);
      const { ways, portAt, height, edges } = inner.get(g);
      const { from, to } = edges.get(key);
      const frame = rectangles.get(~g);
      if (from.port && from.item === undefined && step > 0) {
        const x = left + portAt.get(from.key);
        points.push([x, frame.y - frame.height / 2], [x, top - FRAME.port]);
      }
      for (const [x, y] of ways.get(key) ?? []) points.push([left + x, top + y]);
      if (to.port && to.item === undefined) {
        const x = left + portAt.get(to.key);
        points.push([x, top + height + FRAME.port / 2], [x, frame.y + frame.height / 2]);
      }
    });
    points.push([head.x + (fan.get(line)?.head ?? 0), head.y - head.height / 2]);
    return points.filter(
      ([x, y], i) => i === 0 || Math.abs(x - points[i - 1][0]) + Math.abs(y - points[i - 1][1]) > 0.5,
    );
  };

  // Lines that share a side of a box end beside each other there, in the order of where they go.
  const fanned = (lines, rectangles) => {
    const fan = new Map(lines.map((line) => [line, { tail: 0, head: 0 }]));
    for (const [end, other] of [["tail", "head"], ["head", "tail"]]) {
      const sides = new Map();
      for (const line of lines) {
        if (line.delayed || rectangles.get(line.tail).beside) continue;
        if (!sides.has(line[end])) sides.set(line[end], []);
        sides.get(line[end]).push(line);
      }
      for (const [item, side] of sides) {
        if (side.length < 2) continue;
        const { x, width } = rectangles.get(item);
        side.sort((a, b) => rectangles.get(a[other]).x - rectangles.get(b[other]).x);
        const gap = Math.min(GAP.port, (0.7 * width) / side.length);
        let middle = (side.length - 1) / 2;
        const straight = side.findIndex((line) => Math.abs(rectangles.get(line[other]).x - x) < 1);
        if (straight >= 0) middle = straight;
        const most = Math.max(width / 2 - 6, 0);
        side.forEach((line, i) => {
          fan.get(line)[end] = Math.min(Math.max(gap * (i - middle), -most), most);
        });
      }
    }
    return fan;
  };

  const drawLines = (view, scene, lines, inner, origins, rectangles) => {
    const fan = fanned(lines, rectangles);
    for (const line of lines) {
      const points = line.delayed
        ? null
        : pointsOf(line, inner, origins, rectangles, fan);
      const across = rectangles.get(line.tail).beside && line.way.length === 1;
      const path = points ? (across ? sideways : curve)(points) : around(rectangles.get(line.tail), rectangles.get(line.head));
      const own = { kind: view.values.kind(line.tail) === "cotangent" ? "cotangent" : "data" };
      const extent = points ? extentOf(points) : extentOf(corners(rectangles.get(line.tail), rectangles.get(line.head)));
      if (line.forward) {
        scene.lines.push({ ...own, tail: line.tail, head: line.head, back: false, delayed: line.delayed, label: line.label, change: line.change, path, ...extent, ...(points ? {} : outermost(rectangles.get(line.tail), rectangles.get(line.head))) });
      }
      if (line.back && scene.axis !== null) {
        const over = points?.map(([x, y]) => [2 * scene.axis - x, y]).reverse();
        const mirrored = (r) => ({ ...r, x: 2 * scene.axis - r.x });
        const way = points ? (across ? sideways : curve)(over)
          : around(mirrored(rectangles.get(line.head)), mirrored(rectangles.get(line.tail)), -1);
        scene.lines.push({
          kind: "cotangent", tail: line.head, head: line.tail, back: true, delayed: line.delayed,
          label: line.label.replace(/^t([−+])/, (_, sign) => `t${sign === "+" ? "−" : "+"}`),
          change: line.change,
          ...(points ? {} : outermost(mirrored(rectangles.get(line.head)), mirrored(rectangles.get(line.tail)), -1)),
          path: way, ...extentOf(over ?? corners(mirrored(rectangles.get(line.tail)), mirrored(rectangles.get(line.head)))),
        });
      }
    }
  };

  const corners = (a, b) => [
    [Math.min(a.x - a.width / 2, b.x - b.width / 2) - 60, Math.min(a.y, b.y)],
    [Math.max(a.x + a.width / 2, b.x + b.width / 2) + 60, Math.max(a.y, b.y)],
  ];

  const extentOf = (points) => {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const [x, y] of points) {
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
    return { x: (left + right) / 2, y: (top + bottom) / 2, width: right - left, height: bottom - top };
  };

  // Where the label of such a line stands: at its outermost point.
  const outermost = (tail, head, side = 1) => {
    const [x0, y0, x1, y1] = ends(tail, head, side);
    const out = reachOf(x0, y0, x1, y1, side);
    return { labelX: (x0 + x1) / 8 + (3 * out) / 4 + side * 4, labelY: (y0 + y1) / 2 };
  };

  const ends = (tail, head, side) => [
    tail.x + (side * tail.width) / 2, tail.y,
    head.x + (side * head.width) / 2, head.y + Math.min(6, head.height / 4),
  ];

  const reachOf = (x0, y0, x1, y1, side) =>
    (side > 0 ? Math.max(x0, x1) : Math.min(x0, x1)) + side * (24 + 0.12 * Math.abs(y0 - y1));

  // Beside the boxes, for a line from one step to another, which closes a cycle.
  const around = (tail, head, side = 1) => {
    const [x0, y0, x1, y1] = ends(tail, head, side);
    const out = reachOf(x0, y0, x1, y1, side);
    return `M${x0.toFixed(1)} ${y0.toFixed(1)}C${out.toFixed(1)} ${y0.toFixed(1)} ${out.toFixed(1)} ${y1.toFixed(1)} ${x1.toFixed(1)} ${y1.toFixed(1)}`;
  };

  // Rungs between a result and its cotangent, where nothing stands between the two.
  const pairUp = (view, scene, rectangles, axis) => {
    if (scene.axis === null || scene.boxes.length > 600) return;
    for (const box of scene.boxes) {
      if (!box.back) continue;
      if (box.item >= 0 && ["parameter", "constant", "input"].includes(view.values.kind(box.item))) continue;
      const value = rectangles.get(box.item);
      const [left, right] = [value.x + value.width / 2, box.x - box.width / 2];
      const free = scene.boxes.every(
        (other) => other.item === box.item || other.x < left || other.x > right ||
          Math.abs(other.y - box.y) > other.height / 2 + 2,
      );
      if (free) scene.pairs.push({ x: axis, y: box.y, width: right - left, height: 0, left, right });
    }
  };
}
