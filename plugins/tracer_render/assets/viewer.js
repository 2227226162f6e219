
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("details").textContent);
  const view = byId("view");
  const search = byId("search");
  const panel = byId("panel");

  // A picture of the page: there are two where a trace is shown unrolled and folded in time.
  const prepare = (time, svg) => {
    const details = data.views[time];
    const nodes = new Map();
    for (const node of svg.querySelectorAll("[data-node]")) {
      nodes.set(node.dataset.node, node);
      node.setAttribute("tabindex", "0");
      node.setAttribute("role", "button");
    }
    const lines = [...svg.querySelectorAll("[data-tail]")];
    const linesOf = new Map();
    for (const line of lines) {
      for (const end of [line.dataset.tail, line.dataset.head]) {
        if (!linesOf.has(end)) linesOf.set(end, []);
        linesOf.get(end).push(line);
      }
    }
    // Search finds what is drawn and what is in the attributes.
    const texts = new Map(
      Object.entries(details).map(([id, entry]) => {
        const a = entry.attributes;
        return [id, [entry.title, a.label, a.op, a.scope, a.id, a.source].join("\n").toLowerCase()];
      }),
    );
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const seen = { x: 0, y: 0, width, height };
    return { time, svg, details, nodes, lines, linesOf, texts, size: { width, height }, seen };
  };
  const pictures = new Map();
  pictures.set(view.dataset.time, prepare(view.dataset.time, view.querySelector("svg")));
  for (const template of document.querySelectorAll("template")) {
    const image = document.importNode(template.content, true).querySelector("svg");
    pictures.set(template.dataset.time, prepare(template.dataset.time, image));
  }
  let now = pictures.get(view.dataset.time);

  // The part of the picture that is seen, in the picture's units.
  const show = () => {
    const { seen } = now;
    now.svg.setAttribute("viewBox", `${seen.x} ${seen.y} ${seen.width} ${seen.height}`);
  };
  // Units of the picture per pixel, where a part of that size fits the view.
  const scaleOf = (part) => {
    const room = view.getBoundingClientRect();
    return Math.max(part.width / room.width, part.height / room.height);
  };
  const scale = () => scaleOf(now.seen);
  const fit = () => {
    now.seen = { x: 0, y: 0, ...now.size };
    show();
  };
  const zoom = (factor, clientX, clientY) => {
    const { seen } = now;
    const box = view.getBoundingClientRect();
    const unit = scale();
    const limited = Math.min(Math.max(unit * factor, 0.05), 2 * Math.max(scaleOf(now.size), 1));
    factor = limited / unit;
    const dx = ((clientX ?? box.left + box.width / 2) - box.left - box.width / 2) * unit;
    const dy = ((clientY ?? box.top + box.height / 2) - box.top - box.height / 2) * unit;
    const centre = { x: seen.x + seen.width / 2, y: seen.y + seen.height / 2 };
    seen.width = box.width * limited;
    seen.height = box.height * limited;
    seen.x = centre.x + dx * (1 - factor) - seen.width / 2;
    seen.y = centre.y + dy * (1 - factor) - seen.height / 2;
    show();
  };
  const pan = (dx, dy) => {
    const unit = scale();
    now.seen.x -= dx * unit;
    now.seen.y -= dy * unit;
    show();
  };
  // The smallest rectangle around nodes, in the picture's units.
  const around = (nodes) => {
    const boxes = nodes.map((node) => {
      const shape = node.getBBox();
      const shift = node.parentNode.transform.baseVal.consolidate().matrix;
      return [shape.x + shift.e, shape.y + shift.f, shape.width, shape.height];
    });
    const left = Math.min(...boxes.map(([x]) => x));
    const top = Math.min(...boxes.map(([, y]) => y));
    const right = Math.max(...boxes.map(([x, , width]) => x + width));
    const bottom = Math.max(...boxes.map(([, y, , height]) => y + height));
    return { x: left, y: top, width: right - left, height: bottom - top };
  };
  const centre = (part, unit) => {
    const room = view.getBoundingClientRect();
    const [width, height] = [room.width * unit, room.height * unit];
    const [x, y] = [part.x + part.width / 2, part.y + part.height / 2];
    now.seen = { x: x - width / 2, y: y - height / 2, width, height };
    show();
  };

  // Details.
  let chosen = null;
  let at = null;
  const unchoose = () => {
    if (chosen === null) return;
    now.nodes.get(chosen).classList.remove("chosen");
    for (const line of now.linesOf.get(chosen) ?? []) line.classList.remove("near");
    chosen = null;
    panel.hidden = true;
  };
  const text = (value) => {
    return typeof value === "string" ? value : JSON.stringify(value, null, 1);
  };
  // What is known of a box of the folded picture at the step that is shown.
  const entryOf = (id) => {
    if (at === null || now.time !== "folded") return undefined;
    return data.steps.statistics[id]?.[at];
  };
  const atStep = (id) => {
    const entry = entryOf(id);
    if (!entry) return {};
    const [norm, min, max] = entry;
    return { time: data.steps.times[at], norm, min, max };
  };
  const choose = (id) => {
    unchoose();
    chosen = id;
    now.nodes.get(id).classList.add("chosen");
    for (const line of now.linesOf.get(id) ?? []) line.classList.add("near");
    byId("name").textContent = now.details[id].title;
    const rows = Object.entries({ ...now.details[id].attributes, ...atStep(id) })
      .filter(([, value]) => value !== null && value !== "")
      .map(([key, value]) => {
        const row = document.createElement("tr");
        row.append(document.createElement("th"), document.createElement("td"));
        row.firstChild.textContent = key;
        row.lastChild.textContent = Array.isArray(value) ? value.map(text).join(", ") : text(value);
        return row;
      });
    byId("attributes").replaceChildren(...rows);
    panel.hidden = false;
  };

  // Search.
  let hits = [];
  let hit = -1;
  const find = () => {
    const wanted = search.value.trim().toLowerCase();
    for (const id of hits) now.nodes.get(id).classList.remove("hit");
    const found = (id) => now.texts.get(id).includes(wanted);
    hits = wanted === "" ? [] : [...now.nodes.keys()].filter(found);
    hit = -1;
    for (const id of hits) now.nodes.get(id).classList.add("hit");
    now.svg.classList.toggle("searching", hits.length > 0);
    byId("found").value = wanted === "" ? "" : `${hits.length} found`;
  };
  const next = (step) => {
    if (hits.length === 0) return;
    hit = hit < 0 && step < 0 ? hits.length - 1 : (hit + step + hits.length) % hits.length;
    byId("found").value = `${hit + 1} of ${hits.length}`;
    centre(around([now.nodes.get(hits[hit])]), Math.min(scale(), 1));
    choose(hits[hit]);
  };
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      next(event.shiftKey ? -1 : 1);
    }
  });

  // Time: which step is shown, as its place among those to choose from; null for all of them.
  const slider = byId("step");
  const spoken = (number) => number.toLocaleString("en");
  const colourOf = (value) => {
    const { low, high, logarithmic, colours } = data.steps.scale;
    if (typeof value !== "number" || (logarithmic && value <= 0)) return null;
    const map = logarithmic ? Math.log : (x) => x;
    const place = high > low ? (map(value) - map(low)) / (map(high) - map(low)) : 0.5;
    const along = Math.min(Math.max(place, 0), 1) * (colours.length - 1);
    const below = Math.min(Math.floor(along), colours.length - 2);
    return colours[below].map((c, i) => c + (colours[below + 1][i] - c) * (along - below));
  };
  const drawn = new WeakMap();
  const original = (part) => {
    if (!drawn.has(part)) drawn.set(part, { text: part.textContent, fill: part.style.fill });
    return drawn.get(part);
  };
  const short = (number) => (typeof number === "number" ? +number.toPrecision(3) : number);
  // A box of the folded picture as it was drawn, or with the numbers and the colour of the step.
  const dress = (id, node) => {
    const entry = entryOf(id);
    const [norm, , , value] = entry ?? [];
    const texts = [...node.querySelectorAll("text")];
    for (const text of texts) {
      const { text: before } = original(text);
      if (!entry) text.textContent = before;
      else if (before.startsWith("T = ")) {
        const when = `t = ${spoken(data.steps.times[at])}`;
        text.textContent = norm === null ? when : `${when}, norm ${short(norm)}`;
      } else if (data.steps.scale !== null && before.startsWith(`${data.steps.scale.label} `)) {
        text.textContent = `${data.steps.scale.label} ${short(value) ?? "unknown"}`;
      }
    }
    if (data.steps.scale === null) return;
    const colour = entry ? colourOf(value) : null;
    const [red, green, blue] = colour ?? [];
    const ink = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#111111" : "#ffffff";
    const body = node.querySelector(".body");
    for (const part of [body, ...texts]) {
      const { fill } = original(part);
      if (!entry) part.style.fill = fill;
      else if (colour === null) part.style.fill = "";
      else part.style.fill = part === body ? `rgb(${colour.map(Math.round)})` : ink;
    }
  };
  const runsAt = (id, node, time) => {
    if (now.time === "folded") return !(id in data.steps.statistics) || entryOf(id) !== null;
    const [first, last] = (node.dataset.steps ?? "-1 -1").split(" ").map(Number);
    return first <= time && time <= last;
  };
  const showStep = () => {
    if (data.steps === null) return;
    const { times, count } = data.steps;
    const time = at === null ? null : times[at];
    const all = `${spoken(count)} steps`;
    const where = at === null ? `all ${all}` : `t = ${spoken(time)}, of ${all}`;
    byId("when").value = where;
    slider.value = at ?? 0;
    slider.setAttribute("aria-valuetext", where);
    byId("all").setAttribute("aria-pressed", String(at === null));
    const on = new Set();
    for (const [id, node] of now.nodes) {
      const runs = time === null || runsAt(id, node, time);
      node.classList.toggle("off", !runs);
      if (runs) on.add(id);
      if (now.time === "folded" && id in data.steps.statistics) dress(id, node);
    }
    for (const line of now.lines) {
      line.classList.toggle("off", !on.has(line.dataset.tail) && !on.has(line.dataset.head));
    }
    if (time !== null && now.time !== "folded" && on.size > 0) {
      const part = around([...on].map((id) => now.nodes.get(id)));
      const { seen } = now;
      const inside =
        part.x >= seen.x && part.x + part.width <= seen.x + seen.width &&
        part.y >= seen.y && part.y + part.height <= seen.y + seen.height;
      if (!inside) centre(part, Math.max(scale(), 1.05 * scaleOf(part)));
    }
    if (chosen !== null) choose(chosen);
  };
  const goTo = (place) => {
    if (data.steps === null) return;
    at = place === null ? null : Math.min(Math.max(place, 0), data.steps.times.length - 1);
    showStep();
  };
  const step = (by) => {
    if (data.steps === null) return;
    goTo(at === null ? (by > 0 ? 0 : data.steps.times.length - 1) : at + by);
  };
  const switchTo = (time) => {
    if (!pictures.has(time) || time === now.time) return;
    unchoose();
    for (const id of hits) now.nodes.get(id).classList.remove("hit");
    hits = [];
    now.svg.classList.remove("searching");
    const next = pictures.get(time);
    now.svg.replaceWith(next.svg);
    now = next;
    for (const name of pictures.keys()) {
      byId(name).setAttribute("aria-pressed", String(name === time));
    }
    show();
    find();
    showStep();
  };
  if (data.steps !== null) {
    slider.addEventListener("input", () => goTo(Number(slider.value)));
    byId("before").addEventListener("click", () => step(-1));
    byId("after").addEventListener("click", () => step(1));
    byId("all").addEventListener("click", () => goTo(null));
  }
  if (pictures.size > 1) {
    for (const name of pictures.keys()) byId(name).addEventListener("click", () => switchTo(name));
  }

  // Pointer.
  let drag = null;
  const pointers = new Map();
  view.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    drag = { moved: false, x: event.clientX, y: event.clientY };
  });
  view.addEventListener("pointermove", (event) => {
    if (drag === null || !pointers.has(event.pointerId)) return;
    const before = pointers.get(event.pointerId);
    if (pointers.size === 2) {
      const [other] = [...pointers.values()].filter((p) => p.pointerId !== event.pointerId);
      const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      zoom(apart(before) / Math.max(apart(event), 1), other.clientX, other.clientY);
      drag.moved = true;
    } else {
      if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4 && !drag.moved) {
        drag.moved = true;
        view.setPointerCapture(event.pointerId);
        view.classList.add("dragging");
      }
      if (drag.moved) pan(event.clientX - before.clientX, event.clientY - before.clientY);
    }
    pointers.set(event.pointerId, event);
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
    view.classList.remove("dragging");
  };
  view.addEventListener("pointerup", release);
  view.addEventListener("pointercancel", release);
  view.addEventListener("click", (event) => {
    const dragged = drag !== null && drag.moved;
    drag = null;
    if (dragged) return;
    const node = event.target.closest("[data-node]");
    if (node) choose(node.dataset.node);
    else unchoose();
  });
  view.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004), event.clientX, event.clientY);
    },
    { passive: false },
  );

  // Buttons and keys.
  byId("in").addEventListener("click", () => zoom(0.8));
  byId("out").addEventListener("click", () => zoom(1.25));
  byId("fit").addEventListener("click", fit);
  byId("close").addEventListener("click", unchoose);
  const arrows = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      search.value = "";
      find();
      unchoose();
      view.focus();
      return;
    }
    if (event.target === search) return;
    if (event.target === slider && event.key in arrows) return;
    const node = event.target.closest?.("[data-node]");
    if (event.key === "+" || event.key === "=") zoom(0.8);
    else if (event.key === "-") zoom(1.25);
    else if (event.key === "0") fit();
    else if (event.key === "/") search.focus();
    else if (event.key === ",") step(-1);
    else if (event.key === ".") step(1);
    else if (event.key === "a") goTo(null);
    else if (event.key === "f") switchTo(now.time === "folded" ? "unrolled" : "folded");
    else if (event.key in arrows) pan(...arrows[event.key]);
    else if (node && (event.key === "Enter" || event.key === " ")) choose(node.dataset.node);
    else return;
    event.preventDefault();
  });
  show();
  showStep();
})();
