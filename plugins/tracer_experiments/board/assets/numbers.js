// Numbers, durations and dates as text.
{
  const WORDS = { NaN: "NaN", Infinity: "∞", "-Infinity": "−∞" };

  page.short = (value, digits = 4) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "string") return WORDS[value] ?? value;
    if (Number.isNaN(value)) return "NaN";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    const size = Math.abs(value);
    let text;
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
      const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
      text = `${Number(mantissa)}e${Number(exponent)}`;
    } else text = String(Number(value.toPrecision(Math.max(digits, size >= 1000 ? 7 : digits))));
    return text.replaceAll("-", "−");
  };

  page.duration = (seconds) => {
    if (!(seconds >= 0)) return "";
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    if (seconds < 60) return `${Math.round(seconds)} s`;
    const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
    const two = (number) => String(number).padStart(2, "0");
    if (hours < 1) return `${minutes}:${two(Math.floor(seconds % 60))} min`;
    if (days < 1) return `${hours}:${two(minutes % 60)} h`;
    return `${days} d ${hours % 24} h`;
  };

  page.date = (seconds) => {
    const at = new Date(seconds * 1000);
    const two = (number) => String(number).padStart(2, "0");
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
  };

  // A value of a configuration: as short as it can be, whatever it is.
  page.told = (value) => {
    if (typeof value === "number") return page.short(value, 6);
    if (value === null || value === undefined) return value === null ? "none" : "";
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  };

  // The dictionary with dotted keys: {a: {b: 1}} is {"a.b": 1}.
  page.flat = (held, before = "", into = {}) => {
    for (const [key, value] of Object.entries(held)) {
      if (value && typeof value === "object" && !Array.isArray(value)) page.flat(value, `${before}${key}.`, into);
      else into[before + key] = value;
    }
    return into;
  };
}
