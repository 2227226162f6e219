"""Hooks around a module's `forward`: what they see, change, and leave alone."""

import copy
import pickle

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracerError

X = np.ones((2, 3), np.float32)


def double(module, args):
    return args[0] * 2


def test_hooks_see_and_change_what_goes_in_and_out():
    layer = nn.Linear(3, 2)
    plain = layer(X).data
    seen = []

    def before(module, args):
        seen.append(("before", module is layer, args[0].shape))
        return args[0] * 2

    def after(module, args, output):
        seen.append(("after", module is layer, output.shape))
        return output - layer.bias

    with layer.register_forward_pre_hook(before), layer.register_forward_hook(after):
        changed = layer(X).data
    np.testing.assert_allclose(changed, 2 * (plain - layer.bias.data), rtol=1e-5, atol=1e-6)
    assert seen == [("before", True, (2, 3)), ("after", True, (2, 2))]
    np.testing.assert_array_equal(layer(X).data, plain)
    assert "forward" not in vars(layer)


def test_their_order_and_removal():
    layer, told = nn.Identity(), []
    handles = [
        layer.register_forward_hook(lambda m, a, o, name=name: told.append(name), prepend=first)
        for name, first in (("a", False), ("b", False), ("c", True))
    ]
    layer(X)
    assert told == ["c", "a", "b"]
    handles[0].remove()
    handles[0].remove()
    told.clear()
    layer(X)
    assert told == ["c", "b"]


def test_keywords_and_errors():
    class Scales(nn.Module):
        def forward(self, x, factor=1.0):
            if factor is None:
                raise ValueError("no factor")
            return x * factor

    model, told = Scales(), []
    model.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"factor": kwargs["factor"] and 3 * kwargs["factor"]}),
        with_kwargs=True,
    )
    model.register_forward_hook(
        lambda m, args, kwargs, output: told.append((kwargs["factor"], output is None)),
        with_kwargs=True,
        always_call=True,
    )
    model.register_forward_hook(lambda m, a, o: told.append("not called"))
    with pytest.raises(ValueError, match="no factor"):
        model(X, factor=None)
    assert told == [(None, True)]
    np.testing.assert_array_equal(model(X, factor=2.0).data, 6 * X)
    wrong = nn.Identity()
    wrong.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(TracerError, match=r"returns None or \(args, kwargs\), got 3"):
        wrong(X)
    with pytest.raises(TracerError, match="a hook is a function"):
        wrong.register_forward_hook("print")


def test_what_hooks_compute_belongs_to_the_module_and_has_derivatives():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    model[0].register_forward_hook(lambda module, args, output: np.sin(output))
    with tracer.Tape() as tape:
        loss = nn.mse_loss(model(X), np.zeros((2, 2), np.float32), reduction="sum")
    nodes = [n for _, n in tape.graph().nodes(data=True)]
    assert [n["scope"] for n in nodes if n["op"] == "sin"] == ["0"]
    results = tape.backward(loss, ("grad", "grad_batch", "kfac"))
    np.testing.assert_allclose(
        results["grad_batch"]["0.weight"].sum(0), results["grad"]["0.weight"], rtol=1e-5
    )
    epsilon = 1e-3
    weight = model[0].weight
    values = []
    for sign in (1, -1):
        changed = weight.data.copy()
        changed[0, 0] += sign * epsilon
        other = copy.deepcopy(model)
        other[0].weight.data = changed
        values.append(float((other(X) ** 2).sum().data))
    slope = (values[0] - values[1]) / (2 * epsilon)
    assert results["grad"]["0.weight"][0, 0] == pytest.approx(slope, rel=2e-2, abs=1e-3)


def test_copies_have_hooks_of_their_own():
    layer = nn.Linear(3, 2)
    plain = layer(X).data
    handle = layer.register_forward_pre_hook(double)
    twice = layer(X).data
    for other in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other(X).data, twice)
    kept = copy.deepcopy(layer)
    handle.remove()
    np.testing.assert_array_equal(layer(X).data, plain)
    np.testing.assert_array_equal(kept(X).data, twice)


def test_modules_without_hooks_are_called_as_before():
    model = nn.Sequential(nn.Linear(3, 2))
    assert all("forward" not in vars(module) for module in model.modules())
    assert all(module._hooks is None for module in model.modules())
