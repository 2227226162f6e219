"""Names of other libraries that are not here: an error that says what to write, and that exists."""

import builtins
import pickle
import re

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import HintError, TracerError
from tracer.record import hints as package_hints
from tracer_layers.module import hints

OWNERS = {
    "package": (tracer, package_hints.PACKAGE),
    "layers": (nn, hints.LAYERS),
    "functional": (nn.functional, hints.FUNCTIONAL),
    "module": (nn.Sequential(), hints.MODULE),
    "init": (nn.init, hints.INIT),
    "utils": (nn.utils, hints.UTILS),
}
NAMES = [(owner, name) for owner, (_, table) in OWNERS.items() for name in table]


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_a_name_that_is_not_there_says_what_is(owner, name):
    thing, table = OWNERS[owner]
    assert not hasattr(thing, name)
    assert getattr(thing, name, None) is None
    with pytest.raises(HintError, match=re.escape(f"has no attribute {name!r}: ")) as error:
        getattr(thing, name)
    assert isinstance(error.value, AttributeError)
    assert isinstance(error.value, TracerError)
    assert str(error.value).endswith(table[name])


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_a_hint_names_only_what_exists(owner, name):
    """Dotted names of `tracer`, `np`, tapes, tensors and modules, and names of layers."""
    text = OWNERS[owner][1][name]
    roots = {"tracer": tracer, "np": np, "tape": tracer.Tape, "model": nn.Module}
    roots |= {"tensor": tracer.Tensor, "self": nn.Module}
    for root, path in re.findall(r"\b(\w+)\.([a-z_]\w*(?:\.[a-z_]\w*)*)", text):
        thing = roots.get(root)
        for part in path.split(".") if thing is not None else ():
            thing = getattr(thing, part)
    for word in re.findall(r"\b([A-Z][a-z]+[A-Z]\w*|[a-z]+(?:_[a-z0-9]+)+)\b", text):
        known = (
            nn,
            nn.functional,
            nn.utils,
            nn.utils.parametrize,
            nn.init,
            nn.Module,
            tracer,
            np,
            np.random.default_rng(0),
            tracer.Tape,
        )
        known_names = {"state_dict", "grad_batch", "tracer_layers", "align_corners"}
        known_names |= {"DataLoader"}
        known_names |= {"NumPy", "default_rng", "tracer_training", "AdamW", "memory_budget"}
        assert (
            word in known_names
            or any(hasattr(thing, word) for thing in known)
            or hasattr(builtins, word)
        ), word


def test_other_names_are_plain_errors_with_a_suggestion():
    with pytest.raises(AttributeError, match=r"no attribute 'Relu'.*Did you mean 'ReLU'"):
        nn.Relu  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'max_pool2d'"):
        nn.functional.maxpool2d  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'parameter'"):
        tracer.parameters  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'weight'") as error:
        nn.Linear(2, 2).get_weights  # noqa: B018
    assert not isinstance(error.value, HintError)
    for thing in (nn, nn.functional, tracer, nn.Linear(2, 2)):
        with pytest.raises(AttributeError) as error:
            thing.__of_python__  # noqa: B018
        assert not isinstance(error.value, HintError)
        assert "mean" not in str(error.value)


def test_functions_of_numpy_are_numpys():
    for name in ("exp", "zeros", "stack", "einsum", "float32"):
        if not hasattr(tracer, name):
            with pytest.raises(HintError, match=f"write np.{name}"):
                getattr(tracer, name)
    assert not hasattr(tracer, "newaxis")


class Owner(nn.Module):
    def __init__(self):
        self.device = "cpu"
        self.type = "owner"


def test_names_can_be_given_to_modules_of_ones_own():
    assert Owner().device == "cpu"
    assert pickle.loads(pickle.dumps(Owner())).type == "owner"
