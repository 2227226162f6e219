"""What an index of an array is: which positions it selects, and where it leaves an axis."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.errors import TracingError
from tracer.operations.arguments import raw
from tracer.record.axes import UNKNOWN

#: types of entries of an index that a record can keep as they are
SIMPLE = frozenset((int, slice, type(None), type(Ellipsis)))


def parts_of(index):
    """The entries of an index, of one axis each."""
    return index if isinstance(index, tuple) else (index,)


def is_basic(index):
    """Whether an index selects each element at most once by its form alone."""
    return SIMPLE.issuperset(map(type, index)) or all(
        type(i) in SIMPLE or isinstance(i, slice | np.integer) for i in index
    )


def is_advanced(part):
    """Whether an entry of an index is an int or an array, which NumPy broadcasts to each other."""
    return not (part is None or part is Ellipsis or isinstance(part, slice))


def kept_index(index, x):
    """An index of `x` as the record keeps it, a tuple. Raises `TracingError` for floats."""
    return tuple(kept_part(part, x) for part in parts_of(index))


def kept_part(part, x):
    """One entry of an index of `x` as the record keeps it: with arrays of its own."""
    part = raw(part)
    if type(part) in SIMPLE:
        return part
    if isinstance(part, list | tuple):
        part = np.array(part) if len(part) else np.array(part, np.intp)
        part = backend.of(x).from_host(part)
    elif type(part) is np.ndarray or (not isinstance(part, np.generic) and backend.is_array(part)):
        part = part.copy()
    dtype = getattr(part, "dtype", None)
    if dtype is not None and dtype.kind not in "iub":
        way = "slices and axes go into a tuple, x[a, b]" if dtype.kind == "O" else "use astype(int)"
        raise TracingError(f"an index is an array of ints or booleans, got {dtype}: {way}")
    return part


def positions_of(index, shape, library=backend.NUMPY):
    """The positions in the flattened array that `index` selects, shaped like the result.

    In this library: on a device they need not go to the host.
    """
    index = tuple(backend.moved(i, library) if backend.is_array(i) else i for i in index)
    return library.namespace.arange(math.prod(shape)).reshape(shape)[index]


def whole_rows(positions, width):
    """Which rows, of `width`, flat positions `[*R, D]` are of; None where they take rows apart."""
    if positions.shape[-1:] != (width,) or not width:
        return None
    rows = positions[..., 0] // width
    whole = (positions == rows[..., None] * width + np.arange(width)).all()
    return rows if whole else None


def axis_of_basic(index, shape, axis):
    """Where an axis of `shape` is after a basic index; UNKNOWN if some of it is left out."""
    parts = list(index)
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    rest = [slice(None)] * (len(shape) - taken)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = rest
    source = target = 0
    for part in parts:
        if part is None:
            target += 1
            continue
        if source == axis:
            size = shape[axis]
            whole = isinstance(part, slice) and part.indices(size) == (0, size, 1)
            return target if whole else UNKNOWN
        source += 1
        target += isinstance(part, slice)
    return UNKNOWN


def axis_of_range(coordinate, size):
    """The axis along which an array of coordinates counts 0, 1, ..., size - 1."""
    for axis, length in enumerate(coordinate.shape):
        if length == size and (coordinate.size or not size):  # of no entry, any axis would do
            counting = np.arange(size).reshape([-1 if i == axis else 1
                                                for i in range(coordinate.ndim)])  # fmt: skip
            if (coordinate == counting).all():
                return axis
    return UNKNOWN


def place_of_arrays(index, rank):
    """Before which axis of the result those of the arrays are, by NumPy's rule."""
    parts = list(index)
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = [slice(None)] * (rank - taken)
    places = [i for i, part in enumerate(parts) if is_advanced(part)]
    together = places[-1] - places[0] == len(places) - 1
    return places[0] if together else 0
