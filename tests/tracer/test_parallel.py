"""Blocks of work on several threads: order, errors, and the threads of linear algebra."""

import multiprocessing
import os
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.arrays import parallel
from tracer.arrays.parallel import (
    Work,
    begin_work,
    blocks,
    current_work,
    end_work,
    expect_attention,
    expect_blocks,
    in_parallel,
    on_this_thread,
    one_thread,
    product,
    scratch,
    stacked_product,
    threads,
)

sys.path.append(str(Path(__file__).parents[1]))
import device

RNG = np.random.default_rng(0)
SEVERAL = pytest.mark.skipif(threads() < 2, reason="linear algebra has one thread here")


@pytest.fixture
def beside_blocks():
    """What a test computes is part of a work with convolutions."""
    before = begin_work(Work())
    expect_blocks()
    yield
    end_work(before)


def both(barrier):
    """A function of blocks that returns only if two threads are in it at once."""

    def function(block):
        barrier.wait(timeout=10)
        return block, threading.get_ident()

    return function


def test_results_are_in_the_order_of_the_blocks():
    array = RNG.standard_normal((40, 50, 50))
    results = in_parallel(lambda i: array[i] @ array[i], range(40), array)
    np.testing.assert_array_equal(results, array @ array)


def test_no_blocks_have_no_results():
    assert in_parallel(abs, [], np.ones(3)) == []


@SEVERAL
def test_blocks_run_on_several_threads():
    results = in_parallel(both(threading.Barrier(2)), range(2), np.ones(3))
    assert [block for block, _ in results] == [0, 1]
    assert len({thread for _, thread in results}) == 2


@SEVERAL
def test_linear_algebra_has_one_thread_inside_and_its_own_number_after():
    get, _ = parallel._openblas()
    before = get()
    assert in_parallel(lambda _: get(), range(4), np.ones(3)) == [1] * 4
    assert get() == threads() == before
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda i: 1 / (i - 2), range(4), np.ones(3))
    assert get() == before


@SEVERAL
def test_one_thread_for_linear_algebra_leaves_several_for_blocks():
    get, _ = parallel._openblas()
    before = get()
    with one_thread():
        assert (get(), threads()) == (1, before)
        results = in_parallel(both(threading.Barrier(2)), range(2), np.ones(3))
        assert len({thread for _, thread in results}) == 2
        assert get() == 1
    assert get() == before


@SEVERAL
def test_calls_from_several_threads_leave_the_number_as_it_was():
    get, _ = parallel._openblas()
    before, seen = get(), []

    def caller():
        for _ in range(30):
            seen.extend(in_parallel(lambda _: (get(), threads()), range(4), np.ones(3)))

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert set(seen) == {(1, 1)}
    assert get() == before


def test_an_error_in_a_helper_reaches_the_caller():
    """Whichever thread it is in; blocks that are under way end first."""
    for wrong in range(4):
        with pytest.raises(ZeroDivisionError):
            in_parallel(lambda i, wrong=wrong: 1 / (i - wrong), range(4), np.ones(3))


def test_what_is_called_inside_runs_on_the_thread_that_calls():
    def outer(_):
        me = threading.get_ident()
        return in_parallel(lambda _: threading.get_ident() == me, range(3), np.ones(3))

    assert in_parallel(outer, range(4), np.ones(3)) == [[True] * 3] * 4


def test_arrays_of_other_libraries_stay_on_the_thread_that_calls():
    me = threading.get_ident()
    like = device.asarray(np.ones(3))
    assert in_parallel(lambda _: threading.get_ident(), range(4), like) == [me] * 4
    assert type(scratch("test", (2, 3), like)) is device.DeviceArray


def test_blocks_see_the_error_state_of_the_caller():
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        in_parallel(lambda i: np.ones(3) / (i - 3.0), range(4), np.ones(3))
    with np.errstate(divide="ignore"):
        in_parallel(lambda i: np.ones(3) / (i - 3.0), range(4), np.ones(3))


@given(count=st.integers(1, 300), nbytes=st.integers(0, 1 << 24), most=st.integers(1, 1 << 22))
def test_blocks_are_slices_in_a_row_of_about_equal_length(count, nbytes, most):
    found = blocks(count, nbytes, most, np.ones(1))
    assert [found[0].start, *(each.stop for each in found)] == [
        *(each.start for each in found), count
    ]  # fmt: skip
    lengths = [each.stop - each.start for each in found]
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) > 0
    assert len(found) == count or nbytes / len(found) <= most


@SEVERAL
def test_threads_take_equally_many_blocks_unless_there_is_little_work(beside_blocks):
    """Or none at all runs in blocks, so that linear algebra keeps its threads for itself."""
    enough = parallel.SMALL + 1
    assert len(blocks(100, enough, 8 * enough, np.ones(1))) == threads()
    assert len(blocks(100, (2 * threads() + 1) * enough, enough, np.ones(1))) == 3 * threads()
    assert len(blocks(100, parallel.SMALL, 8 * enough, np.ones(1))) == 1
    begin_work(Work())
    assert len(blocks(100, enough, 8 * enough, np.ones(1))) == 1


