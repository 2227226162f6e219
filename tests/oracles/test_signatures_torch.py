"""Arguments of layers and functions, compared with PyTorch's: names, order and defaults.

A call that both take must mean the same in both. Ours may have more arguments behind PyTorch's, or
by name alone; what of PyTorch's there is not, is an error and not another argument's value.
"""

import inspect
import re
import typing

import numpy as np
import pytest

import tracer_layers as nn

torch = pytest.importorskip("torch")
TF = torch.nn.functional
F = nn.functional

pytestmark = pytest.mark.oracle

P = inspect.Parameter
ANY = (P.VAR_POSITIONAL, P.VAR_KEYWORD)

#: in PyTorch functions of tensors that have no signature
DOCUMENTED = re.compile(r"^\s*(\w+)\((.*?)\)\s*->", re.M | re.S)

FUNCTIONS = [name for name in F.__all__ if hasattr(TF, name) or hasattr(torch, name)]
LAYERS = [
    name
    for name in nn.__all__
    if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
    if hasattr(torch.nn, name)
]
METHODS = [
    name
    for name, value in vars(nn.Module).items()
    if not name.startswith("_") and inspect.isfunction(value) and hasattr(torch.nn.Module, name)
]

#: arguments of functions that PyTorch documents in prose
UNDOCUMENTED = {
    "logsigmoid": {"input": P.empty},
    "conv_tbc": {"input": P.empty, "weight": P.empty, "bias": P.empty, "pad": 0},
}

#: arguments of any kind in PyTorch, given by name here
FREE = {"to", "forward", "state_dict"}


def parameters(function):
    """`[(name, kind, default)]` of a function, without `self` and what takes anything."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found if p.name != "self" and p.kind not in ANY]


def torch_parameters(function):
    """The same of one of PyTorch's: of its signature, or of what its documentation opens with."""
    if function in torch._jit_internal.boolean_dispatched:  # of pooling with and without places
        function = torch._jit_internal.boolean_dispatched[function]["if_false"]
    overloads = typing.get_overloads(function)
    if overloads:  # of RNN, LSTM and GRU, whose own takes anything
        return parameters(overloads[0])
    try:
        return parameters(function)
    except ValueError:
        match = DOCUMENTED.search(function.__doc__ or "")
        if match is None or match.group(1) != function.__name__:
            return None
        made = {}
        exec(f"def made({match.group(2)}): pass", made)
        return parameters(made["made"])


def same_default(ours, theirs):
    if callable(ours) and ours is not P.empty:
        return ours.__name__ == theirs.__name__  # relu
    return ours is theirs or ours == theirs


