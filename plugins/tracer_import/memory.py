"""Nodes that say where elements lie in memory, told how their arrays lay there.

`as_strided` counts in the memory of its argument, and here arrays lie as they do. What lay whole
and without gaps, its axes in any order, has one place for each element; the order is noted as an
argument of the node. A part of another array has memory around it that is not known, and is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tracer_import.errors import ProgramError
from tracer_import.program import Meta, Node, Value
from tracer_import.sizes import UNKNOWN, known, symbols_in

#: the operators that count in memory
COUNTING = {f"aten.as_strided{kind}.default" for kind in ("", "_copy", "_scatter")}
#: those whose results are parts of their first argument
CUTTING = (
    "slice.Tensor narrow.default select.int diagonal.default split.Tensor split.sizes "
    "split_with_sizes.default chunk.default unbind.int unfold.default tensor_split.sections "
    "tensor_split.indices unsafe_split.Tensor unsafe_chunk.default unsafe_split_with_sizes.default "
    "hsplit.int hsplit.array vsplit.int vsplit.array dsplit.int dsplit.array"
).split()
#: those whose results may lie where their first argument does
KEEPING = (
    "view.default view.dtype reshape.default _unsafe_view.default flatten.using_ints unflatten.int "
    "squeeze.default squeeze.dim squeeze.dims unsqueeze.default view_as.default transpose.int "
    "t.default permute.default swapaxes.default numpy_T.default alias.default detach.default "
    "contiguous.default to.dtype to.device to.dtype_layout dropout.default expand.default "
    "expand_as.default as_strided.default movedim.int movedim.intlist moveaxis.int "
    "moveaxis.intlist swapdims.default mT.default adjoint.default _reshape_alias.default "
    "lift_fresh.default"
).split()
CUT, KEPT = ({f"aten.{name}" for name in names} for names in (CUTTING, KEEPING))
#: what a symbol of a size is taken for, to see how axes lie: no program has such sizes
GENERIC = (1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049)


def with_orders(nodes: Iterable[Node], metas: Mapping[str, Meta]) -> tuple[Node, ...]:
    """The nodes, where those that count in memory have the order of axes, outermost first.

    Raises `ProgramError` for those of arrays that do not lie whole and without gaps.
    """
    parts: set[str] = set()
    made = []
    for node in nodes:
        first = node.arguments[0] if node.arguments else None
        of = first.name if isinstance(first, Value) else ""
        if node.target in COUNTING:
            order = _order(metas.get(of)) if of not in parts else None
            if order is None:
                raise ProgramError(_refused(node))
            if order != tuple(range(len(order))):
                node = replace(node, keywords={**node.keywords, "order": order})
        if node.target in CUT or (of in parts and _shows_its_argument(node)):
            parts.update(name for name in node.outputs if name is not None)
        made.append(node)
    return tuple(made)


def _shows_its_argument(node: Node) -> bool:
    """Whether a result may lie where the argument does; what writes in place gives that itself."""
    return node.target in KEPT or node.target.partition(".")[2].partition(".")[0].endswith("_")


def _order(meta: Meta | None) -> tuple[int, ...] | None:
    """The axes, outermost first, of an array without gaps; None if there are some, or unknown."""
    if meta is None or len(meta.strides) != len(meta.shape):
        return None
    names = sorted({name for size in (*meta.shape, *meta.strides) for name in symbols_in(size)})
    symbols = {} if UNKNOWN in names else dict(zip(names, GENERIC, strict=False))
    pairs = [(known(n, symbols), known(step, symbols))
             for n, step in zip(meta.shape, meta.strides, strict=True)]  # fmt: skip
    numbers = [(n, step) for n, step in pairs if n is not None and step is not None]
    if len(numbers) != len(pairs):
        return None
    # an axis of one element may have any stride
    wide = [axis for axis, (n, _) in enumerate(numbers) if n != 1]
    wide.sort(key=lambda axis: -numbers[axis][1])
    count = 1
    for axis in reversed(wide):
        size, step = numbers[axis]
        if step != count:
            return None
        count *= size
    narrow = [axis for axis in range(len(pairs)) if axis not in wide]
    return tuple(wide + narrow) if wide != sorted(wide) else tuple(range(len(pairs)))


def _refused(node: Node) -> str:
    where = f" ({node.source})" if node.source else ""
    return (
        f"{node.target}{where} takes elements by where they lie in memory, of an array that is "
        f"part of another one or has gaps there: call contiguous() or clone() on it before"
    )
