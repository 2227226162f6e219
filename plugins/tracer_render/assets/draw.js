// Elements of what is seen: only boxes, frames and lines in the window are in the document, those
// too small to be told apart left out.
{
  const SVG = "http://www.w3.org/2000/svg";
  const SMALLEST = 2; // pixels of a side of what is drawn
  const MOST = 2500; // elements at a time, the largest first
  const HATCHED = ["failed", "nan", "inf", "widened", "unreached", "zero"];

  page.element = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const { element } = page;

  page.frameTitle = (view, g, back = false) => view.told(~g, back).title;

  const rounded = (x, y, w, h, r) => {
    const radius = Math.min(r, w / 2);
    const arc = `a${radius} ${radius} 0 0 1`;
    return (
      `M${x + radius} ${y}h${w - 2 * radius}${arc} ${radius} ${radius}v${h - 2 * radius}` +
      `${arc} ${-radius} ${radius}h${2 * radius - w}${arc} ${-radius} ${-radius}v${2 * radius - h}` +
      `${arc} ${radius} ${-radius}z`
    );
  };

  // The shape that tells the kind without colour, as in the other formats.
  const outline = (kind, x, y, w, h) => {
    if (kind === "parameter") {
      const lid = Math.min(5, h / 5);
      return (
        `M${x} ${y + lid}a${w / 2} ${lid} 0 0 1 ${w} 0v${h - 2 * lid}` +
        `a${w / 2} ${lid} 0 0 1 ${-w} 0zM${x + w} ${y + lid}a${w / 2} ${lid} 0 0 1 ${-w} 0`
      );
    }
    if (kind === "constant") {
      const fold = Math.min(8, h / 3);
      return (
        `M${x} ${y}h${w - fold}l${fold} ${fold}v${h - fold}h${-w}z` +
        `m${w} ${fold}h${-fold}v${-fold}`
      );
    }
    const radius = Math.min(kind === "input" ? 26 : 6, h / 2);
    const body = rounded(x, y, w, h, radius);
    return kind === "module" ? body + rounded(x + 3, y + 3, w - 6, h - 6, radius - 2) : body;
  };

  const text = (words, x, y, classes, anchor) => {
    const made = element("text", { class: classes, x: x.toFixed(1), y: y.toFixed(1), "text-anchor": anchor });
    made.textContent = words;
    return made;
  };

  const boxElement = (view, box) => {
    const told = page.told(view, box.item, box.back);
    const marks = told.marks ? told.marks.split(" ") : [];
    const repeated = box.item >= 0 && view.repeated.has(box.item);
    const span = view.span(box.item);
    const made = element("g", {
      class: ["node", told.kind, ...marks, ...(repeated ? ["repeated"] : [])].join(" "),
      "data-node": told.id,
      tabindex: 0,
      role: "button",
      "aria-label": [told.title, ...(told.notes ?? [])].join(", "),
    });
    if (box.item < 0) made.setAttribute("aria-expanded", "false");
    if (span) made.setAttribute("data-steps", span.join(" "));
    const [x, y] = [box.x - box.width / 2, box.y - box.height / 2];
    const shape = outline(told.kind, x, y, box.width, box.height);
    const title = element("title", {});
    title.textContent = [told.title, ...(told.notes ?? [])].join(", ");
    const body = element("path", { class: "body", d: shape });
    if (told.colour) body.style.fill = told.colour;
    made.append(title, body);
    const hatch = HATCHED.find((mark) => marks.includes(mark));
    if (hatch) made.append(element("path", { class: "hatch", fill: `url(#hatch-${hatch})`, d: shape }));
    if (told.module !== undefined) {
      const { modules } = page.data;
      made.append(element("rect", {
        class: "shared", x: x - 3, y: y + 3, width: 6, height: Math.max(box.height - 6, 4), rx: 2.5,
        fill: modules[told.module % modules.length],
      }));
    }
    const [notes, rows] = [told.notes ?? [], told.rows ?? []];
    let line = box.y - ((12 + 9 * (notes.length + rows.length)) * 1.25) / 2 + (told.kind === "parameter" ? 3 : 0) + 12;
    const texts = [text(told.title, box.x, line, "name", "middle")];
    for (const note of notes) {
      line += 9 * 1.25;
      texts.push(text(note, box.x, line, "note", "middle"));
    }
    for (const row of rows) {
      line += 9 * 1.25;
      texts.push(text(row, box.x, line, "number", "middle"));
    }
    if (told.ink) for (const each of texts) each.style.fill = told.ink;
    made.append(...texts);
    if (box.item < 0) {
      const sign = text("+", x + box.width - 10, y + 13, "note open", "middle");
      if (told.ink) sign.style.fill = told.ink;
      made.append(sign);
    }
    return made;
  };

  const frameElement = (view, frame) => {
    const told = view.told(frame.item, frame.back);
    const [x, y] = [frame.x - frame.width / 2, frame.y - frame.height / 2];
    const made = element("g", {
      class: "cluster", "data-group": told.id, tabindex: 0, role: "button", "aria-expanded": "true",
      "aria-label": `${told.title}, open`,
    });
    const left = x + (frame.title || 0);
    const title = text(page.frameTitle(view, ~frame.item, frame.back), left + page.TITLE.sign, y + 14, "scope", "start");
    made.append(
      element("rect", { x, y, width: frame.width, height: frame.height, rx: 7 }),
      text("−", left + 10, y + 14, "scope close", "middle"),
      title,
    );
    return made;
  };

  const lineElement = (view, line) => {
    const made = element("path", {
      class: ["line", line.kind, line.delayed && "delayed", line.change].filter(Boolean).join(" "),
      "data-tail": view.id(line.tail, line.back) ?? "",
      "data-head": view.id(line.head, line.back) ?? "",
      "marker-end": `url(#tip-${line.kind})`,
      d: line.path,
    });
    if (!line.label) return made;
    const [x, y] = [line.labelX ?? line.x, line.labelY ?? line.y];
    const label = text(line.label, x, y + 2.5, "shape", line.side > 0 ? "start" : "end");
    return element("g", {}, made, label);
  };

  const pairElement = (view, pair) =>
    element("path", { class: "line pair", d: `M${pair.left} ${pair.y}H${pair.right}` });

  const LAYERS = [
    ["frames", frameElement], ["pairs", pairElement], ["lines", lineElement], ["boxes", boxElement],
  ];

  // The scene that is drawn, and what of it is in the document.
  let drawn = new Map();
  const layers = new Map();

  page.clear = () => {
    const graph = page.svg.querySelector(".graph");
    graph.replaceChildren();
    for (const [name] of LAYERS) {
      layers.set(name, element("g", { class: name }));
      graph.append(layers.get(name));
    }
    drawn = new Map();
  };

  // Bring the document up to date with what is seen. `all` draws everything, to be saved.
  page.draw = (all = false) => {
    const { scene, seen } = page;
    const unit = page.scale();
    const [left, top] = [seen.x, seen.y];
    const [right, bottom] = [seen.x + seen.width, seen.y + seen.height];
    const least = SMALLEST * unit;
    let room = all ? Infinity : MOST;
    const wanted = new Set();
    for (const [name] of LAYERS) {
      for (const part of scene[name]) {
        if (!all) {
          if (part.x + part.width / 2 < left || part.x - part.width / 2 > right ||
              part.y + part.height / 2 < top || part.y - part.height / 2 > bottom) continue;
          if (Math.max(part.width, part.height) < least) continue;
        }
        if (--room < 0) break;
        wanted.add(part);
      }
    }
    for (const [part, made] of drawn) {
      if (wanted.has(part)) continue;
      if (made.contains(document.activeElement)) continue; // the keyboard is there
      made.remove();
      drawn.delete(part);
    }
    for (const [name, make] of LAYERS) {
      for (const part of scene[name]) {
        if (!wanted.has(part) || drawn.has(part)) continue;
        const made = make(page.now, part);
        drawn.set(part, made);
        layers.get(name).append(made);
        page.dress(part, made);
      }
    }
  };

  // Marks of what is chosen, found and near, on the elements that are there.
  page.dressAll = () => {
    for (const [part, made] of drawn) page.dress(part, made);
  };

  page.partOf = (node) => {
    for (const [part, made] of drawn) if (made === node) return part;
    return null;
  };

  page.elementOf = (item, back) => {
    const part = page.scene.at.get(`${item}${back ? "b" : ""}`);
    return part && drawn.get(part);
  };
}
