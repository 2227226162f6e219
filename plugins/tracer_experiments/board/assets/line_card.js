// A chart of curves.
{
  const THROTTLE = 120;

  // The frame of a card: its title, what it says, buttons, and a place for the picture.
  page.frame = (card, { title, name, unit, about, kind }) => {
    const heading = page.make("h3", {}, page.make("span", { text: title }));
    if (name && name !== title) heading.append(page.make("small", { text: name }));
    if (unit) heading.append(page.make("small", { text: `[${unit}]` }));
    const tools = page.make("span", { class: "tools" });
    const large = page.make("button", { class: "quiet", "aria-label": `Enlarge ${title}`, title: "Enlarge ( Enter )", text: "⤢", on: { click: () => card.enlarge() } });
    tools.append(large);
    const place = page.make("div", { class: "plot" });
    const note = page.make("p", { class: "note", hidden: true });
    const element = page.make("article", { class: `card ${kind}`, tabindex: "0", "data-card": card.key, "aria-label": title },
      page.make("header", {}, heading, tools), place, note);
    if (about) {
      heading.title = about;
      element.append(page.make("p", { class: "about", text: about }));
    }
    card.enlarge = () => {
      page.changed({ large: page.state.large === card.key ? "" : card.key });
      requestAnimationFrame(() => element.scrollIntoView({ block: "nearest" }));
    };
    Object.assign(card, { element, place, note, tools });
    return card;
  };

  // Say why there is nothing to see, or nothing.
  page.noted = (card, text) => {
    page.say(card.note, text);
    card.note.hidden = !text;
  };

  const extent = (curves, scale, xSpan) => {
    let [low, high, anything] = [Infinity, -Infinity, false];
    for (const curve of curves) {
      const [from, to] = page.within(curve.x, xSpan);
      const sides = curve.smooth && curves.length > 40 ? [curve.smooth] : curves.length > 40 && !curve.exact ? [curve.mean] : [curve.low, curve.high];
      for (const values of sides) {
        for (let at = from; at < to; at += 1) {
          const place = scale.to(values[at]);
          if (Number.isNaN(place)) continue;
          anything = true;
          if (place < low) low = place;
          if (place > high) high = place;
        }
      }
    }
    return anything ? [low, high] : null;
  };

  // Where nearly all values are, if that is a small part of `whole`: a few that are far away would
  // flatten all others. Else `whole`.
  const without = (curves, scale, xSpan, whole) => {
    const places = [];
    for (const curve of curves) {
      const values = curve.smooth ?? curve.mean;
      const [from, to] = page.within(curve.x, xSpan);
      const stride = Math.max(1, Math.floor(((to - from) * curves.length) / 4000));
      for (let at = from; at < to; at += stride) {
        const place = scale.to(values[at]);
        if (!Number.isNaN(place)) places.push(place);
      }
    }
    if (places.length < 40) return whole;
    places.sort((a, b) => a - b);
    const [low, high] = [0.02, 0.98].map((share) => places[Math.floor(share * (places.length - 1))]);
    const room = high - low;
    if (!(room > 0 && whole[1] - whole[0] > 8 * room)) return whole;
    return [Math.max(whole[0], low - room), Math.min(whole[1], high + room)];
  };

  // Where a symmetric logarithm becomes linear: near the smaller ones of the values.
  const unitOf = (curves) => {
    const sizes = [];
    for (const { mean } of curves) {
      const stride = Math.max(1, mean.length >> 5);
      for (let at = 0; at < mean.length; at += stride) if (mean[at] && Number.isFinite(mean[at])) sizes.push(Math.abs(mean[at]));
    }
    sizes.sort((a, b) => a - b);
    return sizes.length ? 10 ** Math.floor(Math.log10(sizes[Math.floor(sizes.length / 5)])) : 1;
  };

  const padded = ([low, high], share) => {
    const room = (high - low) * share || Math.abs(low) * 0.05 || 1;
    return [low - room, high + room];
  };

  // `about`: {key, names, runs, title, chart}; several names are told apart by dashes.
  page.lineCard = ({ key, names, runs, title, chart, label }) => {
    const card = page.frame({ key, names, runs, ySpan: null }, { title, name: names.length === 1 ? names[0] : "", unit: chart.unit, about: chart.about, kind: "line" });
    card.plot = new page.Plot(card.place);
    card.series = () => names;
    page.handle(card, card.element);
    const back = page.make("button", { class: "quiet", text: "Reset", title: "Show all ( 0 )", hidden: true, on: { click: () => card.reset() } });
    const far = page.make("button", { class: "quiet", text: "far values", "aria-pressed": "false", hidden: true,
      title: "A few values lie far outside: show them, too, or only the others", on: { click: () => {
        card.all = !card.all;
        card.draw();
      } } });
    card.tools.prepend(far, back);

    const scales = (curves) => {
      const { y, logx } = page.state;
      const kind = y === "auto" ? chart.scale : y;
      return [page.scale(logx ? "log" : "linear"), page.scale(kind, kind === "symlog" ? unitOf(curves) : 1)];
    };

    const wholeSpan = (curves, scale) => {
      let [low, high] = [Infinity, -Infinity];
      for (const { x } of curves) {
        const first = scale.kind === "log" ? x.find((each) => each > 0) : x[0];
        if (first < low) low = first;
        if (x.at(-1) > high) high = x.at(-1);
      }
      return low <= high ? [low, high] : null;
    };

    card.draw = () => {
      const { state } = page;
      const shown = runs();
      let curves = [];
      for (const name of names) {
        for (const run of shown) {
          const curve = page.curve(name, run);
          if (curve) curves.push({ ...curve, colour: page.colour(run.id), name, dashed: names.indexOf(name) > 0, label: label?.(name, run) });
        }
      }
      back.hidden = !(state.span || card.ySpan);
      card.element.classList.toggle("large", state.large === key);
      const some = shown.some((run) => names.some((name) => run.series.get(name)?.count));
      const waiting = some && !curves.length && page.requests > 0;
      page.noted(card, curves.length || waiting ? "" : !shown.length ? "No run is shown" : some ? `Not recorded by ${state.axis}` : "Not in the runs that are shown");
      if (state.band && !card.plain) curves = page.banded(curves);
      const [xScale, yScale] = scales(curves);
      const span = state.span && !(state.logx && state.span[1] <= 0) ? state.span : wholeSpan(curves, xScale);
      if (!span) {
        if (card.plot.x) card.plot.set({ curves: [], x: card.plot.x, y: card.plot.y });
        return;
      }
      let x = span.map(xScale.to);
      if (Number.isNaN(x[0])) x[0] = Math.min(0, x[1] - 1);
      if (x[0] === x[1]) x = [x[0] - 0.5, x[1] + 0.5];
      const whole = extent(curves, yScale, span);
      const near = whole && without(curves, yScale, span, whole);
      far.hidden = near === whole;
      far.setAttribute("aria-pressed", String(Boolean(card.all)));
      const found = card.all ? whole : near;
      let y = found ? padded(found, 0.06) : [0, 1];
      for (const [value] of chart.lines ?? []) {
        const place = yScale.to(value);
        if (!found || Number.isNaN(place)) continue;
        const [low, high] = [Math.min(y[0], place), Math.max(y[1], place)];
        if (high - low <= 1.6 * (y[1] - y[0])) y = padded([Math.min(found[0], low), Math.max(found[1], high)], 0.06);
      }
      card.plot.set({
        curves,
        x: { scale: xScale, low: x[0], high: x[1] },
        y: { scale: yScale, low: (card.ySpan ?? y)[0], high: (card.ySpan ?? y)[1] },
        lines: chart.lines ?? [],
        spare: state.span ? 0.6 : 0,
        inTime: state.axis === "time",
      });
      describe(curves);
    };

    // What a reader who does not see is told.
    const describe = (curves) => {
      const told = curves.slice(0, 5).map((curve) => `${page.labelOf(curve)} ${page.short(curve.mean.at(-1))}`);
      const rest = curves.length > 5 ? `, and ${curves.length - 5} more` : "";
      card.element.setAttribute("aria-label", `${title}: ${told.join(", ")}${rest}`);
    };

    // Where the axis was moved, only move what is drawn.
    card.follow = () => {
      if (!card.plot.x || !page.state.span) return;
      const { scale } = card.plot.x;
      const [low, high] = page.state.span.map(scale.to);
      if (!(low < high)) return;
      card.plot.x = { scale, low, high };
      if (card.ySpan) card.plot.y = { ...card.plot.y, low: card.ySpan[0], high: card.ySpan[1] };
      back.hidden = false;
      card.plot.compose();
    };

    let last = 0;
    let waiting = 0;
    // A chunk of curves came: draw, but not for each of many.
    card.came = () => {
      const rest = last + THROTTLE - performance.now();
      if (waiting) return;
      const draw = () => {
        waiting = 0;
        last = performance.now();
        card.draw();
      };
      if (rest <= 0) draw();
      else waiting = setTimeout(draw, rest);
    };
    return card;
  };

  page.curvesCame = (name) => {
    for (const card of page.cardsInSight()) if (card.series?.().includes(name)) card.came();
  };
}
