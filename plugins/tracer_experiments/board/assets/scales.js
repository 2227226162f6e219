// Axes: a scale takes a value to a place, evenly spaced on the screen, and back; and its ticks.
{
  const linear = { kind: "linear", to: (v) => v, from: (t) => t };
  const log = { kind: "log", to: (v) => (v > 0 ? Math.log10(v) : NaN), from: (t) => 10 ** t };
  // Linear about zero up to `unit`, logarithmic beyond.
  const symlog = (unit) => ({
    kind: "symlog",
    unit,
    to: (v) => Math.asinh(v / (2 * unit)) / Math.LN10,
    from: (t) => 2 * unit * Math.sinh(t * Math.LN10),
  });
  page.scale = (kind, unit = 1) => (kind === "log" ? log : kind === "symlog" ? symlog(unit) : linear);

  const nice = (span, count) => {
    const rough = span / Math.max(count, 1);
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].find((each) => each * power >= rough * 0.999) * power;
  };

  const linearTicks = (low, high, count) => {
    const step = nice(high - low, count);
    if (!(step > 0) || !Number.isFinite(step)) return [];
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9 && ticks.length < 50; k += 1)
      ticks.push({ value: Number((k * step).toPrecision(12)), text: null, step });
    return ticks;
  };

  const powers = (low, high, count) => {
    const [first, last] = [Math.ceil(low - 1e-9), Math.floor(high + 1e-9)];
    const stride = Math.max(1, Math.ceil((last - first + 1) / Math.max(count, 1)));
    const ticks = [];
    for (let power = first; power <= last; power += 1)
      if (power % stride === 0) ticks.push({ value: 10 ** power, power });
    return ticks;
  };

  // One, two and five of each power, where few powers are seen.
  const digits = (low, high) => {
    const ticks = [];
    for (let power = Math.floor(low); power <= high; power += 1)
      for (const digit of [1, 2, 5]) ticks.push({ value: Number(`${digit}e${power}`) });
    return ticks.filter(({ value }) => Math.log10(value) >= low && Math.log10(value) <= high);
  };

  const powerText = (power) => (power >= -2 && power <= 4 ? page.short(10 ** power) : `1e${power}`.replace("-", "−"));

  const DURATIONS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800];
  const timeTicks = (low, high, count) => {
    const step = DURATIONS.find((each) => (high - low) / each <= count);
    if (high - low < 4 || !step) return linearTicks(low, high, count).map((tick) => ({ ...tick, text: `${page.short(tick.value)} s` }));
    const ticks = [];
    for (let at = Math.ceil(low / step) * step; at <= high; at += step) {
      const [hours, minutes, seconds] = [Math.floor(at / 3600), Math.floor(at / 60) % 60, at % 60];
      const two = (number) => String(number).padStart(2, "0");
      const text = step >= 60 && high >= 3600 ? `${hours}:${two(minutes)} h` : high >= 60 ? `${Math.floor(at / 60)}:${two(seconds)}` : `${at} s`;
      ticks.push({ value: at, text });
    }
    return ticks;
  };

  // Zero, powers of ten from the largest, then fives and twos, as many as have room.
  const symlogTicks = (scale, low, high, count) => {
    const least = (high - low) / (count * 1.6);
    const largest = Math.ceil(Math.log10(Math.max(Math.abs(scale.from(low)), Math.abs(scale.from(high)), scale.unit)));
    const taken = [];
    const take = (value, power) => {
      const place = scale.to(value);
      if (place < low || place > high || taken.some((tick) => Math.abs(scale.to(tick.value) - place) < least)) return;
      taken.push({ value, power: power === null ? undefined : power, negative: value < 0 });
    };
    take(0, null);
    for (const digit of [1, 5, 2])
      for (let power = largest; power > largest - 12; power -= 1)
        for (const sign of [1, -1]) take(Number(`${sign * digit}e${power}`), digit === 1 ? power : null);
    return taken;
  };

  // Where ticks of an axis are, with their texts; `low` and `high` are places.
  page.ticks = (scale, low, high, count, inTime = false) => {
    let ticks;
    if (scale.kind === "linear") ticks = inTime ? timeTicks(low, high, count) : linearTicks(low, high, count);
    else if (scale.kind === "log") {
      ticks = high - low < 2.2 ? digits(low, high) : powers(low, high, count);
      if (ticks.length < 2) ticks = linearTicks(scale.from(low), scale.from(high), count).filter((tick) => tick.value > 0);
    } else ticks = symlogTicks(scale, low, high, count);
    const far = ticks.some((tick) => Math.abs(tick.value) >= 1e5);
    const plainText = (value) => {
      if (!far || Math.abs(value) >= 1e8) return page.short(value);
      return Math.abs(value) >= 1e6 ? `${page.short(value / 1e6)}M` : value ? `${page.short(value / 1e3)}k` : "0";
    };
    return ticks
      .map((tick) => ({
        place: scale.to(tick.value),
        text: tick.text ?? (tick.power === undefined ? plainText(tick.value) : `${tick.negative ? "−" : ""}${powerText(tick.power)}`),
      }))
      .filter(({ place }) => place >= low - 1e-9 && place <= high + 1e-9);
  };
}
