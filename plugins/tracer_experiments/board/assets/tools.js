// The bars above: views, what all charts have in common, the theme, and how the page stands.
{
  const { byId } = page;
  const search = byId("search");
  const bind = (id, key, read = (element) => element.value) => {
    const element = byId(id);
    element.addEventListener(element.type === "range" ? "input" : "change", () => page.changed({ [key]: read(element) }));
    return element;
  };
  const axis = byId("axis");
  axis.addEventListener("change", () => page.changed({ axis: axis.value, span: null }));
  const logx = bind("logx", "logx", (element) => element.checked);
  const y = bind("y", "y");
  const smooth = bind("smooth", "smooth", (element) => Number(element.value) / 100);
  const band = bind("band", "band");
  search.addEventListener("input", page.after(120, () => page.changed({ search: search.value })));
  for (const button of document.querySelectorAll("[data-drag]")) button.addEventListener("click", () => page.changed({ drag: button.dataset.drag }));
  for (const tab of document.querySelectorAll("[data-view]")) tab.addEventListener("click", () => page.changed({ view: tab.dataset.view, large: "" }));

  const bands = () => {
    const keys = new Set();
    for (const run of page.runs.values()) for (const key of Object.keys(run.flat)) keys.add(key);
    const many = [...keys].filter((key) => {
      const values = new Set([...page.runs.values()].map((run) => page.told(run.flat[key])));
      return values.size > 1 && values.size < page.runs.size;
    });
    return [["", "Each run"], ["group", "Groups"], ...many.slice(0, 40).map((key) => [`config:${key}`, `By ${key}`])];
  };
  let bandsOf = 0;
  let known = [];

  page.drawTools = () => {
    const { state } = page;
    for (const tab of document.querySelectorAll("[data-view]")) tab.setAttribute("aria-selected", String(tab.dataset.view === state.view));
    for (const button of document.querySelectorAll("[data-drag]")) button.setAttribute("aria-pressed", String(button.dataset.drag === state.drag));
    if (document.activeElement !== search) search.value = state.search;
    axis.value = state.axis;
    logx.checked = state.logx;
    y.value = state.y;
    smooth.value = String(Math.round(state.smooth * 100));
    smooth.setAttribute("aria-valuetext", `${smooth.value} percent`);
    if (bandsOf !== page.runs.size) {
      bandsOf = page.runs.size;
      known = bands();
    }
    page.choices(band, known, state.band);
    document.body.dataset.view = state.view;
  };

  // The theme: that of the system, or what was chosen, which this browser remembers.
  const root = document.documentElement;
  const remembered = () => {
    try {
      return localStorage.getItem("trace-net-theme") ?? "auto";
    } catch {
      return "auto";
    }
  };
  const setTheme = (theme) => {
    root.classList.remove("light", "dark");
    if (theme !== "auto") root.classList.add(theme);
    page.forgetInks();
    byId("theme").textContent = page.isDark() ? "☀" : "☾";
    byId("theme").setAttribute("aria-label", page.isDark() ? "Light theme" : "Dark theme");
    page.changed();
  };
  page.turnTheme = () => {
    const theme = page.isDark() ? "light" : "dark";
    try {
      localStorage.setItem("trace-net-theme", theme);
    } catch {
      // it holds until the page is closed
    }
    setTheme(theme);
  };
  byId("theme").addEventListener("click", page.turnTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(remembered()));
  page.startTheme = () => setTheme(remembered());

  byId("keys").addEventListener("click", () => byId("help").showModal());
  const drawer = () => {
    const open = document.body.classList.toggle("drawer");
    byId("drawer").setAttribute("aria-expanded", String(open));
  };
  byId("drawer").addEventListener("click", drawer);
  page.byId("shade").addEventListener("click", drawer);

  // How it stands: live, lost, or a trouble of the database. What was read stays.
  page.stands = (kind, text) => {
    const state = byId("state");
    state.className = `state ${kind}`;
    page.say(state, { live: "live", lost: "not live", report: "report", trouble: "trouble", waiting: "…" }[kind]);
    state.title = text;
    const banner = byId("banner");
    banner.hidden = kind !== "lost" && kind !== "trouble";
    page.say(banner, text);
  };
}
