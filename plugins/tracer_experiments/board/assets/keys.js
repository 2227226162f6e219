// Keys of the whole page; those of a chart are in pointer.js.
{
  const { byId } = page;
  const VIEWS = ["charts", "cockpit", "table", "compare", "model"];
  const actions = {
    "/": () => byId("search").focus(),
    f: () => {
      if (getComputedStyle(byId("drawer")).display !== "none" && !document.body.classList.contains("drawer")) byId("drawer").click();
      byId("filter").focus();
    },
    "?": () => byId("help").showModal(),
    t: () => page.turnTheme(),
    l: () => page.changed({ logx: !page.state.logx }),
    y: () => page.changed({ y: { auto: "log", log: "linear", linear: "auto" }[page.state.y] ?? "auto" }),
    x: () => page.changed({ axis: { step: "epoch", epoch: "time", time: "step" }[page.state.axis], span: null }),
    p: () => page.changed({ drag: page.state.drag === "pan" ? "zoom" : "pan" }),
    "[": () => page.changed({ smooth: Math.max(0, page.state.smooth - 0.1) }),
    "]": () => page.changed({ smooth: Math.min(1, page.state.smooth + 0.1) }),
    0: () => page.changed({ span: null }),
    ...Object.fromEntries(VIEWS.map((view, at) => [at + 1, () => page.changed({ view, large: "" })])),
  };

  // Arrow keys go from card to card, and along tabs and rows of the list of runs.
  const walked = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return false;
    const upright = event.key === "ArrowDown" || event.key === "ArrowUp";
    const group = event.target.closest(upright ? ".card, #runs li" : "[role=tab]");
    if (!group) return false;
    const selector = group.matches(".card") ? ".view:not([hidden]) .card" : group.matches("li") ? "#runs li" : "[role=tab]";
    const all = [...document.querySelectorAll(selector)];
    const next = all[all.indexOf(group) + step];
    if (!next) return true;
    if (next.matches("li")) (event.target.matches(".name") ? next.querySelector(".name") : next.querySelector("input"))?.focus();
    else next.focus();
    if (next.matches("[role=tab]")) next.click();
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const { target } = event;
    if (event.key === "Escape") {
      if (target.matches("input[type=search]")) {
        target.value = "";
        target.dispatchEvent(new Event("input"));
        target.blur();
      } else if (page.state.large) page.changed({ large: "" });
      else if (document.body.classList.contains("drawer")) byId("drawer").click();
      return;
    }
    if (target.matches("input[type=search], select, textarea")) return;
    if (target.matches("input[type=range]") && /^(Arrow|Home|End|Page|[0-9])/.test(event.key)) return;
    if (!walked(event)) {
      if (!(event.key in actions)) return;
      actions[event.key]();
    }
    event.preventDefault();
  });
}
