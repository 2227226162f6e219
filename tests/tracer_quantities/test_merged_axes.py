"""Samples and positions in one axis, as `[T * N, C]`: the same values as on axes of their own."""

import math

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import Kronecker, registry
from tracer.record.axes import MergedAxis
from tracer.record.following import follow

SAMPLES, STEPS, CLASSES = 3, 4, 5
#: all but those of which there is none here, and those that draw numbers, in another order here
NAMES = sorted(
    name for name in set(registry.quantities) - {"pchmp", "kfra", "kfac"} if "_mc" not in name
)
#: their rows may come in another order
ROOTS = ("sqrt_ggn_exact", "sqrt_ggn_mc")


class Model(nn.Module):
    """A read-out of every step, of steps and samples in one axis where `merged` says so."""

    def __init__(self, batch_first, merged):
        rng = np.random.default_rng(0)
        self.batch_first, self.merged = batch_first, merged
        self.table = nn.Embedding(7, 4, rng=rng)
        self.layer = nn.GRU(4, 3, batch_first=batch_first, rng=rng)
        self.hidden = nn.Linear(3, 4, rng=rng)
        self.read_out = nn.Linear(4, CLASSES, rng=rng)

    def forward(self, tokens):
        h, _ = self.layer(self.table(tokens))
        if self.merged:
            h = h.reshape(-1, 3)
        return self.read_out(nn.functional.tanh(self.hidden(h)))


def trace(loss, batch_first, merged):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 7, (SAMPLES, STEPS))
    targets = rng.integers(0, CLASSES, (SAMPLES, STEPS))
    if loss is nn.mse_loss:
        targets = rng.standard_normal((SAMPLES, STEPS, CLASSES))
    if not batch_first:
        tokens, targets = tokens.T, np.swapaxes(targets, 0, 1)
    model = Model(batch_first, merged).double()
    with tracer.Tape() as tape:
        outputs = model(tokens)
        if merged:
            value = loss(outputs, targets.reshape(-1, *targets.shape[2:]))
        elif loss is nn.mse_loss:
            value = loss(outputs, targets)
        else:
            value = loss(np.moveaxis(outputs, -1, 1), targets)
    return tape, value


def comparable(name, value):
    if isinstance(value, Kronecker):
        return value.dense()
    if name in ROOTS:
        flat = value.reshape(*value.shape[:2], -1)
        return np.einsum("rnp,rnq->npq", flat, flat)
    if hasattr(value, "matmat"):
        return value @ np.eye(value.shape[1])
    if callable(value):
        size = math.prod(value.shape)
        return value(np.eye(size).reshape(size, *value.shape))
    return value


@pytest.mark.parametrize("loss", [nn.cross_entropy, nn.mse_loss])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_quantities_are_the_same_as_on_axes_of_their_own(name, batch_first, loss):
    results = []
    for merged in (True, False):
        tape, value = trace(loss, batch_first, merged)
        found = tape.backward(value, (name,))[name]
        results.append({"matrix": found} if hasattr(found, "matmat") else dict(found))
    assert list(results[0]) == list(results[1])
    for key, value in results[0].items():
        expected = comparable(name, results[1][key])
        np.testing.assert_allclose(
            comparable(name, value), expected, rtol=1e-9, atol=1e-12, err_msg=f"{name} {key}"
        )


@pytest.mark.parametrize("batch_first", [True, False])
def test_sampled_rows_are_one_per_sample_and_agree_with_each_other(batch_first):
    tape, value = trace(nn.cross_entropy, batch_first, merged=True)
    names = ("sqrt_ggn_mc", "diag_ggn_mc", "diag_ggn_mc_batch")
    results = tape.backward(value, names, rng=np.random.default_rng(0))
    for name, root in results["sqrt_ggn_mc"].items():
        assert root.shape[:2] == (1, SAMPLES)
        np.testing.assert_allclose(results["diag_ggn_mc_batch"][name], np.square(root).sum(0))
        np.testing.assert_allclose(results["diag_ggn_mc"][name], np.square(root).sum((0, 1)))


def test_an_axis_is_merged_and_taken_apart_again():
    w = tracer.parameter(np.ones(2), "w")
    with tracer.Tape() as tape:
        x = tracer.batch(np.ones((4, 3, 5, 2)), axis=1) * w
        merged = x.reshape(60, 2)
        still = np.tanh(merged).reshape(4, 15, 2)
        apart = still.reshape(4, 3, 5, 2)
    axes = follow(tape.recorded()).axes
    for tensor, outer in ((merged, 4), (still, 1)):
        axis = axes[tensor.node]
        assert isinstance(axis, MergedAxis)
        assert (axis.position, axis.outer, axis.inner) == (int(outer == 1), outer, 5)
    assert axes[apart.node] == 1
    assert not isinstance(axes[apart.node], MergedAxis)


