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

  page.drawLines = drawLines;
}
