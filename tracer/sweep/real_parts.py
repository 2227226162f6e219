"""Where real numbers become complex ones: what goes back to them is the real part.

The cotangent g of a complex value z stands for the slope `Re(sum(g * dz))`. Where z was made of a
real x, `dz = J dx` with dx real, and the slope by x is `Re(g J)`: the part that is left out stands
for no direction that x has.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import FunctionType
from typing import cast

import numpy as np

from tracer.arrays.types import Array, Stack
from tracer.cotangents import Cotangent, Dense, Outer, Reindexed
from tracer.record.node import Node
from tracer.sweep.placed import Placed


def is_complex(node: Node | None) -> bool:
    """Whether a recorded value is of complex numbers."""
    return node is not None and node.dtype.kind == "c"


def of_complex(node: Node) -> bool:
    """Whether an operation gives complex numbers that are sloped, or is given some."""
    return any(is_complex(each) and each.wants for each in (node, *node.parents) if each)


def real_where_inputs_are(entries: Sequence[object], node: Node) -> list[object]:
    """The entries of the vjp of a complex value: of those for real inputs the real parts."""
    return [
        entry if entry is None or parent is None or is_complex(parent) else _real(entry)
        for entry, parent in zip(entries, node.parents, strict=True)
    ]


def _real(entry: object) -> object:
    if isinstance(entry, FunctionType):
        return lambda: _real(entry())
    if isinstance(entry, Placed):
        return Placed(real_stack(entry.values), entry.index, entry.shape, entry.embed)
    return real_stack(cast("Stack", entry)) if hasattr(entry, "dtype") else entry


def real_stack(stack: Stack) -> Stack:
    """The real part of a stack, which is recorded if it is a tensor; in memory of its own."""
    if stack.dtype.kind != "c":
        return stack
    part = np.real(stack)
    return part.copy() if type(part) is np.ndarray else part


def real_use(use: Cotangent) -> Cotangent:
    """The cotangent of a real parameter from that of the complex values it is used as.

    A product with complex data is one with their real parts, and another one with their imaginary
    parts: `Re(l r) = Re(l) Re(r) + Im(l) (-Im(r))`, two uses for each.
    """
    if type(use) is Outer:
        left, right = use.left, use.right
        return Outer(
            _beside(left.real, left.imag, axis=1),
            _beside(right.real, -right.imag, axis=2),
            use.shape,
            use.present if use.present is None else np.repeat(use.present, 2, axis=1),
        )
    if type(use) is Reindexed:
        return use.around(real_use(use.inner))
    return Dense(real_stack(use.per_sample()))


def _beside(first: Array, second: Array, axis: int) -> Array:
    """Two uses in place of each one along an axis."""
    both = np.stack([first, second], axis + 1)
    return both.reshape(*first.shape[:axis], 2 * first.shape[axis], *first.shape[axis + 1 :])