def test_arrays_of_other_libraries_have_one_block_up_to_many_bytes():
    """A launch takes longer than what the cache would save."""
    like = device.asarray(np.ones(1))
    assert blocks(100, parallel.LAUNCHED, 1, like) == [slice(0, 100)]
    assert len(blocks(100, 3 * parallel.LAUNCHED, 1, like)) == 3


def _of_child(pipe):
    pipe.send(in_parallel(lambda i: i * i, range(8), np.ones(3)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    in_parallel(abs, range(8), np.ones(3))
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_of_child, args=(theirs,))
    child.start()
    try:
        assert ours.poll(20)
        assert ours.recv() == [i * i for i in range(8)]
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("shapes", [((300, 400), (400, 500)), ((900, 300), (300, 200))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_in_parts_is_the_product(shapes, dtype, monkeypatch, beside_blocks):
    a, b = (RNG.standard_normal(shape).astype(dtype) for shape in shapes)
    monkeypatch.setattr(parallel, "LARGE", 1)
    found = product(a, b)
    assert found.dtype == dtype
    into = np.empty_like(found)
    assert product(a, b, into) is into
    np.testing.assert_array_equal(into, found)
    rounding = a.shape[1] * np.finfo(dtype).eps * (abs(a) @ abs(b))
    assert (abs(found - a @ b) <= rounding).all()
    assert (abs(product(a.T.copy().T, b) - a @ b) <= rounding).all()
    turned = b.T.copy().T
    assert (abs(product(a, turned) - a @ b) <= rounding).all()
    np.testing.assert_array_equal(product(a, turned, into), product(a, turned))


def test_blocks_are_expected_of_one_work_alone():
    """And of what begins inside of it, on its thread or a helper's."""
    assert current_work() is None
    expect_blocks()  # of nothing: it is forgotten
    before = begin_work(work := Work())
    try:
        assert not parallel._blocks_expected()
        in_parallel(lambda _: expect_blocks(), range(4), np.ones(3))
        assert work.blocks
        assert parallel._blocks_expected()
        inner = begin_work(Work())
        assert not parallel._blocks_expected()
        end_work(inner)
        assert parallel._blocks_expected()
    finally:
        end_work(before)
    assert not parallel._blocks_expected()


def test_a_scratch_array_is_used_again_by_its_thread_alone():
    like = np.ones(3, np.float32)
    first = scratch("test", (4, 5), like)
    assert first.shape == (4, 5)
    assert first.dtype == np.float32
    assert np.shares_memory(first, scratch("test", (2, 3), like, np.dtype(np.float64)))
    assert not np.shares_memory(first, scratch("another", (4, 5), like))
    others = []
    thread = threading.Thread(target=lambda: others.append(scratch("test", (4, 5), like)))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])


def test_a_large_scratch_array_is_not_kept():
    like = np.ones(3)
    first = scratch("large", (parallel.MOST_KEPT // 8 + 1,), like)
    assert not np.shares_memory(first, scratch("large", (3,), like))


def test_what_blocks_refer_to_is_freed_with_the_call():
    """No helper holds on to it, so that memory is as free after a call as on one thread."""

    def reference():
        array = np.ones(1000)
        in_parallel(lambda i: array[i], range(4), array)
        return weakref.ref(array)

    assert [reference()() for _ in range(200)] == [None] * 200


def test_scipys_linear_algebra_has_one_thread_on_a_thread_of_its_own():
    pytest.importorskip("scipy.linalg")
    found = parallel._openblas_of_scipy()
    if found is None:
        pytest.skip("SciPy has another library")
    get, set_ = found
    before = get()
    try:
        set_(2)
        with on_this_thread():
            assert get() == 1
            with on_this_thread():
                assert get() == 1
            assert get() == 1
        assert get() == 2
    finally:
        set_(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shapes",
    [
        ((5, 2, 3, 4), (5, 2, 4, 6)),
        ((5, 1, 3, 4), (5, 2, 4, 6)),
        ((5, 3, 4), (4, 6)),
        ((1, 3, 4), (5, 4, 6)),
        ((0, 3, 4), (0, 4, 6)),
    ],
)
def test_a_product_of_stacks_is_the_product(shapes, dtype, monkeypatch):
    monkeypatch.setattr(parallel, "LARGE", 1)
    a, b = (RNG.standard_normal(shape).astype(dtype) for shape in shapes)
    found = stacked_product(a, b)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, a @ b, rtol=100 * np.finfo(dtype).eps)
    moved = np.ascontiguousarray(np.swapaxes(a, -1, -2)).swapaxes(-1, -2)
    np.testing.assert_allclose(stacked_product(moved, b), a @ b, rtol=100 * np.finfo(dtype).eps)


def test_a_product_of_stacks_that_do_not_fit_is_refused_as_numpy_does(monkeypatch):
    monkeypatch.setattr(parallel, "LARGE", 1)
    with pytest.raises(ValueError, match="mismatch in its core dimension"):
        stacked_product(np.ones((5, 3, 4)), np.ones((5, 3, 4)))


@SEVERAL
def test_where_attention_is_expected_linear_algebra_has_one_thread_until_the_end():
    get = parallel._openblas()[0]
    several = get()
    before = begin_work(Work())
    try:
        assert get() == several
        expect_attention()
        assert get() == 1
        assert threads() == several
    finally:
        end_work(before)
    assert get() == several
