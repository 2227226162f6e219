"""Blocks of work on several threads, each with linear algebra of one thread.

NumPy releases the interpreter's lock while it copies and multiplies, but uses several threads for
large matrix products alone. Blocks that stay in a core's cache are too small for those: on 2 cores
`im2col` and products in blocks of 1 MB take 21.7 ms with OpenBLAS's threads, 15.0 ms with a block
on each, and, while the machine does something else besides, 46 and 15.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import Context, ContextVar, copy_context
from types import FrameType
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tracer.arrays.compiled import NONE, compiled
from tracer.arrays.openblas import function, of_scipy
from tracer.arrays.types import Array, DType, Shape

#: what a thread is given, and what it makes of it
Part = TypeVar("Part")
Made = TypeVar("Made")

#: bytes of the largest scratch array that a thread keeps
MOST_KEPT = 8 << 20
#: bytes up to which work is one block: a second thread would not pay
SMALL = 1 << 20
#: bytes of a block where arrays are not NumPy's, and launching work takes longer than its memory
LAUNCHED = 256 << 20
#: multiplications of a product that is worth to be divided: about 0.2 ms
LARGE = 10**7
#: multiplications up to which OpenBLAS uses one thread of itself
ALONE = 1 << 18


#: reads the number of threads of a library, and sets it
Count: TypeAlias = tuple[Callable[[], int], Callable[[int], object]]


@functools.cache
def _openblas() -> Count | None:
    """How to read and set the number of threads of NumPy's OpenBLAS; None if it has another."""
    found = [function(f"openblas_{each}_num_threads") for each in ("get", "set")]
    return None if None in found else (found[0][0], found[1][0])  # type: ignore[index]


def _openblas_of_scipy() -> Count | None:
    """The same of SciPy's; None where it is not loaded, or has another."""
    get, set_ = (of_scipy(f"openblas_{each}_num_threads") for each in ("get", "set"))
    return None if get is None or set_ is None else (get, set_)


class _Limit:
    """Sets a library to one thread while anything runs in it, from whichever threads.

    `library` says how to read and set the number.
    """

    def __init__(self, library: Callable[[], Count | None]) -> None:
        self.library = library
        self.lock = threading.Lock()
        self.inside = 0
        self.before = 1

    @contextlib.contextmanager
    def one_thread(self) -> Iterator[None]:
        found = self.library()
        assert found is not None
        get, set_ = found
        counted = False  # an interruption may come at any line
        try:
            with self.lock:
                if self.inside == 0:
                    self.before = get()
                self.inside += 1
                counted = True
                set_(1)
            yield
        finally:
            if counted:
                with self.lock:
                    self.inside -= 1
                    if self.inside == 0:
                        set_(self.before)


_limit, _limit_of_scipy = _Limit(_openblas), _Limit(_openblas_of_scipy)
_local = threading.local()


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    """One less than there are cores: each has scratch arrays of its own."""
    helpers = max(1, (os.cpu_count() or 1) - 1)
    return ThreadPoolExecutor(helpers, thread_name_prefix="tracer")


def _in_a_forked_process() -> None:
    """Threads do not survive a fork: the first block would wait for them forever."""
    global _limit, _limit_of_scipy
    _helpers.cache_clear()
    _limit, _limit_of_scipy = _Limit(_openblas), _Limit(_openblas_of_scipy)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_process)


def threads() -> int:
    """How many threads linear algebra may use, by its own settings; 1 where that is not known.

    It is 1 inside of blocks that several threads work on.
    """
    found = _openblas()
    if found is None or getattr(_local, "working", False):
        return 1
    with _limit.lock:
        return _limit.before if _limit.inside else found[0]()


class Work:
    """What is computed together, as a record and its sweeps: it decides whose threads multiply.

    That is no matter of the process: results have the same last bits whatever ran before.
    """

    __slots__ = ("blocks", "limited", "ours")

    def __init__(self) -> None:
        #: whether blocks alternate with products: see `product`
        self.blocks = False
        #: whether no product is left to threads of linear algebra: see `expect_attention`
        self.ours = False
        #: what holds linear algebra to one thread, while it does
        self.limited: contextlib.AbstractContextManager[None] | None = None

    def limit(self) -> None:
        """Hold linear algebra to one thread until `release`, where compiled kernels run or all
        products are ours.

        Its threads go on spinning after a product, and a kernel that follows on ours takes 1.4 to
        1.75 times as long beside them.
        """
        if self.limited is not None or not self.blocks:
            return
        if self.ours or compiled() is not NONE:
            self.limited = one_thread()
            self.limited.__enter__()

    def release(self) -> None:
        limited, self.limited = self.limited, None
        if limited is not None:
            limited.__exit__(None, None, None)


