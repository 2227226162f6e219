// Lines as they are drawn, and where they end on boxes.
{
  const { GAP, FRAME } = page;

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
  // The points of a line between its ends: through every group that it passes, from port to port.
  const between = (line, inner, origins, rectangles) => {
    const points = [];
    line.way.forEach(({ g, key }, step) => {
      const [left, top] = origins.get(g);
      const { ways, portAt, height, edges } = inner.get(g);
      const { from, to } = edges.get(key);
      const frame = rectangles.get(~g);
      if (from.port && from.item === undefined && step > 0) {
        const x = left + portAt.get(from.key);
        points.push([x, frame.y - frame.height / 2], [x, top - FRAME.port]);
      }
      for (const [x, y] of ways.get(key) ?? []) {
        points.push([typeof x === "string" ? x : left + x, top + y]);
      }
      if (to.port && to.item === undefined) {
        const x = left + portAt.get(to.key);
        points.push([x, top + height + FRAME.port / 2], [x, frame.y + frame.height / 2]);
      }
    });
    return points;
  };

  // From a leaf to what it stands beside.
  const across = (line, rectangles) => {
    const [tail, head] = [rectangles.get(line.tail), rectangles.get(line.head)];
    if (!tail.beside || line.way.length !== 1) return null;
    const room = Math.max(head.height / 2 - 5, 0);
    const y = Math.min(Math.max(tail.y, head.y - room), head.y + room);
    return [[tail.x + tail.width / 2, tail.y], [head.x - head.width / 2, y]];
  };

  const CORNER = 6; // pixels of a side of a box, from its corners, where no line ends

  // By line, where it leaves its tail and enters its head: lines that share a side of a box end
  // beside each other there, in the order of where they go; those that leave for the same port are one.
  const endsOf = (middles, rectangles) => {
    const ends = new Map([...middles.keys()].map((line) => [line, {}]));
    for (const [end, other] of [["tail", "head"], ["head", "tail"]]) {
      const sides = new Map();
      for (const [line, middle] of middles) {
        const known = ([x]) => typeof x !== "string";
        const goal = (end === "tail" ? middle.find(known) : middle.findLast(known))?.[0] ??
          ends.get(line)[other] ?? rectangles.get(line[other]).x;
        if (!sides.has(line[end])) sides.set(line[end], new Map());
        const slots = sides.get(line[end]);
        const first = line.way[0];
        const to = end === "tail" && line.way.length > 1 ? `${first.g} ${first.key}` : line;
        if (!slots.has(to)) slots.set(to, { goal, lines: [] });
        slots.get(to).lines.push(line);
      }
      for (const [item, slots] of sides) {
        const side = [...slots.values()];
        spread(side, rectangles.get(item));
        for (const { x, lines } of side) for (const line of lines) ends.get(line)[end] = x;
      }
    }
    return ends;
  };

  // Give each slot of a side its `x`, around the one that runs straight or else around the middle;
  // then move those that are nearly straight.
  const spread = (side, { x, width }) => {
    side.sort((a, b) => a.goal - b.goal);
    const gap = Math.min(GAP.port, (0.7 * width) / side.length);
    const nearest = side.reduce((best, slot, i) => (Math.abs(slot.goal - x) < Math.abs(side[best].goal - x) ? i : best), 0);
    const middle = Math.abs(side[nearest].goal - x) < page.STEP ? nearest : (side.length - 1) / 2;
    const most = Math.max(width / 2 - CORNER, 0);
    const within = (at) => Math.min(Math.max(at, x - most), x + most);
    side.forEach((slot, i) => (slot.x = within(x + gap * (i - middle))));
    side.forEach((slot, i) => {
      const { goal } = slot;
      if (!page.isStep(goal, slot.x) || within(goal) !== goal) return;
      const least = Math.min(gap, 4);
      if (i > 0 && goal < side[i - 1].x + least) return;
      if (i + 1 < side.length && goal > side[i + 1].x - least) return;
      slot.x = goal;
    });
  };

  const pointsOf = (line, middle, ends, rectangles) => {
    const [tail, head] = [rectangles.get(line.tail), rectangles.get(line.head)];
    const own = ends.get(line);
    const points = [
      [own.tail, tail.y + tail.height / 2], ...middle.map(([x, y]) => [own[x] ?? x, y]),
      [own.head, head.y - head.height / 2],
    ];
    return points.filter(
      ([x, y], i) => i === 0 || Math.abs(x - points[i - 1][0]) + Math.abs(y - points[i - 1][1]) > 0.5,
    );
  };

  const drawLines = (view, scene, lines, inner, origins, rectangles) => {
    const middles = new Map();
    for (const line of lines) {
      if (line.delayed || across(line, rectangles)) continue;
      middles.set(line, between(line, inner, origins, rectangles));
    }
    const bounds = endsOf(middles, rectangles);
    for (const line of lines) {
      const beside = line.delayed ? null : across(line, rectangles);
      const points = line.delayed ? null : beside ?? pointsOf(line, middles.get(line), bounds, rectangles);
      const path = points ? (beside ? sideways : curve)(points) : around(rectangles.get(line.tail), rectangles.get(line.head));
      const own = { kind: view.values.kind(line.tail) === "cotangent" ? "cotangent" : "data" };
      const extent = points ? extentOf(points) : extentOf(corners(rectangles.get(line.tail), rectangles.get(line.head)));
      if (line.forward) {
        scene.lines.push({ ...own, tail: line.tail, head: line.head, back: false, delayed: line.delayed, label: line.label, change: line.change, path, ...extent, ...(points ? {} : outermost(rectangles.get(line.tail), rectangles.get(line.head))) });
      }
      if (line.back && scene.axis !== null) {
        const over = points?.map(([x, y]) => [2 * scene.axis - x, y]).reverse();
        const mirrored = (r) => ({ ...r, x: 2 * scene.axis - r.x });
        const way = points ? (beside ? sideways : curve)(over)
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

  page.drawLines = drawLines;
}
