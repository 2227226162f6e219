"""Methods of tensors that do what NumPy's functions do, and what they say of other arguments."""

from __future__ import annotations

import inspect

from tracer.errors import TracingError
from tracer.record import dispatch, hints
from tracer.record.frames import INTERNAL_FILES


def method_of(function: dispatch.Function) -> dispatch.Function:
    """The method that does what the NumPy function does, without NumPy's dispatch."""
    handlers = dispatch.FUNCTIONS

    def method(self, *args, **kwargs):
        if kwargs and (hint := hints.keyword(f"tensor.{function.__name__}", kwargs)):
            raise TracingError(hint)
        try:
            return handlers[function](self, *args, **kwargs)
        except TypeError as error:
            if (hint := _of_signature(error, function)) is not None:
                raise TracingError(hint) from error
            raise
        except (ValueError, IndexError) as error:
            if (named := dispatch.named(error, function, (self, *args))) is not None:
                raise named from error
            raise

    method.__name__ = function.__name__
    method.__doc__ = f"`np.{function.__name__}` of this tensor."
    return method


def _of_signature(error: TypeError, function: dispatch.Function) -> str | None:
    """What to write where the arguments are none of the NumPy function's; None for other errors."""
    name, trace = function.__name__, error.__traceback__
    if isinstance(error, TracingError):
        return None
    if "'True' as a data type" in str(error):
        return f"np.{name}{_signature(function)} takes a dtype there ({error}): write keepdims=True"
    if "as a data type" in str(error):
        return f"np.{name}{_signature(function)} takes a dtype there ({error}): name other options"
    if trace is None or trace.tb_next is not None:
        return None
    return (
        f"tensor.{name} takes what np.{name}{_signature(function)} takes, which other libraries "
        f"may not ({error})"
    )


def _signature(function: dispatch.Function) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:  # of a function in C
        return "(...)"


INTERNAL_FILES.add(__file__)
