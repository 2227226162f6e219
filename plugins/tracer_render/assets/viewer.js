
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const details = JSON.parse(byId("details").textContent);
  const view = byId("view");
  const svg = view.querySelector("svg");
  const search = byId("search");
  const panel = byId("panel");
  const nodes = new Map();
  for (const node of svg.querySelectorAll("[data-node]")) {
    nodes.set(node.dataset.node, node);
    node.setAttribute("tabindex", "0");
    node.setAttribute("role", "button");
  }
  const linesOf = new Map();
  for (const line of svg.querySelectorAll("[data-tail]")) {
    for (const end of [line.dataset.tail, line.dataset.head]) {
      if (!linesOf.has(end)) linesOf.set(end, []);
      linesOf.get(end).push(line);
    }
  }

  // The part of the picture that is seen, in the picture's units.
  const whole = svg.viewBox.baseVal;
  const size = { width: whole.width, height: whole.height };
  let seen = { x: 0, y: 0, width: size.width, height: size.height };
  const show = () => {
    svg.setAttribute("viewBox", `${seen.x} ${seen.y} ${seen.width} ${seen.height}`);
  };
  // Units of the picture per pixel, where a part of that size fits the view.
  const scaleOf = (part) => {
    const room = view.getBoundingClientRect();
    return Math.max(part.width / room.width, part.height / room.height);
  };
  const scale = () => scaleOf(seen);
  const fit = () => {
    seen = { x: 0, y: 0, width: size.width, height: size.height };
    show();
  };
  const zoom = (factor, clientX, clientY) => {
    const box = view.getBoundingClientRect();
    const unit = scale();
    const limited = Math.min(Math.max(unit * factor, 0.05), 2 * Math.max(scaleOf(size), 1));
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
    seen.x -= dx * unit;
    seen.y -= dy * unit;
    show();
  };
  const centre = (node) => {
    const shape = node.getBBox();
    const shift = node.parentNode.transform.baseVal.consolidate().matrix;
    const unit = Math.min(scale(), 1);
    const room = view.getBoundingClientRect();
    seen.width = room.width * unit;
    seen.height = room.height * unit;
    seen.x = shape.x + shape.width / 2 + shift.e - seen.width / 2;
    seen.y = shape.y + shape.height / 2 + shift.f - seen.height / 2;
    show();
  };

  // Details.
  let chosen = null;
  const unchoose = () => {
    if (chosen === null) return;
    nodes.get(chosen).classList.remove("chosen");
    for (const line of linesOf.get(chosen) ?? []) line.classList.remove("near");
    chosen = null;
    panel.hidden = true;
  };
  const text = (value) => {
    return typeof value === "string" ? value : JSON.stringify(value, null, 1);
  };
  const choose = (id) => {
    unchoose();
    chosen = id;
    nodes.get(id).classList.add("chosen");
    for (const line of linesOf.get(id) ?? []) line.classList.add("near");
    byId("name").textContent = details[id].title;
    const rows = Object.entries(details[id].attributes)
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

  // Search: in the texts that are drawn and in the attributes.
  const texts = new Map(
    Object.entries(details).map(([id, entry]) => {
      const a = entry.attributes;
      return [id, [entry.title, a.label, a.op, a.scope, a.id, a.source].join("\n").toLowerCase()];
    }),
  );
  let hits = [];
  let at = -1;
  const find = () => {
    const wanted = search.value.trim().toLowerCase();
    for (const id of hits) nodes.get(id).classList.remove("hit");
    hits = wanted === "" ? [] : [...nodes.keys()].filter((id) => texts.get(id).includes(wanted));
    at = -1;
    for (const id of hits) nodes.get(id).classList.add("hit");
    svg.classList.toggle("searching", hits.length > 0);
    byId("found").value = wanted === "" ? "" : `${hits.length} found`;
  };
  const next = (step) => {
    if (hits.length === 0) return;
    at = at < 0 && step < 0 ? hits.length - 1 : (at + step + hits.length) % hits.length;
    byId("found").value = `${at + 1} of ${hits.length}`;
    centre(nodes.get(hits[at]));
    choose(hits[at]);
  };
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      next(event.shiftKey ? -1 : 1);
    }
  });

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
  const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
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
    const node = event.target.closest?.("[data-node]");
    if (event.key === "+" || event.key === "=") zoom(0.8);
    else if (event.key === "-") zoom(1.25);
    else if (event.key === "0") fit();
    else if (event.key === "/") search.focus();
    else if (event.key in steps) pan(...steps[event.key]);
    else if (node && (event.key === "Enter" || event.key === " ")) choose(node.dataset.node);
    else return;
    event.preventDefault();
  });
  show();
})();
