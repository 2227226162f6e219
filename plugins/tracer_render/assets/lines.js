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
  // Straight pieces along points, round at corners.
  const ROUND = 6;
  const angular = (points) => {
    const words = ([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`;
    let path = `M${words(points[0])}`;
    for (let i = 1; i + 1 < points.length; i++) {
      const at = points[i];
      // As far from the corner towards a neighbour as both of its curves have room.
      const towards = ([x, y]) => {
        const length = Math.hypot(x - at[0], y - at[1]) || 1;
        const part = Math.min(ROUND / length, 0.5);
        return [at[0] + (x - at[0]) * part, at[1] + (y - at[1]) * part];
      };
      path += `L${words(towards(points[i - 1]))}C${words(at)} ${words(at)} ${words(towards(points[i + 1]))}`;
    }
    return `${path}L${words(points[points.length - 1])}`;
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
    if (line.delayed || !tail.beside || line.way.length !== 1) return null;
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

  // Whether a line comes from another step, or leads up for another reason.
  const isCycle = (line, rectangles) => {
    if (line.delayed) return true;
    const [tail, head] = [rectangles.get(line.tail), rectangles.get(line.head)];
    return !tail.beside && head.y - head.height / 2 < tail.y + tail.height / 2;
  };

  // By line, the points it goes through among the values, and how they are joined.
  page.routes = (view, lines, inner, origins, rectangles) => {
    const middles = new Map();
    const found = new Map();
    const cycles = [];
    for (const line of lines) {
      const points = across(line, rectangles);
      if (points) found.set(line, { points, join: sideways });
      else if (isCycle(line, rectangles)) cycles.push(line);
      else middles.set(line, between(line, inner, origins, rectangles));
    }
    const ends = endsOf(middles, rectangles);
    for (const [line, middle] of middles)
      found.set(line, { points: pointsOf(line, middle, ends, rectangles), join: curve });
    const solid = cycles.length ? [...found.values()].map(({ points }) => points) : [];
    for (const [line, { points, label }] of page.detours(view, cycles, rectangles, solid))
      found.set(line, { points, label, join: angular });
    return found;
  };

  // Add the lines to the scene: those between values, and mirrored those between their cotangents.
  page.drawLines = (view, scene, routes) => {
    const kinds = (item) => (view.values.kind(item) === "cotangent" ? "cotangent" : "data");
    for (const [line, { points, label, join }] of routes) {
      const { delayed, change } = line;
      const at = label && { labelX: label.x, labelY: label.y, side: label.side };
      if (line.forward) {
        scene.lines.push({
          kind: kinds(line.tail), tail: line.tail, head: line.head, back: false, delayed, change,
          label: line.label, path: join(points), ...extentOf(points), ...at,
        });
      }
      if (line.back && scene.axis !== null) {
        const over = points.map(([x, y]) => [2 * scene.axis - x, y]).reverse();
        scene.lines.push({
          kind: "cotangent", tail: line.head, head: line.tail, back: true, delayed, change,
          label: line.label.replace(/^t([−+])/, (_, sign) => `t${sign === "+" ? "−" : "+"}`),
          path: join(over), ...extentOf(over),
          ...(label && { ...at, labelX: 2 * scene.axis - label.x, side: -label.side }),
        });
      }
    }
  };

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
}
