"""Mistakes that users of other libraries make: each ends in a sentence of ours."""

import copy
import pickle

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_quantities as tq
from tracer.errors import HintError, TracerError
from tracer.record import hints

F = nn.functional
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((5, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1])
IMAGES = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
SEQUENCES = RNG.standard_normal((6, 2, 3)).astype(np.float32)


class Forgetful(nn.Module):
    def forward(self, x):
        np.tanh(x)


def swept(quantities="grad", **options):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(X), Y)
    return tape.backward(loss, quantities, **options)


MISTAKES = {
    "a kernel of None": (lambda: nn.Conv2d(3, 2, None), "kernel_size"),
    "a kernel of floats": (lambda: nn.Conv2d(3, 2, 3.0), "got 3.0"),
    "a stride of None": (lambda: nn.Conv2d(3, 2, 3, stride=None), "stride"),
    "a pool of None": (lambda: nn.MaxPool2d(None)(IMAGES), "kernel_size"),
    "a shape of None": (lambda: nn.LayerNorm(None), "normalized_shape is an integer"),
    "a probability as text": (lambda: nn.Dropout("a"), "probability p"),
    "a probability of None": (lambda: nn.Dropout(None), "probability p"),
    "an axis as text": (lambda: nn.Softmax("a")(X), "dim of softmax is an integer"),
    "an axis of Flatten as text": (lambda: nn.Flatten("a")(X), "dim of Flatten is an integer"),
    "an int to unflatten": (lambda: nn.Unflatten(1, 3)(X), "unflattened_size=3"),
    "a size as text": (lambda: F.interpolate(IMAGES, "a"), "positive number"),
    "a pair to a layer": (
        lambda: nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2))(SEQUENCES),
        "return a pair, of which the output goes on",
    ),
    "a forward without return": (
        lambda: nn.Sequential(Forgetful(), nn.Linear(3, 4))(X),
        "may lack its return",
    ),
    "an array as a packed sequence": (
        lambda: nn.pad_packed_sequence(SEQUENCES),
        "pack_padded_sequence",
    ),
    "no sequences": (lambda: nn.pad_sequence(None), "at least one sequence, got none"),
    "ragged samples": (lambda: swept("grad_batch", samples=[[1], [2, 3]]), "list of indices"),
    "a generator as text": (lambda: swept("kfac", rng="a"), r"np\.random\.default_rng\(0\)"),
    "a budget as text": (lambda: swept("kfac", memory_budget="1GB"), "number of bytes .* '1GB'"),
    "a sharing that is none": (lambda: tq.KFAC(sharing="both"), '"expand", "reduce" or'),
    "several outputs to a loss": (
        lambda: nn.cross_entropy((tracer.parameter(X), tracer.parameter(X)), Y),
        r"got a tuple with tensors: give one of them, as model\(x\)\[0\]",
    ),
    "a budget below zero": (lambda: swept("kfac", memory_budget=-1), "number of bytes .* got -1"),
    "outputs as text": (lambda: swept("kfac", outputs="x"), "outputs is the tensor"),
    "outputs as an array": (lambda: swept("kfac", outputs=X), "outputs is the tensor"),
    "an axis of samples as text": (lambda: tracer.batch(X, axis="a"), "axis as an integer"),
    "an axis of samples of None": (lambda: tracer.batch(X, axis=None), "axis as an integer"),
    "steps of a list": (lambda: list(tracer.steps([1, 2])), r"tracer\.steps\(len\(xs\)\)"),
    "presence as a list": (lambda: tracer.present([True]), "array of booleans"),
    "the gradient of a number": (lambda: tracer.grad(3.0), "takes a function, got 3.0"),
    "the gradient of a value": (
        lambda: tracer.grad(tracer.parameter(X)),
        r"tape\.backward\(loss\)\['grad'\]",
    ),
    "the gradient of a complex number": (
        lambda: tracer.grad(lambda z: z * z)(1 + 2j),
        r"return np\.real, np\.imag or abs of it, or use holomorphic_grad",
    ),
    "a complex parameter": (lambda: tracer.parameter(X * 1j), r"compute with a \+ 1j \* b"),
    "a pickle of a tape": (lambda: pickle.dumps(tracer.Tape()), "cannot be pickled"),
    "a copy of an operator": (lambda: copy.deepcopy(swept("hessian")), "operator @ vectors"),
    "a pickle of products": (lambda: pickle.dumps(swept("hmp")["hmp"]), "product @ vectors"),
    "an operator on other sizes": (
        lambda: swept("ggn")["ggn"] @ np.ones(3),
        r"26 elements, \[26\] or columns \[26, K\], got \[3\]",
    ),
    "an operator on masked arrays": (
        lambda: swept("ggn")["ggn"] @ np.ma.ones(26),
        "is a subclass of np.ndarray",
    ),
    "a class among modules": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU, nn.Linear(4, 2)),
        r"Sequential expects '1' as a Module or None, got the class ReLU: write ReLU\(\)",
    ),
    "a list of modules": (
        lambda: nn.Sequential([nn.Linear(3, 4), nn.ReLU()]),
        r"got a list: give the modules one by one, as Sequential\(\*modules\)",
    ),
    "a function among modules": (
        lambda: nn.Sequential(nn.Linear(3, 4), np.tanh),
        r"got the function tanh: write a layer, as Tanh\(\)",
    ),
    "an array among modules": (lambda: nn.ModuleList([X]), r"got a ndarray of shape \[5, 3\]"),
    "data to the class of a layer": (
        lambda: nn.Tanh(X),
        r"Tanh takes no arguments, got a ndarray of shape \[5, 3\]: .* call it, as Tanh\(\)\(x\)",
    ),
    "an argument of a layer that has none": (lambda: nn.Tanh(inplace=True), "got inplace="),
    "an argument of a module without __init__": (lambda: Forgetful(3), "or define __init__"),
    "a layer in place of its output": (
        lambda: nn.Linear(3, 2)(nn.ReLU(X)),
        r"expects an array or a tensor, got a ReLU: .* called then, as ReLU\(\)\(x\)",
    ),
    "the target before the prediction": (
        lambda: nn.cross_entropy(Y, tracer.parameter(X)),
        "the prediction comes first, then the target",
    ),
    "a trace of a number": (lambda: tracer.trace(3, X), "takes a function, got 3"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_a_sentence(name):
    act, words = MISTAKES[name]
    with pytest.raises(TracerError, match=words):
        act()


@pytest.mark.parametrize(
    ("name", "meant"),
    {
        "BatchGrad": "grad_batch",
        "batch_grad": "grad_batch",
        "DiagGGNExact": "diag_ggn_exact",
        "SumGradSquared": "sum_grad_squared",
        "SqrtGGNExact": "sqrt_ggn_exact",
        "KFAC": "kfac",
        "GGNMP": "ggnmp",
        "Variance": "variance",
    }.items(),
)
def test_names_of_the_same_words_are_meant(name, meant):
    """As BackPACK's extensions are called, and in another order."""
    with pytest.raises(TracerError, match=f"is called '{name}'. Did you mean '{meant}'"):
        swept(name)


@pytest.mark.parametrize("transform", "grad value_and_grad jacobian hessian hvp".split())
def test_transforms_take_functions(transform):
    with pytest.raises(TracerError, match="takes a function"):
        getattr(tracer, transform)(X)


@pytest.mark.parametrize("name", hints.TAPE)
def test_tapes_have_hints(name):
    tape = tracer.Tape()
    assert not hasattr(tape, name)
    with pytest.raises(HintError, match=f"a tape has no attribute '{name}'"):
        getattr(tape, name)


def test_an_attribute_missing_in_the_users_own_code_stays_what_it_is():
    class Model(nn.Module):
        found = None

        def forward(self, x):
            return x.reshape(self.found.shape)

    with pytest.raises(AttributeError) as caught:
        Model()(X)
    assert not isinstance(caught.value, TracerError)
