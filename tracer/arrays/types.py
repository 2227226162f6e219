"""What arrays are called in signatures: one name for each meaning.

Type checkers know by these names what NumPy's functions are given. What an alias says besides, such
as which axes there are, is for the reader, who finds it here once.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

#: An array of any known library: NumPy's, CuPy's, or one that a plugin's `Backend` is for. To a
#: type checker it is NumPy's, since all are computed with by NumPy's functions and methods; what
#: else libraries differ in is in `Backend`. In sweeps that are themselves recorded, tensors take
#: the place of arrays.
Array: TypeAlias = np.ndarray
#: Rows of cotangents, or of tangents, of one tensor: `[V, *shape]`.
Stack: TypeAlias = Array
#: What rows weigh in squares, `[V, N]`, or `[V, 1]` for all samples alike; None: all weigh one.
Signs: TypeAlias = Array | None
#: Which uses there are, `[N, S]` of booleans; None: all.
Present: TypeAlias = Array | None
#: The sizes of an array's axes.
Shape: TypeAlias = tuple[int, ...]
#: The dtype of an array's elements.
DType: TypeAlias = np.dtype[Any]
#: Some of an axis's entries: a slice, or their numbers on the host.
Some: TypeAlias = slice | np.ndarray
#: What `array[...]` takes: ints, slices, arrays, and tuples of these.
Index: TypeAlias = Any
#: A random generator, NumPy's or that of another library.
Generator: TypeAlias = np.random.Generator
#: Anything in nested dicts, lists, tuples and named tuples; see `tracer.arrays.trees`.
Tree: TypeAlias = Any
#: What `numpy` takes for an array: one, a tensor, a number, or nested lists of numbers.
Convertible: TypeAlias = Any