_work: ContextVar[Work | None] = ContextVar("tracer_work", default=None)
#: the work that this thread or task is at, or None
current_work = _work.get


def begin_work(work: Work) -> Work | None:
    """Turn to a work, until `end_work` is given what this returns: the work before."""
    before = _work.get()
    if work is not before:
        _work.set(work)
        if work.blocks:
            work.limit()
    return before


def end_work(before: Work | None) -> None:
    """Return to the work before."""
    work = _work.get()
    if work is not before:
        if work is not None and work.limited is not None:
            work.release()
        _work.set(before)


def expect_blocks() -> None:
    """Say that this work alternates blocks with products, as networks with convolutions do."""
    work = _work.get()
    if work is not None:
        work.blocks = True
        work.limit()


def expect_attention() -> None:
    """Say that this work is one of attention: short blocks between many products, all on ours.

    A step of a GPT takes 86 ms in place of 95, and where linear algebra keeps its threads and they
    spin beside ours, 136.
    """
    work = _work.get()
    if work is not None:
        work.ours = True
        expect_blocks()


def expect_kernels() -> None:
    """Say that this work runs on compiled kernels, if there are any: then it is one of blocks."""
    if compiled() is not NONE:
        expect_blocks()


def _blocks_expected() -> bool:
    work = _work.get()
    return work is not None and work.blocks


def _is_limited() -> bool:
    work = _work.get()
    return work is not None and work.limited is not None


