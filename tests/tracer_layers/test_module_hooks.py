"""Hooks of modules: what they are given, what they may change, and what they cost others."""

import copy
import dis
import gc
import pickle
import weakref

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import HintError, TracerError

X = np.arange(6, dtype=np.float32).reshape(3, 2)
TARGET = np.ones((3, 1), np.float32)


def double(module, inputs, output):
    return 2 * output


def shift(module, inputs):
    return inputs[0] + 1


def model():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def test_hooks_change_inputs_and_outputs():
    layer = nn.Linear(2, 3)
    plain = layer(X).data
    handle = layer.register_forward_hook(double)
    np.testing.assert_array_equal(layer(X).data, 2 * plain)
    layer.register_forward_pre_hook(shift)
    np.testing.assert_array_equal(layer(X).data, 2 * layer.__class__.forward(layer, X + 1).data)
    handle.remove()
    handle.remove()
    assert "forward" in vars(layer)  # another hook is there
    np.testing.assert_array_equal(layer(X).data, nn.linear(X + 1, layer.weight, layer.bias).data)


def test_gradients_pass_through_what_hooks_return():
    """Against the same written out."""
    hooked = model()
    hooked[0].register_forward_hook(lambda module, inputs, output: np.sin(output))
    hooked[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] ** 2,))
    with tracer.Tape() as tape:
        loss = nn.mse_loss(hooked(X), TARGET)
    found = tape.backward(loss, ("grad", "grad_batch", "kfac"))
    same = model()
    with tracer.Tape() as tape:
        x = tracer.batch(X)
        hidden = np.tanh(np.sin(nn.linear(x, same[0].weight, same[0].bias)))
        loss = nn.mse_loss(nn.linear(hidden**2, same[2].weight, same[2].bias), TARGET)
    wanted = tape.backward(loss)["grad"]
    for name, parameter in hooked.named_parameters():
        expected = wanted[dict(same.named_parameters())[name]]
        np.testing.assert_allclose(found["grad"][name], expected, rtol=1e-6)
        np.testing.assert_allclose(found["grad_batch"][name].sum(0), expected, rtol=1e-5)
        assert found["grad"][name].shape == parameter.shape


def test_what_hooks_record_is_the_modules():
    hooked = model()
    hooked[1].register_forward_hook(lambda module, inputs, output: np.exp(output))
    with tracer.Tape() as tape:
        hooked(X)
    scopes = {data["op"]: data["scope"] for _, data in tape.graph("forward").nodes(data=True)}
    assert scopes["exp"] == "1"


def test_hooks_see_samples_of_the_outermost_module():
    seen = []
    layer = nn.Linear(2, 3)
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with tracer.Tape():
        layer(X)
    assert type(seen[0]) is tracer.Tensor
    assert seen[0].shape == X.shape


def test_a_handle_is_a_block_and_does_not_hold_the_module():
    layer = nn.Linear(2, 3)
    with layer.register_forward_hook(double):
        doubled = layer(X).data
    np.testing.assert_array_equal(doubled, 2 * layer(X).data)
    gc.disable()
    try:
        handle, reference = layer.register_forward_hook(double), weakref.ref(layer)
        del layer
        assert reference() is None
    finally:
        gc.enable()
    handle.remove()


def test_hooks_that_call_their_module_do_not_run_again():
    calls = []
    layer = nn.Linear(2, 3)

    def again(module, inputs, output):
        calls.append(1)
        return output + module(inputs[0]) + module.forward(inputs[0])

    plain = layer(X).data
    layer.register_forward_hook(again)
    np.testing.assert_allclose(layer(X).data, 3 * plain)
    assert len(calls) == 1


