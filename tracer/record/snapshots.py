"""What a record keeps of arrays that others may write into.

A derivative is of what was computed, whatever becomes of the arrays afterwards: parameters are
stepped in place, buffers filled again, data shuffled. So nodes hold no array that the program can
reach. Of constants and of leaves they hold copies, each array once: copying takes one pass, where
a checksum takes one when recording and another one before each sweep. Arrays above `LARGE` stay
shared, and are refused if the samples of them that were taken have changed.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from tracer.arrays import backend
from tracer.arrays.sampled import plain
from tracer.arrays.types import Array
from tracer.errors import ChangedArrayError
from tracer.record.leaving import elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracer.record.node import Node

#: bytes up to which an array is compared by its bytes
SMALL = 2048
#: bytes above which arrays are shared and watched: copies would take as long as operations on them
LARGE = 256 << 10
#: of a large array, one word in so many is looked at: those of every second kilobyte
WORDS_APART = 255
#: but no more words than these
MOST_WORDS = 4096


class Snapshots:
    """The arrays of one record that its nodes share with nobody else."""

    __slots__ = ("_private", "_watched", "known", "last", "norms")

    def __init__(self) -> None:
        #: id of an array -> that array, which keeps the id taken, what stands for it here, and
        #: what it held: its bytes if it is small, else how to find out
        self._private: dict[int, tuple[Any, Any, bytes | _Known | Watched]] = {}
        self._watched: list[Watched] = []
        #: the small constant that was given last, its bytes, shape and dtype, and the copy: loops
        #: give the same ones
        self.last: tuple[Any, bytes, Any, Any, Any] = (None, b"", None, None, None)
        #: whether norms are recorded, whose squares are taken apart
        self.norms = False

    def of_leaf(self, leaf: Node, array: Array) -> Array:
        """What the record holds of the array of a parameter or input."""
        known = self._private.get(id(array))
        if known is None:
            if leaf.op.guarded:
                return self._taken(array, array, leaf)
            if leaf.op.foreign:
                self.refuse_foreign(leaf)
        elif known[2] is OWN or (known[2] is GUARDED and leaf.op.guarded):
            return known[1]
        return self.of_constant(array, leaf)

    def refuse_foreign(self, leaf: Node) -> None:
        """Raise `TracingError` for what a thread made of parameters while this record was open."""
        records = [record() for record in leaf.params["records"]]
        if any(record is not None and record.snapshots is self for record in records):
            raise elsewhere("a tensor was made of parameters in another thread")

    def of_constant(self, array: Any, leaf: Node | None = None) -> Any:
        """What the record holds of a constant that an operation is given, or of a leaf's array.

        Of lists, tuples and dicts it has new ones, of what it holds of their values.
        """
        known = self._private.get(id(array))
        if known is not None:
            _, kept, content = known
            if content.__class__ is bytes:  # a short way for loops
                same = content == array.tobytes() and array.shape == kept.shape
                if same and array.dtype is kept.dtype:
                    return kept
            elif content is OWN:
                return kept
        given, kind = array, type(array)
        if kind is not ndarray:
            if kind is dict:
                return {key: self.of_constant(value) for key, value in array.items()}
            if kind is list or kind is tuple:
                return kind([self.of_constant(value) for value in array])
            if kind in IMMUTABLE or isinstance(array, np.generic) or not backend.is_array(array):
                return array
            backend.refuse_subclass(array)
            array = given = plain(array)
            if isinstance(array, ndarray):  # a memory map: plain numbers in the same memory
                array = array.view(ndarray)
            kind = type(array)
            known = self._private.get(id(given))
        if known is not None and _holds(array, known[1], known[2]):
            return known[1]
        if kind is ndarray and array.nbytes <= SMALL:
            kept, content = array.copy("K"), array.tobytes()
            self._private[id(given)] = given, kept, content
            if given is array:
                self.last = array, content, kept.shape, kept.dtype, kept
            return kept
        return self._taken(given, array, leaf)

    def kept_of(self, array: Any) -> Any:
        """What the record holds of an array that it was given; None if it was not."""
        known = self._private.get(id(array))
        return None if known is None else known[1]

    def let_go(self, array: object) -> None:
        """The program may write into a leaf's array: it is compared from now on."""
        known = self._private.get(id(array))
        if known is None:
            self._private[id(array)] = array, NOTHING, COMPARE
        elif known[2] is GUARDED:
            self._private[id(array)] = array, known[1], COMPARE

    def _taken(self, given: Any, array: Any, leaf: Node | None) -> Any:
        """Keep an array, which is `given` or a plain view of it, by a copy or by samples."""
        kept: Any = array
        content: _Known | Watched = OWN
        plain = type(array) is ndarray
        written = plain and array.flags.writeable
        small = written and array.nbytes <= LARGE
        if small or _is_small(array):
            kept = array.copy("K") if small else _copied(array)
            guarded = leaf is not None and leaf.op.guarded and id(given) not in self._private
            content = GUARDED if guarded else COMPARE
            self._private[id(kept)] = kept, kept, OWN
        elif plain and (written or not backend.is_constant(array)):
            content = Watched(array, leaf)
            self._watched.append(content)
        self._private[id(given)] = given, kept, content
        return kept

    def check(
        self, nodes: Iterable[Node], replayed: bool, names: Mapping[Node, str] | None = None
    ) -> None:
        """Raise `ChangedArrayError` if a large array that rules (or a replay) read has changed.

        `names` are those of parameters, by their leaves.
        """
        changed = [watched for watched in self._watched if watched.changed]
        if not changed:
            return
        for node in nodes:
            if replayed or node.op.saves_inputs or node.kept is not None:
                for watched in changed:
                    if any(watched.reaches(x) for x in node.inputs):
                        raise ChangedArrayError(watched.message(node, names or {}))


