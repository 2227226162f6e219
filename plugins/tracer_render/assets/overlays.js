// Colours by a number of each box, chosen in the menu, and what a box is told with it.
{
  const menu = document.getElementById("overlay");
  const { overlays, scale: colours } = page.data;
  page.overlay = null;

  // The number of an item; of a group what its members' combine to. Undefined where it has none.
  page.valueOf = (view, item, back) => {
    const { overlay } = page;
    if (!overlay || (overlay.sides === "values" && back)) return undefined;
    if (overlay.sides === "cotangents") back = true; // a value is told the norm of its gradient
    if (item >= 0) {
      const entry = page.entryOf(item, back);
      if (entry !== undefined) return stepValue(view, item, back, entry);
      return ownValue(view, item, back);
    }
    const side = back ? view.cotangents : view.values;
    if (!side) return undefined;
    const [begin, end] = view.range(item);
    let found;
    let seen = new Set();
    for (let i = begin; i < end; i++) {
      if (!side.has(i)) continue;
      const entry = page.entryOf(i, back);
      const value = entry === undefined ? ownValue(view, i, back) : stepValue(view, i, back, entry);
      if (value === undefined || masked(side, i, value)) continue;
      if (overlay.add_up) {
        if (view.repeated.has(i)) { // one value at several uses counts once
          const id = side.id(i).replace(/_\d+$/, "");
          if (seen.has(id)) continue;
          seen.add(id);
        }
        found = (found ?? 0) + value;
      } else if (found === undefined || Number.isNaN(value) || Math.abs(value) > Math.abs(found)) {
        if (!Number.isNaN(found)) found = value;
      }
    }
    return found;
  };

  const ownValue = (view, i, back) => {
    const side = back ? view.cotangents : view.values;
    if (!side?.has(i)) return undefined;
    const { attribute } = page.overlay;
    const value = attribute === null ? side.value(i) : side.attribute(i, attribute);
    if (attribute === "nbytes") {
      if (side.kind(i) !== "operation") return undefined; // of results
      return value * (side.attribute(i, "steps") ?? 1);
    }
    return typeof value === "string" ? Number(value) : value;
  };

  // The norm of what is infinite on purpose, as a mask is; a closed module passes over it.
  const masked = (side, i, value) =>
    page.overlay.attribute === "norm" && Number.isNaN(value) && !side.attribute(i, "nan");

  // Whether a box has the same number at each step that it runs in.
  const isSame = ({ attribute }) => attribute === "nbytes" || attribute === "flops";

  const stepValue = (view, i, back, entry) => {
    if (entry === null) return undefined;
    const [norm, , , value] = entry;
    const { attribute } = page.overlay;
    if (isSame(page.overlay)) {
      const all = ownValue(view, i, back);
      return all === undefined ? undefined : all / page.stepsOf(i, back);
    }
    const found = attribute === "norm" ? norm : attribute === null ? value : null;
    return found === null ? undefined : Number(found);
  };

  // The scale of all values of all views: logarithmic where none is negative.
  let range = null;
  // What a box is marked with for its number.
  const markOf = (value) => {
    if (Number.isNaN(value)) return "nan";
    return Number.isFinite(value) ? (value === 0 ? "zero" : "") : "inf";
  };

  // Those of the legend's signs that only numbers set: whether the overlay's do, anywhere.
  const explain = (marks) => {
    for (const row of document.querySelectorAll("#legend [data-mark]"))
      row.hidden = !marks.has(row.dataset.mark);
  };

  const measure = () => {
    let [low, high, least] = [Infinity, -Infinity, Infinity];
    const marks = new Set();
    const take = (value) => {
      if (value !== undefined) marks.add(markOf(value));
      if (value === undefined || !Number.isFinite(value)) return;
      low = Math.min(low, value);
      high = Math.max(high, value);
      if (value > 0) least = Math.min(least, value);
    };
    for (const view of page.views.values()) {
      for (let i = 0; i < view.count; i++) {
        if (page.overlay.sides !== "cotangents") take(ownValue(view, i, false));
        if (page.overlay.sides !== "values") take(ownValue(view, i, true));
      }
      if (page.overlay.add_up) {
        view.groups.forEach((_, g) => {
          if (g === 0) return;
          for (const back of [false, true]) take(page.valueOf(view, ~g, back));
        });
      }
    }
    for (const [id, entries] of Object.entries(page.data.steps?.statistics ?? {})) {
      if (isSame(page.overlay)) break; // every step has what all have together
      const folded = page.views.get("folded");
      const { item, back } = folded.ids.get(id);
      if (page.overlay.sides === (back ? "values" : "cotangents")) continue;
      for (const entry of entries) {
        const value = stepValue(folded, item, back, entry);
        if (value !== undefined) marks.add(markOf(value));
      }
    }
    explain(marks);
    if (high === -Infinity || (low >= 0 && high === 0)) return null;
    const logarithmic = low >= 0;
    return { low: logarithmic ? Math.max(least, high / 1e12) : low, high, logarithmic };
  };

  const place = (value) => {
    const { low, high, logarithmic } = range;
    const map = logarithmic ? Math.log : (x) => x;
    const [at, from, to] = [value, low, high].map((x) => map(x) / 2); // differences are no infinity
    return to > from ? Math.min(Math.max((at - from) / (to - from), 0), 1) : 0.5;
  };

  const colourOf = (value) => {
    if (!range || value === undefined || !Number.isFinite(value)) return undefined;
    if (range.logarithmic && value <= 0) return undefined;
    const along = place(value) * (colours.length - 1);
    const below = Math.min(Math.floor(along), colours.length - 2);
    return colours[below].map((c, i) => Math.round(c + (colours[below + 1][i] - c) * (along - below)));
  };

  const [SMALLER, LARGER] = [["m", "µ", "n"], ["k", "M", "G", "T"]];
  // Three digits, with the unit and a prefix where there is a unit.
  const short = (value) => {
    const { unit } = page.overlay;
    const words = (number) =>
      number !== 0 && Math.abs(number) < 1e-3
        ? number.toExponential(2).replace(/\.?0+e/, "e")
        : `${+number.toPrecision(3)}`;
    if (Number.isNaN(value)) return "NaN";
    if (!Number.isFinite(value)) return value > 0 ? "Inf" : "-Inf";
    if (!unit || value === 0) return `${words(value)} ${unit}`.trim();
    let power = Math.floor(Math.log10(Math.abs(value)) / 3);
    power = Math.min(Math.max(power, unit === "s" ? -SMALLER.length : 0), LARGER.length);
    const prefix = power < 0 ? SMALLER[-power - 1] : power > 0 ? LARGER[power - 1] : "";
    return `${words(value / 1000 ** power)} ${prefix}${unit}`;
  };

  page.isValued = () => range !== null;
  page.overlayText = (item, back) => {
    const value = page.valueOf(page.now, item, back);
    if (value === undefined) return "";
    const { unit } = page.overlay;
    return unit ? `${short(value)} (${value.toLocaleString("en")} ${unit})` : `${+value.toPrecision(6)}`;
  };

  // What is told of an item, with its number and colour, and at the step that is shown.
  page.told = (view, item, back) => {
    const base = view.told(item, back);
    if (!base) return undefined;
    const told = page.toldAtStep(view, item, back, base);
    if (!page.overlay) return told;
    const value = page.valueOf(view, item, back);
    if (value === undefined) return told;
    const made = { ...told };
    const twice = !back && view.told(item, true) && page.valueOf(view, item, true) === value;
    const others = (told.notes ?? []).filter((note) => !/^(parameters' )?norm /.test(note));
    if (!twice) made.notes = [...others, `${page.overlay.label} ${short(value)}`];
    made.marks = [told.marks, markOf(value)].filter(Boolean).join(" ");
    const colour = colourOf(value);
    if (colour) {
      const [red, green, blue] = colour;
      made.colour = `rgb(${colour})`;
      made.ink = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#111111" : "#ffffff";
    }
    return made;
  };

  const legend = () => {
    const box = document.getElementById("colours");
    box.hidden = !range;
    if (!range) return;
    const { low, high, logarithmic } = range;
    const middle = logarithmic ? Math.sqrt(low) * Math.sqrt(high) : low / 2 + high / 2;
    box.querySelector(".label").textContent = `${page.overlay.label}${logarithmic ? " (log scale)" : ""}`;
    [low, middle, high].forEach((tick, i) => (box.querySelectorAll(".tick")[i].textContent = short(tick)));
  };

  page.setOverlay = (number) => {
    page.overlay = overlays[number] ?? null;
    menu.value = page.overlay ? String(number) : "";
    if (!page.overlay) explain(new Set());
    range = page.overlay ? measure() : null;
    legend();
  };

  overlays.forEach(({ label, unit }, i) => {
    const made = document.createElement("option");
    made.value = String(i);
    made.textContent = unit ? `${label} (${unit})` : label;
    menu.append(made);
  });
  menu.hidden = overlays.length === 0;
  menu.addEventListener("change", () => {
    page.setOverlay(menu.value === "" ? -1 : Number(menu.value));
    page.update();
    page.describe();
  });
}
