"""Kronecker factors of common architectures: of every parameter that has them, and right ones."""

import warnings

import numpy as np
import pytest
from architectures import MODELS, SAMPLES
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer_quantities import KFAC, KFLR

#: model -> parameters that have no factors, and what the warning says of them
UNDEFINED = {
    "GPT, tied": {"wte.weight": "in several different ways"},
    "Mamba": dict.fromkeys(["mixers.0.A_log", "mixers.1.A_log"], "through exp"),
}
#: parts that are used once for each sample, or count in one place alone: vectors have their block
ONCE = {
    "ViT": ("cls_token", "norm.weight", "norm.bias", "head.bias"),
    "Swin": ("head.bias",),
    "GPT": (),
    "GPT, tied": (),
    "BERT": ("pooler.bias", "classifier.bias"),
    "ConvNeXt": ("norm.weight", "norm.bias", "head.bias"),
    "Mamba": ("head.bias",),
}
#: the same of weights, which have theirs where there is one sample
ONCE_OF_ONE = {
    "ViT": ("head.weight",),
    "Swin": ("head.weight",),
    "GPT": (),
    "GPT, tied": (),
    "BERT": ("pooler.weight", "classifier.weight"),
    "ConvNeXt": ("head.weight",),
    "Mamba": ("head.weight",),
}


def swept(name, quantities, samples=SAMPLES, **options):
    model, x, y = MODELS[name]()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x[:samples]), y[:samples])
    return model, tape.backward(loss, quantities, **options)


def block(root):
    """The Gauss-Newton block from its square root `[C, N, *p]`."""
    rows = root.reshape(root.shape[0] * root.shape[1], -1)
    return rows.T @ rows


@pytest.mark.parametrize("quantity", [KFLR(), KFLR("reduce"), KFAC(2), KFAC(2, "reduce")])
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_factors_or_is_named_with_the_reason(name, quantity):
    expected = UNDEFINED.get(name, {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, results = swept(name, (quantity,))
    found, shapes = results[quantity.name], {n: p.shape for n, p in model.named_parameters()}
    assert found.keys() == shapes.keys() - expected.keys()
    assert len(caught) == bool(expected)
    for key, reason in expected.items():
        assert repr(key) in str(caught[0].message)
        assert reason in str(caught[0].message)
        with pytest.raises(KeyError, match=reason):
            found[key]
    for key, value in found.items():
        vector = np.random.default_rng(0).standard_normal(shapes[key])
        product = value.dense() @ vector.ravel()
        assert_close(value.matvec(vector).ravel(), product, key)
        assert np.linalg.eigvalsh(value.dense()).min() > -1e-12


@pytest.mark.filterwarnings("ignore:kflr is undefined")
@pytest.mark.parametrize("name", MODELS)
def test_vectors_that_are_used_once_have_their_blocks(name):
    _, results = swept(name, ("kflr", "sqrt_ggn_exact"))
    for key in ONCE[name]:
        assert_close(results["kflr"][key].dense(), block(results["sqrt_ggn_exact"][key]), key)


@pytest.mark.filterwarnings("ignore:kflr is undefined")
@pytest.mark.parametrize("name", MODELS)
def test_weights_that_are_used_once_have_their_blocks_with_one_sample(name):
    _, results = swept(name, ("kflr", "sqrt_ggn_exact"), samples=1)
    for key in (*ONCE[name], *ONCE_OF_ONE[name]):
        assert_close(results["kflr"][key].dense(), block(results["sqrt_ggn_exact"][key]), key)


@pytest.mark.filterwarnings("ignore:kflr is undefined")
@pytest.mark.parametrize("name", MODELS)
def test_all_vectors_have_their_blocks_where_uses_are_summed_first(name):
    """ "reduce" sums them: of a vector nothing else is left out."""
    _, results = swept(name, (KFLR("reduce"), "sqrt_ggn_exact"))
    for key, value in results["kflr"].items():
        if len(value.factors) == 1:
            assert_close(value.dense(), block(results["sqrt_ggn_exact"][key]), key)


@pytest.mark.filterwarnings("ignore:kflr is undefined")
@pytest.mark.parametrize("name", MODELS)
def test_factors_in_chunks_are_those_at_once(name):
    _, whole = swept(name, "kflr")
    _, chunks = swept(name, "kflr", memory_budget=30_000)
    assert list(whole["kflr"]) == list(chunks["kflr"])
    for key, value in whole["kflr"].items():
        for mine, theirs in zip(value.factors, chunks["kflr"][key].factors, strict=True):
            assert_close(theirs, mine, key)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_samples_are_those_of_each_alone(name):
    """The forms that factors need serve first-order quantities as well."""
    _, results = swept(name, ("grad", "grad_batch"))
    model, x, y = MODELS[name]()
    for n in range(SAMPLES):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x[n : n + 1]), y[n : n + 1])
        for key, value in tape.backward(loss)["grad"].items():
            assert_close(results["grad_batch"][key][n], value / SAMPLES, key)
