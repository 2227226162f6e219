"""`fit` with batches in parts: the same training as with whole batches, up to rounding."""

import numpy as np
import pytest
from alone import Alone, Threads
from folds import LABELS, X, mlp

import tracer
import tracer_layers as nn
import tracer_scale as scale
import tracer_training as training
from tracer.errors import TracerError
from tracer_scale.parallel import inverses
from tracer_scale.parallel.streams import streams
from tracer_training.curvature.blocks import Block
from tracer_training.curvature.damped import Asked, damped

DATA = training.ArrayDataset(X, LABELS)
OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "AdamW": {"lr": 0.05},
    "LBFGS": {"lr": 0.5},
    "HessianFree": {"damping": 1.0},
    "KFAC": {"lr": 0.1, "curvature": "kflr"},
    "DampedNewton": {"lr": 0.1, "damping": 1.0, "curvature": "kflr", "average": 0.9},
}


def fitted(model, name, parallel, *, options=None, **more):
    tracer.seed(1)
    made = getattr(training, name)(
        model.parameters(), **(OPTIMIZERS[name] if options is None else options)
    )
    history = training.fit(
        model,
        nn.cross_entropy,
        DATA,
        DATA,
        optimizer=made,
        epochs=3,
        batch_size=23 if name == "LBFGS" else 8,  # which lets rounding grow
        rng=0,
        progress=False,
        parallel=parallel,
        **more,
    )
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def assert_same_training(one, other, found, expected):
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-7, atol=1e-9)
    for record, of in zip(found, expected, strict=True):
        assert record == pytest.approx(of, rel=1e-7)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("parts", [3, *(pytest.param(n, marks=SLOW) for n in (1, 11))])
@pytest.mark.parametrize(
    "name",
    [
        "AdamW",
        "KFAC",
        *(pytest.param(n, marks=SLOW) for n in sorted(OPTIMIZERS.keys() - {"AdamW", "KFAC"})),
    ],
)
def test_parts_train_as_the_whole(name, parts):
    one, other = mlp(), mlp()
    found = fitted(one, name, scale.Ranks(Alone(), parts))
    assert_same_training(one, other, found, fitted(other, name, None))


