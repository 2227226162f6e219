"""Hooks are called in PyTorch's order with PyTorch's arguments."""

import copy

import numpy as np
import pytest

import tracer_layers as nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle


def described(value):
    if isinstance(value, tuple | list):
        return type(value)(map(described, value))
    if isinstance(value, dict):
        return {key: described(each) for key, each in value.items()}
    return float(value.sum()) if hasattr(value, "sum") else value


def run(nn, array, case):
    """What hooks saw, and what came out, in one of the libraries."""

    class Scaled(nn.Module):
        def forward(self, x, factor=1.0, fail=False):
            if fail:
                raise ValueError("failed")
            return x * factor

    module, log = Scaled(), []

    def hook(name, result=None):
        def called(each, *arguments):
            assert each is module
            log.append((name, described(arguments)))
            return result(*arguments) if result else None

        return called

    return described(case(module, array, hook, log)), log


def order(module, x, hook, log):
    for i in range(3):
        module.register_forward_pre_hook(hook(f"pre {i}"), prepend=i == 2)
        module.register_forward_hook(hook(f"post {i}"), prepend=i == 1)
    return module(x, 2.0)


def changes(module, x, hook, log):
    module.register_forward_pre_hook(hook("alone", lambda args: args[0] + 1))
    module.register_forward_pre_hook(hook("tuple", lambda args: (args[0], 3.0)))
    module.register_forward_hook(hook("double", lambda args, output: output * 2))
    module.register_forward_hook(hook("seen"))
    return module(x)


def keywords(module, x, hook, log):
    module.register_forward_pre_hook(hook("without"))
    module.register_forward_pre_hook(
        hook("with", lambda args, kwargs: (args, {**kwargs, "factor": 5.0})), with_kwargs=True
    )
    module.register_forward_hook(hook("after", lambda a, k, y: y + k["factor"]), with_kwargs=True)
    module.register_forward_hook(hook("without after"))
    return module(x, factor=2.0)


def errors(module, x, hook, log):
    module.register_forward_hook(hook("never"))
    module.register_forward_hook(hook("always"), always_call=True)
    module.register_forward_hook(hook("kwargs"), with_kwargs=True, always_call=True)
    with pytest.raises(ValueError, match="failed"):
        module(x, fail=True)
    return module(x)


def errors_of_hooks(module, x, hook, log):
    def fail(args, output):
        raise ValueError("failed")

    module.register_forward_hook(hook("first"), always_call=True)
    module.register_forward_hook(hook("failing", fail))
    module.register_forward_hook(hook("last"), always_call=True)
    with pytest.raises(ValueError, match="failed"):
        module(x)
    return 0


def removal(module, x, hook, log):
    handles = [module.register_forward_hook(hook(str(i))) for i in range(3)]
    handles[1].remove()
    module(x)
    with module.register_forward_pre_hook(hook("inside")):
        module(x)

    def once(args, output):
        handles[2].remove()

    handles.append(module.register_forward_hook(hook("once", once), prepend=True))
    module(x)
    return module(x)


def several_inputs(module, x, hook, log):
    module.register_forward_pre_hook(hook("pre", lambda args: [args[0]]))
    with pytest.raises(Exception):  # noqa: B017, PT011  # a list is one argument
        module(x, "two")
    return 0


CASES = [order, changes, keywords, errors, errors_of_hooks, removal, several_inputs]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_calls(case):
    ours = run(nn, np.arange(3.0), case)
    theirs = run(torch.nn, torch.arange(3.0, dtype=torch.float64), case)
    assert ours == theirs


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies(copied):
    def outputs(nn, x):
        module = nn.Identity()
        handle = module.register_forward_hook(lambda module, args, output: output + 1)
        other = copied(module)
        found = [float(module(x)[0]), float(other(x)[0])]
        handle.remove()
        return [*found, float(module(x)[0]), float(other(x)[0])]

    assert outputs(nn, np.ones(1)) == outputs(torch.nn, torch.ones(1))


def test_states():
    def keys(nn, array):
        module, log = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1))), []

        def saved(each, state, prefix, metadata):
            log.append(prefix)
            state[f"{prefix}extra"] = array

        def loaded(each, keys):
            log.append(type(each).__name__)
            keys.missing_keys.append("more")

        for each in module.modules():
            each.register_state_dict_post_hook(saved)
            each.register_load_state_dict_post_hook(loaded)
        state = module.state_dict(prefix="p.")
        found = module.load_state_dict(module.state_dict(), strict=False)
        return sorted(state), log, found.missing_keys, sorted(found.unexpected_keys)

    assert keys(nn, np.ones(1)) == keys(torch.nn, torch.ones(1))
