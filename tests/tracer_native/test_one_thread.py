"""While a tape or sweep runs on kernels, linear algebra has one thread; then as many as before."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tests.tracer_native.conftest import running
from tracer.arrays import parallel
from tracer.arrays.compiled import NONE, Compiled

FOUND = parallel._openblas()
pytestmark = pytest.mark.skipif(FOUND is None, reason="NumPy has another library than OpenBLAS")


class Told(Compiled):
    """Kernels that take nothing, and keep how many threads linear algebra has when asked."""

    def __init__(self):
        self.threads = set()

    def activate(self, function, x):
        self.threads.add(FOUND[0]())


@pytest.fixture(autouse=True)
def two_threads():
    get, set_ = FOUND
    before = get()
    set_(2)
    yield
    assert get() == 2
    set_(before)


def step(error=None):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    with tracer.Tape() as tape:
        loss = np.mean(model(np.ones((2, 1, 5, 5), np.float32)))
        assert parallel.threads() == 2  # for our own threads, as many as before
        if error is not None:
            raise error
    assert FOUND[0]() == 2
    return tape.backward(loss)


def test_in_a_tape_and_its_sweep():
    kernels = Told()
    with running(kernels):
        step()
    assert kernels.threads == {1}


def test_not_without_kernels():
    with running(NONE), tracer.Tape():
        nn.Conv2d(1, 2, 3)(np.ones((2, 1, 5, 5), np.float32))
        assert FOUND[0]() == 2


def test_not_where_nothing_alternates_with_products():
    with running(Told()), tracer.Tape():
        nn.Linear(3, 2)(np.ones((2, 3), np.float32))
        assert FOUND[0]() == 2


def test_an_error_gives_them_back():
    with running(Told()), pytest.raises(KeyError):
        step(KeyError("in the block"))


def test_tapes_in_one_another_and_closed_in_another_order():
    conv, x = nn.Conv2d(1, 2, 3), np.ones((2, 1, 5, 5), np.float32)
    with running(Told()):
        with tracer.Tape():
            conv(x)
            with tracer.Tape():
                conv(x)
            assert FOUND[0]() == 1
        first, second = parallel.Work(), parallel.Work()
        outside = parallel.begin_work(first)
        parallel.expect_blocks()
        before = parallel.begin_work(second)
        parallel.expect_blocks()
        first.release()
        assert FOUND[0]() == 1
        parallel.end_work(before)
        parallel.end_work(outside)
