// Colours of runs, the same for a run whatever else is shown, and of heat maps.
{
  // Twelve that differ on paper and in the dark, in lightness, too: for who sees no green, as well. The
  // first are the farthest from each other.
  const LIGHT = ["#013cb5", "#f86200", "#5a5000", "#d565a5", "#00866b", "#5495de", "#605998", "#004c5b", "#9a4ad6", "#a44600", "#961a5b", "#948329"];
  const DARK = ["#71a1fd", "#c65112", "#f0e283", "#e178b3", "#2cdeb5", "#4e7db3", "#8164f7", "#a5edff", "#d7afff", "#ff8643", "#d02d81", "#a29761"];

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
