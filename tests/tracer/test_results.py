"""What `Tape.backward` returns, what it is asked for, and what is said of what is not there."""

import copy
import pickle

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import BatchError, HintError, QuantityError, ResultError, TracerError
from tracer.record import hints

X, Y = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])


def swept(quantities="grad", batch=True, **options):
    w = tracer.parameter(np.random.default_rng(1).standard_normal((3, 2)), name="w")
    with tracer.Tape() as tape:
        loss = nn.cross_entropy((tracer.batch(X) if batch else X) @ w, Y)
    return w, tape.backward(loss, quantities, **options)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("hessian", ["'grad', and not of 'hessian'", "tape.backward(loss, ('grad', 'hessian'))"]),
        ("gard", ["not of 'gard'", "Did you mean 'grad'?"]),
        ("w", ["not of 'w'", "results['grad']['w']"]),
        (3, ["not of 3"]),
    ],
)
def test_what_was_not_asked_for_is_named(key, words):
    _, results = swept()
    with pytest.raises(ResultError) as caught:
        results[key]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, TracerError)
    for word in words:
        assert word in str(caught.value)
    assert key not in results
    assert results.get(key) is None


def test_a_parameter_comes_after_the_quantity():
    w, results = swept()
    with pytest.raises(ResultError, match=r"the parameter w: .*results\['grad'\]\[w\]"):
        results[w]
    assert results["grad"][w].shape == (3, 2)


def test_results_are_a_dict():
    _, results = swept(("grad", "batch_l2"))
    assert isinstance(results, dict)
    assert list(results) == ["grad", "batch_l2"]
    with pytest.raises(HintError, match=r"write results\['grad'\]"):
        results.grad  # noqa: B018
    with pytest.raises(AttributeError):
        results.nothing  # noqa: B018
    for other in (copy.copy(results), pickle.loads(pickle.dumps(dict(results["grad"])))):
        assert other is not results


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce": lambda name, value: value}, "reduce maps names of quantities to functions"),
        ({"reduce": ["grad"]}, "reduce maps names of quantities to functions"),
        ({"reduce": {"grad": 3}}, r"reduce\['grad'\] is a function .* got 3"),
        ({"quantities": 3}, "quantities are registered names .* got 3"),
        ({"quantities": None}, "quantities are registered names .* got None"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(options, words):
    with pytest.raises(QuantityError, match=words):
        swept(**options)


def test_a_class_of_quantities_is_taken_alone():
    quantity = tracer.registry.quantities["batch_l2"]
    assert swept(quantity)[1]["batch_l2"]["w"].shape == (5,)


@pytest.mark.parametrize("name", ["kfac", "kflr"])
@pytest.mark.parametrize("others", [(), ("grad",)])
def test_factors_need_a_marked_batch(name, others):
    with pytest.raises(BatchError) as caught:
        swept((*others, name), batch=False)
    message = str(caught.value)
    assert name in message
    assert "'w'" in message
    assert "marked as a batch" in message
    assert "x = tracer.batch(x)" in message


class TestKronecker:
    def block(self):
        return swept("kflr")[1]["kflr"]["w"]

    def test_products_by_sign(self):
        block, v = self.block(), np.random.default_rng(2).standard_normal((3, 2))
        expected = (block.dense() @ v.reshape(-1)).reshape(3, 2)
        for got in (block @ v, v @ block, block.matvec(v.tolist())):
            np.testing.assert_allclose(got, expected)
        np.testing.assert_allclose(block @ v.reshape(-1), expected.reshape(-1))

    def test_other_names_say_what_to_write(self):
        block = self.block()
        for name, hint in hints.KRONECKER.items():
            assert not hasattr(block, name)
            with pytest.raises(HintError, match=f"no attribute '{name}'") as caught:
                getattr(block, name)
            assert str(caught.value).endswith(hint)

    def test_it_does_not_become_an_array_of_objects(self):
        with pytest.raises(QuantityError, match=r"block\.dense\(\)"):
            np.asarray(self.block())
