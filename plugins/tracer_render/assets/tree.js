// The tree of modules, and the path to what is chosen.
{
  const byId = (id) => document.getElementById(id);
  const tree = byId("tree");
  const MOST_ROWS = 3000;

  const rowOf = (view, g) => {
    const told = view.told(~g, false);
    const row = document.createElement("li");
    row.setAttribute("role", "treeitem");
    row.setAttribute("aria-level", view.depth[g]);
    row.style.paddingLeft = `${(view.depth[g] - 1) * 13}px`;
    const open = view.open.has(g);
    row.setAttribute("aria-expanded", String(open));
    const twisty = document.createElement("button");
    twisty.className = "twisty";
    twisty.textContent = open ? "▾" : "▸";
    twisty.tabIndex = -1;
    twisty.setAttribute("aria-label", open ? "Close" : "Open");
    twisty.addEventListener("click", () => page.toggle({ item: ~g, back: false }));
    const name = document.createElement("button");
    name.className = "name";
    name.textContent = told.title;
    name.dataset.group = told.id;
    name.addEventListener("click", () => page.goTo({ item: ~g, back: false }));
    row.append(twisty, name);
    return row;
  };

  page.refreshTree = () => {
    if (tree.closest("[hidden]")) return;
    const rows = [];
    const view = page.now;
    const visit = (g) => {
      for (const inner of view.inner[g]) {
        if (rows.length >= MOST_ROWS) return;
        rows.push(rowOf(view, inner));
        if (view.open.has(inner)) visit(inner);
      }
    };
    visit(0);
    const focused = tree.contains(document.activeElement) &&
      document.activeElement.closest("li").querySelector(".name").dataset.group;
    tree.replaceChildren(...rows);
    if (focused) tree.querySelector(`[data-group="${CSS.escape(focused)}"]`)?.focus();
  };

  // Arrow keys go through the rows; right opens, left closes.
  tree.addEventListener("keydown", (event) => {
    const names = [...tree.querySelectorAll(".name")];
    const at = names.indexOf(document.activeElement);
    if (at < 0) return;
    const { item } = page.now.ids.get(names[at].dataset.group);
    const open = page.now.open.has(~item);
    if (event.key === "ArrowDown") names[at + 1]?.focus();
    else if (event.key === "ArrowUp") names[at - 1]?.focus();
    else if (event.key === "ArrowRight" && !open) page.toggle({ item, back: false });
    else if (event.key === "ArrowLeft" && open) page.toggle({ item, back: false });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // The groups around what is chosen, each a button.
  page.showPath = () => {
    const path = byId("path");
    if (!page.chosen) {
      path.replaceChildren();
      return;
    }
    const view = page.now;
    const groups = view.chain(page.chosen.item).filter((g) => g > 0);
    const parts = groups.map((g) => {
      const made = document.createElement("button");
      made.className = "link";
      made.textContent = view.told(~g, false).title;
      made.addEventListener("click", () => page.goTo({ item: ~g, back: false }));
      return made;
    });
    const last = document.createElement("span");
    last.textContent = page.told(view, page.chosen.item, page.chosen.back).title;
    path.replaceChildren(...[...parts, last].flatMap((part, i) => (i ? [" › ", part] : [part])));
  };

  const sidebar = byId("sidebar");
  page.showSidebar = (shown) => {
    sidebar.hidden = !shown;
    byId("modules").setAttribute("aria-pressed", String(shown));
    page.refreshTree();
  };
  byId("modules").addEventListener("click", () => page.showSidebar(sidebar.hidden));
}
