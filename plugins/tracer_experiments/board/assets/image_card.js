// Images of a run, with a slider through their steps.
{
  page.imageCard = ({ key, names, runs, title, chart }) => {
    const [name] = names;
    const card = page.frame({ key, names, runs }, { title, name, unit: "", about: chart.about, kind: "image" });
    const picture = page.make("img", { alt: "", draggable: "false" });
    card.place.append(picture);
    let at = null;
    const stepper = page.stepper(`Step of ${title}`, (place) => {
      at = place;
      card.draw();
    });
    card.element.append(stepper.element);
    const theRun = page.oneRun(card, runs, (run) => run.series.get(name)?.count);
    const steps = page.asking(card, (run, of) => page.source.imageSteps(run, of));

    card.draw = () => {
      card.element.classList.toggle("large", page.state.large === key);
      const run = theRun();
      picture.hidden = !run;
      if (!run) {
        page.noted(card, "Not in the runs that are shown");
        return;
      }
      const { value, error } = steps(run.id, name, run.series.get(name).count);
      page.noted(card, error);
      if (!value?.length) return;
      const place = at === null || at >= value.length ? value.length - 1 : at;
      stepper.place(value, place);
      const address = page.source.image(run.id, name, value[place]);
      if (picture.getAttribute("src") !== address) picture.src = address;
      picture.alt = `${title} of ${page.nameOf(run)} at step ${value[place]}`;
    };
    return card;
  };
}
