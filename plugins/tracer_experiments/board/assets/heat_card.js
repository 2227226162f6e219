// Histograms over time, and one step of them; and a value of each layer over time.
{
  const tip = page.byId("tip");
  const nearest = (steps, step) => steps.reduce((best, each, at) => (Math.abs(each - step) < Math.abs(steps[best] - step) ? at : best), 0);

  // A slider through steps, with its words; `moved` is called with the place of a step.
  page.stepper = (label, moved) => {
    const input = page.make("input", { type: "range", min: "0", max: "0", value: "0", "aria-label": label, on: { input: () => moved(Number(input.value)) } });
    const words = page.make("output", {});
    const element = page.make("div", { class: "stepper" }, input, words);
    const place = (steps, at) => {
      input.max = String(Math.max(steps.length - 1, 0));
      input.value = String(at);
      input.disabled = steps.length < 2;
      page.say(words, steps.length ? `step ${steps[at]}` : "");
      input.setAttribute("aria-valuetext", words.textContent);
    };
    return { element, place };
  };

  // Which of several runs a card of one run shows: the focused one, or what was chosen in the card.
  page.oneRun = (card, runs, has) => {
    const select = page.make("select", { "aria-label": "Run", on: { change: () => {
      card.chosen = Number(select.value);
      card.draw();
    } } });
    card.tools.prepend(select);
    return () => {
      const some = runs().filter(has);
      const focused = some.find(({ id }) => id === page.state.focus) ?? some.at(-1);
      const run = some.find(({ id }) => id === card.chosen) ?? focused ?? null;
      select.hidden = some.length < 2;
      if (run) page.choices(select, some.slice(-200).map((each) => [String(each.id), page.nameOf(each)]), run.id);
      return run;
    };
  };

  // What a source gave for a run, asked again when the run has gone on.
  page.asking = (card, ask) => {
    let held = { key: "", value: null, error: "" };
    return (...key) => {
      const name = key.join("|");
      if (held.key !== name) {
        const mine = { key: name, value: held.key.split("|").slice(0, 2).join() === name.split("|").slice(0, 2).join() ? held.value : null, error: "" };
        held = mine;
        ask(...key)
          .then((value) => {
            mine.value = value;
            mine.error = "";
          })
          .catch((error) => {
            mine.error = error.message;
          })
          .finally(() => {
            if (held === mine) card.draw();
          });
      }
      return held;
    };
  };

  // `names` are one series, or that of all parameters and those of each, of which one is chosen.
  page.histogramCard = ({ key, names, runs, title, chart }) => {
    let [name] = names;
    const card = page.frame({ key, names, runs }, { title, name, unit: chart.unit, about: chart.about, kind: "heat" });
    const part = page.make("select", { "aria-label": "Part", hidden: names.length < 2, on: { change: () => {
      name = part.value;
      card.draw();
    } } });
    page.choices(part, names.map((each, number) => [each, number ? each.slice(names[0].length + 1) : "all"]), name);
    const canvas = page.surface(card.place);
    const bars = page.make("div", { class: "bars" });
    const barCanvas = page.surface(bars);
    let at = null; // the place of the step that is looked at; null is the last one
    const stepper = page.stepper(`Step of ${title}`, (place) => {
      at = place;
      card.draw();
    });
    const words = page.make("span", { class: "faint" });
    stepper.element.append(words);
    card.element.append(bars, stepper.element);
    const theRun = page.oneRun(card, runs, (run) => run.series.get(name)?.count);
    card.tools.prepend(part);
    const heat = page.asking(card, (run, of) => page.source.heat(run, of));
    const one = page.asking(card, (run, of, step) => page.source.bars(run, of, step));
    let map = null;
    let shown = null;

    card.draw = () => {
      card.element.classList.toggle("large", page.state.large === key);
      const run = theRun();
      if (!run) {
        page.noted(card, "Not in the runs that are shown");
        return;
      }
      const { value, error } = heat(run.id, name, run.series.get(name).count);
      page.noted(card, error);
      if (!value?.steps.length) return;
      const { steps } = value;
      const place = at === null || at >= steps.length ? steps.length - 1 : at;
      stepper.place(steps, place);
      const { value: histogram } = one(run.id, name, steps[place]);
      page.say(words, histogram ? [["NaN", histogram.nan], ["infinite", histogram.infinite]].filter(([, count]) => count).map(([word, count]) => `${count} ${word}`).join(", ") : "");
      bars.hidden = value.pairs;
      if (value.pairs) {
        if (histogram) page.drawPairs(canvas, histogram);
        map = null;
        return;
      }
      const most = Math.max(...value.shares.flat()) || 1;
      // small shares are to be seen beside large ones
      const isLog = chart.scale === "log";
      const share = isLog
        ? (column, row) => Math.log1p(1e4 * value.shares[column][row]) / Math.log1p(1e4 * most)
        : (column, row) => Math.sqrt(value.shares[column][row] / most);
      map = page.drawHeat(canvas, { steps: value.columns, edges: value.edges, share, marked: nearest(value.columns, steps[place]) });
      shown = value;
      card.edges = value.edges.length;
      if (histogram) page.drawBars(barCanvas, { ...histogram, colour: page.colour(run.id), log: isLog });
    };

    const columnOf = (event) => {
      if (!map || !shown) return null;
      const box = canvas.getBoundingClientRect();
      const column = Math.min(Math.max(map.columnAt(event.clientX - box.left), 0), shown.columns.length - 1);
      return { column, row: map.rowAt(event.clientY - box.top) };
    };
    canvas.addEventListener("click", (event) => {
      const found = columnOf(event);
      if (!found) return;
      at = nearest(shown.steps, shown.columns[found.column]);
      card.draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      const found = columnOf(event);
      if (!found || !(found.row >= 0 && found.row < shown.edges.length - 1)) {
        tip.hidden = true;
        return;
      }
      const { column, row } = found;
      page.tipAt(event, `step ${shown.columns[column]}`,
        `${page.short(shown.edges[row], 3)} … ${page.short(shown.edges[row + 1], 3)}: ${page.short(100 * shown.shares[column][row], 3)} % of the values`);
    });
    canvas.addEventListener("pointerleave", () => {
      tip.hidden = true;
    });
    return card;
  };

  page.tipAt = (event, ...texts) => {
    tip.replaceChildren(...texts.map((text, at) => page.make("div", { text, class: at ? null : "where" })));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, event.clientX + 14 + width < innerWidth ? event.clientX + 14 : event.clientX - width - 14)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - height - 6)}px`;
  };

  // A series of each layer, `GradNorm/0.weight`, as rows over time. Sizes are on a logarithmic ramp.
  page.layersCard = ({ key, names, runs, title, chart }) => {
    const card = page.frame({ key, names }, { title, name: "", unit: chart.unit, about: chart.about, kind: "heat layers" });
    const canvas = page.surface(card.place);
    const theRun = page.oneRun(card, runs, (run) => names.some((name) => run.series.get(name)?.count));
    card.runs = () => [theRun()].filter(Boolean);
    card.series = () => names;
    card.came = page.after(60, () => card.draw());
    let map = null;
    let shown = null;

    card.draw = () => {
      card.element.classList.toggle("large", page.state.large === key);
      const run = theRun();
      // the last layer stands at the top, as in the picture of a model the first one at the foot
      const curves = run ? names.map((name) => [name, page.curve(name, run)]).filter(([, curve]) => curve) : [];
      page.noted(card, run || page.requests ? "" : "Not in the runs that are shown");
      if (!curves.length) return;
      const longest = curves.reduce((best, [, curve]) => (curve.x.length > best.length ? curve.x : best), []);
      const steps = longest.length > 160 ? Array.from({ length: 160 }, (_, at) => longest[Math.floor((at * longest.length) / 160)]) : [...longest];
      const table = curves.map(([, curve]) => steps.map((step) => {
        const [, end] = page.within(curve.x, [step, step]);
        const at = curve.x[end - 1] > step ? end - 2 : end - 1;
        return at >= 0 ? (curve.smooth ?? curve.mean)[at] : NaN;
      }));
      const places = (value) => (value === 0 || Number.isNaN(value) ? NaN : Math.log10(Math.abs(value)));
      const all = table.flat().map(places).filter((place) => !Number.isNaN(place));
      const [low, high] = [Math.min(...all), Math.max(...all)];
      const share = (column, row) => 0.06 + (0.94 * (places(table[row][column]) - low)) / (high - low || 1);
      const words = curves.map(([name]) => name.slice(name.indexOf("/") + 1));
      map = page.drawHeat(canvas, { steps, names: words, share });
      shown = { steps, words, table };
    };
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const [column, row] = map ? [map.columnAt(event.clientX - box.left), map.rowAt(event.clientY - box.top)] : [-1, -1];
      if (!(shown?.words[row] && column >= 0 && column < shown.steps.length)) {
        tip.hidden = true;
        return;
      }
      page.tipAt(event, `${page.state.axis} ${page.short(shown.steps[column], 7)}`, `${shown.words[row]}: ${page.short(shown.table[row][column])}`);
    });
    canvas.addEventListener("pointerleave", () => {
      tip.hidden = true;
    });
    return card;
  };
}