class Watched:
    """A large array that is shared with the program, and samples of what it held."""

    __slots__ = ("array", "dtype", "leaf", "samples", "shape", "words")

    def __init__(self, array: np.ndarray, leaf: Node | None):
        self.array, self.leaf = array, leaf
        self.shape, self.dtype = array.shape, array.dtype
        self.words = _words(array)
        self.samples = self.words.tobytes()

    @property
    def changed(self) -> bool:
        array, words = self.array, self.words
        if array.shape != self.shape or array.dtype != self.dtype:
            return True
        if words.base is None:  # a copy
            words = _words(array)
        return words.tobytes() != self.samples

    def reaches(self, value: object) -> bool:
        """Whether an array lies in the memory of this one."""
        return type(value) is ndarray and _owner(value) is _owner(self.array)

    def message(self, node: Node, names: Mapping[Node, str]) -> str:
        """What was changed, where it was used, and what to write instead."""
        array, leaf = self.array, self.leaf
        named = f"{array.dtype}{list(array.shape)}"
        used = f"{node.op.name} ({node.source or 'unknown line'}) used it"
        name = None if leaf is None else names.get(leaf) or leaf.params.get("name")
        if leaf is not None and leaf.op.name == "parameter":
            parameter = f"the parameter {name!r}" if name else "a parameter"
            return (
                f"the array of {parameter} ({named}) was written into after {used}, so "
                f"that its derivative can no longer be computed: replace it, as in `p.data = "
                f"p.data - step`, or record again after the step"
            )
        kind = "an array" if leaf is None else "an input of the model or a marked batch"
        what = f"the input {name!r}" if name else kind
        return (
            f"{what} ({named}) was written into after {used}, so that the derivative can no longer "
            f"be computed: give the operation a copy, or write into the array after the sweep"
        )


class _Known(Enum):
    """What is known of an array that a record holds."""

    #: nobody else writes into it
    OWN = 0
    #: it is a copy, to be compared with the array that is given
    COMPARE = 1
    #: it is a copy of a parameter's array, to be compared once the parameter gave that away
    GUARDED = 2


OWN, COMPARE, GUARDED = _Known.OWN, _Known.COMPARE, _Known.GUARDED

#: what is kept of an array that was given away before it was used
NOTHING = np.empty(0)

#: types of constants that cannot be written into
IMMUTABLE = frozenset((int, float, bool, complex, str, type(None)))


def _holds(array: Any, kept: Any, content: bytes | _Known | Watched) -> bool:
    """Whether what is kept of an array is still what it holds."""
    if type(content) is bytes:
        return (
            content == array.tobytes() and array.shape == kept.shape and array.dtype is kept.dtype
        )
    if type(content) is Watched:
        return not content.changed
    return content is OWN or _equal(array, kept)


def _is_small(array: Any) -> bool:
    """Whether copies are cheap, as of what is broadcast; constants of the library need none."""
    nbytes = array.nbytes
    if nbytes > LARGE and type(array) is ndarray and 0 in array.strides:
        held = [n for n, stride in zip(array.shape, array.strides, strict=True) if stride]
        nbytes = array.itemsize * math.prod(held)
    return nbytes <= LARGE and not backend.is_constant(array)


def _copied(array: Array) -> Array:
    """A copy in the same order; of what is broadcast, the part that memory holds."""
    if type(array) is ndarray and 0 in array.strides:
        part = tuple([slice(0, 1) if stride == 0 else slice(None) for stride in array.strides])
        return np.broadcast_to(array[part].copy("K"), array.shape)
    return array.copy("K")


def _owner(array: ndarray) -> ndarray:
    """The array whose memory this one lies in; a memory map, of one."""
    while isinstance(array.base, ndarray):
        array = array.base
    return array


def _equal(a: Array, b: Array) -> bool:
    """Whether two arrays hold the same bits; arrays on a device are taken to differ."""
    if type(a) is not ndarray or a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = np.dtype(f"u{a.itemsize}") if a.itemsize in (1, 2, 4, 8) else None
    if bits is None:
        return np.array_equal(a, b)
    return bool((a.view(bits) == b.view(bits)).all())


def _words(array: ndarray) -> ndarray:
    """Every so many words of 8 bytes of a large array, from all over it: a view, or a copy."""
    if array.flags.forc and array.dtype.kind in "biufc":
        lying = array if array.flags.c_contiguous else array.T
        words = np.frombuffer(lying, np.uint64, array.nbytes // 8)
        return words[:: max(WORDS_APART, len(words) // MOST_WORDS | 1)]
    return array.flat[:: max(WORDS_APART, array.size // MOST_WORDS | 1)]


class Trusted(Snapshots):
    """For what is recorded again from a record: its arrays are shared with nobody already."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.norms = True

    def of_leaf(self, leaf: Node, array: Array) -> Array:
        return array

    def of_constant(self, array: Any, leaf: Node | None = None) -> Any:
        return array


class Held(Snapshots):
    """Those of a record, but that leaves have the values that they had once."""

    __slots__ = ("values",)

    def __init__(self, record: Snapshots, values: Mapping[Node, Array]):
        super().__init__()
        self._private, self._watched, self.values = record._private, record._watched, values

    def of_leaf(self, leaf: Node, array: Array) -> Array:
        held = self.values.get(leaf)
        return super().of_leaf(leaf, array) if held is None else held
