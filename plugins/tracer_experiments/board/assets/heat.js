// Heat maps and bars on a canvas.
{
  const font = "11px Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";
  const MARGIN = { top: 8, right: 12, bottom: 22 };

  page.surface = (holder) => {
    const canvas = page.make("canvas", { "aria-hidden": "true" });
    holder.append(canvas);
    return canvas;
  };

  // Make the canvas as large as its holder; its context in pixels of the page, or null.
  const prepared = (canvas) => {
    const { clientWidth: width, clientHeight: height } = canvas.parentElement;
    if (width < 40 || height < 40) return null;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = font;
    return { context, width, height };
  };

  const image = (columns, rows, share) => {
    const made = page.make("canvas", { width: columns, height: rows });
    const context = made.getContext("2d");
    const data = context.createImageData(columns, rows);
    const ramp = page.ramp();
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const value = share(column, row);
        const at = 4 * ((rows - 1 - row) * columns + column);
        if (Number.isNaN(value)) continue;
        const [red, green, blue] = ramp[Math.round(255 * Math.min(Math.max(value, 0), 1))];
        data.data.set([red, green, blue, 255], at);
      }
    }
    context.putImageData(data, 0, 0);
    return made;
  };

  const axes = (context, area, x, y, names) => {
    context.fillStyle = page.ink("faint");
    context.textBaseline = "middle";
    context.textAlign = "right";
    if (names) {
      const height = area.height / names.length;
      const stride = Math.max(1, Math.ceil(13 / height));
      names.forEach((name, at) => {
        if (at % stride) return;
        let text = name;
        while (text.length > 3 && context.measureText(text).width > area.x - 12) text = `…${text.slice(2)}`;
        context.fillText(text, area.x - 6, area.y + area.height - (at + 0.5) * height);
      });
    } else {
      for (const { place, text } of page.ticks(y.scale, y.low, y.high, Math.max(2, area.height / 36)))
        context.fillText(text, area.x - 6, area.y + area.height - ((place - y.low) / (y.high - y.low)) * area.height);
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (const { place, text } of page.ticks(x.scale, x.low, x.high, Math.max(2, area.width / 62))) {
      const at = area.x + ((place - x.low) / (x.high - x.low)) * area.width;
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(Math.max(at, half), area.x + area.width - half + 8), area.y + area.height + 16);
    }
    context.strokeStyle = page.ink("line");
    context.lineWidth = 1;
    context.strokeRect(area.x - 0.5, area.y - 0.5, area.width + 1, area.height + 1);
  };

  const areaOf = (width, height, left) => ({
    x: left, y: MARGIN.top, width: width - left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom,
  });

  // Columns over `steps`, rows over `edges` (or `names`), coloured by `share(column, row)` in [0, 1].
  // `marked` is the column of a step that is looked at.
  page.drawHeat = (canvas, { steps, edges, names, share, marked }) => {
    const made = prepared(canvas);
    if (!made) return null;
    const { context, width, height } = made;
    const linear = page.scale("linear");
    const rows = names ? names.length : edges.length - 1;
    const wanted = names ? Math.min(width * 0.3, Math.max(...names.map((name) => context.measureText(name).width)) + 14) : 52;
    const area = areaOf(width, height, Math.max(52, wanted));
    const [first, last] = [steps[0], steps.at(-1)];
    const step = steps.length > 1 ? (last - first) / (steps.length - 1) : 1;
    const x = { scale: linear, low: first - step / 2, high: last + step / 2 };
    const y = names ? null : { scale: linear, low: edges[0], high: edges.at(-1) };
    context.imageSmoothingEnabled = false;
    context.drawImage(image(steps.length, rows, share), area.x, area.y, area.width, area.height);
    axes(context, area, x, y, names);
    if (marked !== undefined && marked !== null) {
      const at = area.x + ((steps[marked] - x.low) / (x.high - x.low)) * area.width;
      context.strokeStyle = page.ink("accent");
      context.lineWidth = 1.5;
      context.beginPath();
      context.moveTo(at, area.y);
      context.lineTo(at, area.y + area.height);
      context.stroke();
    }
    return { area, columnAt: (px) => Math.round(((px - area.x) / area.width) * (steps.length - 1)), rowAt: (py) => Math.floor(((area.y + area.height - py) / area.height) * rows) };
  };

  // One histogram as bars.
  page.drawBars = (canvas, { counts, edges, colour, log }) => {
    const made = prepared(canvas);
    if (!made) return;
    const { context, width, height } = made;
    const area = areaOf(width, height, 52);
    const linear = page.scale("linear");
    const most = Math.max(...counts) || 1;
    const x = { scale: linear, low: edges[0], high: edges.at(-1) };
    const scale = log ? page.scale("symlog", 1) : linear;
    const y = { scale, low: 0, high: scale.to(most) * 1.05 };
    context.fillStyle = colour;
    counts.forEach((count, at) => {
      const [left, right] = [edges[at], edges[at + 1]].map((edge) => area.x + ((edge - x.low) / (x.high - x.low)) * area.width);
      const tall = (scale.to(count) / y.high) * area.height;
      context.fillRect(left, area.y + area.height - tall, Math.max(right - left - (right - left > 4 ? 1 : 0), 0.5), tall);
    });
    axes(context, area, x, y);
  };

  // A histogram of pairs: counts [rows, columns], edges of both, on a logarithmic ramp.
  page.drawPairs = (canvas, { counts, edges }) => {
    const made = prepared(canvas);
    if (!made) return;
    const { context, width, height } = made;
    const area = areaOf(width, height, 52);
    const linear = page.scale("linear");
    const most = Math.log1p(Math.max(...counts.map((row) => Math.max(...row)))) || 1;
    context.imageSmoothingEnabled = false;
    context.drawImage(image(counts[0].length, counts.length, (column, row) => Math.log1p(counts[row][column]) / most), area.x, area.y, area.width, area.height);
    axes(context, area, { scale: linear, low: edges[1][0], high: edges[1].at(-1) }, { scale: linear, low: edges[0][0], high: edges[0].at(-1) });
  };
}
