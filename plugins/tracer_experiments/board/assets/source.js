// Where data comes from: the server that gave this page, or what is held in the page itself.
{
  const { held } = page.data;
  page.isLive = !held;

  const address = (path, values) => {
    const known = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
    return `/api/${path}?${new URLSearchParams(known.map(([key, value]) => [key, String(value)]))}`;
  };

  const ask = async (path, values) => {
    const answer = await fetch(address(path, values));
    if (answer.ok) return answer;
    let message = answer.statusText;
    try {
      message = (await answer.json()).error;
    } catch {
      // no more is known than the status
    }
    throw new Error(message);
  };

  // Tables of numbers: of each, its head with typed arrays by the names of its columns.
  const unpacked = (buffer) => {
    const length = new DataView(buffer).getUint32(0, true);
    const { dtype, tables } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const Kind = dtype === "<f4" ? Float32Array : Float64Array;
    let at = 4 + length;
    return tables.map((table) => {
      const columns = {};
      for (const name of table.columns) {
        columns[name] = new Kind(buffer, at, table.rows);
        at += table.rows * Kind.BYTES_PER_ELEMENT;
      }
      return { ...table, ...columns };
    });
  };

  const live = {
    overview: async (since) => (await ask("runs", { since })).json(),
    curves: async (name, runs, axis, span, most, early) => {
      const [from, to] = span ?? [];
      const asked = { name, runs: runs.join(","), axis, from, to, most, early: early ? 1 : null };
      return unpacked(await (await ask("curves", asked)).arrayBuffer());
    },
    heat: async (run, name) => (await ask("histograms", { run, name })).json(),
    bars: async (run, name, step) => (await ask("histogram", { run, name, step })).json(),
    imageSteps: async (run, name) => (await ask("images", { run, name })).json(),
    image: (run, name, step) => address("image", { run, name, step }),
    graph: async (run) => (await ask("graph", { run })).json(),
    layers: async (run, overlay, step) => (await ask("layers", { run, overlay, step })).json(),
    picture: async (run, overlay, step) => {
      const theme = page.ink("dark") ? "dark" : "light";
      return URL.createObjectURL(await (await ask("picture", { run, overlay, step, theme })).blob());
    },
    graphPage: (run, overlay, step) => address("graph-page", { run, overlay, step, theme: page.ink("dark") ? "dark" : "light" }),
    difference: async (first, second) => (await ask("difference", { first, second })).json(),
    differencePicture: async (first, second) => {
      const theme = page.ink("dark") ? "dark" : "light";
      return URL.createObjectURL(await (await ask("difference-picture", { first, second, theme })).blob());
    },
  };

  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer;
  const opened = new Map();
  // Of what is held: an entry, or an error that says that the report has it not.
  const entry = (kind, ...key) => {
    const found = held[kind][key.join("|")];
    if (found === undefined) throw new Error("This is not in the report; the board itself has it.");
    return found;
  };
  const blob = (text, type) => URL.createObjectURL(new Blob([text], { type }));
  const nearest = (steps, step) => steps.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best), steps[0]);

  const inside = {
    overview: async () => held.overview,
    curves: async (name, runs, axis) => {
      if (!opened.has(name)) opened.set(name, held.curves[name] ? unpacked(bytes(held.curves[name])) : []);
      return opened.get(name).filter((table) => runs.includes(table.run) && table[axis]);
    },
    heat: async (run, name) => entry("heat", run, name),
    bars: async (run, name, step) => {
      const all = entry("bars", run, name);
      return all.reduce((best, each) => (Math.abs(each.step - step) < Math.abs(best.step - step) ? each : best));
    },
    imageSteps: async (run, name) => entry("images", run, name).map(([step]) => step),
    image: (run, name, step) => `data:image/png;base64,${entry("images", run, name).find(([at]) => at === step)?.[1]}`,
    graph: async (run) => entry("graphs", run),
    layers: async (run, overlay, step) => {
      const all = entry("layers", run, overlay);
      return all[nearest(Object.keys(all).map(Number), step)];
    },
    picture: async (run, overlay, step) => {
      const all = entry("pictures", run, overlay ?? "");
      return blob(all[nearest(Object.keys(all).map(Number), step ?? 0)], "image/svg+xml");
    },
    graphPage: () => null,
    difference: async (first, second) => entry("differences", first, second),
    differencePicture: async (first, second) => blob(entry("differences", first, second).picture, "image/svg+xml"),
  };
  page.source = held ? inside : live;

  // Listen to the server; `heard` is called with "open", "runs" (and `now`), "error" (and why), "lost".
  page.listen = (heard) => {
    if (!page.isLive) return;
    const events = new EventSource("/api/events");
    events.addEventListener("open", () => heard("open"));
    events.addEventListener("runs", (event) => heard("runs", Number(event.data)));
    events.addEventListener("trouble", (event) => heard("error", JSON.parse(event.data)));
    events.addEventListener("error", () => heard("lost"));
    addEventListener("pagehide", () => events.close());
  };
}
