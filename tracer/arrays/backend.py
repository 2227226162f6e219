"""Array libraries: what NumPy's own dispatch does not cover, by the type of the arrays given.

Most code calls `np.*` on whatever it is given; CuPy's arrays, and any with NumPy's protocols, take
it from there. What is left is making arrays beside a given one, writing into fresh ones, SciPy's
special functions, random generators, and moving to the host and back. A library other than NumPy is
never imported here; CuPy's backend is in `tracer.arrays.backend_cupy`.
"""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer import registry
from tracer.arrays import available
from tracer.arrays.links import Links
from tracer.arrays.sampled import SampledArray
from tracer.arrays.torch_tensors import is_torch, of_torch
from tracer.arrays.types import Array, Convertible, Generator
from tracer.blame import guard
from tracer.errors import TracerError, TracingError

if TYPE_CHECKING:
    from tracer.arrays.kernels import Kernels


class Backend:
    """One array library. Subclasses for others override what differs from NumPy.

    `name` is the import name of the library, `array_type` the name of its array class and `device`
    what `tracer.to_device` calls the place where its arrays live. With `asynchronous` its functions
    return before they are done, and reading a value waits for all of them: rules then check no
    values, and what is wrong (a class index that is none) gives NaN instead of an error.
    """

    name = "numpy"
    array_type = "ndarray"
    device = "cpu"
    asynchronous = False
    #: the name, if the library is another plugin's and this is to stand in its place
    replaces: str | tuple[str, ...] = ()
    namespace: ModuleType = np

    def matches(self, kind: type) -> bool:
        """Whether arrays of this type are this library's."""
        return kind.__name__ == self.array_type and kind.__module__.split(".")[0] == self.name

    def problem(self) -> str | None:
        """Why arrays of this library cannot be made here, and what to do; None if they can."""
        return None

    def require(self) -> None:
        """Raise `TracerError` if there is a `problem`."""
        problem = self.problem()
        if problem is not None:
            raise TracerError(f"the device {self.device!r} was asked for, but {problem}")

    def describe(self) -> str:
        """The library and its version, or the `problem`: for people."""
        return (
            self.problem() or f"{self.name} {getattr(self.namespace, '__version__', '')}".rstrip()
        )

    def wait(self) -> None:
        """Return when all is computed that was begun."""

    def to_host(self, array: Array) -> np.ndarray:
        """The values as a NumPy array; the only place where values leave the device."""
        return np.asarray(array)

    def from_host(self, array: Array) -> Array:
        """A NumPy array moved to the device of this library; one that is there as it is."""
        return array

    def constant(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """`make(*arguments)`, an array or a tuple of them, moved here once and kept.

        For small arrays that are never written into. Moving one anew at every step would make the
        host wait for the device.
        """
        return _constant(self, make, *arguments)

    def device_count(self) -> int:
        """How many devices a process may choose from; 0 where it has no choice."""
        return 0

    def use_device(self, number: int) -> str:
        """Make new arrays on that device, in all threads; a name that no other one here has.

        Arrays that were made before stay where they are: `from_host` gives copies of them there.
        """
        raise TracerError(f"{self.name} has one device, got the number {number}")

    def links_problem(self) -> str | None:
        """Why devices of several processes do not exchange arrays directly; None if they do."""
        return f"tracer knows of no links between devices of {self.name}"

    def links(self, size: int, rank: int, host: str, port: int) -> Links:
        """Those of `size` processes, all of which call this, each with its rank.

        They meet at `host` and `port`, which are the first one's. Asked for where there is no
        `links_problem`.
        """
        raise TracerError(f"{self.links_problem()}")

    def free_memory(self) -> int | None:
        """Bytes that arrays of this library can still take; None where that is not known."""
        return available.host_memory()

    def generator(self, seed: int | None) -> Generator:
        """A random generator whose draws are arrays of this library."""
        return np.random.default_rng(seed)

    def kernels(self, like: Array) -> Kernels | None:
        """Kernels for arrays of the dtype of `like`; None where the array functions do as well."""
        return None

    def scatter_add(self, values: Array, positions: Array, size: int) -> Array:
        """`[V, size]` with `values [V, K]` added at `positions [K]` which may repeat."""
        positions, kernels = self.from_host(positions), self.kernels(values)
        if kernels is not None:
            return kernels.scatter_add(values, positions, size)
        out = self.namespace.zeros((len(values), size), dtype=values.dtype)
        for row, added in zip(out, values, strict=True):
            self.namespace.add.at(row, positions, added)
        return out

    def take_rows(self, table: Array, index: Array) -> Array:
        """`[..., D]`: rows of `table [K, D]`, NaN where an index is that of no row."""
        kernels = self.kernels(table)
        if kernels is not None:
            return kernels.take_rows(table, index)
        wrong = (index < 0) | (index >= len(table))
        return np.where(wrong[..., None], np.nan, table[np.where(wrong, 0, index)])

    def scipy(self, package: str, function: str) -> Callable[..., Array]:
        """A function of a package of SciPy's, as of "special" or "linalg"."""
        return getattr(importlib.import_module(f"scipy.{package}"), function)

    def special(self, function: str) -> Callable[..., Array]:
        """A function of `scipy.special`."""
        return self.scipy("special", function)

    @property
    def linear_operator(self) -> Any:
        """The class `LinearOperator` of `scipy.sparse.linalg`, on vectors of this library."""
        return importlib.import_module("scipy.sparse.linalg").LinearOperator


#: the constants that are in use, by their ids
_constants: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()


def is_constant(array: object) -> bool:
    """Whether an array was made by `Backend.constant`, so that nobody writes into it."""
    return _constants.get(id(array)) is array


@functools.lru_cache(maxsize=256)
def _constant(library: Backend, make: Callable[..., Any], *arguments: Any) -> Any:
    made = make(*arguments)
    arrays = made if isinstance(made, tuple) else (made,)
    for array in arrays:
        array.setflags(write=False)
    there = tuple(map(library.from_host, arrays))
    for array in there:
        if type(array) is np.ndarray:
            _constants[id(array)] = array
    return there if isinstance(made, tuple) else there[0]


def forget_constants() -> None:
    """Move constants anew where they are asked for next, as to another device."""
    _constant.cache_clear()


NUMPY = Backend()
_by_type: dict[type, Backend] = {np.ndarray: NUMPY, np.generic: NUMPY}


def of(array: Any) -> Backend:
    """The backend of an array (or of a tensor's array)."""
    kind = type(array)
    found = _by_type.get(kind)
    if found is None:
        if hasattr(kind, "node") and hasattr(array, "_value"):
            return of(array._value)
        found = _by_type[kind] = _find(kind)
    return found


#: packages of sparse matrices
SPARSE = ("scipy.sparse", "cupyx.scipy.sparse")


def _find(kind: type) -> Backend:
    if issubclass(kind, np.ndarray | np.generic | int | float | bool | complex | list | tuple):
        return NUMPY
    for name in registry.backends:
        entry = registry.backends.entry(name)
        with guard(entry.plugin, f"matches of the array library {name!r}"):
            if entry.value.matches(kind):
                return entry.value
    if kind.__module__.startswith(SPARSE):
        raise TracingError(
            f"a {kind.__name__} meets tensors in products alone: write A @ t or t @ A, and "
            f"A.toarray() for other operations"
        )
    raise TracingError(
        f"arrays of type {kind.__module__}.{kind.__name__} are not known: give NumPy or CuPy "
        f"arrays, or register a tracer.Backend through the hook register_backends"
    )


def forget(*_: object) -> None:
    """Look for the libraries of arrays again, since one came or went."""
    for kind in [kind for kind, library in _by_type.items() if library is not NUMPY]:
        del _by_type[kind]


registry.backends.holds(Backend)
registry.backends.added.append(forget)
registry.backends.removed.append(forget)


def kernels_for(*arrays: Array) -> Kernels | None:
    """Kernels for raw arrays of one dtype; None on the host, for tensors, or if there are none."""
    first = arrays[0]
    if type(first) is np.ndarray or any(hasattr(type(a), "node") for a in arrays):
        return None
    return of(first).kernels(first) if len({a.dtype for a in arrays}) == 1 else None


def is_array(value: object) -> bool:
    """Whether `value` is an array of a known library."""
    if isinstance(value, np.ndarray | np.generic):
        return True
    if not (hasattr(value, "dtype") and hasattr(value, "shape")):
        return False
    try:
        of(value)
    except TracingError:
        return False
    return True


def mixture(arrays: Iterable[Any]) -> str | None:
    """That arrays are of several libraries, and what to do; None if they are not."""
    given = [a for a in arrays if is_array(a) and not isinstance(a, np.generic)]
    kinds = {of(a): f"{type(a).__module__}.{type(a).__name__}" for a in given}
    if len(kinds) < 2:
        return None
    libraries = sorted(kinds, key=lambda library: library.name)
    named = " and ".join(kinds[library] for library in libraries)
    moves = " or ".join(f"tracer.to_device(x, {library.device!r})" for library in libraries)
    return f"expects arrays of one library, got {named}: move one with {moves}"


def one_library(*arrays: Any) -> None:
    """Raise `TypeError` for arrays of several libraries, where CuPy would move one itself."""
    problem = mixture(arrays)
    if problem is not None:
        raise TypeError(problem)


def namespace(array: Array) -> ModuleType:
    """The module with the functions that make arrays: `numpy`, or `cupy` for CuPy's arrays."""
    return of(array).namespace


OF_OBJECTS = (
    "an array of objects (a ragged list, or one with None in it) cannot be recorded: give an array "
    "of numbers"
)


def refuse_objects() -> None:
    """Raise `TracingError` for an array of objects."""
    raise TracingError(OF_OBJECTS)


def refuse_subclass(array: object) -> None:
    """Raise `TracingError` for arrays that mean more than their numbers: masked ones, `np.matrix`.

    Those of `np.memmap` mean the same.
    """
    kind = type(array)
    if issubclass(kind, np.ndarray) and kind not in AS_THEY_ARE:
        way = "array.filled(0) and a mask" if hasattr(array, "filled") else "np.asarray(array)"
        raise TracingError(
            f"{kind.__module__}.{kind.__name__} is a subclass of np.ndarray whose meaning (masks, "
            f"products of its own) would be lost here: give the plain array, as of {way}"
        )


#: classes of NumPy's arrays whose numbers are all that they mean
AS_THEY_ARE = {np.ndarray, np.memmap, SampledArray}


def as_array(value: Convertible) -> Array:
    """An array of a known library as it is; numbers and lists of numbers become NumPy arrays."""
    if isinstance(value, np.generic):
        return np.array(value)
    kind = type(value)
    if kind is not np.ndarray and isinstance(value, np.ndarray):
        refuse_subclass(value)
    if kind is np.ndarray or _by_type.get(kind, NUMPY) is not NUMPY:
        array = value
    elif isinstance(value, int | float | bool | complex | list | tuple | np.ndarray):
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise TracingError(OF_OBJECTS) from error
    elif is_torch(value):
        array = of_torch(value)
    else:
        of(value)
        array = value
    if array.dtype.kind == "O":
        raise TracingError(OF_OBJECTS)
    return array


def read_only(array: Array) -> Array:
    """A view that cannot be written into, nor unlocked, nor its base; on a device, the array."""
    if type(array) is not np.ndarray:
        return array
    return np.asarray(memoryview(array).toreadonly())  # type: ignore[arg-type]


def to_host(value: Convertible) -> np.ndarray:
    """The values of an array of any library, or of a tensor, as a NumPy array."""
    return of(value).to_host(value._value if hasattr(type(value), "node") else value)


def moved(array: Array, library: Backend) -> Array:
    """An array in another library, itself if it is that one's."""
    return array if of(array).name == library.name else library.from_host(to_host(array))
