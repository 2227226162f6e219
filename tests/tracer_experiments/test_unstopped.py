"""What watches a training does not stop it, and `fit` keeps what a reader looks for."""

import warnings

import numpy as np
import pytest

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training
from tracer import registry
from tracer.errors import UndefinedWarning
from tracer.extend import Instrument
from tracer_experiments.instruments.presets import FULL


class Failing(Instrument):
    """One that raises at each step."""

    name = "test_failing"

    def measure(self, observation):
        return 1 / 0


def fitted(recorder, instruments=None, **options):
    """A training of two epochs of three batches each."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(4, 5, rng=rng), nn.Tanh(), nn.Linear(5, 3, rng=rng))
    data = training.ArrayDataset(rng.normal(size=(12, 4)), rng.integers(0, 3, 12))
    training.fit(
        model,
        nn.cross_entropy,
        data,
        optimizer=training.SGD(model.named_parameters(), lr=0.1),
        epochs=options.pop("epochs", 2),
        batch_size=options.pop("batch_size", 4),
        progress=options.pop("progress", False),
        recorder=recorder,
        instruments=instruments,
        **options,
    )


@pytest.fixture
def recorder(tmp_path):
    with experiments.Recorder(tmp_path) as recorder:
        yield recorder


def test_an_instrument_that_raises_is_told_once_and_the_others_go_on(recorder):
    instruments = experiments.Instruments([Failing, "GradNorm"])
    with pytest.warns(
        UndefinedWarning, match=r"test_failing .*ZeroDivisionError.*\.py:\d+"
    ) as told:
        fitted(recorder, instruments)
    assert len(told) == 1
    (run,) = recorder.runs()
    assert run.status == "finished"
    assert "test_failing" not in run.names()
    assert len(run.series("GradNorm")[0]) == 6


def test_what_does_not_merge_is_left_out_once_where_batches_are_accumulated(recorder):
    with pytest.warns(UndefinedWarning, match="'hessian' of several batches do not merge") as told:
        fitted(recorder, experiments.Instruments("full"), accumulate=2)
    assert len(told) == 1
    (run,) = recorder.runs()
    names = run.names()
    assert "HessMaxEV" not in names
    late = {"Alpha", "UpdateSize"}
    for name in {*FULL} - {"HessMaxEV"}:
        assert names[name].count == 4 - (name in late), name  # two steps in each of two epochs


def test_accumulated_batches_are_measured_as_one_large_one(tmp_path):
    """Every instrument that goes with both; but for what the seconds are, and what is sampled."""
    which = [name for name in registry.instruments if name not in ("Time", "KroneckerCondition")]
    series = []
    for sizes in ({"batch_size": 6}, {"batch_size": 3, "accumulate": 2}):
        instruments = experiments.Instruments(which, curvature="diag_h")
        with experiments.Recorder(tmp_path / str(len(sizes))) as recorder:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UndefinedWarning)
                fitted(recorder, instruments, rng=0, **sizes)
            (run,) = recorder.runs()
            numbers = [n for n, info in run.names().items() if info.kind == "number"]
            series.append({n: run.series(n)[1] for n in numbers if n != "epoch_seconds"})
    large, small = series
    without = {"HessMaxEV", "HessMaxAbsEV", "GGNDensity", "EffectiveDimension"}
    assert {"Alpha", "Saturation", "ActivationNorm/1", "TICDiag"} <= small.keys()
    assert {name for name in large if name.partition("/")[0] not in without} == small.keys()
    for name, values in small.items():
        assert np.allclose(values, large[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_keeps_the_graph_of_its_first_step(recorder, accumulate):
    fitted(recorder, accumulate=accumulate)
    (run,) = recorder.runs()
    ((step, graph),) = run.graphs()
    assert step == 0
    kinds = {data["kind"] for _, data in graph.nodes(data=True)}
    assert {"parameter", "operation", "cotangent"} <= kinds


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")]
)
def test_what_ends_fit_is_the_end_of_its_run(recorder, error, status):
    class Ending:
        def end_step(self, run):
            raise error

    with pytest.raises(error):
        fitted(recorder, callbacks=[Ending()])
    (run,) = recorder.runs()
    assert run.status == status
    assert error.__name__ in run.error or status == "interrupted"


def test_what_was_typed_is_kept(recorder):
    command = recorder.run().environment["command"]
    assert any("pytest" in part or part == "-c" for part in command)


def resumed(folder, which, resume, epochs=2, progress=False):
    """Distances of a training that stops after an epoch and goes on in other objects, or not."""
    tracer.seed(0)
    instruments = None if which is None else experiments.Instruments(which)
    with experiments.Recorder(folder / "runs") as recorder:
        last = recorder.runs()[-1].id if resume else None
        run = recorder.run("one", resume=last, force=True)
        with run:
            fitted(
                run,
                instruments,
                rng=0,
                epochs=epochs,
                checkpoint=folder / "c",
                resume=resume,
                progress=progress,
            )
        return dict(zip(*run.series("Distance"), strict=True)) if which else {}


def test_a_distance_is_from_the_start_after_a_training_was_resumed(tmp_path):
    whole = resumed(tmp_path / "whole", ["Distance"], False)
    resumed(tmp_path / "halves", ["Distance"], False, epochs=1)
    halves = resumed(tmp_path / "halves", ["Distance"], True)
    assert len(whole) == 6
    assert halves == whole


def test_a_checkpoint_without_instruments_begins_them_anew_and_says_so(tmp_path, capsys):
    resumed(tmp_path, None, False, epochs=1)
    distances = resumed(tmp_path, ["Distance"], True, progress=True)
    assert "written without instruments: distances are from step 3 on" in capsys.readouterr().err
    assert distances[3] == 0
