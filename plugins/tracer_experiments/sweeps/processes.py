"""The processes of a sweep, and the lock that it holds while any of them lives."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tracer.errors import UsageError
from tracer_experiments import printing

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps two sweeps apart
    fcntl = None  # type: ignore[assignment]

#: how libraries of linear algebra are told how many threads to take
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
#: seconds that are waited for what a killed sweep has left running, and for interrupted processes
PATIENCE, GRACE = 20.0, 8.0
#: how a message of the command begins
ERROR = re.compile(r"(?<!\w)error: (.+)")
LOCK, LOG = "sweep.lock", "log.txt"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int | None]:
    """Hold the lock of a folder, which processes inherit; `UsageError` where another sweep does."""
    if fcntl is None:
        yield None
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(lock, folder)
        yield lock
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    until, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() > until:
                raise UsageError(
                    f"a sweep is going on in {str(folder)!r}", "wait for it, or stop it"
                ) from None
        if not told:
            printing.note(f"waiting for the sweep in {str(folder)!r} that was stopped to end")
            told = True
        time.sleep(0.1)


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(jobs: int, known: Mapping[str, str]) -> dict[str, str]:
    """Variables for each of several processes, whose threads share the processors."""
    found = dict(known)
    if jobs == 1:
        return found
    share = max(1, cores() // jobs)
    for name in THREADS:
        given = found.get(name, "")
        found[name] = str(min(int(given), share) if given.isdecimal() and int(given) else share)
    return found


def started(
    arguments: Sequence[str], folder: Path, jobs: int, lock: int | None
) -> subprocess.Popen[bytes]:
    """A training of the command in a process of its own, whose messages are `log.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.job", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment(jobs, os.environ),
            pass_fds=() if lock is None else (lock,),
            # ctrl-C reaches the sweep alone, which passes it on
            start_new_session=os.name == "posix",
        )


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt processes, and kill those that go on for long."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    until = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def error_in(folder: Path, code: int) -> str:
    """What ended a process: its error, else what it said last, else its code."""
    try:
        lines = (folder / LOG).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("hint: ")]
    # it may stand behind a question, or what was written without the end of a line
    errors = [found[1] for line in lines if (found := ERROR.search(line))]
    if errors:
        return errors[-1]
    if code < 0:
        return f"killed by signal {-code}"
    return lines[-1] if lines else f"ended with code {code}"
