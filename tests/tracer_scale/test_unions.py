"""What is folded over shards is what one batch of all samples has."""

import tracemalloc
from functools import partial

import folds
import numpy as np
import pytest
from folds import CASES, LABELS, MATRICES, SAMPLED, SAMPLES, VALUES, Parts, X, mlp, swept
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
import tracer_scale as scale
import tracer_training as training
from tracer.errors import TracerError
from tracer_scale.reductions import reduction_of

here = partial(scale.fold, engine="here")
#: where shards end: several may end at one place, so that some are empty, or have one sample
splits = st.lists(st.integers(0, SAMPLES), max_size=24).map(lambda ends: (*sorted(ends), SAMPLES))


@pytest.mark.parametrize("case", CASES)
@given(ends=splits)
@settings(max_examples=15, deadline=None)
def test_every_quantity_of_random_splits_is_that_of_the_union(case, ends):
    make, x, y, loss = CASES[case]
    exact = [name for name in (*VALUES, *MATRICES) if name not in SAMPLED]
    model = make()
    whole = swept(model, x, y, loss, exact)
    found = here(model, loss, Parts(x, y, ends).shards, exact)
    for name in exact:
        folds.assert_close(found[name], whole[name], name)


@given(ends=splits, seed=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_sampled_quantities_are_those_of_each_shards_stream(ends, seed):
    parts, model = Parts(X, LABELS, ends), mlp()
    found = here(model, nn.cross_entropy, parts.shards, tuple(SAMPLED), rng=seed)
    rows = {name: [] for name, _ in model.named_parameters()}
    inputs = {"0": [], "2": []}
    for i in range(len(ends)):
        x, y = parts(i)
        if len(x):
            rng = np.random.default_rng([seed, i])
            swept_rows = swept(model, x, y, nn.cross_entropy, tuple(SAMPLED), rng)["sqrt_ggn_mc"]
            for name, kept in rows.items():
                kept.append(swept_rows[name] * (len(x) / SAMPLES) ** 0.5)
            inputs["0"].append(x)
            inputs["2"].append(np.tanh(x @ model[0].weight.data.T + model[0].bias.data))
    flat = []
    for name, several in rows.items():
        row = np.concatenate(several, 1)
        flat.append(row.reshape(SAMPLES, -1))
        folds.assert_close(found["sqrt_ggn_mc"][name], row, name)
        folds.assert_close(found["diag_ggn_mc"][name], (row**2).sum((0, 1)), name)
        folds.assert_close(found["diag_ggn_mc_batch"][name], (row**2).sum(0), name)
    for layer, several in inputs.items():
        outputs = np.concatenate(rows[f"{layer}.bias"], 1)[0]
        a = np.concatenate(several)
        factors = found["kfac"][f"{layer}.weight"].factors
        folds.assert_close(factors[0], outputs.T @ outputs, layer)
        folds.assert_close(factors[1], a.T @ a / SAMPLES, layer)
    rows = np.concatenate(flat, 1)
    dense = found["fisher_mc"] @ np.eye(rows.shape[1])
    folds.assert_close(dense, rows.T @ rows)


def test_more_than_sixteen_groups_of_sixteen_merge():
    x, y = np.tile(X, (13, 1)), np.tile(LABELS, 13)
    names, model = ("grad", "grad_batch", "variance", "kflr"), mlp()
    shards = Parts(x, y, tuple(range(1, len(y) + 1))).shards
    assert len(shards) > 16 * 16
    found, whole = here(model, nn.cross_entropy, shards, names), {}
    whole = swept(model, x, y, nn.cross_entropy, names)
    for name in names:
        folds.assert_close(found[name], whole[name], name)


def test_a_memory_budget_bounds_what_a_shard_takes():
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(4, 100), nn.Tanh(), nn.Linear(100, 10)).double()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((400, 4)), rng.integers(0, 10, 400)
    shards = scale.Shards.of(training.ArrayDataset(x, y), 200)

    def folded(budget):
        tracemalloc.start()
        try:
            found = here(model, nn.cross_entropy, shards, "diag_ggn_exact", memory_budget=budget)
            return found, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    folded(None)  # what is kept from then on
    whole, peak = folded(None)
    found, bounded = folded(200_000)
    folds.assert_close(found, whole)
    rows = 10 * 200 * 100 * 8  # of one layer
    assert bounded < rows < peak


def test_a_loss_in_plain_code_is_split_from_the_model():
    model, names = folds.Transposed(), ("grad", "diag_h", "diag_ggn_exact", "ggn")
    with tracer.Tape() as tape:
        output = model(X)
        loss = folds.squared(output, folds.TARGETS)
    whole = tape.backward(loss, names, outputs=output)
    found = here(model, folds.squared, Parts(X, folds.TARGETS, (5, 6, 23)).shards, names)
    for name in names:
        folds.assert_close(found[name], whole[name], name)


