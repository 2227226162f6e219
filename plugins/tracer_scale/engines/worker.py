"""A worker process: it is told what to do once, then shards by their numbers."""

from __future__ import annotations

import contextlib
import signal
import warnings
from multiprocessing.connection import Connection

from tracer_scale.sending import unpacked
from tracer_scale.versions import versions
from tracer_scale.work import Failure, Job, Work

#: what the driver sends: a word, and what belongs to it
WORK, JOB, SHARD = "work", "job", "shard"


def serve(connection: Connection) -> None:
    """Do what comes until the driver ends. It sends versions first, then an outcome per shard.

    An interruption from the terminal is the driver's to handle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", UserWarning)  # the fold tells what is undefined
    work: Work | Failure | None = None
    job = Job()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(versions())
        while True:
            word, value = connection.recv()
            if word == WORK:
                work = _unpacked(value)
            elif word == JOB:
                job = value
            else:
                assert work is not None
                connection.send(work if isinstance(work, Failure) else work.do(job, value))


def _unpacked(pickled: bytes) -> Work | Failure:
    """The work, or why it cannot be made here."""
    try:
        return unpacked(pickled)
    except Exception as error:
        failure = Failure.of(error)
        failure.message = f"what was sent cannot be made in a worker ({error})"
        failure.is_final = True
        return failure
