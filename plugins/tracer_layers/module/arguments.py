"""What layers and functions make of their arguments: what they refuse, and how they say so."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, TypeVar, cast

from tracer.errors import TracerError, TracingError
from tracer.extend import backend, is_users, moved_on
from tracer.extend import raw as raw

#: a function of layers, of any arguments
Function = TypeVar("Function", bound=Callable[..., Any])


def blame_arguments(name: str, error: AttributeError, given: Iterable[object]) -> None:
    """Raise `TracingError` if an attribute of arrays is missing where an argument is none."""
    if error.name not in ("dtype", "ndim", "shape", "reshape", "astype", "size"):
        return
    for value in given:
        if value is error.obj and not backend.is_array(value):
            way = ""
            if isinstance(value, list | tuple):
                way = ": write np.asarray(x), or np.stack(x) for tensors"
            elif hasattr(value, "forward"):
                way = f": a layer is made first, and called then, as {type(value).__name__}()(x)"
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


def overwriting(function: Function) -> Function:
    """A function of `input` with PyTorch's option `inplace`, which is seen to here.

    Nothing is written into: the tensor `input` moves on to the result, so that all its names see
    it, and so do others that are its memory in another shape. Parameters and raw arrays stay what
    they are. Raises `TracingError` where a part of its memory, as a slice, is in use, which PyTorch
    would change, too.
    """
    name, place = function.__name__, [*inspect.signature(function).parameters].index("inplace")

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        out = function(*args, **options)
        if options.get("inplace") or (len(args) > place and args[place]):
            input = args[0] if args else options["input"]
            return moved_on(input, out, f"{name}(t, inplace=True)", f"t = {name}(t)")
        return out

    return cast("Function", call)
