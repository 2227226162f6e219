"""States of chunks of rows, joined to the state of all of them."""

from __future__ import annotations

from collections.abc import Sequence

from tracer.arrays import backend
from tracer.cotangents import ChunkOfRows, Cotangent
from tracer.curvature.quantity import Context, Quantity, State
from tracer.errors import QuantityError
from tracer.record.tensor import Tensor


class KeptRows:
    """In place of a state: the rows of the chunks so far, of a quantity that reads all at once."""

    def __init__(self, parts: Sequence[Cotangent], context: Context):
        self.parts, self.context = list(parts), context

    def beside(self, later: KeptRows) -> KeptRows:
        """With those of a later chunk."""
        return KeptRows([*self.parts, *later.parts], self.context)

    def whole(self) -> Cotangent:
        """All rows, stacked two and two, which copies each of them the fewest times."""
        parts = self.parts
        while len(parts) > 1:
            pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
            parts = [pair[0].stacked(pair[1]) if len(pair) > 1 else pair[0] for pair in pairs]
        parts[0].partial = False
        return parts[0]


def of_chunk(quantity: Quantity, so_far: State, part: Cotangent, context: Context) -> State:
    """The state of a chunk of rows; these themselves where the quantity reads all at once.

    `so_far` is that of the chunks before, None of the first one.
    """
    if quantity.all_rows or isinstance(so_far, KeptRows):
        return KeptRows([part], context)
    try:
        return quantity.extract(part, context)
    except ChunkOfRows:
        if so_far is not None:
            raise
        return KeptRows([part], context)


def of_all_rows(quantity: Quantity, state: State) -> State:
    """The state of all rows, where these were kept."""
    if not isinstance(state, KeptRows):
        return state
    return quantity.extract(state.whole(), state.context)


def first_of(quantity: Quantity, state: State) -> State:
    """The state of a first chunk of rows, which those of others are added to in place."""
    return state.copy() if _adds(quantity, state) else state


def require_additive(quantity: Quantity, part: Cotangent, state: State, context: Context) -> None:
    """Refuse states with an axis of rows, which would be added where rows come in chunks."""
    if not _adds(quantity, state) or part.rows not in state.shape:
        return
    other = part.select(slice(0, 1)) if part.rows > 1 else part.stacked(part)
    if quantity.extract(other.within(part.budget), context).shape != state.shape:
        raise QuantityError(
            f"{quantity.name} has an axis of rows, and rows come in chunks here, whose states are "
            f"added: say all_rows = True, for extract to be given all of them at once, or give it "
            f"a join(first, second), such as np.concatenate([first, second]) of one such axis"
        )


def with_chunk(quantity: Quantity, first: State, second: State) -> State:
    """The state of the chunks so far and of a further one. Raises `QuantityError`."""
    if isinstance(first, KeptRows):
        return first.beside(second)
    if not _adds(quantity, first):
        return quantity.join(first, second)
    if first.shape != second.shape:
        raise QuantityError(
            f"the states of {quantity.name} for chunks of rows have the shapes "
            f"{list(first.shape)} and {list(second.shape)}, and cannot be added: give it a "
            f"join(first, second), or a memory_budget that needs no chunks"
        )
    if first.dtype != second.dtype:
        return first + second
    first += second
    return first


def _adds(quantity: Quantity, state: State) -> bool:
    """Whether states of chunks are arrays, and joined by being added."""
    plain = getattr(type(quantity), "join", None) is Quantity.join
    return plain and not isinstance(state, Tensor) and backend.is_array(state) and state.ndim > 0
