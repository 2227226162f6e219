"""What the page "Coming from ..." says of other libraries is what they do, and what we do.

The blocks of one library run in order, in one namespace, as ours do; where both have a result of
one name, it is compared, at the same weights.
"""

import importlib.util
import os
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch" if importlib.util.find_spec("torch") else "jax")

pytestmark = [
    pytest.mark.oracle,
    # the others on their own account
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning"),
]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "coming-from.md").read_text()
SECTIONS = dict(re.findall(r"^## (\d+)\. .*?\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL))
TAB = r'^=== "{}"\n\n((?:    .*\n|\n)+)'
OURS = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBERS = [str(i + 1) for i in range(10)]
CLOSE = {"rtol": 2e-5, "atol": 1e-6}


def code(section, library):
    """The blocks of a library in a section, as one text."""
    tab = re.search(TAB.format(re.escape(library)), SECTIONS[section], re.MULTILINE)
    inside = textwrap.dedent(tab[1]) if tab else ""
    return "\n".join(re.findall(r"^```py\n(.*?)^```", inside, re.MULTILINE | re.DOTALL))


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """By section, what our names are after its blocks; `0` is before the first."""
    monkeypatch.chdir(tmp_path)
    namespace, after = {"__name__": "page"}, {}
    exec(OURS.search(PAGE)[1], namespace)
    after["0"] = dict(namespace)
    for number in NUMBERS:
        exec("\n".join(OURS.findall(SECTIONS[number])), namespace)
        model = namespace["model"]
        weights = {name: np.array(value) for name, value in model.state_dict().items()}
        after[number] = {**namespace, "weights": weights}
    return after


def data(ours):
    return {"__name__": "page", "x": ours["0"]["x"], "y": ours["0"]["y"]}


def array(value):
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def agree(theirs, ours, *names):
    for name in names:
        np.testing.assert_allclose(array(theirs[name]), ours[name], **CLOSE, err_msg=name)


def test_there_are_ten_things_each_with_tabs():
    assert list(SECTIONS) == NUMBERS
    for section in SECTIONS.values():
        titles = re.findall(r'^=== "(.+)"$', section, re.MULTILINE)
        order = ["PyTorch", "autograd", "Keras", "scikit-learn"]
        assert titles == [title for title in order if title in titles]
        assert titles


def test_pytorch_and_backpack(ours):
    torch = pytest.importorskip("torch")
    pytest.importorskip("backpack")
    theirs = data(ours)

    def take(weights):
        state = {name: torch.tensor(value) for name, value in weights.items()}
        theirs["model"].load_state_dict(state)

    exec(code("1", "PyTorch"), theirs)
    take(ours["1"]["weights"])
    for number in ("2", "3", "4", "5"):
        exec(code(number, "PyTorch"), theirs)
    agree(theirs, ours["5"], "value", "gradient", "stepped", "sizes")
    exec(code("6", "PyTorch"), theirs)
    exec(code("7", "PyTorch"), theirs)
    assert theirs["accuracy"] > 0.9
    exec(code("8", "PyTorch"), theirs)
    again = ours["8"]["again"]
    again.load("model.pt")
    expected = theirs["model"](theirs["x"]).detach().numpy()
    np.testing.assert_allclose(again(ours["0"]["x"]).data, expected, **CLOSE)

    take(ours["8"]["weights"])
    exec(code("9", "PyTorch"), theirs)
    agree(theirs, ours["9"], "each", "diagonal")
    found = np.kron(*map(array, theirs["factors"]))
    np.testing.assert_allclose(found, np.kron(*ours["9"]["block"].factors), **CLOSE)
    exec(code("10", "PyTorch"), theirs)
    agree(theirs, ours["10"], "slope", "bent")


def test_autograd(ours):
    pytest.importorskip("autograd")
    theirs = data(ours)

    def take(weights):
        names = {"0.weight": "W", "0.bias": "b", "2.weight": "V", "2.bias": "c"}
        theirs["p"] = {short: weights[name] for name, short in names.items()}

    exec(code("1", "autograd"), theirs)
    take(ours["1"]["weights"])
    for number in ("2", "3", "4"):
        exec(code(number, "autograd"), theirs)
    agree(theirs, ours["4"], "value", "gradient", "stepped")
    for number in ("6", "7", "8"):
        exec(code(number, "autograd"), theirs)
    assert theirs["accuracy"] > 0.9
    take(ours["8"]["weights"])
    exec(code("9", "autograd"), theirs)
    exec(code("10", "autograd"), theirs)
    agree(theirs, ours["9"], "each")
    agree(theirs, ours["10"], "slope", "bent")


def test_keras(ours):
    pytest.importorskip("keras")
    theirs = data(ours)
    exec(code("1", "Keras"), theirs)
    weights = list(ours["1"]["weights"].values())
    theirs["model"].set_weights([each.T for each in weights])
    for number in ("2", "4"):
        exec(code(number, "Keras"), theirs)
    agree(theirs, ours["4"], "value")
    stepped = theirs["model"].get_weights()[0].T
    np.testing.assert_allclose(stepped, ours["4"]["stepped"], **CLOSE)
    for number in ("6", "7", "8"):
        exec(code(number, "Keras"), theirs)
    assert theirs["accuracy"] > 0.9
    for first, second in zip(
        theirs["model"].get_weights(), theirs["again"].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_scikit_learn(ours):
    pytest.importorskip("sklearn")
    theirs = data(ours)
    for number in ("1", "4", "6", "7", "8"):
        exec(code(number, "scikit-learn"), theirs)
    assert theirs["accuracy"] > 0.9
    np.testing.assert_array_equal(theirs["again"].predict(theirs["x"]), theirs["classes"])
    assert theirs["model"].loss_ == theirs["model"].loss_curve_[-1]
