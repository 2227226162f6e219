"""Inputs from the command line: `x=f32[32,10]`, `i=i64[8]<100`, `x=@images.npy`, `x=[1.0, 2.5]`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from trace_net.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

DTYPES = {
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "bool": "bool",
}
SPEC = re.compile(r"(?P<dtype>\w+)\[(?P<shape>[\d,\s]*)\](?:<(?P<bound>\d+))?")
HINT = (
    "write --input x=f32[32,10], --input labels=i64[32]<10, --input x=@file.npy or numbers, as in "
    "--input x=3.0 or --input x=[[0.0,1.0],[1.0,1.0]]"
)


def parse_inputs(specs: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays by name, in the order given; random ones come from a fixed seed."""
    import numpy as np

    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"--input expects NAME=DTYPE[SHAPE], got {spec!r}", HINT)
        if name in arrays:
            raise UsageError(f"--input gives {name!r} twice", "give every input once")
        value = value.strip()
        arrays[name] = _load(name, value[1:]) if value.startswith("@") else _draw(spec, value, rng)
    return arrays


def _draw(spec: str, value: str, rng: np.random.Generator) -> np.ndarray:
    """Normal floats, integers from 0 to below the bound (2 where none is given), or booleans.

    Numbers that are written out are taken as they are.
    """
    match = SPEC.fullmatch(value)
    if match is None:
        return _written(spec, value)
    if match["dtype"] not in DTYPES:
        raise UsageError(
            f"--input {spec!r} has the unknown dtype {match['dtype']!r}",
            f"known dtypes: {', '.join(DTYPES)}",
        )
    dtype = DTYPES[match["dtype"]]
    try:
        shape = tuple(int(size) for size in match["shape"].split(",") if size.strip())
        if dtype.startswith("float"):
            if match["bound"] is not None:
                raise UsageError(f"--input {spec!r} bounds a float dtype", HINT)
            return rng.standard_normal(shape).astype(dtype)
        if dtype == "bool":
            return rng.integers(0, 2, shape).astype(dtype)
        return rng.integers(0, int(match["bound"] or 2), shape, dtype=dtype)
    except (ValueError, MemoryError) as error:
        raise UsageError(f"--input {spec!r} cannot be drawn: {error}", HINT) from error


def _written(spec: str, value: str) -> np.ndarray:
    """A number, or nested lists of numbers: parsed, and never evaluated."""
    import numpy as np

    try:
        array = np.array(ast.literal_eval(value))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise UsageError(f"--input expects NAME=DTYPE[SHAPE], got {spec!r}", HINT) from error
    if array.dtype.kind not in "fib":
        raise UsageError(f"--input {spec!r} is no number and holds none", HINT)
    return array


def _load(name: str, path: str) -> np.ndarray:
    """The array in an .npy file, or the one called `name`, or the only one, in an .npz file."""
    import numpy as np

    try:
        loaded: Any = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UsageError(f"--input {name}: no file {path!r}", HINT) from error
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            f"--input {name}: {path!r} is not an .npy or .npz file of plain arrays: {error}",
            "write it with numpy.save",
        ) from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as archive:
        key = archive.files[0] if len(archive.files) == 1 else name
        if key not in archive.files:
            raise UsageError(
                f"--input {name}: {path!r} holds {', '.join(archive.files)} but no {name!r}",
                "name the input after one of them",
            )
        return archive[key]
