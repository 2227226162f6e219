"""What leaf nodes carry in place of an operation."""

from __future__ import annotations

from typing import Any

from tracer.record.axes import aligned
from tracer.record.rules import Rules


class Leaf(Rules):
    """What a leaf node carries in place of an operation."""

    leaf = True
    saves = ()

    def __init__(self, name: str, guarded: bool = False, foreign: bool = False):
        super().__init__(name)
        self.guarded, self.foreign = guarded, foreign

    def __reduce__(self) -> tuple[Any, ...]:
        return _leaf_kind, (self.name,)


def _leaf_kind(name: str) -> Leaf:
    return {op.name: op for op in (PARAMETER, INPUT, CONSTANT, VARIABLE)}[name]


#: of what `tracer.parameter` makes
PARAMETER = Leaf("parameter", guarded=True)


#: of inputs of a model, batches or not
INPUT = Leaf("input")


#: of what was computed without being recorded, whose samples are known; see `tracer.record.origins`
CONSTANT = Leaf("constant")


#: of leaves that a function of functions makes for itself: none of the user's parameters
VARIABLE = Leaf("variable", guarded=True)


#: of what threads without a tape made of parameters while another one had a tape open
ELSEWHERE = Leaf("elsewhere", foreign=True)


class _Detach(Rules):
    elementwise = True
    batch_axis = staticmethod(aligned)


#: where a detached tensor comes from
DETACHED = _Detach("detach")
