"""What an ONNX file may ask for, checked before it is unpacked: arrays elsewhere, and functions.

Arrays lie in files of the model's own folder, of as many bytes as they have there. Functions of
the file are written out where they are called; a few that call each other twice would be more
nodes than any memory holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from tracer_import.errors import ProgramError

#: the package onnx, and what it reads
Library: TypeAlias = Any
Message: TypeAlias = Any
#: nodes that a program has at most, its functions written out
MOST_NODES = 200_000


def check_external(path: Path, onnx: Library, model: Message) -> None:
    """Refuse arrays outside of the file's folder, or of other bytes than the file or they have."""
    folder = path.parent.resolve()
    for tensor in _tensors(onnx, model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        place = (folder / name).resolve()
        if not name or Path(name).is_absolute() or not place.is_relative_to(folder):
            raise ProgramError(
                f"{str(path)!r} keeps {tensor.name!r} in {name[:80]!r}, outside of its folder, "
                f"which is not read: move the file beside the model"
            )
        if not place.is_file():
            raise ProgramError(
                f"{str(path)!r} keeps {tensor.name!r} in {name!r}, which is not there: copy the "
                f"file that was written beside the model"
            )
        start, size = int(entries.get("offset") or 0), place.stat().st_size
        length = int(entries["length"]) if entries.get("length") else size - start
        if min(start, length) < 0 or start + length > size:
            raise ProgramError(
                f"{str(path)!r}: {tensor.name!r} ends behind the end of {name!r}, or begins before "
                f"it: export it again"
            )
        if length > (needed := _bytes_of(onnx, tensor)):
            raise ProgramError(
                f"{str(path)!r}: {tensor.name!r} {list(tensor.dims)} has {needed} bytes, and "
                f"{length} of {name!r} are to be read: export it again"
            )


def check_functions(path: Path, model: Message) -> None:
    """Refuse a model whose functions, written out, are more nodes than a program has."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    counts: dict[Any, int] = {}

    def count(nodes: Iterable[Message]) -> int:
        total = 0
        for node in nodes:
            called = (node.domain, node.op_type, node.overload)
            if called in functions and called not in counts:
                counts[called] = count(functions[called].node)
            inner = (graph for a in node.attribute for graph in (a.g, *a.graphs))
            total += counts.get(called, 1) + sum(count(graph.node) for graph in inner)
        return total

    if (found := count(model.graph.node)) > MOST_NODES:
        number = f"{found:,}" if found < 10**15 else "more than 10^15"
        raise ProgramError(
            f"{str(path)!r} has {number} nodes when its functions are written out, and at most "
            f"{MOST_NODES:,} are read: export it without functions of its own"
        )


def _bytes_of(onnx: Library, tensor: Message) -> int:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return math.prod(tensor.dims) * dtype.itemsize


def _tensors(onnx: Library, model: Message) -> Iterator[Message]:
    """All arrays of a model: in graphs, in attributes of nodes, and in those of functions."""
    yield from model.graph.initializer
    yield from _of_nodes(onnx, model.graph.node)
    for function in model.functions:
        yield from _of_nodes(onnx, function.node)


def _of_nodes(onnx: Library, nodes: Iterable[Message]) -> Iterator[Message]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from inner.initializer
                yield from _of_nodes(onnx, inner.node)
