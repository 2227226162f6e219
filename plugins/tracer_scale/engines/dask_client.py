"""The workers of a `dask.distributed` cluster.

What is folded is registered as a plugin of its workers: each has it before it takes tasks, those
that join later too. Dask does a lost task again by itself; the death of a fourth worker at the same
one (`distributed.scheduler.allowed-failures`) is a failure of the shard here. Where no worker takes
a shard, or the scheduler has gone, the fold ends with a word instead of waiting for ever.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from tracer.errors import TracerError
from tracer_scale.engines.engine import AHEAD, Ordered, Outcome, Outcomes, Told
from tracer_scale.errors import WorkerError
from tracer_scale.sending import packed, unpacked
from tracer_scale.versions import difference, versions
from tracer_scale.work import Failure, Job, Part, Product, Work

#: seconds to wait for a scheduler
PATIENCE = 10
#: seconds in which nothing arrives, after which it is looked whether any worker is at a shard;
#: seconds between two looks at the connection; and those to wait for all workers to take what is
#: folded
IDLE, LOOK, SENDING = 30.0, 0.5, 300.0


def client_at(address: str) -> Any:
    """A client of the scheduler at HOST:PORT. Raises `WorkerError` where there is none."""
    try:
        from distributed import Client
    except ImportError as error:
        raise WorkerError(
            "Dask is not installed: pip install 'trace-net[dask]', or use engine='processes'"
        ) from error
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkerError(
            f"no scheduler of Dask answers at {address!r} ({error}): start one with `dask "
            f"scheduler`, and give its address as dask://HOST:PORT"
        ) from error


class Future(Protocol):
    """A task of Dask's, and what comes of it."""

    key: str

    def result(self) -> Outcome | Failure: ...

    def add_done_callback(self, function: Callable[[Future], None]) -> None: ...


class Dask:
    """Computes shards on the workers of a client's cluster."""

    is_driver = True

    def __init__(self, client: Any, retries: int = 3, owns: bool = False):
        if client.asynchronous:
            raise TracerError("fold waits for results: give a Client that is not asynchronous")
        self.client, self.retries, self.owns = client, retries, owns
        self._token = uuid.uuid4().hex
        self._work: Work | None = None

    def run(self, work: Work, job: Job, shards: Sequence[int]) -> Outcomes:
        if work is not self._work:
            self._register("work", packed(work, "what is folded", elsewhere=True))
            self._work = work
        self._register("job", packed(job, "a vector", elsewhere=True))
        threads = sum(self.client.nthreads().values())
        ordered = Ordered(shards, AHEAD * max(1, threads), self.retries)
        begun: dict[Future, int] = {}
        done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        try:
            while not ordered.is_over:
                while (shard := ordered.next()) is not None:
                    future = self._submit(shard)
                    begun[future] = shard
                    future.add_done_callback(done.put)
                future = self._next(done, begun)
                self._take(future, begun.pop(future), ordered)
                yield from ordered.ready()
        finally:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.client.cancel(list(begun))

    def told(self, value: Told | None) -> Told:
        assert value is not None
        return value

    def close(self) -> None:
        """Take what was folded from the workers."""
        if self._work is not None:
            self._work = None
            for what in ("work", "job"):
                with contextlib.suppress(Exception):  # the cluster may be gone
                    name = self._name(what)
                    _within(PATIENCE, lambda: self.client.unregister_worker_plugin(name))  # noqa: B023
        if self.owns:
            self.client.close()

    def abandon(self) -> None:
        """What was folded stays on the workers: Dask's own thread may be the one that asks."""

    def _name(self, what: str) -> str:
        return f"tracer_scale-{self._token}-{what}"

    def _register(self, what: str, pickled: bytes) -> None:
        plugin, name = _kept(pickled), self._name(what)
        if not _within(SENDING, lambda: self.client.register_plugin(plugin, name=name)):
            raise WorkerError(
                f"the workers of Dask have not all taken what is folded within {SENDING:g} "
                f"seconds: look in Dask's dashboard for one that does not answer, and end it"
            )

    def _submit(self, shard: int) -> Future:
        key = f"shard-{shard}-{uuid.uuid4().hex[:8]}"
        names, ours = (self._name("work"), self._name("job")), versions()
        return self.client.submit(_do, *names, ours, shard, key=key, pure=False)

    def _next(self, done: queue.SimpleQueue[Future], begun: Collection[Future]) -> Future:
        """The next future that is done. Raises `WorkerError` where nobody is at any for long."""
        is_idle, looked = False, time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                return done.get(timeout=min(IDLE, LOOK))
            self._check_connected()
            if time.monotonic() - looked < IDLE:
                continue
            looked = time.monotonic()
            was_idle, is_idle = is_idle, not self._is_at_work({future.key for future in begun})
            if was_idle and is_idle:
                raise WorkerError(
                    f"no worker of Dask has begun a shard for {2 * IDLE:g} seconds, of the "
                    f"{len(self.client.nthreads())} that there are: start some with `dask worker "
                    f"{self.client.scheduler.address}`, or look in Dask's dashboard why they are "
                    f"paused"
                )

    def _check_connected(self) -> None:
        """Raise `WorkerError` where the scheduler has gone: nothing will arrive any more."""
        if self.client.status not in ("running", "connecting"):
            raise WorkerError(
                "Dask's scheduler has gone in the midst of the fold: start it and its workers "
                "again; with checkpoint= a fold goes on from what was done"
            )

    def _is_at_work(self, keys: Collection[str]) -> bool:
        """Whether a worker has any of these tasks."""
        return any(key in keys for some in self.client.processing().values() for key in some)

    def _take(self, future: Future, shard: int, ordered: Ordered) -> None:
        try:
            outcome = future.result()
        except Exception as error:
            self._check_connected()
            ordered.lost(shard, f"{type(error).__name__}: {error}")
            return
        assert isinstance(outcome, Part | Product | Failure)
        ordered.put(shard, outcome)


def _within(seconds: float, function: Callable[[], object]) -> bool:
    """Whether a call has ended within so many seconds; what it raised is raised."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in raised:
        raise error
    return not thread.is_alive()


def _kept(pickled: bytes) -> Any:
    """A plugin of workers that keeps a pickle, and what was made of it."""
    from distributed import WorkerPlugin

    plugin: Any = WorkerPlugin()
    plugin.pickled = pickled
    return plugin


def _do(work_name: str, job_name: str, ours: dict[str, str], shard: int) -> Outcome | Failure:
    """A task: the outcome of a shard, on a worker."""
    from distributed import get_worker

    try:
        if different := difference(ours, versions()):
            raise WorkerError(
                f"a worker has {different}, and states of different versions do not merge: run "
                f"all of them in one environment"
            )
        plugins = get_worker().plugins
        work, job = (_made(plugins[name]) for name in (work_name, job_name))
    except Exception as error:
        return Failure.of(error)
    return work.do(job, shard)


def _made(plugin: Any) -> Any:
    """What a plugin's pickle is of, made at the first use."""
    if not hasattr(plugin, "value"):
        plugin.value = unpacked(plugin.pickled)
    return plugin.value
