"""What is sent to workers, as a pickle: by reference, or by value where it has no place to name.

Functions and classes of a file are sent as its name and theirs, also those of a script that is run
(`__main__`), which workers of this machine import again under `__mp_main__`. What a notebook, a
shell, a lambda or a function inside another defines has no such name. It is sent by value, by
cloudpickle, if that is installed.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

from tracer.errors import TracerError
from tracer_scale.errors import WorkerError

WAYS = (
    "write it at the top of a file, or install cloudpickle, which sends it by value "
    "(pip install 'trace-net[dask]')"
)


def packed(value: Any, what: str, elsewhere: bool = False) -> bytes:
    """The pickle of a value. `elsewhere` says that workers cannot import this program's files.

    Raises `WorkerError` for what has no pickle.
    """
    by_value = elsewhere or getattr(sys.modules["__main__"], "__file__", None) is None
    failure: Exception | None = None
    if not by_value:
        try:
            return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        except TracerError:
            raise
        except Exception as error:
            failure = error
    try:
        import cloudpickle
    except ImportError:
        if by_value:
            return _plain_pickle(value, what)
        raise _unsent(what, failure) from failure
    try:
        return cloudpickle.dumps(value)
    except TracerError:
        raise
    except Exception as error:
        raise _unsent(what, error) from error


def _plain_pickle(value: Any, what: str) -> bytes:
    """Of a program without a file: what it defines would not be found in a worker."""
    sent = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    if b"__main__" in sent:
        raise WorkerError(f"{what} is defined in a program without a file: {WAYS}")
    return sent


def _unsent(what: str, error: Exception | None) -> WorkerError:
    return WorkerError(f"{what} cannot be sent to workers ({error}): {WAYS}")
