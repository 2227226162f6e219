"""The extension that a page of the docs translates gives what its translation gives."""

import re
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn

torch = pytest.importorskip("torch")
backpack = pytest.importorskip("backpack")

pytestmark = [
    pytest.mark.oracle,
    # BackPACK and PyTorch on their own account
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-backpack.md"


def block(language):
    """What the first block of that language on the page defines."""
    found = {"__name__": "page"}
    exec(re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)[1], found)
    return found


def test_the_extension_and_the_quantity_agree():
    tracer.seed(0)
    layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ours = nn.Sequential(*layers).double()
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    ).double()
    state = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    x, y = np.random.default_rng(0).standard_normal((5, 1, 4, 4)), np.array([0, 1, 2, 1, 0])

    extended, lossfunc = backpack.extend(theirs), backpack.extend(torch.nn.CrossEntropyLoss())
    with backpack.backpack(block("py")["ThirdMoment"]()):
        lossfunc(extended(torch.tensor(x)), torch.tensor(y)).backward()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(ours(x), y)
    found = tape.backward(loss, block("python")["ThirdMoment"]())["third_moment"]
    for name, parameter in theirs.named_parameters():
        assert np.allclose(found[name], parameter.third_moment.numpy(), rtol=1e-10, atol=1e-14)