def test_a_function_of_parameters_is_a_model():
    w = tracer.parameter(np.random.default_rng(0).standard_normal((4, 3)), "w")
    names = ("grad", "grad_batch", "kflr")
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(tracer.batch(X) @ w, LABELS)
    whole = tape.backward(loss, names)
    found = here(lambda x: x @ w, nn.cross_entropy, folds.even(4), names)
    for name in names:
        folds.assert_close(found[name], whole[name], name)


def test_quantities_of_layers_and_of_the_model_combine_after_the_merge():
    class Largest(tracer.Quantity):
        name = "largest"

        def __init__(self, per):
            self.per = per

        def extract(self, cotangent, context):
            return cotangent.total()[0]

        def finish(self, state, context):
            return abs(state).max()

        def combine(self, values):
            return max(values.values())

    model = mlp()
    gradient = swept(model, X, LABELS, nn.cross_entropy, ("grad",))["grad"]
    largest = {name: abs(value).max() for name, value in gradient.items()}
    found = here(model, nn.cross_entropy, folds.even(3), [Largest("model")])["largest"]
    np.testing.assert_allclose(found, max(largest.values()), rtol=1e-10)
    found = here(model, nn.cross_entropy, folds.even(3), [Largest("layer")])["largest"]
    np.testing.assert_allclose(found["0"], max(largest["0.weight"], largest["0.bias"]), rtol=1e-10)


def test_results_take_parameters_as_keys():
    model = mlp()
    found = here(model, nn.cross_entropy, folds.even(3), ("grad", "kfac"))
    assert found["grad"][model[0].weight] is found["grad"]["0.weight"]
    with pytest.raises(tracer.ParameterError, match=r"Parameters: 0\.weight"):
        found["grad"]["1.weight"]


def test_values_of_half_precision_parameters_keep_their_dtypes():
    model = mlp().float()
    x = X.astype(np.float32)
    found = here(model, nn.cross_entropy, Parts(x, LABELS, (5, 23)).shards, ("grad", "variance"))
    assert {array.dtype for array in folds.arrays(found).values()} == {np.dtype(np.float32)}


def test_operators_tell_their_parameters_and_multiply_every_form_of_vectors():
    model = mlp()
    found = here(model, nn.cross_entropy, folds.even(3), ("ggn", "ggnmp"))
    whole = swept(model, X, LABELS, nn.cross_entropy, ("ggn", "ggnmp"))
    v = np.random.default_rng(1).standard_normal(whole["ggn"].shape[1])
    assert found["ggn"].parameters == whole["ggn"].parameters
    for form in (v, v[:, None], np.stack([v, 2 * v], 1), v + 1j * v):
        np.testing.assert_allclose(found["ggn"] @ form, whole["ggn"] @ form, rtol=1e-10)
    np.testing.assert_allclose(found["ggn"].T @ v, whole["ggn"] @ v, rtol=1e-10)
    weight = model[0].weight.data
    product, expected = (each["ggnmp"]["0.weight"] for each in (found, whole))
    np.testing.assert_allclose(product @ weight, expected @ weight, rtol=1e-10)
    with pytest.raises(tracer.ShapeError, match="a stack of vectors of shape"):
        product(np.zeros(3))


# -- what is refused -------------------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        tracer.seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()

    def forward(self, x):
        return self.layers(x)


def test_batch_normalisation_is_refused_in_training_and_folded_in_evaluation():
    model = Normed()
    with pytest.raises(TracerError, match=r"model\.eval\(\)"):
        here(model, nn.cross_entropy, folds.even(3))
    model.eval()
    whole = swept(model, X, LABELS, nn.cross_entropy, ("grad", "kflr"))
    found = here(model, nn.cross_entropy, folds.even(3), ("grad", "kflr"))
    folds.assert_close(found, whole)


def test_plain_code_that_normalises_over_samples_is_refused():
    w = tracer.parameter(np.random.default_rng(0).standard_normal((4, 3)), "w")
    with pytest.raises(TracerError, match="neither the mean nor the sum"):
        here(lambda x: (x - np.mean(x, 0)) @ w, nn.cross_entropy, folds.even(3))


def test_dropout_is_refused_in_training():
    model = nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 3)).double()
    with pytest.raises(TracerError, match=r"model\.eval\(\)"):
        here(model, nn.cross_entropy, folds.even(3))
    here(model.eval(), nn.cross_entropy, folds.even(3))


def test_weighed_means_are_refused_without_their_weight_and_right_with_it():
    classes = np.array([0.2, 1.0, 3.0])
    loss = partial(nn.cross_entropy, weight=classes)
    model, names = mlp(), ("grad", "kflr", "grad_batch", "ggn")
    with pytest.raises(TracerError, match="weight="):
        here(model, loss, folds.even(3))
    found = here(model, loss, folds.even(3), names, weight=lambda x, y: classes[y].sum())
    whole = swept(model, X, LABELS, loss, names)
    for name in names:
        folds.assert_close(found[name], whole[name], name)


WEIGHTS = np.array([1.0, 1.0, 5.0])


def by_hand(output, target):
    """A mean that weighs classes, in plain code."""
    losses = nn.cross_entropy(output, target, reduction="none")
    return np.sum(WEIGHTS[target] * losses) / np.sum(WEIGHTS[target])


