"""The derivative of a function at a point, as a linear map that is applied any number of times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracer.api.linearisation import Linearisation, stack_of
from tracer.arrays import backend
from tracer.arrays.trees import Structure, flatten
from tracer.arrays.types import Array, Tree
from tracer.errors import ShapeError, TracingError
from tracer.record.describe import describe
from tracer.record.frames import INTERNAL_FILES

INTERNAL_FILES.add(__file__)


class LinearMap:
    """`tangent = linear(*tangents)`: the derivative of a function at its primals, a linear map.

    One tangent for each primal, of its structure and shapes, gives one of the output's. It is of
    what was computed where the function was linearised, as often and wherever it is called: inside
    another function that is being differentiated, its result depends on the tangents. `linear.T`
    is the transposed map: `linear.T(cotangent)` gives a tuple of cotangents, one for each primal.

    Raises `ShapeError` for tangents of other shapes or of another number.
    """

    def __init__(self, record: Linearisation, primals: Structure, count: int):
        self._record, self._primals, self._count = record, primals, count

    def __call__(self, *tangents: Tree) -> Tree:
        if len(tangents) != self._count:
            raise ShapeError(
                f"this derivative is by {self._count} arguments, got {len(tangents)} tangents: "
                f"give one for each"
            )
        given = directions(self._primals, tangents, "tangent", "primal")
        return pushed(self._record, self._primals, given, "tangent", "primal")

    @property
    def T(self) -> TransposedMap:
        return TransposedMap(self)

    def __repr__(self) -> str:
        return f"<derivative of {len(self._record.outputs)} arrays by {self._count} arguments>"


class TransposedMap:
    """`cotangents = linear.T(cotangent)`, what `tracer.vjp` gives; its `T` is the map itself."""

    def __init__(self, linear: LinearMap):
        self.T = linear

    def __call__(self, cotangent: Tree) -> Tree:
        record = self.T._record
        return self.T._primals.build(record.pull(record.cotangents(cotangent)))

    def __repr__(self) -> str:
        return f"<transposed {self.T!r}>"


def linearize(function: Callable[..., Tree], *primals: Tree) -> tuple[Tree, LinearMap]:
    """`value, linear = linearize(f, *primals)`: the value, and the derivative there as a map.

    `linear(*tangents)` is the second of `jvp(f, primals, tangents)`, without calling the function
    again: it is for many tangents at one point, as a solver for `J x = b` takes them. See
    `LinearMap`.
    """
    if not callable(function):
        raise TracingError(f"linearize takes a function, got {describe(function)}")
    record = Linearisation(function, primals, range(len(primals)))
    _, structure = flatten(tuple(primals))
    return record.value(), LinearMap(record, structure, len(primals))


def directions(structure: Structure, given: Tree, what: str, of: str) -> list[Array]:
    """The leaves of a direction, copied: the function, which is yet to run, may write into them."""
    leaves = structure.match(given, what, of)
    return [leaf.copy() if backend.is_array(leaf) else leaf for leaf in leaves]


def pushed(
    record: Linearisation, structure: Structure, given: Sequence[Array], what: str, of: str
) -> Tree:
    """Tangents of the outputs, in the output's structure, from those of the variables."""
    stacks = [
        stack_of(direction, variable.shape, variable.dtype, variable._value, what, of, path)
        for direction, variable, path in zip(given, record.variables, structure.paths, strict=True)
    ]
    return record.structure.build(record.push(stacks))
