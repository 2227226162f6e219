"""Blocks of a curvature matrix as an optimiser keeps them: in arrays that average and are saved.

A parameter's block is diagonal, or a Kronecker product of (output, input) factors, or one factor
of all elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tracer.errors import TracerError
from tracer.extend import Array, Kronecker, Shape, Value, backend, widened
from tracer_training.curvature.quantity import Diagonal


@dataclass
class Block:
    """A block of a parameter of `shape`.

    `arrays` is the diagonal alone, `[*shape]`; or one factor `[P, P]`; or (output factor, input
    factor) for each group. `order` is where each element of the parameter, in row-major order, lies
    in the layout that the factors are of, -1 for elements that none is of; None where that is the
    parameter's own.
    """

    shape: Shape
    arrays: list[Array]
    order: Array | None = None

    @property
    def is_diagonal(self) -> bool:
        return len(self.arrays) == 1 and self.arrays[0].shape == self.shape

    def averaged(self, new: Block, weight: float) -> Block:
        """`(1 - weight) array + weight new array`, array by array.

        Of factors this is K-FAC's running average (Martens and Grosse 2015, section 5). A block of
        another structure, of a parameter that is used in another way now, begins a new average.
        """
        shapes = [[a.shape for a in block.arrays] for block in (self, new)]
        if shapes[0] != shapes[1]:
            return new
        pairs = zip(self.arrays, new.arrays, strict=True)
        return Block(self.shape, [_mixed(a, b, weight) for a, b in pairs], new.order)


def _mixed(a: Array, b: Array, weight: float) -> Array:
    """`a + weight (b - a)`, with one new array of that size."""
    mixed = b - a
    mixed *= weight
    mixed += a
    return mixed


def block_of(value: Value, name: str, shape: Shape, quantity: str) -> Block:
    """The block that a quantity's value is. Raises `TracerError` for other values."""
    if isinstance(value, Kronecker):
        order = None if value.is_natural else value.order()
        return Block(shape, [widened(factor) for factor in value.factors], order)
    values = value.values if isinstance(value, Diagonal) else value
    if backend.is_array(values) and values.shape == shape:
        return Block(shape, [widened(values)])
    got = f"an array of shape {list(values.shape)}" if backend.is_array(values) else repr(value)
    raise TracerError(
        f"a curvature is Kronecker factors or a diagonal of a parameter's shape, and {quantity!r} "
        f"of {name!r}, {list(shape)}, is {got}"
    )


def pairs_of(arrays: list[Array]) -> list[tuple[Array, Array | None]]:
    """(output factor, input factor or None) of each group."""
    if len(arrays) == 1:
        return [(arrays[0], None)]
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def saved_block(block: Block) -> dict[str, object]:
    """What a state keeps of a block."""
    return {"curvature": block.arrays, "order": block.order}


def block_in(state: Mapping[str, object], shape: Shape) -> Block | None:
    """The block that a state keeps, if it does."""
    arrays = state.get("curvature")
    return Block(shape, arrays, state["order"]) if arrays else None  # type: ignore[arg-type]
