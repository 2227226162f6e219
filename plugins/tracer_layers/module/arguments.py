"""What layers and functions refuse of their arguments, and how they say so."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real

from tracer.errors import TracerError, TracingError
from tracer.extend import backend, is_users
from tracer.extend import raw as raw


def blame_arguments(name: str, error: AttributeError, given: Iterable[object]) -> None:
    """Raise `TracingError` if an attribute of arrays is missing where an argument is none."""
    if error.name not in ("dtype", "ndim", "shape", "reshape", "astype", "size"):
        return
    for value in given:
        if value is error.obj and not backend.is_array(value):
            way = ""
            if isinstance(value, list | tuple):
                way = ": write np.asarray(x), or np.stack(x) for tensors"
            kind = "None" if value is None else f"a {type(value).__name__}"
            raise TracingError(f"{name} expects an array or a tensor, got {kind}{way}") from error
    if error.obj is None or isinstance(error.obj, tuple):
        _blame_part(name, error)


def _blame_part(name: str, error: AttributeError) -> None:
    """Raise `TracingError` if it is in our code that an attribute of arrays is missing."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or is_users(trace.tb_frame):
        return
    kind, why = "None", "the forward of what is before it may lack its return"
    if error.obj is not None:
        kind = f"a {type(error.obj).__name__}"
        why = "recurrent layers and attention return a pair, of which the output goes on"
    raise TracingError(
        f"{name} has a part that expects an array or a tensor, and got {kind}: {why}"
    ) from error


def at_least(layer: str, least: int, **sizes: object) -> None:
    """Refuse what is no int, or a smaller one."""
    for name, value in sizes.items():
        if not isinstance(value, Integral) or value < least:
            raise TracerError(
                f"{layer} expects {name} as an int of at least {least}, got {value!r}"
            )


def probability(layer: str, p: float) -> None:
    """Refuse what is no probability."""
    if not isinstance(p, Real) or not 0 <= p <= 1:
        raise TracerError(f"{layer} expects a probability p between 0 and 1, got {p!r}")


def axes_of(rank: int) -> str:
    """The names of the spatial axes, for messages."""
    return ", ".join("DHW"[3 - rank :]) if rank <= 3 else "*size"


def not_in_place(layer: str, inplace: bool) -> None:
    """Refuse `inplace=True`."""
    if inplace:
        raise TracerError(
            f"{layer}(inplace=True): tensors are never written into: leave inplace out"
        )
