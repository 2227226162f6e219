// The filter of runs: words that are found anywhere, and comparisons as in lr<0.1 or status=failed.
{
  const COMPARISON = /^([^<>=!~]+)(<=|>=|!=|=|<|>|~)(.*)$/;
  const OWN = { id: 1, name: 1, group: 1, status: 1, seed: 1, error: 1 };
  const NAMED = 12;

  page.valueOf = (run, key) => {
    if (key in run.flat) return run.flat[key];
    if (key in OWN) return run[key];
    if (key === "duration") return page.runTime(run);
    if (key === "begun") return run.begun;
    return run.series.get(key)?.last ?? undefined;
  };

  const words = (text) => [...text.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)].map(([word]) => word.replaceAll('"', ""));

  const compared = (value, sign, wanted) => {
    if (value === undefined) return sign === "!=";
    const [a, b] = [Number(value), Number(wanted)];
    const numeric = wanted !== "" && typeof value !== "boolean" && value !== null && !Number.isNaN(a) && !Number.isNaN(b);
    const [x, y] = numeric ? [a, b] : [page.told(value).toLowerCase(), wanted.toLowerCase()];
    if (sign === "~") return page.told(value).toLowerCase().includes(wanted.toLowerCase());
    if (sign === "=") return x === y;
    if (sign === "!=") return x !== y;
    if (sign === "<") return x < y;
    if (sign === ">") return x > y;
    return sign === "<=" ? x <= y : x >= y;
  };

  const text = (run) => {
    run.text ??= [run.name, run.group, run.status, ...Object.entries(run.flat).map(([key, value]) => `${key}=${page.told(value)}`)]
      .join("\n").toLowerCase();
    return run.text;
  };

  // What to say of names in comparisons that no run has; "" where there are none.
  page.unknownNames = (runs, filter) => {
    const asked = words(filter).map((word) => COMPARISON.exec(word)?.[1]).filter(Boolean);
    const unknown = [...new Set(asked)].filter((key) => !(key in OWN) && !runs.some((run) => page.valueOf(run, key) !== undefined));
    if (!unknown.length || !runs.length) return "";
    const parts = new Set(Object.keys(OWN));
    for (const run of runs) for (const key of Object.keys(run.flat)) parts.add(key);
    for (const { name, kind } of page.series) if (kind === "number" && !name.includes("/")) parts.add(name);
    for (const key of ["begun", "duration"]) parts.add(key);
    // those that begin alike come first
    const alike = (name) => unknown.some((key) => name.toLowerCase().startsWith(key.slice(0, 2).toLowerCase()));
    const known = [...parts].sort((a, b) => alike(b) - alike(a));
    const rest = known.length > NAMED ? `, and ${known.length - NAMED} more` : "";
    return `No run has ${unknown.map((key) => `"${key}"`).join(", ")}: there are ${known.slice(0, NAMED).join(", ")}${rest}`;
  };

  page.filtered = (runs, filter) => {
    const tests = words(filter).map((word) => {
      const [, key, sign, wanted] = COMPARISON.exec(word) ?? [];
      if (key && (sign !== "=" || runs.some((run) => page.valueOf(run, key) !== undefined)))
        return (run) => compared(page.valueOf(run, key), sign, wanted);
      return (run) => text(run).includes(word.toLowerCase());
    });
    return runs.filter((run) => tests.every((test) => test(run)));
  };
}
