"""Quantities that are left out where they are undefined, and are told of the objective."""

import warnings

import numpy as np
import pytest

import tracer
import tracer_layers as nn


class Kept(tracer.Quantity):
    """The cotangents themselves, where samples have any."""

    name = "kept"
    per_sample = True
    optional = True
    first = True

    def begin(self, objective):
        self.losses = objective.sample_losses()
        self.values = objective.saved_values()

    def extract(self, cotangent, context):
        whole = cotangent.per_sample()
        cotangent.known_total = 2 * whole.sum(1)
        return [whole[0]]

    def join(self, first, second):
        return first


class Told(tracer.Quantity):
    """Is told of the objective, and reads nothing of samples."""

    name = "told"
    needs_samples = False

    def begin(self, objective):
        self.values = objective.saved_values()

    def extract(self, cotangent, context):
        return cotangent.total()[0]


def swept(model, quantities, loss=nn.cross_entropy, x=None):
    x = np.random.default_rng(0).standard_normal((5, 3)) if x is None else x
    with tracer.Tape() as tape:
        value = loss(model(x), np.arange(len(x)) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return value, tape.backward(value, quantities)


def mlp(*between):
    return nn.Sequential(nn.Linear(3, 4), *between, nn.Tanh(), nn.Linear(4, 2)).double()


def test_it_is_there_where_samples_are_apart():
    _, results = swept(mlp(), Kept())
    assert [g[0].shape for g in results["kept"].values()] == [(5, 4, 3), (5, 4), (5, 2, 4), (5, 2)]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (mlp(nn.BatchNorm1d(4)), "mixes samples"),
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double(), "mixes samples"),
    ],
)
def test_it_is_left_out_where_samples_are_coupled(model, words):
    _, results = swept(model, ("grad", Kept()))
    assert dict(results["kept"]) == {}
    names = [name for name, _ in model.named_parameters()]
    assert list(results["kept"].absent) == names
    assert words in results["kept"].absent[names[0]]
    with pytest.raises(tracer.errors.UndefinedError, match=words):
        results["kept"][names[0]]
    _, alone = swept(model, "grad")
    for name in names:
        np.testing.assert_array_equal(results["grad"][name], alone["grad"][name])


def test_it_is_left_out_where_nothing_is_marked():
    w = tracer.parameter(np.ones((3, 2)), "w")
    with tracer.Tape() as tape:
        loss = np.sum(np.tanh(np.ones((4, 3)) @ w))
    results = tape.backward(loss, ("grad", Kept()))
    assert "nothing in this trace is marked" in results["kept"].absent["w"]
    assert results["grad"]["w"].shape == (3, 2)


def test_what_comes_first_may_leave_the_sum_for_others():
    model = mlp()
    _, alone = swept(model, "grad")
    _, results = swept(model, ("grad", Kept()))
    for name, gradient in alone["grad"].items():
        np.testing.assert_allclose(results["grad"][name], 2 * gradient, rtol=1e-12)


@pytest.mark.parametrize("others", [(), ("batch_l2",), ("diag_ggn_exact",)])
def test_each_is_told_of_the_objective_before_the_sweep(others):
    told = Told()
    swept(mlp(), (told, *others))
    assert "tanh" in {node.op.name for node in told.values}


LOSSES = {
    "mean": nn.cross_entropy,
    "sum": lambda z, y: nn.cross_entropy(z, y, reduction="sum"),
    "squares": lambda z, y: nn.mse_loss(z, np.eye(2)[y]),
    "terms": lambda z, y: 0.5 * nn.cross_entropy(z, y) + np.mean(np.sum(z**2, 1)) / 3,
    "plain": lambda z, y: np.sum((z - np.eye(2)[y]) ** 2) / 7,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_samples_sum_to_the_objective(loss):
    model, kept = mlp(), Kept()
    x = np.random.default_rng(0).standard_normal((6, 3))
    value, _ = swept(model, kept, LOSSES[loss], x)
    assert kept.losses.shares.sum() == pytest.approx(float(value.data))
    x[[2, 4]] += 1  # of the same class
    other = Kept()
    swept(model, other, LOSSES[loss], x)
    changed = ~np.isclose(kept.losses.shares, other.losses.shares)
    assert list(np.flatnonzero(changed)) == [2, 4]


def of_rows(reduce):
    """An objective of `[N]` losses, the squares of the outputs."""
    return lambda z, y: reduce(np.sum(z**2, 1))


REDUCED = {
    "mean": (of_rows(np.mean), False),
    "as many times the mean as there are samples": (of_rows(lambda e: 6 * e.mean()), False),
    "mean of all elements": (lambda z, y: np.mean(z**2) * 12, False),
    "mean of those that are not ignored": (
        lambda z, y: 2 * nn.cross_entropy(z, np.where(np.arange(6) < 2, -100, y)),
        False,
    ),
    "weighted mean": (
        lambda z, y: nn.cross_entropy(z, y, weight=np.array([1.0, 2.0])),
        False,
    ),
    "two means": (lambda z, y: nn.cross_entropy(z, y) + 3 * np.mean(z**2), False),
    "sum over its number": (of_rows(lambda e: e.sum() / 6), False),
    "sum over its elements": (lambda z, y: np.sum(z**2) / 12, False),
    "weights that are shares": (of_rows(lambda e: np.full(6, 1 / 6) @ e), False),
    "sum": (of_rows(np.sum), True),
    "two sums": (lambda z, y: nn.cross_entropy(z, y, reduction="sum") + np.sum(z**2), True),
    "sum of weighted losses": (of_rows(lambda e: np.sum(np.arange(6.0) * e)), True),
    "half a sum": (of_rows(lambda e: 0.5 * e.sum()), None),
    "a sum over something else": (lambda z, y: np.sum(z**2) / 7, None),
    "a sum and a mean": (of_rows(lambda e: e.sum() + e.mean()), None),
    "a sum and half of one": (lambda z, y: np.sum(z**2) + 0.5 * np.sum(abs(z)), None),
}


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_is_told_from_a_sum_by_the_record(name, dtype):
    loss, sums = REDUCED[name]
    kept = Kept()
    model = mlp() if dtype == np.float64 else mlp().float()
    swept(model, kept, loss, np.random.default_rng(0).standard_normal((6, 3)).astype(dtype))
    if sums is None:
        with pytest.raises(tracer.errors.UndefinedError, match="mean=True or mean=False"):
            _ = kept.losses.sums
    else:
        assert kept.losses.sums is sums


def test_losses_of_samples_leave_out_a_penalty():
    model, kept = mlp(), Kept()
    x = np.random.default_rng(0).standard_normal((6, 3))
    penalty = []

    def loss(z, y):
        penalty.append(0.1 * np.sum(model[0].weight ** 2))
        return nn.cross_entropy(z, y) + penalty[-1]

    value, _ = swept(model, kept, loss, x)
    assert kept.losses.shares.sum() == pytest.approx(float(value.data - penalty[0].data))


def test_losses_of_samples_are_not_known_where_the_objective_bends():
    kept = Kept()
    swept(mlp(), kept, lambda z, y: np.sqrt(nn.cross_entropy(z, y)))
    assert kept.losses is None
