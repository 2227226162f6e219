"""Quantities that read all rows at once: where these come in chunks, the sweep keeps them."""

import numpy as np
import pytest
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer.extend import Dense, Quantity, ggn_exact, jacobian
from tracer.testing import check_quantity

X, Y = np.random.default_rng(0).standard_normal((6, 3)), np.array([0, 1, 4, 2, 3, 1])


class Overlap(Quantity):
    """`sum_n (sum_rs <u_rn, u_sn>)`: rows multiplied by each other, in arithmetic of its own."""

    name = "overlap"
    rows = ggn_exact
    lists_samples = False
    all_rows = True

    def extract(self, cotangent, context):
        rows = cotangent.per_sample().sum(0)
        return np.sum(rows * rows)

    def reference(self, brute):
        return np.square(brute.roots.sum(0)).sum()


class TornOverlap(Overlap):
    """The same without the products between chunks."""

    all_rows = False


class Penalised(Overlap):
    """Squares of all rows, with those of penalties on parameters."""

    def extract(self, cotangent, context):
        return cotangent.total_of_squares()

    def reference(self, brute):
        return np.square(brute.roots).sum((0, 1))


def test_the_check_finds_products_that_chunks_lack():
    check_quantity(Overlap())
    with pytest.raises(AssertionError, match=r"'overlap', sum of losses, memory_budget=1: w is"):
        check_quantity(TornOverlap())


def test_gram_is_right_in_chunks():
    class Kernel(Quantity):
        name = "kernel"
        rows = ggn_exact

        def extract(self, cotangent, context):
            return np.sum(cotangent.gram(), axis=(0, 2))

        merge = None

        def reference(self, brute):
            flat = brute.roots.sum(0).reshape(brute.roots.shape[1], -1)
            return flat @ flat.T

    assert "reference" in check_quantity(Kernel())


def test_extract_is_called_once_with_all_rows():
    seen = []

    class Seen(Overlap):
        def extract(self, cotangent, context):
            seen.append((context.name, cotangent.rows, cotangent.samples, context.rows))
            return super().extract(cotangent, context)

    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)).double()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(X), Y)
    tape.backward(loss, Seen(), memory_budget=1, samples=None)
    assert sorted(seen) == sorted((name, 4, 6, 4) for name, _ in model.named_parameters())


def test_penalties_are_kept_with_the_rows():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)).double()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(X), Y) + nn.l2_penalty(model[0].weight)
    at_once = tape.backward(loss, ("diag_ggn_exact", Penalised()))
    chunked = tape.backward(loss, Penalised(), memory_budget=1)["overlap"]
    for name, value in at_once["diag_ggn_exact"].items():
        assert_close(at_once["overlap"][name], value, name)
        assert_close(chunked[name], value, name)


def test_rows_stacked_keep_what_came_through_no_sample():
    rng = np.random.default_rng(0)
    first, second = (Dense(rng.standard_normal((2, 3, 4))) for _ in range(2))
    second.unbatched = rng.standard_normal((2, 4))
    first.unbatched_squares = np.ones(4)
    both = first.stacked(second)
    assert_close(both.total(), np.concatenate([first.total(), second.total()]), "total")
    assert_close(
        both.total_of_squares(), first.total_of_squares() + second.total_of_squares(), "squares"
    )


def test_rows_along_any_axis_of_a_state_are_not_added():
    class Kernel(tracer.Quantity):
        name = "kernel_by_samples"
        rows = jacobian
        lists_samples = True

        def extract(self, cotangent, context):
            rows = cotangent.per_sample().reshape(cotangent.rows, cotangent.samples, -1)
            return np.einsum("cnp,dmp->ncmd", rows, rows)

    w = tracer.parameter(np.random.default_rng(0).standard_normal((3, 2)), name="w")
    with tracer.Tape() as tape:
        outputs = tracer.batch(np.random.default_rng(1).standard_normal((5, 3))) @ w
    whole = tape.backward(outputs, Kernel())["kernel_by_samples"]["w"]
    assert whole.shape == (5, 2, 5, 2)
    with pytest.raises(tracer.QuantityError, match=r"say all_rows = True"):
        tape.backward(outputs, Kernel(), memory_budget=1)["kernel_by_samples"]
