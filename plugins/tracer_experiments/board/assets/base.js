// What all scripts share: `page`, and how elements are made. Text is never read as HTML.
const page = { data: JSON.parse(document.getElementById("data").textContent) };
{
  page.byId = (id) => document.getElementById(id);

  // An element with attributes (`text`, and `on` with listeners, too) and children.
  page.make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "text") element.textContent = value;
      else if (name === "on")
        for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
      else if (name === "value" || name === "checked" || name === "hidden") element[name] = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };

  // Set text only where it differs, so that what is selected or read aloud stays.
  page.say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  // A drop-down list: `choices` are [value, text]; the chosen one stays if it is still there.
  page.choices = (select, choices, chosen) => {
    const key = JSON.stringify(choices);
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      select.replaceChildren(...choices.map(([value, text]) => page.make("option", { value, text })));
    }
    select.value = String(chosen);
  };

  // The function, called once at the next frame however often it is asked for.
  page.atFrame = (action) => {
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      const run = () => {
        if (!waiting) return;
        waiting = false;
        action();
      };
      requestAnimationFrame(run);
      setTimeout(run, 250); // a page that is not seen has no frames
    };
  };

  page.after = (milliseconds, action) => {
    let timer = 0;
    return (...what) => {
      clearTimeout(timer);
      timer = setTimeout(() => action(...what), milliseconds);
    };
  };

  page.isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.classList.contains("light")
      && matchMedia("(prefers-color-scheme: dark)").matches);

  let inks = null;
  // The colours of the style sheet, for what is drawn on canvas.
  page.ink = (name) => {
    if (!inks) {
      const style = getComputedStyle(document.documentElement);
      const names = ["paper", "text", "faint", "line", "raised", "accent", "grid"];
      inks = Object.fromEntries(names.map((each) => [each, style.getPropertyValue(`--${each}`).trim()]));
      inks.dark = page.isDark();
    }
    return inks[name];
  };
  page.forgetInks = () => {
    inks = null;
  };
}
