// What pointer and keys do on a plot: values under the pointer, zoom by dragging, moving, wheel.
{
  const SHOWN = 9;
  const tip = page.byId("tip");

  // The part of the horizontal axis that all charts show; null is everything.
  const atRest = page.after(160, () => page.changed());
  page.moveTo = (span) => {
    page.state.span = span;
    for (const card of page.cardsInSight()) card.follow?.();
    atRest();
  };

  const nearestAt = (x, value) => {
    const [from, to] = page.within(x, [value, value]);
    let best = from;
    for (let at = from; at < to; at += 1) if (Math.abs(x[at] - value) < Math.abs(x[best] - value)) best = at;
    return best;
  };

  // The values of the curves at a place, the nearest one to a height first.
  const pointsAt = (plot, place, height) => {
    const value = plot.x.scale.from(place);
    const found = [];
    for (const curve of plot.curves) {
      const [first, last] = [curve.x[0], curve.x.at(-1)];
      const reach = (plot.x.scale.from(plot.x.high) - plot.x.scale.from(plot.x.low)) / 40;
      if (value < first - reach || value > last + reach) continue;
      const at = nearestAt(curve.x, value);
      const y = plot.atY(plot.y.scale.to((curve.smooth ?? curve.mean)[at]));
      found.push({ curve, at, away: Number.isNaN(y) ? Infinity : Math.abs(y - height) });
    }
    return found.sort((a, b) => a.away - b.away);
  };

  const MARKS = [[1, "NaN"], [2, "∞"], [4, "−∞"]];
  const valueText = ({ curve, at }) => {
    const parts = [];
    if (!Number.isNaN(curve.mean[at])) parts.push(page.short((curve.smooth ?? curve.mean)[at]));
    if (!curve.exact && curve.low[at] < curve.high[at]) parts.push(`${page.short(curve.low[at], 3)} … ${page.short(curve.high[at], 3)}`);
    for (const [bit, word] of MARKS) if ((curve.marks?.[at] ?? 0) & bit) parts.push(word);
    return parts;
  };

  const row = (point, near) => {
    const [first = "", ...rest] = valueText(point);
    const swatch = page.make("i", { class: "swatch" });
    swatch.style.background = point.curve.colour;
    const name = point.curve.label ?? page.labelOf(point.curve);
    return page.make("tr", { class: near ? "near" : null }, page.make("td", {}, swatch),
      page.make("th", { text: name }), page.make("td", { text: first }), page.make("td", { class: "faint", text: rest.join("  ") }));
  };

  // How a curve is called: by its run, or by what the runs of its band have in common.
  page.labelOf = (curve) => (curve.band === undefined ? page.nameOf(curve.run) : `${curve.band} (${curve.of} runs)`);
  page.nameOf = (run) => (page.namesakes.get(run.name) > 1 ? `${run.name} #${run.id}` : run.name);

  const placeText = (plot, value) => {
    if (plot.inTime) return page.duration(value);
    return `${page.state.axis} ${page.short(value, 7)}`;
  };

  const showTip = (plot, points, box, x, y) => {
    const shown = points.slice(0, SHOWN);
    const value = shown.length ? shown[0].curve.x[shown[0].at] : plot.x.scale.from(plot.hover.place);
    const more = points.length - shown.length;
    tip.replaceChildren(
      page.make("div", { class: "where", text: placeText(plot, value) }),
      page.make("table", {}, page.make("tbody", {}, ...shown.map((point, at) => row(point, at === 0 && points.length > 1)))),
      ...(more > 0 ? [page.make("div", { class: "faint", text: `and ${more} more` })] : []),
    );
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = box.left + x + 16 + width < innerWidth - 4 ? box.left + x + 16 : Math.max(4, box.left + x - width - 16);
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(4, Math.min(box.top + y + 14, innerHeight - height - 6))}px`;
  };

  const unhover = (plot) => {
    tip.hidden = true;
    for (const card of page.cardsInSight()) {
      if (card.plot?.hover) {
        card.plot.hover = null;
        card.plot.compose();
      }
    }
    plot.hoverAt = null;
  };

  // Show the values at a place of one plot; the others show where that is.
  const hover = (plot, place, y) => {
    const points = pointsAt(plot, place, y);
    const shown = points.slice(0, SHOWN);
    if (shown.length) shown[0].near = true;
    plot.hover = { place, points: shown };
    plot.hoverAt = { place, y };
    showTip(plot, points, plot.canvas.getBoundingClientRect(), plot.atX(place), y);
    plot.compose();
    for (const card of page.cardsInSight()) {
      if (!card.plot || card.plot === plot || card.plot.x?.scale.kind !== plot.x.scale.kind) continue;
      card.plot.hover = { place };
      card.plot.compose();
    }
  };

  const moved = (plot, [low, high]) => page.moveTo([plot.x.scale.from(low), plot.x.scale.from(high)]);
  const zoomed = (plot, factor, place = (plot.x.low + plot.x.high) / 2) =>
    moved(plot, [place + (plot.x.low - place) * factor, place + (plot.x.high - place) * factor]);
  const shifted = (plot, share) => {
    const distance = (plot.x.high - plot.x.low) * share;
    moved(plot, [plot.x.low + distance, plot.x.high + distance]);
  };

  // `card` has a plot; `card.ySpan` is the part of the vertical axis that it shows, null is all.
  page.handle = (card, element) => {
    const { plot } = card;
    const { canvas } = plot;
    const position = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let drag = null;
    const reset = () => {
      card.ySpan = null;
      page.changed({ span: null });
    };

    canvas.addEventListener("pointerdown", (event) => {
      if (!plot.x || event.button > 1) return;
      const [x, y] = position(event);
      const pans = (page.state.drag === "pan") !== event.shiftKey || event.button === 1;
      drag = { x, y, pans, low: plot.x.low, high: plot.x.high, bottom: plot.y.low, top: plot.y.high };
      canvas.setPointerCapture(event.pointerId);
      tip.hidden = true;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!plot.x) return;
      const [x, y] = position(event);
      const { area } = plot;
      if (!drag) {
        if (event.pointerType !== "touch") hover(plot, plot.placeX(Math.min(Math.max(x, area.x), area.x + area.width)), y);
        return;
      }
      if (drag.pans) {
        const distance = ((x - drag.x) / area.width) * (drag.high - drag.low);
        if (card.ySpan) {
          const rise = ((y - drag.y) / area.height) * (drag.top - drag.bottom);
          card.ySpan = [drag.bottom + rise, drag.top + rise];
        }
        moved(plot, [drag.low - distance, drag.high - distance]);
        return;
      }
      const tall = Math.abs(y - drag.y) > 24;
      plot.box = {
        x: Math.max(Math.min(x, drag.x), area.x),
        y: tall ? Math.min(y, drag.y) : area.y,
        width: Math.abs(x - drag.x),
        height: tall ? Math.abs(y - drag.y) : area.height,
        tall,
      };
      plot.compose();
    });
    const end = (event) => {
      if (!drag) return;
      const { box } = plot;
      const wasDragging = drag;
      drag = null;
      plot.box = null;
      if (box && box.width > 5) {
        if (box.tall) card.ySpan = [plot.placeY(box.y + box.height), plot.placeY(box.y)];
        page.changed({ span: [box.x, box.x + box.width].map((each) => plot.x.scale.from(plot.placeX(each))) });
      } else if (wasDragging.pans) page.changed();
      else if (event.pointerType === "touch") hover(plot, plot.placeX(position(event)[0]), position(event)[1]);
      plot.compose();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => {
      if (!drag) unhover(plot);
    });
    canvas.addEventListener("dblclick", reset);
    canvas.addEventListener("wheel", (event) => {
      if (!(event.ctrlKey || event.metaKey || event.shiftKey) || !plot.x) return;
      event.preventDefault();
      const by = event.deltaY || event.deltaX;
      if (event.shiftKey) shifted(plot, by / 1500);
      else zoomed(plot, Math.exp(Math.min(Math.max(by, -120), 120) / 400), plot.placeX(position(event)[0]));
    }, { passive: false });

    element.addEventListener("keydown", (event) => {
      if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey || !plot.x) return;
      const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (sideways && event.shiftKey) shifted(plot, sideways * 0.1);
      else if (sideways) {
        const at = plot.hoverAt ?? { place: (plot.x.low + plot.x.high) / 2, y: plot.height / 2 };
        const step = (plot.x.high - plot.x.low) / 50;
        hover(plot, Math.min(Math.max(at.place + sideways * step, plot.x.low), plot.x.high), at.y);
      } else if (event.key === "+" || event.key === "=") zoomed(plot, 0.8);
      else if (event.key === "-") zoomed(plot, 1.25);
      else if (event.key === "0") reset();
      else if (event.key === "Enter") card.enlarge();
      else if (event.key === "Escape" && plot.hoverAt) unhover(plot);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    element.addEventListener("blur", () => unhover(plot));
    card.reset = reset;
  };
}
