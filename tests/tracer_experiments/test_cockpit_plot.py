"""A run's instruments as a figure."""

import builtins
import io

import numpy as np
import pytest

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training
from tracer.errors import TracerError
from tracer_experiments.plots.cockpit import cockpit
from tracer_experiments.plots.curves import curves


@pytest.fixture
def recorder(tmp_path):
    with_folder = experiments.Recorder(tmp_path)
    yield with_folder
    with_folder.close()


@pytest.fixture
def run(recorder):
    """A training of a few steps with all instruments, and a series that is not finite."""
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    rng = np.random.default_rng(0)
    batches = [(rng.random((6, 4), np.float32), rng.integers(0, 3, 6)) for _ in range(5)]
    optimizer = training.SGD(model.named_parameters(), lr=0.1)
    every = experiments.Instruments("all").instruments
    instruments = experiments.Instruments([*every, "DeadUnits", "GGNDensity"], layers=True)
    run = recorder.run("$one$ <b>")
    training.fit(
        model,
        nn.cross_entropy,
        batches,
        optimizer=optimizer,
        epochs=1,
        recorder=run,
        instruments=instruments,
        progress=False,
    )
    run.describe("odd", experiments.Chart("Odd", scale="log", lines=((0, "zero"),)))
    for step, value in enumerate([1.0, np.nan, np.inf, 2.0]):
        run.log(step, odd=value)
    run.image("picture", np.zeros((4, 4)), 0)
    run.finish()
    return run


def test_every_instrument_has_its_panel(run):
    figure = cockpit(run)
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    titles = {axes.get_title(loc="left") for axes in figure.axes} - {""}
    described = {
        info.chart.title for name, info in run.names().items() if info.chart and "/" not in name
    }
    assert titles == described
    assert len(titles) >= 22


def test_named_series_have_panels_of_their_own(run):
    figure = cockpit(run, ["GradNorm/0.weight", "loss", "picture"])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert {"Gradient norm, 0.weight", "loss", "picture"} <= set(titles)
    with pytest.raises(TracerError, match="no series 'los'; there are"):
        cockpit(run, ["los"])


def test_a_run_without_instruments(recorder):
    run = recorder.run("plain")
    run.log(0, loss=1.0)
    with pytest.raises(TracerError, match=r"instruments\.describe\(run\)"):
        cockpit(run)


def test_a_few_far_values_do_not_flatten_the_others(recorder):
    run = recorder.run("a")
    marks = ((-1, "start"), (0, "minimum along it"), (1, "opposite wall"))
    run.describe("Alpha", experiments.Chart("Alpha", group="step", lines=marks))
    for step in range(200):
        run.log(step, Alpha=4000.0 if step == 60 else -200.0 if step == 7 else step % 3 - 1.0)
    run.finish()
    figure = cockpit(run)
    (axes,) = figure.axes
    assert axes.get_ylim() == (-3, 3)
    assert axes.get_title(loc="right") == "far values left out"
    figure.savefig(io.BytesIO(), format="png")
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()][-3:]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_without_matplotlib_the_error_says_what_to_install(run, monkeypatch):
    known = builtins.__import__

    def no_matplotlib(name, *args):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return known(name, *args)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(TracerError, match=r"pip install 'trace-net\[plot\]'"):
        cockpit(run)


def test_a_notebook_shows_the_figures_as_pictures(run):
    for figure in (cockpit(run), curves([run], "loss")):
        assert figure._repr_png_().startswith(b"\x89PNG")
