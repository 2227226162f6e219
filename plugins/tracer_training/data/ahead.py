"""Values that threads make ahead of the loop that takes them, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from tracer_training.kinds import Value


def made_ahead(
    make: Callable[[int], Value], numbers: Iterable[int], workers: int, most: int
) -> Iterator[Value]:
    """`make(i)` for each of the numbers, in order, up to `most` of them made ahead by threads.

    An error is raised where its value would come, with the thread's own lines. The threads have
    ended when the iterator has, or is closed, as where a loop over it is left.
    """
    members: set[int] = set()
    threads = ThreadPoolExecutor(
        workers, "DataLoader", initializer=lambda: members.add(threading.get_ident())
    )
    left = iter(numbers)
    waiting: deque[Future[Value]] = deque()
    try:
        waiting.extend(threads.submit(make, i) for i in islice(left, most))
        while waiting:
            value = waiting.popleft().result()
            # none is asked for before the oldest is taken: no more than `most` are ever there
            waiting.extend(threads.submit(make, i) for i in islice(left, 1))
            yield value
    finally:
        # an iterator within a cycle may be collected on one of its threads, which cannot wait
        # for itself
        threads.shutdown(wait=threading.get_ident() not in members, cancel_futures=True)
