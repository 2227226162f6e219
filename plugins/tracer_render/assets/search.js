// Search by a regular expression, also in what is closed.
{
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  let hits = [];
  let at = -1;
  let isHit = new Set();
  let holders = new Set();
  const texts = new Map(); // of each view: what is searched

  const key = (item, back) => `${item}${back ? "b" : ""}`;
  page.isHit = (item, back) => isHit.has(key(item, back));
  page.holdsHit = (item, back) => holders.has(key(item, back));

  // [item, back, text] of all boxes and groups of a view.
  const textsOf = (view) => {
    if (texts.has(view)) return texts.get(view);
    const made = [];
    const { values, cotangents } = view;
    for (let i = 0; i < view.count; i++) {
      const own = ["op", "scope", "source"].map((name) => values.attribute(i, name) ?? "");
      made.push([i, false, [values.title(i), values.id(i), ...own].join("\n")]);
      if (cotangents?.has(i)) made.push([i, true, [cotangents.title(i), cotangents.id(i), ...own].join("\n")]);
    }
    for (let g = 1; g < view.groups.length; g++) {
      for (const back of [false, true]) {
        const told = view.told(~g, back);
        if (told) made.push([~g, back, [told.title, told.id].join("\n")]);
      }
    }
    texts.set(view, made);
    return made;
  };

  const pattern = (wanted) => {
    try {
      return [new RegExp(wanted, "im"), ""];
    } catch {
      return [new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "im"), " (as plain text)"];
    }
  };

  page.find = () => {
    const wanted = search.value.trim();
    const [expression, how] = pattern(wanted);
    hits = wanted === "" ? [] : textsOf(page.now).filter(([, , text]) => expression.test(text));
    at = -1;
    isHit = new Set(hits.map(([item, back]) => key(item, back)));
    page.findHolders();
    found.value = wanted === "" ? "" : `${hits.length.toLocaleString("en")} found${how}`;
    page.svg.classList.toggle("searching", hits.length > 0);
    page.dressAll();
  };

  // The closed groups that hold what was found.
  page.findHolders = () => {
    holders = new Set();
    for (const [item, back] of hits) {
      const drawn = page.drawnAs(item);
      if (drawn !== item) holders.add(key(drawn, back));
    }
  };

  page.next = (step) => {
    if (hits.length === 0) return;
    at = at < 0 && step < 0 ? hits.length - 1 : (at + step + hits.length) % hits.length;
    found.value = `${(at + 1).toLocaleString("en")} of ${hits.length.toLocaleString("en")}`;
    const [item, back] = hits[at];
    page.goTo({ item, back });
  };

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    if (page.now.count < 20000) page.find();
    else waiting = setTimeout(page.find, 150);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    page.next(event.shiftKey ? -1 : 1);
  });
  page.clearSearch = () => {
    search.value = "";
    page.find();
  };
}
