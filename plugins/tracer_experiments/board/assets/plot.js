// Curves with axes on a canvas. Curves are drawn into a layer, some at each frame, and the layer is
// laid under the axes; while it is dragged, only where it lies changes.
{
  const SLICE = 9; // milliseconds of drawing in a frame
  const MARGIN = { top: 8, right: 12, bottom: 22 };
  const font = "11px Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";

  class Plot {
    constructor(holder) {
      this.canvas = page.make("canvas", { "aria-hidden": "true" });
      holder.append(this.canvas);
      this.holder = holder;
      this.layer = null;
      this.job = 0;
      this.curves = [];
      this.hover = null;
      this.box = null;
      this.left = 48;
      this.compose = page.atFrame(() => this.composeNow());
    }

    // `x` and `y`: {scale, low, high}, ends as places; `spare`: how much is drawn beside what is
    // seen, in widths of it.
    set({ curves, x, y, lines = [], spare = 0, inTime = false }) {
      Object.assign(this, { curves, x, y, lines, spare, inTime });
      if (!this.measure()) return;
      this.begin();
      this.compose();
    }

    measure() {
      const { clientWidth: width, clientHeight: height } = this.holder;
      if (width < 40 || height < 40) return false;
      const ratio = Math.min(devicePixelRatio || 1, 2);
      if (this.width !== width || this.height !== height || this.ratio !== ratio) {
        Object.assign(this, { width, height, ratio });
        this.canvas.width = Math.round(width * ratio);
        this.canvas.height = Math.round(height * ratio);
      }
      const context = this.canvas.getContext("2d");
      context.font = font;
      this.yTicks = page.ticks(this.y.scale, this.y.low, this.y.high, Math.max(2, height / 34));
      const widest = Math.max(18, ...this.yTicks.map(({ text }) => context.measureText(text).width));
      this.left = Math.ceil(widest) + 12;
      return true;
    }

    get area() {
      const { top, right, bottom } = MARGIN;
      return { x: this.left, y: top, width: this.width - this.left - right, height: this.height - top - bottom };
    }

    // Pixels of places, and back.
    atX(place) {
      return this.area.x + ((place - this.x.low) / (this.x.high - this.x.low)) * this.area.width;
    }
    atY(place) {
      const { y, height } = this.area;
      return y + height - ((place - this.y.low) / (this.y.high - this.y.low)) * height;
    }
    placeX(pixel) {
      return this.x.low + ((pixel - this.area.x) / this.area.width) * (this.x.high - this.x.low);
    }
    placeY(pixel) {
      const { y, height } = this.area;
      return this.y.low + ((y + height - pixel) / height) * (this.y.high - this.y.low);
    }

    // A new layer, which replaces the old one when it is complete, or at once where there is none.
    begin() {
      const job = (this.job += 1);
      const { width, height } = this.area;
      if (width < 4 || height < 4) return;
      const reach = (this.x.high - this.x.low) * this.spare;
      const pixels = Math.min(width * (1 + 2 * this.spare) * this.ratio, 8000);
      const layer = {
        canvas: page.make("canvas", { width: Math.round(pixels), height: Math.round(height * this.ratio) }),
        x: [this.x.low - reach, this.x.high + reach],
        y: [this.y.low, this.y.high],
      };
      const { curves } = this;
      const drawCurve = this.drawing(layer);
      let drawn = 0;
      const slice = () => {
        if (job !== this.job) return;
        const end = performance.now() + SLICE;
        while (drawn < curves.length && performance.now() < end) {
          drawCurve(curves[drawn]);
          drawn += 1;
        }
        const done = drawn === curves.length;
        if (done) this.layer = layer;
        this.building = done ? null : layer;
        this.compose();
        if (done) this.canvas.dataset.drawn = String(drawn);
        else requestAnimationFrame(slice);
      };
      slice();
    }

    // What draws a curve into a layer.
    drawing({ canvas, x, y }) {
      const context = canvas.getContext("2d");
      const many = this.curves.length;
      const scaleX = canvas.width / (x[1] - x[0]);
      const scaleY = canvas.height / (y[1] - y[0]);
      const px = (value) => (this.x.scale.to(value) - x[0]) * scaleX;
      const py = (value) => canvas.height - (this.y.scale.to(value) - y[0]) * scaleY;
      context.lineJoin = many > 100 ? "bevel" : "round";
      const wide = this.ratio * (many > 100 ? 1 : many > 20 ? 1.25 : 1.7);
      return (curve) => {
        const xs = Float64Array.from(curve.x, px);
        const strong = curve.smooth ?? curve.mean;
        context.strokeStyle = context.fillStyle = curve.colour;
        if (!curve.exact && many <= 40) {
          context.globalAlpha = curve.band === undefined ? 0.16 : 0.22;
          band(context, xs, curve.low, curve.high, py);
        }
        context.lineWidth = wide;
        context.setLineDash(curve.dashed ? [5 * this.ratio, 3 * this.ratio] : []);
        if (curve.smooth && many <= 40) {
          context.globalAlpha = 0.28;
          line(context, xs, curve.mean, py);
        }
        context.globalAlpha = curve.faint ? 0.18 : many > 200 ? 0.45 : many > 40 ? 0.7 : 1;
        line(context, xs, strong, py);
        if (curve.marks) {
          context.globalAlpha = 1;
          marks(context, xs, curve.marks, canvas.height, this.ratio);
        }
      };
    }

    composeNow() {
      if (!this.width) return;
      const context = this.canvas.getContext("2d");
      const { area, ratio } = this;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
      context.font = font;
      this.drawAxes(context);
      context.save();
      context.beginPath();
      context.rect(area.x, area.y - 1, area.width + 1, area.height + 2);
      context.clip();
      for (const layer of [this.layer, this.layer ? null : this.building]) {
        if (!layer) continue;
        const [left, right] = layer.x.map((each) => this.atX(each));
        const [bottom, top] = layer.y.map((each) => this.atY(each));
        context.drawImage(layer.canvas, left, top, right - left, bottom - top);
      }
      this.drawLines(context);
      if (this.box) {
        context.fillStyle = context.strokeStyle = page.ink("accent");
        context.globalAlpha = 0.14;
        context.fillRect(this.box.x, this.box.y, this.box.width, this.box.height);
        context.globalAlpha = 1;
        context.lineWidth = 1;
        context.strokeRect(this.box.x, this.box.y, this.box.width, this.box.height);
      }
      context.restore();
      if (this.hover) this.drawHover(context);
    }

    drawAxes(context) {
      const { area } = this;
      context.lineWidth = 1;
      context.strokeStyle = page.ink("grid");
      context.fillStyle = page.ink("faint");
      context.textBaseline = "middle";
      context.textAlign = "right";
      context.beginPath();
      const yTicks = page.ticks(this.y.scale, this.y.low, this.y.high, Math.max(2, this.height / 34));
      for (const { place, text } of yTicks) {
        const y = Math.round(this.atY(place)) + 0.5;
        context.moveTo(area.x, y);
        context.lineTo(area.x + area.width, y);
        context.fillText(text, area.x - 7, y);
      }
      context.textBaseline = "alphabetic";
      context.textAlign = "center";
      let free = 0;
      for (const { place, text } of page.ticks(this.x.scale, this.x.low, this.x.high, Math.max(2, area.width / 58), this.inTime)) {
        const x = Math.round(this.atX(place)) + 0.5;
        context.moveTo(x, area.y);
        context.lineTo(x, area.y + area.height);
        const half = context.measureText(text).width / 2;
        const middle = Math.min(Math.max(x, half), this.width - half - 2);
        if (middle - half < free) continue;
        free = middle + half + 8;
        context.fillText(text, middle, this.height - 6);
      }
      context.stroke();
      context.strokeStyle = page.ink("line");
      context.beginPath();
      context.moveTo(area.x, area.y + area.height + 0.5);
      context.lineTo(area.x + area.width, area.y + area.height + 0.5);
      context.stroke();
    }

    // Values to compare with, each with its word.
    drawLines(context) {
      const { area } = this;
      context.textAlign = "right";
      const words = []; // where words stand, so that none is over another
      for (const [value, word] of this.lines) {
        const place = this.y.scale.to(value);
        if (!(place >= this.y.low && place <= this.y.high)) continue;
        const y = Math.round(this.atY(place)) + 0.5;
        context.strokeStyle = context.fillStyle = page.ink("faint");
        context.setLineDash([4, 3]);
        context.beginPath();
        context.moveTo(area.x, y);
        context.lineTo(area.x + area.width, y);
        context.stroke();
        context.setLineDash([]);
        context.font = `italic ${font}`;
        const foot = y - area.y > 16 ? y - 4 : y + 12;
        const near = words.filter((other) => Math.abs(other.foot - foot) < 12);
        const right = Math.min(area.x + area.width - 4, ...near.map(({ left }) => left - 12));
        words.push({ foot, left: right - context.measureText(word).width });
        context.lineWidth = 3;
        context.globalAlpha = 0.6; // what a word stands on is seen through
        context.strokeStyle = page.ink("paper");
        context.strokeText(word, right, foot);
        context.globalAlpha = 1;
        context.fillText(word, right, foot);
        context.lineWidth = 1;
        context.font = font;
      }
    }

    drawHover(context) {
      const { area } = this;
      const x = this.atX(this.hover.place);
      if (!(x >= area.x && x <= area.x + area.width)) return;
      context.strokeStyle = page.ink("faint");
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(Math.round(x) + 0.5, area.y);
      context.lineTo(Math.round(x) + 0.5, area.y + area.height);
      context.stroke();
      for (const { curve, at, near } of this.hover.points ?? []) {
        const [px, py] = [this.atX(this.x.scale.to(curve.x[at])), this.atY(this.y.scale.to((curve.smooth ?? curve.mean)[at]))];
        if (!(py >= area.y - 2 && py <= area.y + area.height + 2)) continue;
        context.beginPath();
        context.arc(px, py, near ? 4.5 : 3, 0, 7);
        context.fillStyle = curve.colour;
        context.fill();
        context.lineWidth = 1.5;
        context.strokeStyle = page.ink("paper");
        context.stroke();
      }
    }
  }

  // A line, with gaps where there is no value; a value between two gaps is a dot.
  const line = (context, xs, values, py) => {
    context.beginPath();
    let down = 0;
    for (let at = 0; at < xs.length; at += 1) {
      const y = py(values[at]);
      if (Number.isNaN(y) || Number.isNaN(xs[at])) {
        if (down === 1) context.lineTo(xs[at - 1] + 0.8, py(values[at - 1]));
        down = 0;
      } else if (down) {
        context.lineTo(xs[at], y);
        down += 1;
      } else {
        context.moveTo(xs[at], y);
        down = 1;
      }
    }
    if (down === 1) context.lineTo(xs.at(-1) + 0.8, py(values.at(-1)));
    context.stroke();
  };

  const band = (context, xs, low, high, py) => {
    let first = 0;
    const fill = (end) => {
      if (end - first > 1) {
        context.beginPath();
        for (let at = first; at < end; at += 1) context.lineTo(xs[at], py(high[at]));
        for (let at = end - 1; at >= first; at -= 1) context.lineTo(xs[at], py(low[at]));
        context.fill();
      }
      first = end + 1;
    };
    for (let at = 0; at < xs.length; at += 1)
      if (Number.isNaN(py(low[at])) || Number.isNaN(py(high[at])) || Number.isNaN(xs[at])) fill(at);
    fill(xs.length);
  };

  // What is not finite: a cross at the foot for NaN, a triangle at the edge that infinity is beyond.
  const marks = (context, xs, held, height, ratio) => {
    const size = 3.2 * ratio;
    context.lineWidth = 1.6 * ratio;
    for (let at = 0; at < xs.length; at += 1) {
      const [x, mark] = [xs[at], held[at]];
      if (!mark) continue;
      context.beginPath();
      if (mark & 1) {
        const y = height - size * 1.8;
        context.moveTo(x - size, y - size);
        context.lineTo(x + size, y + size);
        context.moveTo(x + size, y - size);
        context.lineTo(x - size, y + size);
        context.stroke();
      }
      for (const [bit, tip, foot] of [[2, 1, size * 2], [4, height - 1, height - size * 2]]) {
        if (!(mark & bit)) continue;
        context.beginPath();
        context.moveTo(x, tip);
        context.lineTo(x - size, foot);
        context.lineTo(x + size, foot);
        context.fill();
      }
    }
  };

  page.Plot = Plot;
}
