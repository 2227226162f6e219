"""Notes on errors that are raised before a call comes to us, and names of unnamed parameters."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracingError


def noted(act):
    """The notes on the `TypeError` that a function of a parameter raises on a tape."""
    w = tracer.parameter(np.ones((2, 3)))
    with pytest.raises(TypeError) as caught, tracer.Tape(), tracer.Tape():
        act(w)
    return getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("function", [np.sum, np.mean, np.max, np.var, np.argmax, np.cumsum])
def test_keywords_of_other_libraries(function):
    (note,) = noted(lambda w: function(w, dim=0))
    assert note == "NumPy's functions take axis= for dim="


def test_keepdim():
    (note,) = noted(lambda w: np.sum(w, axis=0, keepdim=True))
    assert note == "NumPy's functions take keepdims= for keepdim="
    with pytest.raises(TypeError) as caught:
        tracer.grad(lambda x: np.sum(x, dim=0))(np.ones(2))
    assert "axis= for dim=" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda w: w.size(), "tensor.shape"),
        (lambda w: w.size(0), "tensor.shape[i] for size(i)"),
        (lambda w: (w * 2).shape(), "tensor.shape is a tuple"),
        (lambda w: w.T.ndim(), "without parentheses"),
    ],
)
def test_calls_of_what_is_an_attribute(act, word):
    (note,) = noted(act)
    assert word in note


def test_other_errors_have_no_notes():
    for act in (
        lambda w: np.sum(w, nothing=0),
        lambda w: len(3),
        lambda w: (lambda: 3)()(),
        lambda w: {}.size(),
    ):
        try:
            assert noted(act) == []
        except AttributeError:
            continue


class TestParametersInPlace:
    def test_of_a_model_by_its_name(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        with tracer.Tape():
            model(np.ones((1, 3), np.float32))
            w = model[1].weight
            with pytest.raises(TracingError, match=r"parameter \(1\.weight\)"):
                w += 1.0

    def test_of_nobody_by_its_shape(self):
        w = tracer.parameter(np.ones((2, 3)))
        with pytest.raises(TracingError, match=r"parameter \(of shape \[2, 3\]\)"):
            w -= 1.0


def test_keywords_of_numpy_in_functions_of_layers_have_notes():
    with pytest.raises(TypeError) as raised, tracer.Tape():
        nn.functional.softmax(np.ones((2, 2)), axis=1)
    assert raised.value.__notes__ == ["functions of tracer_layers take dim= for axis="]
