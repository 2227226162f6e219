// Runs together: of those that have a group, or a value of the configuration, in common, the median
// and the quartiles.
{
  const PLACES = 200;

  // What a run belongs to, as text; null where it stands alone.
  page.bandOf = (run) => {
    const { band } = page.state;
    const value = band === "group" ? run.group || null : run.flat[band.slice("config:".length)];
    return value === null || value === undefined ? null : page.told(value);
  };

  // The colour of a band is that of its place among all bands, by the first of their runs.
  page.bandColour = (key) => {
    const keys = [...new Set([...page.runs.values()].map(page.bandOf))].filter((each) => each !== null);
    return page.colour(keys.indexOf(key) + 1);
  };

  const at = (curve, values, place) => {
    const { x } = curve;
    if (place < x[0] || place > x.at(-1)) return NaN;
    let [low, high] = [0, x.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (x[middle] <= place) low = middle;
      else high = middle;
    }
    if (values[low] === values[high]) return values[low];
    const share = high === low || x[high] === x[low] ? 0 : (place - x[low]) / (x[high] - x[low]);
    return values[low] * (1 - share) + (share ? values[high] * share : 0);
  };

  const quantile = (sorted, share) => {
    const place = share * (sorted.length - 1);
    const low = Math.floor(place);
    return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  };

  // Curves of runs become curves of bands: mean is the median, low and high the quartiles.
  page.banded = (curves) => {
    const groups = new Map();
    const alone = [];
    for (const curve of curves) {
      const key = page.bandOf(curve.run);
      if (key === null) alone.push(curve);
      else if (groups.has(key)) groups.get(key).push(curve);
      else groups.set(key, [curve]);
    }
    const scale = page.scale(page.state.logx ? "log" : "linear");
    const made = [...groups].map(([key, held]) => {
      const first = Math.min(...held.map(({ x }) => x.find((each) => Number.isFinite(scale.to(each))) ?? Infinity));
      const [from, to] = [scale.to(first), scale.to(Math.max(...held.map(({ x }) => x.at(-1))))];
      const places = from === to ? 1 : Math.min(PLACES, Math.max(...held.map(({ x }) => x.length)));
      const columns = { x: [], low: [], mean: [], high: [] };
      for (let number = 0; number < places; number += 1) {
        const place = places > 1 ? scale.from(from + ((to - from) * number) / (places - 1)) : first;
        const inside = number === places - 1 && places > 1 ? Math.max(...held.map(({ x }) => x.at(-1))) : place;
        const found = held.map((curve) => at(curve, curve.smooth ?? curve.mean, inside)).filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
        columns.x.push(inside);
        for (const [name, share] of [["low", 0.25], ["mean", 0.5], ["high", 0.75]])
          columns[name].push(found.length ? quantile(found, share) : NaN);
      }
      return { ...columns, run: held[0].run, band: key, of: held.length, colour: page.bandColour(key), exact: false, smooth: null };
    });
    return [...alone, ...made];
  };
}