def test_a_forward_of_the_module_itself_is_called():
    layer = nn.Linear(2, 3)
    layer.forward = lambda x: x * 3
    layer.register_forward_hook(double)
    np.testing.assert_array_equal(layer(X).data, 6 * X)
    copied = copy.deepcopy(layer)
    np.testing.assert_array_equal(copied(X).data, 6 * X)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_hooks_of_their_own(copied):
    layer = nn.Sequential(nn.Linear(2, 3))
    handle = layer[0].register_forward_hook(double)
    other = copied(layer)
    handle.remove()
    np.testing.assert_allclose(other(X).data, 2 * layer(X).data)
    other[0].register_forward_pre_hook(shift)
    assert other(X).shape == (3, 3)
    np.testing.assert_allclose(layer(X).data, other[0].__class__.forward(layer[0], X).data)


def test_a_shallow_copy_shares_them():
    layer = nn.Linear(2, 3)
    plain = layer(X).data
    handle = layer.register_forward_hook(double)
    other = copy.copy(layer)
    del layer
    np.testing.assert_array_equal(other(X).data, 2 * plain)
    handle.remove()
    np.testing.assert_array_equal(other(X).data, plain)


def test_hooks_after_errors():
    calls = []

    class Failing(nn.Module):
        def forward(self, x):
            raise ValueError("in forward")

    def bad(module, inputs, output):
        raise KeyError("in hook")

    module = Failing()
    module.register_forward_hook(lambda *_: calls.append("never"))
    module.register_forward_hook(lambda *_: calls.append("always"), always_call=True)
    module.register_forward_hook(bad, always_call=True)
    with (
        pytest.warns(UserWarning, match=r"hook of Failing with always_call=True raised KeyError"),
        pytest.raises(ValueError, match="in forward"),
    ):
        module(X)
    assert calls == ["always"]


def test_hooks_of_states():
    module = model()

    def add(each, state, prefix, metadata):
        state[f"{prefix}version"] = np.ones(1)

    handles = [module.register_state_dict_post_hook(add)]
    handles.append(module[0].register_state_dict_post_hook(add))
    state = module.state_dict()
    assert {"version", "0.version"} <= set(state)
    assert "outer.0.version" in module.state_dict(prefix="outer.")

    def forgive(each, keys):
        keys.unexpected_keys.clear()

    assert module.load_state_dict(state, strict=False).unexpected_keys == ["0.version", "version"]
    module.register_load_state_dict_post_hook(forgive)
    assert module.load_state_dict(state, strict=False) == ([], [])
    for handle in handles:
        handle.remove()
    assert "version" not in module.state_dict()


def test_mistakes():
    layer = nn.Linear(2, 2)
    with pytest.raises(TracerError, match="a hook is a function, got a str"):
        layer.register_forward_hook("print")
    layer.register_forward_pre_hook(lambda module, args, kwargs: args, with_kwargs=True)
    with pytest.raises(TracerError, match=r"returns None or \(args, kwargs\), got a tuple"):
        layer(X)
    for name in ("register_full_backward_hook", "register_full_backward_pre_hook"):
        with pytest.raises(HintError, match=r"read tape\.cotangents\[output\]"):
            getattr(layer, name)


def test_the_hint_for_hooks_of_the_backward_pass_is_right():
    layer = nn.Linear(2, 1)
    with tracer.Tape(cotangents=True) as tape:
        output = layer(X)
        loss = (output**2).sum()
    tape.backward(loss)
    np.testing.assert_allclose(tape.cotangents[output], 2 * output.data, rtol=1e-6)


def test_modules_without_hooks_are_called_as_before():
    """Nothing of the way of a call names hooks."""
    from tracer_layers.module import calling

    for function in (
        nn.Module.__call__,
        calling.call_as_root,
        calling.call_elsewhere,
        calling.enter,
    ):
        assert not [i for i in dis.get_instructions(function) if "hook" in str(i.argval)]
    layer = nn.Linear(2, 2)
    assert "forward" not in vars(layer)
    layer.register_state_dict_post_hook(lambda *_: None)
    assert "forward" not in vars(layer)
    layer.register_forward_hook(double).remove()
    assert "forward" not in vars(layer)
