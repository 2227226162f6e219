// Begin: the views, what the address says, and news from the server as it comes.
{
  const { byId } = page;
  const builders = { charts: null, cockpit: page.cockpit, table: page.table, compare: page.compare, model: page.model };
  const charts = (host) => {
    const legend = page.make("div", { class: "legend", "aria-label": "Legend" });
    const sections = page.make("div", {});
    host.append(legend, sections);
    const update = page.sections(sections, () => page.shown());
    return () => {
      drawLegend(legend);
      return update();
    };
  };
  builders.charts = charts;
  page.views = builders;
  const made = {};
  const status = byId("found");
  const empty = byId("empty");
  const MOST_NAMES = 14;

  const drawLegend = (legend) => {
    const shown = page.shown();
    const banded = new Map();
    if (page.state.band) for (const run of shown) {
      const key = page.bandOf(run);
      if (key !== null) banded.set(key, (banded.get(key) ?? 0) + 1);
    }
    const items = page.state.band && banded.size
      ? [...banded].map(([key, count]) => [page.bandColour(key), `${key} (${count})`])
      : shown.toReversed().map((run) => [page.colour(run.id), page.nameOf(run)]);
    const key = JSON.stringify(items.slice(0, MOST_NAMES)) + items.length;
    if (legend.dataset.key === key) return;
    legend.dataset.key = key;
    legend.replaceChildren(...items.slice(0, MOST_NAMES).map(([colour, text]) => {
      const swatch = page.make("i", { class: "swatch" });
      swatch.style.background = colour;
      return page.make("span", {}, swatch, text);
    }), ...(items.length > MOST_NAMES ? [page.make("span", { class: "faint", text: `and ${items.length - MOST_NAMES} more` })] : []),
      ...(page.state.band && banded.size ? [page.make("span", { class: "faint", text: "median, and quartiles as a band" })] : []));
  };

  const update = () => {
    const { view } = page.state;
    for (const name of Object.keys(builders)) byId(`view-${name}`).hidden = name !== view;
    made[view] ??= builders[view](byId(`view-${view}`));
    page.drawTools();
    page.drawSide();
    const found = made[view]();
    page.say(status, found.wrong ? found.wrong : page.state.search && (view === "charts" || view === "cockpit") ? `${found.number} found` : "");
    status.classList.toggle("wrong", Boolean(found.wrong));
    empty.hidden = page.runs.size > 0 || !(loaded || troubled);
    page.drawInSight();
  };

  let [now, counter] = [0, ""];
  let [loaded, troubled, loading, again, isReady] = [false, false, false, false, false];
  const inTrouble = (what) => {
    troubled = true;
    const sentence = what.replace(/[.]?$/, ".");
    page.stands("trouble", loaded ? `${sentence} What was read before stays.` : sentence);
    page.changed();
  };

  // Ask for the runs that changed since; one question at a time.
  const load = async () => {
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    try {
      let told = await page.source.overview(now);
      if (counter && told.name !== counter) told = await page.source.overview(0); // another server counts anew
      now = told.now;
      counter = told.name;
      const first = !loaded;
      loaded = true;
      page.takeIn(told);
      if (first) page.readAddress();
      page.stands(page.isLive ? "live" : "report", page.isLive ? "Shows what is written as it comes" : `A report of ${page.date(told.clock)}`);
      troubled = false;
    } catch (error) {
      // what was read stays; the server says what is wrong
      if (!(error instanceof TypeError)) inTrouble(error.message);
    }
    if (!isReady) {
      isReady = true;
      // after what the runs change is drawn
      requestAnimationFrame(() => requestAnimationFrame(() => (document.documentElement.dataset.ready = "true")));
    }
    loading = false;
    if (again) {
      again = false;
      load();
    }
  };

  page.readAddress();
  page.onChange(update);
  page.startTheme();
  load();
  page.listen((kind, what) => {
    if (kind === "open") load();
    else if (kind === "runs" && (what !== now || troubled)) load();
    else if (kind === "error") inTrouble(what);
    else if (kind === "lost") page.stands("lost", "The board has stopped: this is what it showed last. It goes on when trace-net board runs again at this address.");
  });
  if (page.isLive) setInterval(() => page.passing().some((run) => run.status === "running") && page.changed(), 5000);
}
