// Colours of runs, the same for a run whatever else is shown, and of heat maps.
{
  const LIGHT = ["#2f6fb7", "#d9580d", "#2b8a3e", "#a33ea1", "#c92a4b", "#0b8793", "#a9760c", "#5b49c7", "#5f7a10", "#8a4b2a"];
  const DARK = ["#74a9e6", "#ff9c54", "#69c77b", "#db8fd9", "#ff7d93", "#4fc6cf", "#e2b64a", "#a798ff", "#b5cc5a", "#cf9877"];

  page.colour = (number) => {
    const dark = page.ink("dark");
    const place = (((number - 1) % 1e6) + 1e6) % 1e6;
    if (place < LIGHT.length) return (dark ? DARK : LIGHT)[place];
    // further ones go round the circle by the golden angle, which never comes back
    const hue = Math.round((place * 137.508) % 360);
    const [strong, bright] = [[62, 44], [48, 50], [72, 38]][place % 3];
    return `hsl(${hue} ${strong}% ${dark ? bright + 22 : bright}%)`;
  };

  const stops = (texts) => texts.map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
  const RAMPS = {
    light: stops(["#ffffff", "#d7e6f5", "#8fbbe0", "#3f86c6", "#1c5298", "#0a2656"]),
    dark: stops(["#161b23", "#1d3350", "#2a5c93", "#4b92cf", "#9cc9ee", "#f2f9ff"]),
  };

  // A table of 256 colours from nothing to most, as [red, green, blue].
  page.ramp = () => {
    const held = RAMPS[page.ink("dark") ? "dark" : "light"];
    return Array.from({ length: 256 }, (_, at) => {
      const place = (at / 255) * (held.length - 1);
      const [first, share] = [Math.min(Math.floor(place), held.length - 2), place % 1 || (at === 255 ? 1 : 0)];
      return [0, 1, 2].map((part) => Math.round(held[first][part] * (1 - share) + held[first + 1][part] * share));
    });
  };
}