def blocks(count: int, nbytes: int, most: int, like: Array) -> list[slice]:
    """Slices of `count` samples for `in_parallel`; `nbytes` is what all of them work on.

    They are equally long, of about `most` bytes, and as many for each thread; all in one where
    there is little to do. In every block, each call of NumPy gives the interpreter's lock away and
    has to get it back: with blocks of 0.25, 1, 2 and 4 MB, a maximum over windows takes 4.8, 1.6,
    1.2 and 1.4 ms.
    """
    if type(like) is not np.ndarray:
        number = -(-nbytes // LAUNCHED)
    else:
        turn = threads() if nbytes > SMALL and _blocks_expected() else 1
        number = turn * -(-nbytes // (turn * most))
    number = max(1, min(count, number))
    return [slice(count * i // number, count * (i + 1) // number) for i in range(number)]


def one_thread() -> contextlib.AbstractContextManager[None]:
    """In it, linear algebra has one thread, and `in_parallel` as many as it had before."""
    return contextlib.nullcontext() if _openblas() is None else _limit.one_thread()


def _one_thread_of_scipy() -> contextlib.AbstractContextManager[None]:
    nothing = _openblas_of_scipy() is None
    return contextlib.nullcontext() if nothing else _limit_of_scipy.one_thread()


@contextlib.contextmanager
def on_this_thread() -> Iterator[None]:
    """In it, this thread computes by itself: linear algebra and `in_parallel` have one thread.

    So has SciPy's linear algebra, where it is loaded already. Sums of products then have the same
    last bits wherever as many as these run side by side.
    """
    before = getattr(_local, "working", False)
    _local.working = True
    try:
        with one_thread(), _one_thread_of_scipy():
            yield
    finally:
        _local.working = before


def in_parallel(
    function: Callable[[Part], Made], parts: Iterable[Part], like: Array | None
) -> list[Made]:
    """`[function(part) for part in parts]`, on as many threads as linear algebra may use.

    Functions write to different places or return what they make, so that values do not depend on
    which thread takes a part. They run one after the other where arrays such as `like` are not
    NumPy's, and inside of another call.
    """
    waiting = list(parts)
    count = min(threads(), len(waiting)) if type(like) is np.ndarray else 1
    if count < 2:
        return [function(part) for part in waiting]
    results: list[Any] = [None] * len(waiting)
    numbered: Iterator[tuple[int, Any]] = iter(enumerate(waiting))
    lock = threading.Lock()

    def work() -> None:
        _local.working = True
        try:
            while True:
                with lock:
                    part: Any
                    number, part = next(numbered, (-1, None))
                if number < 0:
                    return
                results[number] = function(part)
        finally:
            _local.working = False

    tasks = [[(copy_context(), work, sys._getframe())] for _ in range(count - 1)]
    with _limit.one_thread():
        started = [_helpers().submit(_run, task) for task in tasks]
        try:
            work()
        finally:  # one that no thread took up yet has nothing left to do
            wait(taken := [other for other in started if not other.cancel()])
            for task in tasks:
                task.clear()
    for other in taken:
        other.result()
    return results


def _run(task: list[tuple[Context, Callable[[], None], FrameType]]) -> None:
    """Run a task, taken out of its list: a helper refers to that a moment longer than to arrays.

    The frame that it comes from is where warnings look for the user's line.
    """
    context, work, called_from = task.pop()
    try:
        context.run(work)
    finally:
        del called_from


def divided(multiplications: int) -> int:
    """Among how many of our threads a product is divided; 1 if by OpenBLAS: see `product`."""
    return threads() if multiplications >= LARGE and _blocks_expected() else 1


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """`np.matmul(a, b, out=out)`; beside convolutions, of large NumPy matrices on our threads.

    OpenBLAS's own threads go on spinning for 0.1 s after a product, and take their share of the
    cores from blocks that follow: 32 to 37 ms in place of 24 for a convolution. Where there are no
    such blocks, they are faster: an MLP takes 7.0 ms with them and 10.0 without, an LSTM 13.1 and
    16.3, but a network of convolutions 137 and 110.
    """
    if not _blocks_expected():
        return np.matmul(a, b, out=out)
    if type(a) is not np.ndarray or type(b) is not np.ndarray or a.ndim != 2 or b.ndim != 2:
        return np.matmul(a, b, out=out)
    (rows, inner), columns = a.shape, b.shape[1]
    if (size := rows * inner * columns) < LARGE:
        if size < ALONE or _is_limited():
            return np.matmul(a, b, out=out)
        with one_thread():
            return np.matmul(a, b, out=out)
    if (count := threads()) == 1:
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((rows, columns), np.result_type(a, b))
    step = -(-max(rows, columns) // count)
    parts = [slice(start, start + step) for start in range(0, max(rows, columns), step)]
    if columns > rows and b.flags.f_contiguous:
        in_parallel(lambda part: _put_turned(a, b[:, part], out[:, part]), parts, a)
    elif columns > rows:
        in_parallel(lambda part: np.matmul(a, b[:, part], out=out[:, part]), parts, a)
    else:
        in_parallel(lambda part: np.matmul(a[part], b, out=out[part]), parts, a)
    return out


def _put_turned(a: Array, b: Array, out: Array) -> None:
    """`out[...] = a @ b` where the columns of `b` are rows in memory, as of a layer's weight.

    They are then packed as they lie: 64 rows of 3136 times 1024 such columns take 1.06 ms on two
    threads in place of 1.45, 16 rows 0.41 in place of 0.83.
    """
    out[...] = np.matmul(b.T, a.T).T


def stacked_product(a: Array, b: Array) -> Array:
    """`np.matmul(a, b)`; of large stacks of NumPy matrices some on each of our threads.

    OpenBLAS would divide each matrix, and a head of attention is too small for that.
    """
    plain = type(a) is type(b) is np.ndarray and a.dtype == b.dtype and a.ndim == b.ndim > 2
    if not plain or not 1 < len(a) == len(b) or a.size * b.shape[-1] < LARGE:
        return np.matmul(a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if a.shape[-1] != b.shape[-2] or (count := threads()) == 1:
        return np.matmul(a, b)
    out = np.empty((*lead, a.shape[-2], b.shape[-1]), a.dtype)
    step = -(-len(a) // count)
    parts = [slice(start, start + step) for start in range(0, len(a), step)]
    in_parallel(lambda part: np.matmul(a[part], b[part], out=out[part]), parts, a)
    return out


def scratch(name: str, shape: Shape, like: Array, dtype: DType | None = None) -> Array:
    """An array for a temporary of a block; its thread's next one of this name takes its place.

    Its pages are not cleared again and again by the system, and stay in the core's cache.
    """
    dtype = like.dtype if dtype is None else dtype
    if type(like) is not np.ndarray:
        return np.empty_like(like, shape=shape, dtype=dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    kept = getattr(_local, "scratch", None)
    if kept is None:
        kept = _local.scratch = {}
    buffer = kept.get(name)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        if size <= MOST_KEPT:
            kept[name] = buffer
    return buffer[:size].view(dtype).reshape(shape)