@pytest.mark.parametrize("more", [{"accumulate": 2}, {"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_steps_of_several_batches_and_bounds(more):
    one, other = mlp(), mlp()
    found = fitted(one, "AdamW", scale.Ranks(Alone(), 3), **more)
    assert_same_training(one, other, found, fitted(other, "AdamW", None, **more))


def test_accumulated_curvature():
    one, other = mlp(), mlp()
    more = {"accumulate": 2, "options": {"curvature": "kflr", "lr": 0.1, "damping": 1.0}}
    found = fitted(one, "DampedNewton", scale.Ranks(Alone(), 3), **more)
    assert_same_training(one, other, found, fitted(other, "DampedNewton", None, **more))


def test_half_precision_scales_the_loss_of_all_parts():
    one, other = mlp().float(), mlp().float()
    scales = [training.LossScale(2.0**130), training.LossScale(2.0**130)]
    found = fitted(one, "SGD", scale.Ranks(Alone(), 3), precision=scales[0])
    expected = fitted(other, "SGD", None, precision=scales[1])
    assert scales[0].scale == scales[1].scale < 2.0**130  # which overflowed
    assert found[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=1e-3)
    assert found[-1]["loss"] < found[0]["loss"]


def test_a_schedule_that_follows_the_test_loss():
    found = []
    for parallel in (scale.Ranks(Alone(), 3), None):
        model = mlp()
        made = training.SGD(model.parameters(), lr=3.0)
        schedule = training.ReduceLROnPlateau(made, patience=0, threshold=0.9)
        training.fit(model, nn.cross_entropy, DATA, DATA, optimizer=made, schedule=schedule,
                     epochs=6, rng=0, progress=False, parallel=parallel)  # fmt: skip
        found.append(made.param_groups[0]["lr"])
    assert found[0] == found[1] < 3.0


def normalising():
    tracer.seed(0)
    layers = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3)
    return nn.Sequential(*layers).double()


def one_step(model, parallel):
    made = training.SGD(model.parameters(), lr=0.0)
    training.fit(model, nn.cross_entropy, [(X[:20], LABELS[:20])], optimizer=made, epochs=1,
                 progress=False, parallel=parallel)  # fmt: skip


def test_running_statistics_are_means_over_the_parts():
    model = normalising()
    made = model[0](X[:20]).data
    halves = made[:10], made[10:]
    one_step(model, scale.Ranks(Alone(), 2))
    normalisation = model[1]
    np.testing.assert_allclose(normalisation.running_mean, 0.1 * made.mean(0), rtol=1e-12)
    within = np.mean([half.var(0, ddof=1) for half in halves], axis=0)
    np.testing.assert_allclose(normalisation.running_var, 0.9 + 0.1 * within, rtol=1e-12)
    assert normalisation.num_batches_tracked == 1


def test_one_part_normalises_as_a_whole_batch():
    one, other = normalising(), normalising()
    one_step(one, scale.Ranks(Alone(), 1))
    one_step(other, None)
    for (_, a), (_, b) in zip(one.named_buffers(), other.named_buffers(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_training_that_draws_is_repeated_and_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "checkpoint"
    one, other = normalising(), normalising()
    options = {"optimizer": "SGD", "lr": 0.1}
    for model, places in ((one, [(3, None)]), (other, [(1, path), (3, path)])):
        tracer.seed(5)
        for epochs, kept in places:
            made = training.SGD(model.parameters(), lr=options["lr"])
            parallel = scale.Ranks(Alone(), 3 if epochs == 1 or kept is None else None)
            training.fit(model, nn.cross_entropy, DATA, optimizer=made, epochs=epochs,
                         batch_size=12, rng=0, progress=False, parallel=parallel, checkpoint=kept,
                         resume=epochs == 3 and kept is not None)  # fmt: skip
            tracer.seed(99)
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_checkpoint_of_other_parts_is_refused():
    ranks = scale.Ranks(Alone(), 3)
    ranks.load_state_dict({"parts": 3})
    with pytest.raises(TracerError, match="in 4 parts, and now there are 3"):
        ranks.load_state_dict({"parts": 4})


def test_streams_of_parts_differ_and_leave_the_generators_where_they_were():
    tracer.seed(3)
    before = np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
    drawn = []
    for _ in range(2):
        with streams(None, tracer.extend.backend.NUMPY) as begin:
            for part in (0, 1, 0):
                begin(part)
                both = tracer.extend.generator().random(), np.random.random()  # noqa: NPY002
                drawn.append(both)
    assert drawn[0] == drawn[2] != drawn[1]
    assert len(set(drawn)) == 4
    assert np.random.get_state(legacy=False)["state"]["pos"] == before  # noqa: NPY002


WEIGHTS = np.array([1.0, 2.0, 5.0])


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=WEIGHTS),
        lambda o, y: (
            np.sum(WEIGHTS[y] * nn.cross_entropy(o, y, reduction="none")) / np.sum(WEIGHTS[y])
        ),
    ],
)
def test_a_mean_that_is_weighed_is_refused(loss):
    model = mlp()
    made = training.SGD(model.parameters(), lr=0.1)
    with pytest.raises(scale.ShardError, match="not the mean of the samples' losses"):
        training.fit(model, loss, DATA, optimizer=made, epochs=1, progress=False,
                     parallel=scale.Ranks(Alone(), 2))  # fmt: skip


def test_ignored_targets_are_refused_wherever_they_stand():
    labels = LABELS.copy()
    labels[5] = -100
    model = mlp()
    made = training.SGD(model.parameters(), lr=0.1)
    with pytest.raises(scale.ShardError, match=r"part 0 .* the loss ignores some targets"):
        training.fit(model, nn.cross_entropy, [(X, labels)], optimizer=made, epochs=1,
                     progress=False, parallel=scale.Ranks(Alone(), 2))  # fmt: skip


def test_what_is_wrong_with_ranks_is_said():
    with pytest.raises(TracerError, match="a communicator of mpi4py"):
        scale.Ranks(4)
    with pytest.raises(TracerError, match="parts from 1"):
        scale.Ranks(Alone(), 0)


class Odd(Alone):
    """Whose second rank has something else than the first."""

    def Get_size(self):
        return 2

    def allgather(self, value):
        return [value, value + 1 if isinstance(value, int) else value]


def test_ranks_with_different_batches_are_refused():
    ranks = scale.Ranks(Odd(), 2)
    with pytest.raises(TracerError, match="rank 1 has another batch than the first one"):
        ranks.record(None, None, (X,), LABELS, ("grad",))


class Behind(Odd):
    """Whose second rank stands at another step."""

    def allgather(self, value):
        return [value, {**value, "step": "epoch 0, batch 0, step 0"}]


def test_ranks_at_different_steps_are_refused():
    with pytest.raises(
        TracerError, match=r"rank 1 has step epoch 0, .* in place of epoch 1, batch"
    ):
        scale.Ranks(Behind()).begin(mlp(), nn.cross_entropy, [], (1, 0, 3))


# -- inverses --------------------------------------------------------------------------------------


def blocks():
    """Two Kronecker blocks, a single factor and a diagonal."""
    rng = np.random.default_rng(0)

    def factor(size):
        root = rng.standard_normal((size, size + 2))
        return root @ root.T

    return [
        Asked(Block((3, 4), [factor(3), factor(4)]), 0.1, "small"),
        Asked(Block((20,), [factor(20)]), 0.1, "large"),
        Asked(Block((5, 6), [factor(5), factor(6)]), 0.1, "middle"),
        Asked(Block((7,), [rng.random(7)]), 0.1, "diagonal"),
    ]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_factors_are_decomposed_by_one_rank_each(ranks, monkeypatch):
    asked, calls = blocks(), []

    def counted(*each):
        calls.append(each[2])
        return damped(*each)

    monkeypatch.setattr(inverses, "damped", counted)
    found = Threads(ranks).run(lambda comm: inverses.decomposed(comm, asked))
    assert sorted(calls) == sorted(["small", "large", "middle", *["diagonal"] * ranks])
    for solvers in found:
        for solver, each in zip(solvers, asked, strict=True):
            for array, expected in zip(solver.arrays, damped(*each).arrays, strict=True):
                np.testing.assert_array_equal(array, expected)


def test_a_singular_factor_is_told_by_all_ranks():
    asked = blocks()
    asked[0] = Asked(Block((3,), [np.ones((3, 3))]), 0.0, "flat")
    found = Threads(2).run(lambda comm: inverses.decomposed(comm, asked))
    assert [str(error).startswith("the curvature of 'flat' is singular") for error in found] == [
        True,
        True,
    ]
