// What is chosen, and what is told of it beside the picture.
{
  const byId = (id) => document.getElementById(id);
  const panel = byId("panel");
  const host = byId("view");
  page.chosen = null; // {item, back}

  const rounded = (value, digits = 6) => {
    if (typeof value === "number" && !Number.isInteger(value)) return `${+value.toPrecision(digits)}`;
    if (typeof value === "number") return value.toLocaleString("en");
    if (Array.isArray(value)) return value.map((each) => rounded(each, digits)).join(", ");
    if (typeof value === "object" && value !== null) return JSON.stringify(value, null, 1);
    return String(value);
  };

  // A row of the table: a name, and what it is, text or elements.
  const row = (name, ...content) => {
    const made = document.createElement("tr");
    made.append(document.createElement("th"), document.createElement("td"));
    made.firstChild.textContent = name;
    made.lastChild.append(...content);
    return made;
  };

  const link = ({ item, back }) => {
    const made = document.createElement("button");
    made.className = "link";
    made.textContent = page.told(page.now, item, back).title;
    made.addEventListener("click", () => page.goTo({ item, back }));
    return made;
  };

  // The line of the user's code, with a link that editors open where the file is known.
  const source = (value) => {
    const [, name, line] = /^(.*):(\d+)$/.exec(value) ?? [];
    const { files } = page.data;
    const path = Object.hasOwn(files, name ?? "") ? files[name] : null;
    if (!path) return value;
    const made = document.createElement("a");
    made.href = `vscode://file${path.startsWith("/") ? "" : "/"}${encodeURI(path)}:${line}`;
    made.textContent = value;
    made.title = `${path}, line ${line}: open in the editor`;
    return made;
  };

  // What an item takes and gives, by the lines between what is drawn, values' or cotangents'.
  page.neighbours = ({ item, back }) => {
    const [before, after] = [[], []];
    for (const line of page.scene.lines) {
      if (line.back !== back) continue;
      if (line.head === item) before.push({ item: line.tail, back });
      if (line.tail === item) after.push({ item: line.head, back });
    }
    return { before, after };
  };

  const linked = (name, items) =>
    items.length ? [row(name, ...items.slice(0, 40).map(link))] : [];

  page.describe = () => {
    if (!page.chosen) {
      panel.hidden = true;
      return;
    }
    const { item, back } = page.chosen;
    const view = page.now;
    const told = page.told(view, item, back);
    byId("name").textContent = told.title;
    const { before, after } = page.neighbours(page.chosen);
    const other = page.told(view, item, !back) ? [{ item, back: !back }] : [];
    const attributes = { id: told.id, ...view.attributes(item, back), ...page.atStep(item, back) };
    const overlaid = page.overlayText(item, back);
    const rows = Object.entries(attributes)
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([key, value]) => row(key, key === "source" ? source(String(value)) : rounded(value, view.digits(key))));
    byId("attributes").replaceChildren(
      ...(overlaid ? [row(page.overlay.label, overlaid)] : []),
      ...linked(back ? "value" : "cotangent", other),
      ...linked(back ? "comes from" : "inputs", before),
      ...linked(back ? "goes to" : "used by", after),
      ...rows,
    );
    const toggle = byId("toggle");
    toggle.hidden = item >= 0;
    if (item < 0) toggle.textContent = view.open.has(~item) ? "Close" : "Open";
    panel.hidden = false;
    page.showPath();
  };

  page.choose = (chosen) => {
    page.chosen = chosen;
    page.dressAll();
    page.keepingFocus(page.describe);
    page.keepAddress();
    if (!chosen) page.showPath();
  };

  // Open or close a group in place.
  page.toggle = ({ item, back }) => {
    const { open } = page.now;
    if (open.has(~item)) open.delete(~item);
    else open.add(~item);
    page.chosen = page.chosen && { item: page.drawnAs(page.chosen.item), back: page.chosen.back };
    page.update({ item, back });
    page.dressAll();
    page.describe();
  };

  // More boxes than this are not opened at once: they would take the browser a minute.
  const MOST_AT_ONCE = 20000;

  // Outer groups before inner ones, as many as there is time for.
  page.openAll = () => {
    const view = page.now;
    let boxes = 0;
    let waiting = [0];
    let left = 0;
    while (waiting.length) {
      const inner = [];
      for (const g of waiting) {
        if (!view.open.has(g) && boxes > MOST_AT_ONCE) {
          left++;
          continue;
        }
        view.open.add(g);
        boxes += view.children(g).filter((child) => child >= 0).length;
        inner.push(...view.inner[g]);
      }
      waiting = inner;
    }
    page.say(left ? `${left.toLocaleString("en")} groups are still closed: open them one by one` : "");
    page.keepingFocus(() => {
      page.update();
      startAt(page.chosen);
    });
    page.describe();
  };

  // What is chosen, in the middle and legible; else the input.
  const startAt = (chosen) => {
    const part = chosen && page.scene.at.get(`${chosen.item}${chosen.back ? "b" : ""}`);
    if (part) page.bringNear(part);
    else page.start();
    page.draw();
  };

  page.closeAll = () => {
    page.now.open = new Set([0]);
    page.chosen = page.chosen && { item: page.drawnAs(page.chosen.item), back: page.chosen.back };
    page.keepingFocus(() => {
      page.update();
      startAt(null);
    });
    page.describe();
  };

  page.say = (text) => (byId("found").value = text);

  // An item, or the closed group in which it is.
  page.drawnAs = (item) => {
    for (const g of page.now.chain(item)) if (!page.now.open.has(g)) return ~g;
    return item;
  };

  // Show an item wherever it is: what is around it opens, and it comes to the middle.
  page.goTo = (chosen) => {
    if (page.now.reveal(chosen.item)) page.update();
    page.choose(chosen);
    const part = page.scene.at.get(`${chosen.item}${chosen.back ? "b" : ""}`);
    if (part) page.centre(part, Math.min(page.scale(), 1));
    page.draw();
    // also from a link, which is replaced by those of what it leads to
    if (host.contains(document.activeElement)) page.focusOn(chosen);
  };

  // A click, or Enter: groups open, and close by their titles; all are told of.
  page.press = (node, byKey = false, onTitle = false) => {
    const part = node && page.partOf(node);
    if (!part) {
      page.choose(null);
      return;
    }
    const chosen = { item: part.item, back: part.back };
    const isGroup = part.item < 0;
    page.chosen = chosen;
    if (isGroup && (byKey || onTitle || !page.now.open.has(~part.item))) page.toggle(chosen);
    page.choose(chosen);
    if (byKey) page.elementOf(chosen.item, chosen.back)?.focus();
  };

  byId("close").addEventListener("click", () => {
    const { chosen } = page;
    page.choose(null);
    page.focusOn(chosen);
  });
  byId("toggle").addEventListener("click", () => page.toggle(page.chosen));

  // Marks on what is drawn: chosen, near it, found, out of the step.
  page.dress = (part, made) => {
    const { chosen } = page;
    if (part.path !== undefined) {
      const path = made.matches(".line") ? made : made.querySelector(".line");
      const near = chosen && part.back === chosen.back && (part.tail === chosen.item || part.head === chosen.item);
      path.classList.toggle("near", Boolean(near));
      made.classList.toggle("off", page.isOff(part.tail, part.back) && page.isOff(part.head, part.back));
      return;
    }
    if (part.item === undefined) return;
    made.classList.toggle("chosen", Boolean(chosen && chosen.item === part.item && chosen.back === part.back));
    made.classList.toggle("hit", page.isHit(part.item, part.back));
    made.classList.toggle("holds", page.holdsHit(part.item, part.back));
    if (made.matches(".node")) made.classList.toggle("off", page.isOff(part.item, part.back));
  };
}
