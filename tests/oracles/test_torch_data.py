"""Data sets are split and batched into the lengths that `torch.utils.data` gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer_training as training

torch = pytest.importorskip("torch")
# torch warns of parts without samples
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:Length of split")]


def numbered(n):
    return training.ArrayDataset(np.arange(n))


@given(st.lists(st.integers(1, 10), min_size=1, max_size=4), st.integers(0, 40))
def test_fractions_are_those_of_pytorch(weights, n):
    fractions = [weight / sum(weights) for weight in weights]
    try:
        wanted = torch.utils.data.random_split(range(n), fractions)
    except ValueError:  # PyTorch's allows no sum that is above 1 by rounding
        return
    found = training.random_split(numbered(n), fractions)
    assert [len(part) for part in found] == [len(part) for part in wanted]


@given(st.integers(0, 30), st.integers(1, 9), st.booleans())
def test_batches_in_order_are_those_of_pytorch(n, batch_size, drop_last):
    def found(loader):
        return [batch.tolist() for batch in loader]

    theirs = torch.utils.data.DataLoader(range(n), batch_size, drop_last=drop_last)
    ours = training.DataLoader(numbered(n), batch_size, drop_last=drop_last)
    assert len(ours) == len(theirs)
    assert found(x for (x,) in ours) == found(theirs)
