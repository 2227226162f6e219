"""Where in a model something is recorded."""

from __future__ import annotations

import weakref
from types import FrameType
from typing import NamedTuple

from tracer.arrays.types import Present
from tracer.record.frames import source_line


class Place(NamedTuple):
    """Where in a model something is recorded: module path, class names along it, steps of loops.

    `times` are the time steps and `loops` the loops that they are of, the outermost first.
    `present` says which samples are there, in padded sequences; see `tracer.present`. `call` is the
    innermost call of a module, or pass through a scope, that is going on.
    """

    scope: str = ""
    scopes: tuple[str, ...] = ()
    times: tuple[int, ...] = ()
    loops: tuple[Loop, ...] = ()
    present: Present = None
    call: ModuleCall | None = None

    @property
    def time(self) -> int | None:
        """The step of the innermost loop; None outside of all."""
        return self.times[-1] if self.times else None


class Called(NamedTuple):
    """What is called: the path inside of it, its class, and the module unless it is a scope.

    It refers to the module weakly: a module that keeps a tensor would else keep its record alive
    for good.
    """

    scope: str
    kind: str
    module: weakref.ReferenceType[object] | None = None


class ModuleCall:
    """One call of a module, or one pass through a `with tracer.scope` block, made at `outer`.

    There is one for each call, made while a model runs, so that it only refers to what is there.
    """

    __slots__ = ("called", "outer")

    def __init__(self, called: Called, outer: Place):
        self.called = called
        self.outer = outer

    @property
    def parent(self) -> ModuleCall | None:
        """The call that it was made in."""
        return self.outer.call


class Loop:
    """One run of a loop over time: where it was entered, and which way it goes."""

    __slots__ = ("code", "lasti", "reverse", "scope")

    def __init__(self, frame: FrameType, scope: str, reverse: bool):
        self.code = frame.f_code
        self.lasti = frame.f_lasti
        self.scope = scope
        self.reverse = reverse

    @property
    def source(self) -> str | None:
        """`file.py:12`, the line of the loop."""
        return source_line(self.code, self.lasti)


#: outside of all modules and loops
NOWHERE = Place()
