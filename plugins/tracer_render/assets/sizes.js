// How large boxes, frames and what is between them are, from their texts. Coordinates are in pixels
// at zoom 1.
page.GAP = { rank: 26, node: 22, leaf: 12, leaves: 5, port: 9, halves: 48 };
// Of the title of a frame, from where it has room: its sign, and what is free on both sides.
page.TITLE = { sign: 18, margin: 5 };
page.FRAME = { top: 30, side: 12, bottom: 18, port: 12 };
{
  const SIZES = { title: 12, note: 9, line: 1.25, fixed: 0.605 };

  const pen = document.createElement("canvas").getContext("2d");
  const FONT = 'Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif';
  const widths = new Map();
  const widthOf = (text, size, bold) => {
    const key = `${size}${bold ? "b" : ""}${text}`;
    if (!widths.has(key)) {
      pen.font = `${bold ? "600 " : ""}${size}px ${FONT}`;
      widths.set(key, pen.measureText(text).width);
    }
    return widths.get(key);
  };

  const sizeOfTexts = (told, closes) => {
    const [notes, rows] = [told.notes ?? [], told.rows ?? []];
    const wide = Math.max(
      widthOf(told.title, SIZES.title, true),
      ...notes.map((note) => widthOf(note, SIZES.note, false)),
      ...rows.map((row) => SIZES.fixed * SIZES.note * row.length),
    );
    const lines = SIZES.title + SIZES.note * (notes.length + rows.length);
    const room = (told.kind === "input" ? 16 : 0) + (closes ? 22 : 0);
    return {
      width: Math.max(wide + 18 + room, 34),
      height: lines * SIZES.line + 12 + (told.kind === "parameter" ? 8 : 0),
    };
  };

  // A box is as large as its value's and its cotangent's texts need.
  const sizeOf = (view, item) => {
    const own = sizeOfTexts(page.told(view, item, false), item < 0);
    const back = page.told(view, item, true);
    const other = back ? sizeOfTexts(back, item < 0) : own;
    return { width: Math.max(own.width, other.width), height: Math.max(own.height, other.height) };
  };

  page.sizeOf = sizeOf;
  page.noteWidth = (text) => widthOf(text, SIZES.note, false);
}
