// The order from left to right of what is in one rank: as few crossings as can be found, and of what is
// free then, the order in which it was called.
{
  const SWEEPS = 8;

  const layersOf = (graph) => {
    const layers = [];
    for (const name of graph.nodes()) (layers[graph.node(name).rank] ??= []).push(name);
    return Array.from(layers, (layer) => layer ?? []);
  };

  const byOrder = (graph, layers) =>
    layers.map((layer) => [...layer].sort((a, b) => graph.node(a).order - graph.node(b).order));

  // Weighed crossings between each rank and the next.
  const crossings = (graph, layers) => {
    let found = 0;
    for (let rank = 1; rank < layers.length; rank++) {
      const at = new Map(layers[rank].map((name, i) => [name, i]));
      const sums = new Float64Array(layers[rank].length + 1); // a Fenwick tree, of weights by place
      let all = 0;
      for (const name of layers[rank - 1]) {
        const ends = graph.outEdges(name).map((edge) => [at.get(edge.w), graph.edge(edge).weight])
          .filter(([to]) => to !== undefined).sort((a, b) => a[0] - b[0]);
        for (const [to, weight] of ends) {
          let before = 0;
          for (let i = to + 1; i > 0; i -= i & -i) before += sums[i];
          found += weight * (all - before);
        }
        for (const [to, weight] of ends) {
          for (let i = to + 1; i < sums.length; i += i & -i) sums[i] += weight;
          all += weight;
        }
      }
    }
    return found;
  };

  // How many pairs of a rank stand in another order than that of their numbers.
  const reversed = (layers, number) => {
    let found = 0;
    for (const layer of layers) {
      const numbers = layer.map(number).filter((n) => n !== undefined);
      for (let i = 0; i < numbers.length; i++)
        for (let j = 0; j < i; j++) if (numbers[j] > numbers[i]) found++;
    }
    return found;
  };

  // Each rank by the mean place of its neighbours in the one before, or after; what is alike stays.
  const sweep = (graph, layers, down) => {
    const found = [...layers];
    const [first, step] = down ? [1, 1] : [layers.length - 2, -1];
    for (let rank = first; rank >= 0 && rank < layers.length; rank += step) {
      const at = new Map(found[rank - step].map((name, i) => [name, i]));
      const means = found[rank].map((name, i) => {
        let [sum, total] = [0, 0];
        for (const edge of down ? graph.inEdges(name) : graph.outEdges(name)) {
          const place = at.get(down ? edge.v : edge.w);
          if (place === undefined) continue;
          const { weight } = graph.edge(edge);
          sum += weight * place;
          total += weight;
        }
        return { name, i, mean: total > 0 ? sum / total : null };
      });
      // What has no neighbours keeps its place.
      const moving = means.filter(({ mean }) => mean !== null).sort((a, b) => a.mean - b.mean || a.i - b.i);
      found[rank] = means.map((each) => (each.mean === null ? each : moving.shift()).name);
    }
    return found;
  };

  // For dagre: `standard` is its own order. `number` gives the place in which a node was called.
  page.orderOf = (number) => (graph, standard) => {
    const ranks = layersOf(graph);
    const started = ranks.map((layer) => byCall(graph, layer, number));
    standard(graph);
    const own = byOrder(graph, ranks);
    const all = [own, own.map((layer) => [...layer].reverse())];
    let layers = started;
    for (let i = 0; i < SWEEPS; i++) all.push((layers = sweep(graph, layers, i % 2 === 0)));
    const measured = all.map((each) => [crossings(graph, each), reversed(each, number), each]);
    measured.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (const layer of measured[0][2]) layer.forEach((name, i) => (graph.node(name).order = i));
  };

  // A rank as it was called; a point of a long line is with what the line comes from.
  const byCall = (graph, layer, number) => {
    const key = (name) => number(name) ?? number(graph.node(name).edgeObj?.v) ?? -1;
    return [...layer].sort((a, b) => key(a) - key(b));
  };
}
