// Where everything of a view is: each open group is laid out by itself, inner ones first, so that
// opening one lays out that and the groups around it anew. Values are placed; cotangents are their
// mirror image, each at the height of its value.
{
  const { GAP, FRAME, TITLE } = page;

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
      const size = inner ? frameOf(view, child, inner) : page.sizeOf(view, child);
      const mine = (leaves.get(child) ?? []).map((leaf) => ({ leaf, ...page.sizeOf(view, leaf) }));
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
    // How far beside the middle of an open group its port is; null of a box.
    const offset = ({ item, port, name }) =>
      item === undefined || !port ? null : offsetOf(found.get(~item), `${port}${name}`);
    const edges = drawn.map(([, { from, to, spine }]) => [
      number.get(nodeOf(from)), number.get(nodeOf(to)), spine ? 8 : 1, offset(from), offset(to),
    ]);
    const { width, height, points, routes } = page.placed(parts, edges, level.enter.size, level.leave.size);
    drawn.forEach(([, { to }], e) => {
      if (to.item === undefined || !to.port) return;
      const [tail, head, , out, into] = edges[e];
      const before = routes[e].findLast(isKnown)?.[0] ??
        (tail >= parts.length || out !== null ? points[tail][0] + (out ?? 0) : null);
      if (before === null || !page.isStep(before, points[head][0] + into)) return;
      shiftPort(boxes.get(to.item).size, found.get(~to.item), `enter${to.name}`, before - points[head][0]);
    });
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
    const enter = [...level.enter.values()].map((port) => port.key);
    return { width, height, places, portAt, ways, edges: level.edges, enter };
  };

  const nodeOf = (end) => (end.item !== undefined ? `${end.item}` : end.key);

  const offsetOf = (inner, key) => inner.portAt.get(key) - inner.width / 2;

  // The size of an open group's frame, and where the titles of its values and of its cotangents
  // begin in it: lines that enter run beside them, for which narrow frames become wider.
  const frameOf = (view, child, inner) => {
    const back = view.told(child, true) ? page.frameTitle(view, ~child, true) : "";
    const title = Math.max(page.noteWidth(page.frameTitle(view, ~child)), page.noteWidth(back));
    const need = TITLE.sign + title + 2 * TITLE.margin;
    const xs = entered(inner);
    let width = Math.max(inner.width + 2 * FRAME.side, title + 44);
    if (firstGap(xs, width, need) < 0) width = 2 * (need - Math.max(xs[0], -xs[xs.length - 1]));
    const height = inner.height + FRAME.top + FRAME.bottom;
    return { width, height, need, titles: titlesIn(inner, width, need) };
  };

  // Where lines enter a group, from its middle.
  const entered = ({ enter, portAt, width }) =>
    enter.map((key) => portAt.get(key) - width / 2).sort((a, b) => a - b);

  const titlesIn = (inner, width, need) => {
    const xs = entered(inner);
    const over = xs.map((x) => -x).reverse();
    return [firstGap(xs, width, need), firstGap(over, width, need)];
  };

  const isKnown = ([x]) => typeof x !== "string";

  // Move a port of an open group to `offset` from its middle, where what comes in runs straight then;
  // not where the title has no room beside it, or where the small step would be inside.
  const shiftPort = (size, inner, key, offset) => {
    const x = offset + inner.width / 2;
    for (const [name, { from }] of inner.edges)
      if (from.key === key && page.isStep(inner.ways.get(name)?.find(isKnown)?.[0] ?? x, x)) return;
    const old = inner.portAt.get(key);
    inner.portAt.set(key, x);
    const titles = titlesIn(inner, size.width, size.need);
    if (Math.min(...titles) < 0) inner.portAt.set(key, old);
    else size.titles = titles;
  };

  // Where the first gap between lines at `xs`, from the middle, is that is as wide as is needed; -1
  // without one.
  const firstGap = (xs, width, need) => {
    const all = [-width / 2, ...xs, width / 2];
    for (let i = 1; i < all.length; i++)
      if (all[i] - all[i - 1] >= need - 0.01) return all[i - 1] + width / 2;
    return -1;
  };

  // -- the whole ---------------------------------------------------------------------------------

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
    const routes = page.routes(view, lines, inner, origins, rectangles);
    const reach = [...routes].flatMap(([line, { points }]) => (line.delayed ? points.map(([x]) => x) : []));
    const axis = Math.max(width, ...reach) + GAP.halves / 2;
    const scene = { width: back ? 2 * axis : Math.max(width, ...reach), height, axis: back ? axis : null, boxes: [], frames: [], lines: [], pairs: [] };
    for (const [item, r] of rectangles) {
      const list = item < 0 && view.open.has(~item) ? scene.frames : scene.boxes;
      list.push({ item, back: false, ...r, title: r.titles?.[0] });
      if (back && page.told(view, item, true))
        list.push({ item, back: true, ...r, x: 2 * axis - r.x, title: r.titles?.[1] });
    }
    page.drawLines(view, scene, routes);
    pairUp(view, scene, rectangles, axis);
    scene.at = new Map();
    for (const box of [...scene.frames, ...scene.boxes]) scene.at.set(`${box.item}${box.back ? "b" : ""}`, box);
    return scene;
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
