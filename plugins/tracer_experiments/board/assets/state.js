// What is looked at, kept in the fragment of the address; and the runs that are known.
{
  const DEFAULTS = {
    view: "charts", axis: "step", logx: false, y: "auto", smooth: 0, band: "", drag: "zoom",
    search: "", filter: "", sort: "-id", differing: true, focus: 0, first: 0, second: 0,
    overlay: "", step: -1, large: "", closed: "",
  };
  const TEXTS = { view: 1, axis: 1, y: 1, band: 1, drag: 1, search: 1, filter: 1, sort: 1, overlay: 1, large: 1, closed: 1 };
  page.state = { ...DEFAULTS, span: null, off: new Set() };
  page.runs = new Map();
  page.namesakes = new Map();
  page.series = [];
  page.charts = {};
  page.clock = 0; // of the server, less that of the browser, in seconds

  const listeners = [];
  page.onChange = (listener) => listeners.push(listener);
  const tell = page.atFrame(() => {
    for (const listener of listeners) listener();
  });
  let ready = false;

  // Numbers as ranges: 1-4,7.
  const ranges = (numbers) => {
    const parts = [];
    for (const number of [...numbers].sort((a, b) => a - b)) {
      const last = parts.at(-1);
      if (last && last[1] === number - 1) last[1] = number;
      else parts.push([number, number]);
    }
    return parts.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(",");
  };
  const numbersOf = (text) => text.split(",").flatMap((part) => {
    const [from, to = from] = part.split("-").map(Number);
    if (!(from > 0 && to >= from && to - from < 1e5)) return [];
    return Array.from({ length: to - from + 1 }, (_, at) => from + at);
  });

  let written = "";
  const write = page.after(200, () => {
    const { state } = page;
    const parts = new URLSearchParams();
    for (const [key, value] of Object.entries(DEFAULTS))
      if (state[key] !== value) parts.set(key, typeof value === "boolean" ? Number(state[key]) : state[key]);
    if (state.span) parts.set("span", state.span.map((each) => Number(each.toPrecision(8))).join(" "));
    if (state.off.size) {
      const on = [...page.runs.keys()].filter((id) => !state.off.has(id));
      const [few, many] = [ranges(on), ranges(state.off)];
      if (few.length < many.length) parts.set("on", few);
      else parts.set("off", many);
    }
    written = `#${parts}`;
    try {
      history.replaceState(null, "", written);
    } catch {
      // a browser that allows no address to a file: it is not kept
    }
  });

  page.readAddress = () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    const { state } = page;
    for (const [key, value] of Object.entries(DEFAULTS)) {
      const text = parts.get(key);
      if (text === null) state[key] = value;
      else if (TEXTS[key]) state[key] = text;
      else if (typeof value === "boolean") state[key] = text === "1";
      else state[key] = Number.isFinite(Number(text)) ? Number(text) : value;
    }
    if (!page.views?.[state.view]) state.view = DEFAULTS.view;
    if (!["step", "time", "epoch"].includes(state.axis)) state.axis = DEFAULTS.axis;
    state.smooth = Math.min(Math.max(state.smooth, 0), 1);
    const span = (parts.get("span") ?? "").split(" ").map(Number);
    state.span = span.length === 2 && span[0] < span[1] ? span : null;
    state.off = new Set(numbersOf(parts.get("off") ?? ""));
    if (parts.has("on")) {
      const on = new Set(numbersOf(parts.get("on")));
      state.off = new Set([...page.runs.keys()].filter((id) => !on.has(id)));
    }
    ready = true;
    page.changed();
  };
  addEventListener("hashchange", () => {
    if (location.hash !== written) page.readAddress();
  });

  // Something that is looked at is other than before.
  page.changed = (values = {}) => {
    Object.assign(page.state, values);
    page.forgetShown();
    tell();
    if (ready) write();
  };

  // Take in what the source knows of runs; whether any of them changed.
  page.takeIn = (told) => {
    page.clock = told.clock - Date.now() / 1000;
    page.series = told.series.map(([name, kind]) => ({ name, kind }));
    page.charts = told.charts;
    const ids = new Set(told.ids);
    for (const id of page.runs.keys()) if (!ids.has(id)) page.runs.delete(id);
    for (const run of told.runs) {
      const series = new Map();
      for (const [number, count, step, last] of run.series) {
        const { name, kind } = page.series[number];
        series.set(name, { kind, count, step, last });
      }
      page.runs.set(run.id, { ...run, series, flat: page.flat(run.config) });
    }
    page.namesakes = new Map();
    for (const { name } of page.runs.values()) page.namesakes.set(name, (page.namesakes.get(name) ?? 0) + 1);
    page.forgetShown();
    tell();
  };
  page.runTime = (run) => (run.ended ?? run.seen ?? (run.status === "running" ? Date.now() / 1000 + page.clock : NaN)) - run.begun;

  let shown = null;
  let passing = null;
  page.forgetShown = () => {
    shown = null;
    passing = null;
  };
  // The runs that pass the filter, and of these the ones that are not hidden; oldest first.
  page.passing = () => (passing ??= page.filtered([...page.runs.values()], page.state.filter));
  page.shown = () => (shown ??= page.passing().filter((run) => !page.state.off.has(run.id)));
  // The run that views of one run show.
  page.focused = () => page.runs.get(page.state.focus) ?? page.shown().at(-1) ?? page.passing().at(-1) ?? null;

  page.show = (ids, on) => {
    const off = new Set(page.state.off);
    for (const id of ids) {
      if (on) off.delete(id);
      else off.add(id);
    }
    page.changed({ off });
  };
  page.showOnly = (id) => page.changed({ off: new Set([...page.runs.keys()].filter((each) => each !== id)), focus: id });
}
