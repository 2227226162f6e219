"""Recomputation: less memory for the record, at the price of another forward computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tracer.arrays.trees import flatten
from tracer.errors import TracingError
from tracer.record.describe import describe
from tracer.record.frames import INTERNAL_FILES
from tracer.record.recomputed import Block, Recomputed
from tracer.record.recorder import current_tape, owner
from tracer.record.tensor import Tensor

INTERNAL_FILES.add(__file__)

Given = ParamSpec("Given")
Result = TypeVar("Result")


def checkpoint(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """`checkpoint(f)(*args)`: what `f` gives, with what it computes on the way kept by nobody.

    A sweep runs the operations of `f` again when it comes to them (Griewank and Walther 2000; Chen
    et al. 2016): a chain of blocks holds the inputs of the blocks, and the values of one of them,
    for one forward computation more. `f` itself, a function or a module, is called once. So its
    random draws, its counters and its running statistics are those of one call. Calls nest.

    Parameters inside of `f` have every quantity. Those that read values besides the sweep (the
    Hessian's, averages, operators), forward mode, and a second sweep of the tape restore all values
    at once, and are right without being smaller. Outside of a tape it is `f`. Raises
    `TracingError` for what is no function.
    """
    if not callable(function):
        raise TracingError(
            f"checkpoint takes a function or a module, got {describe(function)}: write "
            f"checkpoint(f)(x)"
        )

    def call(*args: Given.args, **keywords: Given.kwargs) -> Result:
        tape = current_tape()
        if tape is None:
            return function(*args, **keywords)
        record = owner(tape)
        start = len(record.nodes)
        result = function(*args, **keywords)
        nodes = record.nodes[start:]
        if not any(node.wants for node in nodes):
            return result
        if record.recomputed is None:
            record.recomputed = Recomputed()
        given, _ = flatten((args, keywords))
        known = {t.node: t._value for t in given if isinstance(t, Tensor) and t.node is not None}
        record.recomputed.add(Block(nodes, start, known))
        return result

    call.__name__ = f"checkpoint_of_{getattr(function, '__name__', type(function).__name__)}"
    call.__qualname__, call.__doc__ = call.__name__, getattr(function, "__doc__", None)
    call.__wrapped__ = function  # type: ignore[attr-defined]  # whose signature counts
    return call