def masked(output, target):
    """A mean over targets that are not 0."""
    losses = nn.cross_entropy(output, target, reduction="none")
    return np.sum((target != 0) * losses) / np.maximum(np.sum(target != 0), 1)


@pytest.mark.parametrize(
    "loss", [lambda o, y: nn.cross_entropy(o, y, weight=WEIGHTS), by_hand, masked]
)
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_mean_that_weighs_classes_is_refused_also_of_shards_of_one_class(loss, kind):
    y = np.full(folds.SAMPLES, kind)
    shards = folds.Parts(folds.X, y, (10, folds.SAMPLES)).shards
    # where all losses are zero they tell nothing, which is refused, too
    with pytest.raises(TracerError, match=r"weight=|say mean=True"):
        here(folds.mlp(), loss, shards)


def test_losses_that_are_rounding_do_not_tell_and_are_no_error():
    """Of a trained network, near `-log(1)`; batches of other sizes round logits otherwise."""
    of_samples = {(0, 1): 1.19e-6, (0,): 1.31e-6, (1,): 1.43e-6}
    batch = np.zeros((2, 1), np.float32), np.array([0, 1])

    def value(some):
        return of_samples[tuple(some[-1].tolist())]

    assert reduction_of(value, batch, None, None) == ""
    with pytest.raises(TracerError, match="neither the mean nor the sum"):
        reduction_of(lambda some: 1e3 * value(some), batch, None, None)


def test_a_sum_may_weigh_classes():
    def loss(output, target):
        return nn.cross_entropy(output, target, weight=WEIGHTS, reduction="sum")

    model, shards = folds.mlp(), folds.even(3)
    whole = folds.swept(model, folds.X, folds.LABELS, loss, ("grad",))
    folds.assert_close(here(model, loss, shards, ("grad",)), whole)


def test_ignored_targets_are_refused_without_their_weight_and_right_with_it():
    labels = LABELS.copy()
    labels[7:15] = -100
    shards, model = Parts(X, labels, (8, 16, 23)).shards, mlp()
    with pytest.raises(TracerError, match="weight="):
        here(model, nn.cross_entropy, shards)
    found = here(model, nn.cross_entropy, shards, weight=lambda x, y: (y >= 0).sum())
    folds.assert_close(found["grad"], swept(model, X, labels, nn.cross_entropy, ("grad",))["grad"])


def test_zero_losses_do_not_tell_their_reduction_and_it_may_be_said():
    w = tracer.parameter(np.zeros((4, 3)), "w")
    shards = Parts(X, np.zeros((SAMPLES, 3)), (5, 23)).shards
    for mean in (True, False):
        loss = partial(nn.mse_loss, reduction="mean" if mean else "sum")
        with pytest.raises(TracerError, match="mean=True or mean=False"):
            here(lambda x: x @ w, loss, shards, ("diag_ggn_exact",))
        found = here(lambda x: x @ w, loss, shards, ("diag_ggn_exact",), mean=mean)
        with tracer.Tape() as tape:
            value = loss(tracer.batch(X) @ w, np.zeros((SAMPLES, 3)))
        folds.assert_close(found, tape.backward(value, ("diag_ggn_exact",)))


def test_a_reduction_that_is_said_wrongly_is_refused():
    with pytest.raises(TracerError, match="not the sum"):
        here(mlp(), nn.cross_entropy, folds.even(3), mean=False)


def test_quantities_that_are_undefined_for_a_parameter_are_left_out_with_one_warning():
    model, expected = folds.Transposed(), "kflr .*scale"
    shards = Parts(X, folds.TARGETS, (5, 23)).shards
    with tracer.Tape() as tape:
        loss = nn.mse_loss(model(X), folds.TARGETS)
    whole = tape.backward(loss, ("kflr",))["kflr"]
    found = here(model, nn.mse_loss, shards, ("kflr",))["kflr"]
    assert found.keys() == whole.keys(), expected


@pytest.mark.parametrize(
    ("quantities", "message"),
    [
        ("kfra", "use kflr"),
        ((), "at least one quantity"),
        (("grad", "grad"), "asked for twice"),
        ((3,), "registered names"),
    ],
)
def test_quantities_that_have_no_fold_are_refused(quantities, message):
    with pytest.raises(TracerError, match=message):
        here(mlp(), nn.cross_entropy, folds.even(3), quantities)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "threads"}, "engine as one of"),
        ({"rng": np.random.default_rng(0)}, "rng as a whole number"),
        ({"workers": 0}, "workers from 1"),
        ({"progress": 3}, "progress is None"),
        ({"undefined": "ignore"}, "undefined is"),
    ],
)
def test_options_that_have_no_meaning_are_refused(options, message):
    with pytest.raises(TracerError, match=message):
        scale.fold(mlp(), nn.cross_entropy, folds.even(3), **options)


def test_shards_without_any_sample_are_refused():
    with pytest.raises(TracerError, match="there are no samples"):
        here(mlp(), nn.cross_entropy, Parts(X[:0], LABELS[:0], (0, 0)).shards)
