"""Blocks that say where in a model is recorded: scopes, steps of loops, padded sequences."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator

from tracer.arrays.types import Convertible
from tracer.errors import TracingError
from tracer.record.describe import check_flags
from tracer.record.frames import INTERNAL_FILES
from tracer.record.place import Called, Loop, ModuleCall, Place
from tracer.record.recorder import Block, Cursor, cursors, enter_block, leave_block


class _At(Block):
    """A `with` block at a place of its own on the current tape."""

    __slots__ = ()

    def inside(self, place: Place) -> Place:
        """The place in the block, from the one around it."""
        raise NotImplementedError

    def __enter__(self) -> None:
        now = cursors.get()
        if now is not None:
            enter_block(self, Cursor(now.tape, self.inside(now.place)))


class scope(_At):
    """`with tracer.scope("encoder"):` puts what is recorded in it under this name in the graph."""

    __slots__ = ("kind", "name")

    def __init__(self, name: str, kind: str | None = None):
        if not isinstance(name, str):
            raise TracingError(f"scope takes its name as a string, got {name!r}")
        self.name = name
        self.kind = kind or name

    def inside(self, place: Place) -> Place:
        path = f"{place.scope}.{self.name}" if place.scope else self.name
        call = ModuleCall(Called(path, self.kind), place)
        return place._replace(scope=path, scopes=(*place.scopes, self.kind), call=call)


class present(_At):
    """`with tracer.present(mask):` says which samples of padded sequences are there.

    `mask` holds booleans `[N]` or, for operations on all T steps at once, `[N, T]`, in the library
    of the tensors; None says nothing. Uses of parameters elsewhere count in no Kronecker factor.
    (In the other quantities they have no share anyway, if the loss does not look at them.) Where it
    is nested, a sample is there if all masks say so.
    """

    __slots__ = ("mask",)

    def __init__(self, mask: Convertible):
        if mask is not None:
            if not hasattr(mask, "ndim"):
                raise TracingError(
                    f"present expects an array of booleans [N] or [N, T], got a "
                    f"{type(mask).__name__}"
                )
            mask = mask.copy() if mask.ndim > 1 else mask[:, None].copy()
        self.mask = mask

    def inside(self, place: Place) -> Place:
        if self.mask is None:
            return place
        mask = self.mask if place.present is None else place.present & self.mask
        return place._replace(present=mask)


def steps(count: int, *, reverse: bool = False) -> Iterator[int]:
    """`for t in tracer.steps(T):` marks what each round of a loop records with its time step.

    Loops nest. With `reverse=True` the steps are T-1, ..., 0: the position in the sequence of a
    loop that goes through it backward.
    """
    try:
        count = operator.index(count)
    except TypeError:
        raise TracingError(
            f"steps expects the number of steps, as in tracer.steps(len(xs)), got a "
            f"{type(count).__name__}"
        ) from None
    check_flags("steps", reverse=reverse)
    outside = cursors.get()
    times = range(count - 1, -1, -1) if reverse else range(count)
    if outside is None:
        yield from times
        return
    tape, outer = outside.tape, outside.place
    loops = (*outer.loops, Loop(sys._getframe(1), outer.scope, reverse))
    try:
        for t in times:
            leave_block(loops)
            enter_block(loops, Cursor(tape, outer._replace(times=(*outer.times, t), loops=loops)))
            yield t
    finally:
        leave_block(loops)


INTERNAL_FILES.add(__file__)
