"use strict";
// What the page holds, and what is open of it. A view is one graph: there are two where a trace is
// shown unrolled and folded in time. Its boxes are numbered in the order of the outline, so that
// those of a group are in a row. An item is a box, by its number, or a group `g`, as `~g`.
const page = { data: JSON.parse(document.getElementById("data").textContent) };

{
  const TYPES = {
    int8: Int8Array, int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array,
    float32: Float32Array, float64: Float64Array,
  };

  const decode = (text) => {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const decoded = atob(text);
    const bytes = new Uint8Array(decoded.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = decoded.charCodeAt(i);
    return bytes;
  };

  // Whole numbers, of what each differs by from the one so many places before.
  const summed = (differences, stride, exact) => {
    const column = new Int32Array(differences.length);
    const places = Object.keys(exact).map(Number).sort((a, b) => a - b);
    let next = 0;
    for (let i = 0; i < column.length; i++) {
      if (i === places[next]) column[i] = exact[places[next++]];
      else column[i] = differences[i] + (i < stride ? 0 : column[i - stride]);
    }
    return column;
  };

  // A column as `packing.py` wrote it; whole numbers are one more than they are, 0 for none.
  const unpack = ({ type, data, nan, exact, stride }) => {
    if (type === "same") return () => data - 1;
    const bytes = decode(data);
    let column;
    if (type === "bfloat16") {
      const halves = new Uint16Array(bytes.buffer);
      column = new Float32Array(Uint32Array.from(halves, (half) => half * 65536).buffer);
    } else column = new TYPES[type](bytes.buffer);
    if (stride) column = summed(column, stride, exact);
    if (!type.includes("float")) return (i) => column[i] - 1;
    const notNumbers = new Set(nan);
    return (i) => {
      if (i in exact) return exact[i];
      return Number.isNaN(column[i]) && !notNumbers.has(i) ? undefined : column[i];
    };
  };

  const withCommas = new Intl.NumberFormat("en");

  // The words by their places: those of a series are made of its text and numbers when asked for.
  const wordsOf = ({ words, series }) => {
    const found = [];
    let plain = 0;
    for (const { at, count } of series) {
      while (found.length < at) found.push(words[plain++]);
      found.length += count;
    }
    while (plain < words.length) found.push(words[plain++]);
    const runs = series.map((each) => ({ ...each, numbers: each.numbers.map(unpack) }));
    const made = (place) => {
      let [low, high] = [0, runs.length - 1];
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (runs[middle].at <= place) low = middle;
        else high = middle - 1;
      }
      const { at, text, numbers, commas } = runs[low];
      const parts = numbers.map((of, n) => {
        const number = of(place - at);
        return `${commas[n] ? withCommas.format(number) : number}${text[n + 1]}`;
      });
      return JSON.parse(text[0] + parts.join(""));
    };
    return (place) => (found[place] ??= made(place));
  };

  const TEXTS = ["title", "class", "notes", "rows", "marks", "kind", "module"];

  // What boxes or groups say, of values or of cotangents.
  class Side {
    constructor(columns, words, back) {
      const word = (column) => {
        const at = unpack(column);
        return (i) => (at(i) >= 0 ? words(at(i)) : undefined); // also of what is no box
      };
      const { prefix, others } = columns.id;
      const [number, copy] = [unpack(columns.id.number), unpack(columns.id.copy)];
      const stem = word(columns.id.stem);
      const sign = back ? "_" : "";
      const ofScope = (i) =>
        `${sign}module_${this.attribute(i, "scope").replace(/[^A-Za-z0-9_]/gu, "_")}`;
      this.back = back;
      this.id = (i) => {
        if (number(i) < 0) return null;
        const name = others[i] ?? (prefix ? `${prefix}${number(i)}` : stem(i) ?? ofScope(i));
        return copy(i) ? `${name}_${copy(i)}` : name;
      };
      for (const key of TEXTS) this[key] = word(columns[key]);
      const title = this.title;
      this.title = (i) =>
        title(i) ?? `${back ? "∇ " : ""}${this.attribute(i, "scope")}  ${this.class(i)}`;
      // Calls that are alike share their notes, where null stands for which of them it is.
      const notes = this.notes;
      const which = (i) => `call ${this.attribute(i, "number") + 1} of ${this.attribute(i, "count")}`;
      this.notes = (i) => {
        const found = notes(i);
        return found?.includes(null) ? found.map((note) => note ?? which(i)) : found;
      };
      this.value = columns.values ? unpack(columns.values) : () => undefined;
      this.attributes = new Map(
        Object.entries(columns.attributes).map(([key, column]) => [
          key,
          column.type.includes("float") ? unpack(column) : word(column),
        ]),
      );
    }

    has(i) {
      return this.id(i) !== null;
    }

    attribute(i, key) {
      return this.attributes.get(key)?.(i);
    }

    told(i) {
      if (!this.has(i)) return undefined;
      return Object.fromEntries(["id", ...TEXTS].map((key) => [key, this[key](i)]));
    }
  }

  // Attributes that a cotangent does not share with its value.
  const OWN = new Set(["norm", "min", "max", "nan", "inf", "reached", "seconds", "flops", "values"]);

  class View {
    constructor(time, held) {
      const words = wordsOf(held);
      this.time = time;
      this.values = new Side(held.boxes, words, false);
      this.cotangents = held.back && new Side(held.back, words, true);
      this.count = held.count;
      this.short = Object.values(held.boxes.attributes).some(({ type }) => type === "bfloat16");
      this.repeated = new Set(held.boxes.repeated);
      this.step = unpack(held.boxes.step);
      this.grouped = [
        new Side(held.groups.values, words, false),
        held.groups.back && new Side(held.groups.back, words, true),
      ];
      const [parent, begin, end] = ["parent", "begin", "end"].map((key) => unpack(held.groups[key]));
      const { count } = held.groups;
      this.groups = Array.from({ length: count }, (_, g) => ({
        parent: parent(g),
        begin: begin(g),
        end: end(g),
      }));
      this.initial = held.groups.open;
      this.open = new Set(this.initial);
      const [tail, head, flags, label, change] = ["tail", "head", "flags", "label", "change"].map(
        (key) => unpack(held.lines[key]),
      );
      this.lines = Array.from({ length: held.lines.count }, (_, i) => ({
        tail: tail(i),
        head: head(i),
        forward: Boolean(flags(i) & 1),
        back: Boolean(flags(i) & 2),
        delayed: Boolean(flags(i) & 4),
        spine: Boolean(flags(i) & 8),
        label: label(i) < 0 ? "" : words(label(i)),
        change: change(i) < 0 ? "" : words(change(i)),
      }));
      this.around = new Int32Array(this.count);
      this.depth = new Int32Array(this.groups.length);
      this.inner = this.groups.map(() => []);
      this.groups.forEach((group, g) => {
        this.around.fill(g, group.begin, group.end);
        if (g === 0) return;
        this.inner[group.parent].push(g);
        this.depth[g] = this.depth[group.parent] + 1;
      });
      this.shown = new Int32Array(this.count);
    }

    // By name, the items that have one.
    get ids() {
      if (this.named) return this.named;
      this.named = new Map();
      for (let i = 0; i < this.count; i++) this.name(i);
      for (let g = 1; g < this.groups.length; g++) this.name(~g);
      return this.named;
    }

    name(item) {
      for (const back of [false, true]) {
        const id = this.id(item, back);
        if (id !== undefined) this.named.set(id, { item, back });
      }
    }

    // What says something of an item, and its number there.
    side(item, back) {
      if (item < 0) return [this.grouped[Number(back)], ~item];
      return [back ? this.cotangents : this.values, item];
    }

    // What is told of an item, or of its cotangent where that is `back`; undefined without one.
    told(item, back) {
      const [side, i] = this.side(item, back);
      return side?.told(i);
    }

    id(item, back) {
      const [side, i] = this.side(item, back);
      return side?.id(i) ?? undefined;
    }

    // All attributes: the cotangent of a box has those of its value but for what it says itself.
    attributes(item, back) {
      const [own, i] = this.side(item, back);
      const kind = own.kind(i) === "elided" ? "several in one box" : own.kind(i);
      const found = { kind, class: own.class(i) };
      if (item >= 0 && back) {
        for (const [key, of] of this.values.attributes) if (!OWN.has(key)) found[key] = of(item);
        if (found.label) found.label = `∇ ${found.label}`;
      }
      for (const [key, of] of own.attributes) {
        const value = of(i);
        if (value !== undefined) found[key] = value;
      }
      return found;
    }

    // How many digits of a number are right.
    digits(key) {
      return this.short && (key === "min" || key === "max") ? 2 : 6;
    }

    range(item) {
      if (item >= 0) return [item, item + 1];
      const { begin, end } = this.groups[~item];
      return [begin, end];
    }

    // The group that an item is in.
    container(item) {
      return item < 0 ? this.groups[~item].parent : this.around[item];
    }

    // The groups around an item, the root first.
    chain(item) {
      const found = [];
      for (let g = this.container(item); g >= 0; g = g === 0 ? -1 : this.groups[g].parent) found.push(g);
      return found.reverse();
    }

    // Boxes and groups that are directly in a group, in order.
    children(g) {
      const { begin, end } = this.groups[g];
      const found = [];
      let at = begin;
      for (const inner of [...this.inner[g], null]) {
        const until = inner === null ? end : this.groups[inner].begin;
        for (; at < until; at++) found.push(at);
        if (inner !== null) {
          if (this.groups[inner].end > this.groups[inner].begin) found.push(~inner);
          at = this.groups[inner].end;
        }
      }
      return found;
    }

    // The steps of the outermost loop that an item spans; undefined outside of loops.
    span(item) {
      const [begin, end] = this.range(item);
      let [low, high] = [Infinity, -Infinity];
      for (let i = begin; i < end; i++) {
        const step = this.step(i);
        if (step < 0) return undefined;
        low = Math.min(low, step);
        high = Math.max(high, step);
      }
      return low <= high ? [low, high] : undefined;
    }

    // What is drawn of each box: itself, or the outermost closed group that it is in.
    resolve() {
      const visit = (g) => {
        for (const child of this.children(g)) {
          if (child >= 0) this.shown[child] = child;
          else if (this.open.has(~child)) visit(~child);
          else this.shown.fill(child, ...this.range(child));
        }
      };
      visit(0);
    }

    // The lines between what is drawn, those between the same two as one.
    visibleLines() {
      const found = new Map();
      const size = this.count + this.groups.length + 2;
      for (const line of this.lines) {
        const [tail, head] = [this.shown[line.tail], this.shown[line.head]];
        if (tail === head && !line.delayed) continue;
        const key = ((tail + this.groups.length + 1) * size + head + this.groups.length + 1) * 2 +
          (line.delayed ? 1 : 0);
        const known = found.get(key);
        if (known) {
          known.forward ||= line.forward;
          known.back ||= line.back;
          known.spine ||= line.spine;
          if (known.change !== line.change) known.change = "";
        } else found.set(key, { ...line, tail, head });
      }
      return [...found.values()];
    }

    // Open the groups around an item, so that it is drawn.
    reveal(item) {
      const closed = this.chain(item).filter((g) => !this.open.has(g));
      for (const g of closed) this.open.add(g);
      return closed.length > 0;
    }
  }

  page.views = new Map(
    Object.entries(page.data.views).map(([time, held]) => [time, new View(time, held)]),
  );
  page.now = page.views.get(document.getElementById("view").dataset.time);
}