def check(ours, theirs):
    """Ours are PyTorch's, and perhaps some more behind them."""
    by_place = [p for p in ours if p[1] is not P.KEYWORD_ONLY]
    their_places = [p for p in theirs if p[1] is not P.KEYWORD_ONLY]
    assert [p[0] for p in by_place[: len(their_places)]] == [p[0] for p in their_places]
    for name, _, default in by_place[len(their_places) :]:
        assert default is not P.empty, name
    defaults = {name: default for name, _, default in ours}
    for name, _, default in theirs:
        assert same_default(defaults[name], default), f"{name}: {defaults[name]!r}, {default!r}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    theirs = torch_parameters(getattr(TF, name, None) or getattr(torch, name))
    if theirs is None:
        theirs = [(n, P.POSITIONAL_OR_KEYWORD, d) for n, d in UNDOCUMENTED[name].items()]
    check(parameters(getattr(F, name)), theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_constructors(name):
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    check(parameters(ours.__init__), torch_parameters(theirs.__init__))


@pytest.mark.parametrize("name", ["Buffer", "Parameter"])
def test_what_modules_hold(name):
    check(parameters(getattr(nn, name).__init__), parameters(getattr(torch.nn, name).__new__)[1:])


@pytest.mark.parametrize("name", LAYERS)
def test_calls(name):
    """Positions; what the input is called is not compared."""
    ours = [p for p in parameters(getattr(nn, name).forward) if p[1] is not P.KEYWORD_ONLY]
    theirs = parameters(getattr(torch.nn, name).forward)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert same_default(one[2], other[2])
        assert one[0] == other[0] or one[2] is P.empty


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    if name in FREE:
        return
    theirs = parameters(getattr(torch.nn.Module, name))
    check(parameters(getattr(nn.Module, name)), theirs)


def test_class_methods():
    theirs = parameters(torch.nn.Embedding.from_pretrained)
    check(parameters(nn.Embedding.from_pretrained), theirs)


def test_what_is_compared():
    assert len(FUNCTIONS) > 70
    assert len(LAYERS) > 100
    assert len(METHODS) > 25


# -- functions that are new beside PyTorch's ------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 6, 6))

CASES = {
    "max_pool2d": (lambda F, x: F.max_pool2d(x, 3, 2, 1, 1, True), X),
    "max_pool1d": (lambda F, x: F.max_pool1d(x, 2), X[0]),
    "avg_pool2d": (lambda F, x: F.avg_pool2d(x, (2, 3), None, (1, 0), True, False), X),
    "avg_pool3d": (lambda F, x: F.avg_pool3d(x, 2, 1, 1, False, True, 5), X),
    "lp_pool2d": (lambda F, x: F.lp_pool2d(x, 2, 3, 2), X),
    "adaptive_avg_pool2d": (lambda F, x: F.adaptive_avg_pool2d(x, (4, None)), X),
    "adaptive_max_pool1d": (lambda F, x: F.adaptive_max_pool1d(x, 4), X[0]),
    "normalize": (lambda F, x: F.normalize(x), X),
    "normalize-axes": (lambda F, x: F.normalize(x, 2, (1, 2)), X),
    "normalize-3": (lambda F, x: F.normalize(x, 3.0, 1, 10.0), X),
    "normalize-zero": (lambda F, x: F.normalize(x * 0), X),
    "instance_norm": (lambda F, x: F.instance_norm(x, None, None, x[0, :, 0, 0], x[0, :, 0, 1]), X),
    "batch_norm": (lambda F, x: F.batch_norm(x, None, None, x[0, :, 0, 0], None, True), X),
    "batch_norm-evaluation": (
        lambda F, x: F.batch_norm(x, x[0, :, 0, 0], x[0, :, 0, 1] ** 2),
        X,
    ),
    "alpha_dropout": (lambda F, x: F.alpha_dropout(x), X),
    "feature_alpha_dropout": (lambda F, x: F.feature_alpha_dropout(x), X),
    "dropout2d": (lambda F, x: F.dropout2d(x, 0.5, False), X),
    "mse_loss": (lambda F, x: F.mse_loss(x, x**2, weight=abs(x)), X),
    "l1_loss": (lambda F, x: F.l1_loss(x, x**2, weight=abs(x)), X),
    "huber_loss": (lambda F, x: F.huber_loss(x, x**2, "mean", 0.5, abs(x)), X),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    call, x = CASES[name]
    ours = call(F, x)
    theirs = call(TF, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_values_of_indices():
    index = RNG.integers(0, 5, (3, 4))
    table, scale = RNG.standard_normal((5, 2)), RNG.standard_normal((3, 4))
    i, t, s = map(torch.from_numpy, (index, table, scale))
    np.testing.assert_array_equal(F.one_hot(index), TF.one_hot(i).numpy())
    np.testing.assert_array_equal(F.one_hot(index, 7), TF.one_hot(i, 7).numpy())
    for options in ({}, {"mode": "max"}, {"mode": "sum", "padding_idx": 1}):
        ours = F.embedding_bag(index, table, **options)
        np.testing.assert_allclose(ours, TF.embedding_bag(i, t, **options).numpy(), rtol=1e-12)
    ours = F.embedding_bag(index, table, mode="sum", per_sample_weights=scale)
    theirs = TF.embedding_bag(i, t, mode="sum", per_sample_weights=s)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)