@pytest.mark.parametrize("loss", [nn.mse_loss, nn.huber_loss, nn.cross_entropy])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "fisher_empirical"])
def test_of_no_sample(name, loss):
    layer = nn.Linear(2, 2).double()
    target = np.zeros(0, int) if loss is nn.cross_entropy else np.zeros((0, 2))
    with tracer.Tape() as tape:
        prediction = layer(np.zeros((0, STEPS, 2))).reshape(-1, 2)
        value = loss(prediction, target, reduction="sum")
    results = tape.backward(value, name)[name]
    if hasattr(results, "matmat"):
        assert not (results @ np.eye(6)).any()
        return
    for key, value in results.items():
        if callable(value):
            value = value(np.ones(layer.get_parameter(key).shape))
        arrays = value.factors if isinstance(value, Kronecker) else [value]
        assert not any(np.nan_to_num(array, nan=1).any() for array in arrays)


SELECTIONS = {
    "mask": lambda z: z[np.zeros(z.shape[:2], bool)],
    "rows": lambda z: z[np.zeros(0, int), np.zeros(0, int)],
    "slice": lambda z: z[:0, 0],
    "taken": lambda z: np.take(z[:, 0], np.zeros(0, int), 0),
}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_of_nothing(name, count):
    """With as many samples as classes or steps, too."""
    layer, x = nn.Linear(2, 2).double(), np.ones((count, 3, 2))

    def results(select):
        with tracer.Tape() as tape:
            loss = nn.mse_loss(layer(x), x, reduction="sum")
            if select is not None:
                nothing = select(layer(tracer.batch(x)))
                loss = loss + nn.cross_entropy(nothing, np.zeros(0, int), reduction="sum")
        return tape.backward(loss, ("grad_batch", "diag_ggn_exact_batch", "diag_h_batch"))

    expected = results(None)
    for quantity, values in results(SELECTIONS[name]).items():
        for key, value in values.items():
            np.testing.assert_allclose(value, expected[quantity][key], rtol=1e-10, err_msg=quantity)


@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed")
@pytest.mark.parametrize("order", [[2, 0, 3, 1], [3, 2, 1, 0], [0, 0, 2, 1, 3], [1, 3]])
def test_chosen_samples_are_merged_and_taken_one_by_one(order):
    """Their numbers go with them through reshapes."""
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    w = tracer.parameter(np.random.default_rng(1).standard_normal((2, 2)), name="w")
    with tracer.Tape() as tape:
        chosen = (tracer.batch(x) @ w)[order]
        again = chosen.reshape(-1, 2).reshape(len(order), 6)
        loss = sum((i + 1) * np.sum(again[i] ** 2) for i in range(len(order)))
        loss = loss + np.sum(np.reshape(chosen, -1).reshape(len(order), -1)[0] ** 2)
    results = tape.backward(loss, ("grad_batch", "diag_h_batch"))
    weights = np.zeros(4)
    np.add.at(weights, order, np.arange(1, len(order) + 1))
    weights[order[0]] += 1
    for n in range(4):
        gram = weights[n] * 2 * x[n].T @ x[n]
        np.testing.assert_allclose(results["grad_batch"]["w"][n], gram @ w.data, atol=1e-12)
        diagonal = np.repeat(np.diagonal(gram)[:, None], 2, axis=1)
        np.testing.assert_allclose(results["diag_h_batch"]["w"][n], diagonal, atol=1e-12)


def test_a_loss_of_parameters_alone_is_of_the_samples_of_its_targets():
    """Also where several entries of the targets are of one sample."""
    rng = np.random.default_rng(0)
    w = tracer.parameter(rng.standard_normal((6, 3)), name="w")
    targets = rng.dirichlet(np.ones(3), (2, 3))
    with tracer.Tape() as tape:
        merged = (tracer.batch(targets) * 1.0).reshape(6, 3)
        loss = nn.cross_entropy(w * 1.0, merged, reduction="sum")
    results = tape.backward(loss, ("grad", "grad_batch"))
    each, entries = results["grad_batch"]["w"], np.split(results["grad"]["w"], 2)
    assert each.shape == (2, 6, 3)
    for n, own in enumerate(entries):
        np.testing.assert_allclose(each[n, 3 * n : 3 * n + 3], own, rtol=1e-12)
        assert not np.delete(each[n], np.s_[3 * n : 3 * n + 3], axis=0).any()
