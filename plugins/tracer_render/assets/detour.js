// Ways of lines that close cycles, as those from one step to another do: beside boxes, in the channels
// between columns and the gaps between rows.
{
  const NEAR = 5; // pixels that stay free around boxes
  const LANES = [8, 16]; // how far from a box a line may run along it
  const COST = { bend: 30, side: 12, along: 4 };
  const MOST_LINES = 200; // more of them are straight
  const MOST = 160; // obstacles beyond which the lanes along the nearest alone are tried

  const edgesOf = ({ x, y, width, height }) => ({
    left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2,
  });

  // The titles of a frame, of its values and, mirrored, of its cotangents.
  const titlesOf = (frame) => {
    const { left, right, top } = edgesOf(frame);
    const [own, back] = frame.titles;
    const row = { top: top + 4, bottom: top + 18 };
    return [
      { left: left + own + 4, right: left + own + frame.need, ...row },
      { left: right - back - frame.need, right: right - back - 4, ...row },
    ];
  };

  // What a line must not run through: in the groups around its ends all that is no frame around one
  // of them; and those frames.
  const around = (view, line, rectangles) => {
    const groups = new Set([...view.chain(line.tail), ...view.chain(line.head)]);
    const [obstacles, frames] = [[], []];
    for (const g of groups) {
      for (const child of view.children(g)) {
        const own = rectangles.get(child);
        if (child < 0 && groups.has(~child)) {
          frames.push(edgesOf(own));
          obstacles.push(...titlesOf(own));
        } else obstacles.push(edgesOf(own));
      }
    }
    return { obstacles, frames };
  };

  // Where a line may leave its tail, or come from to its head: a point on the side of the box, and
  // the one where its lane begins. Sides are preferred.
  const gates = (box, leaves) => {
    const { left, right, top, bottom } = edgesOf(box);
    const sign = leaves ? 1 : -1;
    const y = box.y + sign * Math.min(box.height / 4, 8);
    const x = box.x + sign * Math.min(box.width / 4, 16);
    const edge = leaves ? bottom : top;
    return [
      { on: [right, y], lane: [right + LANES[0], y], flat: true, cost: 0 },
      { on: [left, y], lane: [left - LANES[0], y], flat: true, cost: 0 },
      { on: [x, edge], lane: [x, edge + sign * LANES[0]], flat: false, cost: COST.side },
    ];
  };

  const isFree = (obstacles, [x0, y0], [x1, y1], near) => {
    const [left, right] = x0 < x1 ? [x0, x1] : [x1, x0];
    const [top, bottom] = y0 < y1 ? [y0, y1] : [y1, y0];
    return obstacles.every((o) =>
      right <= o.left - near || left >= o.right + near || bottom <= o.top - near || top >= o.bottom + near,
    );
  };

  const sorted = (numbers) =>
    [...new Set(numbers.map((n) => Math.round(n * 10) / 10))].sort((a, b) => a - b);

  // How long a piece runs along others, [flat, where, from, to] each.
  const shared = (taken, flat, at, from, to) => {
    let found = 0;
    for (const [other, where, start, end] of taken)
      if (other === flat && Math.abs(where - at) < NEAR)
        found += Math.max(Math.min(to, end) - Math.max(from, start), 0);
    return found;
  };

  // The first of what waits, by a number.
  class Queue {
    items = [];

    push(key, value) {
      const { items } = this;
      let i = items.push([key, value]) - 1;
      for (let up = (i - 1) >> 1; i > 0 && items[up][0] > key; i = up, up = (i - 1) >> 1)
        [items[up], items[i]] = [items[i], items[up]];
    }

    pop() {
      const { items } = this;
      const first = items[0];
      const last = items.pop();
      if (items.length === 0) return first[1];
      items[0] = last;
      for (let i = 0; ; ) {
        let next = 2 * i + 1;
        if (next + 1 < items.length && items[next + 1][0] < items[next][0]) next++;
        if (next >= items.length || items[next][0] >= items[i][0]) return first[1];
        [items[next], items[i]] = [items[i], items[next]];
        i = next;
      }
    }
  }

  // The cheapest way along lanes from one gate to another, as points; null without one.
  const way = (starts, goals, obstacles, taken) => {
    const open = (gate) => isFree(obstacles, gate.lane, gate.lane, NEAR - 0.1);
    [starts, goals] = [starts.filter(open), goals.filter(open)];
    const ends = [...starts, ...goals].map(({ lane }) => lane);
    const middle = [0, 1].map((k) => ends.reduce((sum, end) => sum + end[k], 0) / ends.length);
    const far = (o) => Math.max(Math.abs(o.left + o.right - 2 * middle[0]), Math.abs(o.top + o.bottom - 2 * middle[1]));
    const near = obstacles.length <= MOST ? obstacles
      : [...obstacles].sort((a, b) => far(a) - far(b)).slice(0, MOST);
    const xs = sorted([...ends.map(([x]) => x), ...near.flatMap((o) => LANES.flatMap((d) => [o.left - d, o.right + d]))]);
    const ys = sorted([...ends.map(([, y]) => y), ...near.flatMap((o) => LANES.flatMap((d) => [o.top - d, o.bottom + d]))]);
    const place = ([x, y]) => sorted([x]).map((n) => xs.indexOf(n))[0] * ys.length + sorted([y]).map((n) => ys.indexOf(n))[0];
    const best = new Map();
    const from = new Map();
    const queue = new Queue();
    const rest = (node) => {
      const [x, y] = [xs[Math.floor(node / ys.length)], ys[node % ys.length]];
      return Math.min(...goals.map(({ lane, cost }) => cost + Math.abs(lane[0] - x) + Math.abs(lane[1] - y)));
    };
    // A state is a place, twice, and one more where it was reached upright.
    const reach = (state, cost, before) => {
      if (cost >= (best.get(state) ?? Infinity)) return;
      best.set(state, cost);
      from.set(state, before);
      queue.push(cost + rest(state >> 1), [state, cost]);
    };
    for (const gate of starts) reach(place(gate.lane) * 2 + Number(!gate.flat), gate.cost, gate);
    const targets = new Map(goals.map((gate) => [place(gate.lane), gate]));
    let [found, least, goal] = [null, Infinity, null];
    while (queue.items.length) {
      if (queue.items[0][0] >= least) break;
      const [state, cost] = queue.pop();
      if (cost > best.get(state)) continue;
      const [node, upright] = [state >> 1, state & 1];
      const target = targets.get(node);
      if (target) {
        const all = cost + target.cost + (target.flat === !upright ? 0 : COST.bend);
        if (all < least) [found, least, goal] = [state, all, target];
      }
      const [i, j] = [Math.floor(node / ys.length), node % ys.length];
      for (const [di, dj] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        const [k, l] = [i + di, j + dj];
        if (k < 0 || l < 0 || k >= xs.length || l >= ys.length) continue;
        const [here, there] = [[xs[i], ys[j]], [xs[k], ys[l]]];
        if (!isFree(obstacles, here, there, NEAR - 0.1)) continue;
        const flat = di !== 0;
        const [at, a, b] = flat ? [ys[j], xs[i], xs[k]] : [xs[i], ys[j], ys[l]];
        const length = Math.abs(b - a);
        const along = shared(taken, flat, at, Math.min(a, b), Math.max(a, b));
        const bend = flat === Boolean(upright) ? COST.bend : 0;
        reach((k * ys.length + l) * 2 + Number(!flat), cost + length + bend + COST.along * along, state);
      }
    }
    if (found === null) return null;
    const points = [goal.on];
    let state = found;
    while (typeof state === "number") {
      const node = state >> 1;
      points.push([xs[Math.floor(node / ys.length)], ys[node % ys.length]]);
      state = from.get(state);
    }
    points.push(state.on);
    return corners(points.reverse());
  };

  // The points without those on the way between others.
  const corners = (points) =>
    points.filter(([x, y], i) => {
      if (i === 0 || i === points.length - 1) return true;
      const [[x0, y0], [x1, y1]] = [points[i - 1], points[i + 1]];
      const same = (a, b, c) => Math.abs(a - b) < 0.1 && Math.abs(b - c) < 0.1;
      return !same(x0, x, x1) && !same(y0, y, y1);
    });

  const piecesOf = (points) =>
    points.slice(1).flatMap(([x1, y1], i) => {
      const [x0, y0] = points[i];
      if (Math.abs(y1 - y0) < 0.5) return [[true, y0, Math.min(x0, x1), Math.max(x0, x1)]];
      if (Math.abs(x1 - x0) < 0.5) return [[false, x0, Math.min(y0, y1), Math.max(y0, y1)]];
      return [];
    });

  // Where a label stands free beside its line: `side` is 1 to the right, -1 to the left of `x`.
  const labelOf = (points, label, obstacles) => {
    const width = page.noteWidth(label) + 2;
    const pieces = piecesOf(points).sort((a, b) => b[3] - b[2] - (a[3] - a[2]));
    const upright = pieces.filter(([flat]) => !flat);
    const places = [...upright, ...pieces.filter(([flat]) => flat)].flatMap(([flat, at, from, to]) =>
      flat ? [{ x: (from + to - width) / 2, y: at - 8, side: 1 }, { x: (from + to - width) / 2, y: at + 8, side: 1 }]
        : [1, -1].map((side) => ({ x: at + 4 * side, y: (from + to) / 2, side })),
    );
    const free = ({ x, y, side }) => isFree(obstacles, [x, y - 5], [x + side * width, y + 5], 0);
    return places.find(free) ?? places[0];
  };

  // By line, its points and where its label is; `solid` are the points of other lines.
  page.detours = (view, lines, rectangles, solid) => {
    const found = new Map();
    const length = ({ tail, head }) => Math.abs(rectangles.get(tail).y - rectangles.get(head).y);
    const taken = solid.flatMap(piecesOf);
    for (const line of [...lines].sort((a, b) => length(a) - length(b))) {
      const { obstacles, frames } = around(view, line, rectangles);
      const borders = frames.flatMap(({ left, right, top, bottom }) =>
        [[false, left, top, bottom], [false, right, top, bottom], [true, top, left, right], [true, bottom, left, right]]);
      const [tail, head] = [rectangles.get(line.tail), rectangles.get(line.head)];
      const [starts, goals] = [gates(tail, true), gates(head, false)];
      const points = (found.size < MOST_LINES && way(starts, goals, obstacles, [...taken, ...borders])) ||
        [starts[0].on, goals[0].on];
      taken.push(...piecesOf(points));
      found.set(line, { points, label: line.label && labelOf(points, line.label, obstacles) });
    }
    return found;
  };
}
