"""How a job of MPI ends where one of its ranks fails: at once, and with a word."""

from __future__ import annotations

import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tracer.errors import TracerError, UsageError
from tracer_scale.parallel.communicator import World

#: seconds that a rank which fails waits for the others to fail, too
PATIENCE = 5.0


@contextmanager
def ending(comm: World) -> Iterator[None]:
    """In it, what one rank alone raises ends the job; what all of them raise, the first one raises.

    The others then end with the same exit code and say nothing, nor do they warn.
    """
    aside = comm.Dup() if comm.Get_size() > 1 else None
    is_first = comm.Get_rank() == 0
    try:
        with warnings.catch_warnings():
            if not is_first:
                warnings.simplefilter("ignore")
            yield
    except BaseException as error:
        if aside is not None and not _all_fail(aside):
            _tell(comm, error)
            comm.Abort(1)
        if is_first:
            raise
        raise SystemExit(_code(error)) from None


def _all_fail(aside: World) -> bool:
    """Whether all ranks have come here within a while."""
    waiting, until = aside.Ibarrier(), time.monotonic() + PATIENCE
    while not waiting.Test():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _tell(comm: World, error: BaseException) -> None:
    """Say which rank failed, and of what."""
    if not isinstance(error, TracerError):
        traceback.print_exception(error)
    print(
        f"trace-net: rank {comm.Get_rank()} of {comm.Get_size()} failed, and the others did not: "
        f"{type(error).__name__}: {error}. The training ends; --resume goes on from its last "
        f"checkpoint",
        file=sys.stderr,
        flush=True,
    )


def _code(error: BaseException) -> int:
    """The exit code that the first rank ends with."""
    return 2 if isinstance(error, UsageError) else int(getattr(error, "exit_code", 1))
