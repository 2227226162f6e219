// Steps of a few pixels in lines, set straight where nothing stands in the way.
{
  page.STEP = 6; // pixels: less is no bend on purpose
  const CLEAR = 5; // pixels that stay free between a line and a box

  // Whether `a` and `b` are a little beside each other.
  page.isStep = (a, b) => Math.abs(a - b) > 0.05 && Math.abs(a - b) <= page.STEP;

  // The parts of a route that run straight down: [first point, last point, x].
  const runsOf = (route) => {
    const runs = [];
    route.forEach(([x], i) => {
      const last = runs[runs.length - 1];
      if (last && Math.abs(last[2] - x) < 0.05) last[1] = i;
      else runs.push([i, i, x]);
    });
    return runs;
  };

  // Ports that one line alone passes stand where it runs: it bends outside, where there is more room.
  page.alignPorts = (parts, edges, points, routes, enter) => {
    const enters = (port) => port < parts.length + enter;
    const passing = new Map();
    edges.forEach(([from, to], e) => {
      for (const end of [from, to]) if (end >= parts.length) passing.set(end, [...(passing.get(end) ?? []), e]);
    });
    for (const [port, [e, ...others]] of passing) {
      const [from, to, , out, into] = edges[e];
      const [other, offset] = from === port ? [to, into] : [from, out];
      if (others.length || other >= parts.length) continue;
      const known = routes[e].filter(([x]) => typeof x !== "string");
      const x = (from === port ? known[0] : known.at(-1))?.[0] ?? points[other][0] + (offset ?? 0);
      const isNear = ([at], i) => i >= parts.length && i !== port && enters(i) === enters(port) &&
        Math.abs(at - x) < page.GAP.port;
      if (!points.some(isNear)) points[port][0] = x;
    }
  };

  // In a group, routes as `placed` makes them. An end on a box may move later, one on a port, or on
  // that of an open group, is where it is.
  page.snap = (parts, edges, points, routes) => {
    const boxes = parts.map(([, width, height], i) => {
      const [x, y] = points[i];
      return [x - width / 2 - CLEAR, x + width / 2 + CLEAR, y - height / 2 + 0.5, y + height / 2 - 0.5];
    });
    const isFree = (x, top, bottom) =>
      boxes.every(([left, right, high, low]) => x <= left || x >= right || bottom <= high || top >= low);
    const move = (route, [first, last, own], x) => {
      if (!page.isStep(own, x) || !isFree(x, route[first][1], route[last][1])) return false;
      for (let i = first; i <= last; i++) route[i][0] = x;
      return true;
    };
    edges.forEach(([from, to, , out, into], e) => {
      const route = routes[e].filter(([x]) => typeof x !== "string");
      if (route.length === 0) return;
      const isFixed = (end, offset) => end >= parts.length || offset !== null;
      if (isFixed(from, out)) move(route, runsOf(route)[0], points[from][0] + out);
      if (isFixed(to, into)) move(route, runsOf(route).at(-1), points[to][0] + into);
      for (let k = 1; k < runsOf(route).length; k++) {
        const [before, run] = runsOf(route).slice(k - 1, k + 1);
        const single = runsOf(route).length === 2;
        const moved = (!(single && isFixed(to, into)) && move(route, run, before[2])) ||
          (!(single && isFixed(from, out)) && move(route, before, run[2]));
        if (moved) k--;
      }
    });
  };
}
