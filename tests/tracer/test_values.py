"""The mapping that a quantity's values come in: by name or by tensor, wherever a key is taken."""

import copy
import pickle

import numpy as np
import pytest

import tracer
from tracer.curvature.values import Values


@pytest.fixture
def case():
    p, q = (tracer.parameter(np.ones(2), name=name) for name in ("weight", "bias"))
    with tracer.Tape() as tape:
        loss = np.sum(p * p + q)
    return tape.backward(loss)["grad"], p, q


def test_names_and_tensors_are_keys_everywhere(case):
    values, p, q = case
    for key in (p, "weight"):
        assert key in values
        assert values[key] is values.get(key) is values.get(key, 0) is values.setdefault(key, 0)
    other = tracer.parameter(np.ones(2), name="weight")
    for key in (other, "other", 3, None, p.detach()):
        assert key not in values
        assert values.get(key) is None
        assert values.get(key, 7) == values.pop(key, 7) == 7
        for call in (values.__getitem__, values.pop, values.__delitem__):
            with pytest.raises(KeyError):
                call(key)
    values[q] = 5
    assert values["bias"] == values.pop(q) == 5
    del values[p]
    assert len(values) == 0


def test_iteration_gives_names(case):
    values, *_ = case
    assert list(values) == list(values.keys()) == list(dict(values)) == ["weight", "bias"]
    assert [name for name, _ in values.items()] == [*values]
    assert {**values}.keys() == values.keys()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, Values.copy])
def test_copies_know_the_same_tensors(case, way):
    values, p, _ = case
    other = way(values)
    assert type(other) is Values
    np.testing.assert_array_equal(other[p], values[p])
    assert (other[p] is values[p]) == (way is not copy.deepcopy)
    del other[p]
    assert p in values


def test_a_pickle_knows_names(case):
    values, p, _ = case
    other = pickle.loads(pickle.dumps(values))
    np.testing.assert_array_equal(other["weight"], values["weight"])
    assert p not in other
    with pytest.raises(tracer.ParameterError, match="known by name alone"):
        other[p]


def test_errors_say_what_is_there(case):
    values, *_ = case
    with pytest.raises(tracer.ParameterError) as error:
        values["wieght"]
    assert str(error.value) == (
        "no parameter is called 'wieght'. Did you mean 'weight'? Parameters: weight, bias"
    )
    with pytest.raises(tracer.ParameterError, match=r"'weight', float64\[3\], was not used"):
        values[tracer.parameter(np.ones(3), name="weight")]
    with pytest.raises(tracer.ParameterError, match=r"is no parameter: tracer.grad"):
        values[tracer.batch(np.ones((2, 2)))]


def test_reduce_is_given_the_names_of_the_results():
    p, q = (tracer.parameter(np.ones(2), name="w") for _ in range(2))
    seen = []
    with tracer.Tape() as tape:
        loss = np.sum(p * q)
    values = tape.backward(loss, reduce={"grad": lambda name, value: seen.append(name) or 1.0})
    assert sorted(seen) == sorted(values["grad"]) == ["w_0", "w_1"]
    assert values["grad"][p] == values["grad"][q] == 1.0
