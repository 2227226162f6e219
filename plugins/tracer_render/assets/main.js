// Begin: what the address says, else all that is open at first.
{
  const first = page.data.overlays.findIndex(({ attribute }) => attribute === null);
  page.setOverlay(first);
  document.getElementById("subtitle").textContent = page.data.subtitles[page.now.time];
  page.readAddress();
  page.find();
  page.showStep();
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", () => page.update());
  document.documentElement.dataset.ready = "true";
}
