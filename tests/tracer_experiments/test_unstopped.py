"""What watches a training does not stop it, and `fit` keeps what a reader looks for."""

import numpy as np
import pytest

import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training
from tracer.errors import UndefinedWarning
from tracer.extend import Instrument


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
        epochs=2,
        batch_size=4,
        progress=False,
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
