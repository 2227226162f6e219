"""Arrays are written into after they were recorded: results are of what was computed."""

import numpy as np
import pytest
from coverage_cases import CASES
from coverage_table import Reference

import tracer
import tracer_quantities as tq
from tracer.errors import TracerError

SAMPLED = np.random.default_rng
#: quantities of every way to make one: rows, signed rows, products, samples
SOME = ("grad", "batch_l2", "diag_ggn_exact", "diag_h", "ggn", "hessian")
WITHOUT_SAMPLES = ("grad", "diag_ggn_exact", "ggn", "hessian")
#: of losses that are not convex, or are no registered ones
OF_ANY_LOSS = ("grad", "hessian")
#: layers on which all quantities are tried
THOROUGHLY = ("Linear", "Conv2d", "LSTM", "CrossEntropyLoss", "Embedding")


class Program:
    """What a user's program holds: a record, and every array that went into it."""

    def __init__(self, case):
        self.reference = Reference(CASES[case])
        with tracer.Tape() as self.tape:
            self.loss = self.reference.loss(self.reference.forward())

    def backward(self, quantities):
        return self.tape.backward(self.loss, quantities, rng=SAMPLED(6))

    def arrays(self):
        reference = self.reference
        yield from (leaf.data for leaf in reference.leaves.values())
        yield from (buffer for _, buffer in reference.net.named_buffers())
        yield from (buffer for _, buffer in reference.criterion.named_buffers())
        yield reference.inputs
        yield reference.target
        yield from (x for x in reference.case.given if isinstance(x, np.ndarray))

    def write(self):
        """Write into all of them; those of the case itself are put back by `restored`."""
        for array in self.arrays():
            array[...] = array[::-1] if array.dtype.kind != "f" and array.ndim else 3 * array + 1


@pytest.fixture
def restored():
    """The arguments of cases are shared by all tests."""
    given = [x for case in CASES.values() for x in case.given if isinstance(x, np.ndarray)]
    kept = [x.copy() for x in given]
    yield
    for array, values in zip(given, kept, strict=True):
        array[...] = values


def defined(case):
    """Which of `SOME` are, for this layer."""
    for some in (SOME, WITHOUT_SAMPLES, OF_ANY_LOSS):
        try:
            Program(case).backward(some)
        except TracerError:
            continue
        return some
    return ("grad",)


def values(results):
    """Plain arrays of all results; operators by a product."""
    found = {}
    for quantity, value in results.items():
        if hasattr(value, "matmat"):
            found[quantity] = value @ np.linspace(-1, 1, value.shape[0])
            continue
        for name, x in value.items():
            found[quantity, name] = plain(x)
    return found


def plain(x):
    if hasattr(x, "factors"):
        return [np.array(factor) for factor in x.factors]
    if callable(x):  # products with a block
        return np.array(x(np.linspace(-1, 1, int(np.prod(x.shape))).reshape(x.shape)))
    return np.array(x)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        several = type(value) is list
        for a, b in zip(
            *((found[key], value) if several else ([found[key]], [value])), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=str(key))


@pytest.mark.parametrize("case", CASES)
def test_results_are_of_what_was_recorded(case, restored):
    asked = defined(case)
    expected = values(Program(case).backward(asked))
    program = Program(case)
    program.write()
    assert_same(values(program.backward(asked)), expected)
    program.write()
    assert_same(values(program.backward(asked)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_operators_are_of_what_was_recorded_also_after_later_sweeps(case, restored):
    asked = tuple(q for q in ("grad", "ggn", "hessian") if q in defined(case))
    expected = values(Program(case).backward(asked))
    program = Program(case)
    results = program.backward(asked)
    program.write()
    assert_same(values(results), expected)
    program.backward(("grad",))
    assert_same(values(results), expected)


OPERATORS = ("ggn", "ggnmp", "hessian", "hmp", "fisher_empirical")


@pytest.mark.parametrize("case", THOROUGHLY)
@pytest.mark.parametrize("later", ["grad", "diag_ggn_exact", "grad_batch"])
def test_operators_that_are_first_applied_after_a_later_sweep(case, later, restored):
    expected = values(Program(case).backward(OPERATORS))
    for asked in OPERATORS:
        program = Program(case)
        results = program.backward((asked,))
        program.backward((later,))
        of_one = {key: expected[key] for key in expected if asked in (key, key[0])}
        assert_same(values(results), of_one)


@pytest.mark.parametrize("case", THOROUGHLY)
@pytest.mark.parametrize("quantity", [q.name for q in tq.QUANTITIES])
def test_every_quantity_is_of_what_was_recorded(case, quantity, restored):
    if (case, quantity) == ("LSTM", "pchmp"):
        with pytest.raises(TracerError, match="linear in"):
            Program(case).backward((quantity,))
        return
    expected = values(Program(case).backward((quantity,)))
    program = Program(case)
    program.write()
    results = program.backward((quantity,))
    program.write()
    assert_same(values(results), expected)
    program.backward(("grad",))
    assert_same(values(results), expected)
    assert_same(values(program.backward((quantity,))), expected)
