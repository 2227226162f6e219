"""Worker processes of this machine, from the standard library, begun anew where one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

from tracer_scale.engines import worker
from tracer_scale.engines.engine import AHEAD, Ordered, Outcomes, Told
from tracer_scale.errors import WorkerError
from tracer_scale.sending import packed
from tracer_scale.versions import difference, versions
from tracer_scale.work import Failure, Job, Part, Product, Work

#: how many workers may end one after the other before any is ready: by themselves, or killed
MOST_STILLBORN, MOST_KILLED = 2, 100
GUARD = "if __name__ == '__main__':"


class Processes:
    """Computes shards in `count` processes, which are spawned at the first run and stay.

    What a killed process was at is begun again, at most `retries` times for each shard.
    """

    is_driver = True

    def __init__(self, count: int | None = None, retries: int = 3):
        self.count = _cores() if count is None else count
        self.retries = retries
        self._workers: list[_Worker] = []
        self._work: Work | None = None
        self._pickled = b""
        self._stillborn = 0

    def run(self, work: Work, job: Job, shards: Sequence[int]) -> Outcomes:
        if work is not self._work:
            self.close()
            self._work, self._pickled = work, packed(work, "what is folded")
        ordered = Ordered(shards, AHEAD * self.count, self.retries)
        is_whole = False
        try:
            while not ordered.is_over:
                self._begin(job, ordered)
                for each in self._waited():
                    self._take(each, ordered)
                yield from ordered.ready()
            is_whole = True
        finally:
            if not is_whole:  # some are still at shards that nobody waits for
                self.close()

    def told(self, value: Told | None) -> Told:
        assert value is not None
        return value

    def close(self) -> None:
        """Kill the workers, whatever they are at."""
        workers, self._workers, self._work = self._workers, [], None
        for each in workers:
            each.end()

    abandon = close

    def _begin(self, job: Job, ordered: Ordered) -> None:
        """Give a shard to each worker that has none, as long as there are shards to begin."""
        for each in self._workers:
            if each.is_ready and each.shard is None:
                shard = ordered.next()
                if shard is None:
                    return
                each.begin(job, shard)
        while len(self._workers) < min(self.count, ordered.left):
            self._workers.append(_Worker())

    def _waited(self) -> list[_Worker]:
        """The workers that have something to say, or are dead."""
        by_handle = {handle: each for each in self._workers for handle in each.handles}
        ready = wait(list(by_handle))
        return list({id(by_handle[h]): by_handle[h] for h in ready}.values())  # type: ignore[index]

    def _take(self, each: _Worker, ordered: Ordered) -> None:
        """What a worker says: its versions, or the outcome of its shard; or that it is dead."""
        try:
            said = each.connection.recv()
        except (EOFError, OSError):
            self._bury(each, ordered)
            return
        except Exception as error:  # an outcome that cannot be made here
            said = Failure.of(error)
        if not each.is_ready:
            self._welcome(each, said)
            return
        shard, each.shard = each.shard, None
        assert shard is not None
        assert isinstance(said, Part | Product | Failure)
        ordered.put(shard, said)

    def _welcome(self, each: _Worker, theirs: dict[str, str]) -> None:
        if different := difference(versions(), theirs):
            raise WorkerError(
                f"a worker has {different}, and states of different versions do not merge: run "
                f"all of them in one environment"
            )
        self._stillborn = 0
        each.send((worker.WORK, self._pickled))
        each.is_ready = True

    def _bury(self, each: _Worker, ordered: Ordered) -> None:
        """A worker is dead: another will be spawned in its place, and its shard done again."""
        why = each.end(patience=5.0)  # it has closed its pipe
        self._workers.remove(each)
        if each.shard is not None:
            ordered.lost(each.shard, f"its worker {why}")
        elif not each.is_ready:
            self._stillborn += 1
            most = MOST_KILLED if "SIG" in why else MOST_STILLBORN
            if self._stillborn >= most:
                raise WorkerError(
                    f"workers cannot be started: {self._stillborn} of them ended before they were "
                    f"ready, and the last one {why}. A script that folds in processes does so "
                    f"under `{GUARD}`, since each worker imports it"
                )


class _Worker:
    """A process, our end of its pipe, and the shard that it is at."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=worker.serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that its death ends the pipe
        self.is_ready = False
        self.shard: int | None = None
        self._job: Job | None = None

    @property
    def handles(self) -> list[Any]:
        return [self.connection, self.process.sentinel]

    def begin(self, job: Job, shard: int) -> None:
        self.shard = shard
        if job is not self._job:
            self._job = job
            self.send((worker.JOB, job))
        self.send((worker.SHARD, shard))

    def send(self, message: tuple[str, Any]) -> None:
        """Tell it something; a dead one is noticed when it is waited for."""
        try:
            self.connection.send(message)
        except OSError:
            self.process.kill()

    def end(self, patience: float = 0.0) -> str:
        """End the process, after so many seconds in which it may end by itself; how it ended."""
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        self.connection.close()
        code = self.process.exitcode
        self.process.close()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            memory = ", as the system does where memory is short" if name == "SIGKILL" else ""
            return f"was ended by {name}{memory}"
        return f"ended with exit code {code}"


def _cores() -> int:
    """How many processes run at once: the cores that this one may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
