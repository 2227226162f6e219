// The graph of a run as a picture, coloured by what was logged for each layer, at any step.
{
  page.model = (host) => {
    const menu = page.runMenu("Run whose model is shown", (id) => page.changed({ focus: id }));
    const overlays = page.make("select", { "aria-label": "Laid over the picture", on: { change: () => page.changed({ overlay: overlays.value, step: -1 }) } });
    const stepper = page.stepper("Step of the overlay", (place) => page.changed({ step: steps[place] }));
    const whole = page.make("button", { text: "Look inside", title: "The page of the graph, whose modules open", "aria-pressed": "false", hidden: !page.isLive });
    const picture = page.make("img", { alt: "The graph of the model", hidden: true, draggable: "false" });
    const stage = page.make("div", { class: "picture", tabindex: "0", role: "region", "aria-label": "Picture of the model" }, picture);
    const note = page.make("p", { class: "note", hidden: true });
    const layers = page.make("ol", { class: "layers", "aria-label": "Values by layer" });
    host.append(page.make("div", { class: "heading" }, menu.select, overlays, stepper.element, whole), note, page.make("div", { class: "model" }, stage, layers));
    let steps = [];
    let inside = null;
    let [asked, drawn] = ["", ""];
    let told = null;

    const say = (text) => {
      page.say(note, text);
      note.hidden = !text;
    };
    whole.addEventListener("click", () => {
      const open = inside === null;
      if (inside) inside.remove();
      inside = open ? page.make("iframe", { class: "inside", sandbox: "allow-scripts", title: "The graph of the model" }) : null;
      if (inside) stage.append(inside);
      whole.setAttribute("aria-pressed", String(open));
      drawn = "";
      page.changed();
    });

    const stepsOf = (run, overlay, parameters) => {
      const count = Math.max(0, ...parameters.map((each) => run.series.get(`${overlay}/${each}`)?.step ?? 0));
      const places = 50;
      if (count <= places) return Array.from({ length: count + 1 }, (_, at) => at);
      return Array.from({ length: places + 1 }, (_, at) => Math.round((at * count) / places));
    };

    const showLayers = async (run, overlay, step, key) => {
      if (!overlay) {
        layers.replaceChildren();
        return;
      }
      const values = await page.source.layers(run.id, overlay, step);
      if (key !== drawn) return;
      const sizes = Object.values(values).map((value) => Math.abs(value)).filter((size) => size > 0 && Number.isFinite(size));
      const [low, high] = [Math.log10(Math.min(...sizes)), Math.log10(Math.max(...sizes))];
      layers.replaceChildren(...Object.entries(values).map(([name, value]) => {
        const bar = page.make("i", {});
        const place = Math.log10(Math.abs(value));
        bar.style.width = Number.isFinite(place) ? `${8 + (92 * (place - low)) / (high - low || 1)}%` : "0";
        return page.make("li", {}, page.make("span", { class: "name", text: name, title: name }), page.make("span", { class: "bar" }, bar), page.make("span", { class: "number", text: page.short(value) }));
      }));
    };

    const draw = page.after(120, async (run, overlay, step) => {
      const key = `${run.id}|${overlay}|${step}|${page.ink("dark")}|${Boolean(inside)}`;
      if (key === drawn) return;
      drawn = key;
      stage.classList.add("waiting");
      try {
        const work = [showLayers(run, overlay, step, key)];
        if (inside) inside.src = page.source.graphPage(run.id, overlay || null, overlay ? step : null);
        else {
          const address = await page.source.picture(run.id, overlay || null, overlay ? step : null);
          if (key !== drawn) return;
          if (picture.src) URL.revokeObjectURL(picture.src);
          picture.src = address;
        }
        picture.hidden = Boolean(inside);
        await Promise.all(work);
        say("");
      } catch (error) {
        picture.hidden = true;
        if (key === drawn) say(error.message);
      }
      stage.classList.remove("waiting");
    });

    const ask = async (run) => {
      const graph = [...run.series.values()].find(({ kind }) => kind === "graph");
      const key = `${run.id}|${graph?.count}|${run.series.size}`;
      if (key === asked) return;
      asked = key;
      told = null;
      if (!graph) return;
      try {
        told = await page.source.graph(run.id);
      } catch (error) {
        say(error.message);
      }
      page.changed();
    };

    return () => {
      const run = page.focused();
      menu.fill(run);
      const has = run && [...run.series.values()].some(({ kind }) => kind === "graph");
      for (const element of [overlays, stepper.element, stage, layers]) element.hidden = !has;
      whole.hidden = !has || !page.isLive;
      if (!has) {
        say(run ? `${page.nameOf(run)} has no graph: run.graph(tape) records it.` : "No run is shown");
        return { number: 0 };
      }
      if (note.textContent.includes("has no graph")) say("");
      ask(run);
      if (!told) return { number: 1 };
      const names = Object.keys(told.overlays);
      const overlay = names.includes(page.state.overlay) ? page.state.overlay : page.state.overlay === "none" ? "" : names[0] ?? "";
      page.choices(overlays, [["none", "no values"], ...names.map((name) => [name, page.charts[name]?.title || name])], overlay || "none");
      overlays.disabled = !names.length;
      steps = told.steps?.[overlay] ?? (overlay ? stepsOf(run, overlay, told.overlays[overlay]) : []);
      stepper.element.hidden = !overlay;
      layers.hidden = !overlay;
      const { step } = page.state;
      const at = step < 0 ? steps.length - 1 : steps.reduce((best, each, place) => (Math.abs(each - step) < Math.abs(steps[best] - step) ? place : best), 0);
      if (overlay) stepper.place(steps, at);
      draw(run, overlay, overlay ? steps[at] : 0);
      return { number: 1 };
    };
  };
}
