"""What ONNX's nodes have of training and evaluation, said as a module can switch it.

Whether a dropout trains is an array there, and of batch normalisation a number whose default is
left out; new running statistics are results of the node, which nobody need take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tracer_import.program import Argument, Held, Node, Value

#: the place of what says whether a dropout trains
DROPOUT_MODE = 2


@dataclass(frozen=True)
class Constant:
    """An array that is an attribute."""

    array: np.ndarray


def with_modes(nodes: Sequence[Node], held: Iterable[Held]) -> tuple[list[Node], dict[str, str]]:
    """The nodes with modes that are booleans, and by path the buffers that batches move."""
    arrays = {each.value: each.array for each in held}
    for node in nodes:
        value = node.keywords.get("value")
        if node.target == "onnx.Constant" and isinstance(value, Constant):
            arrays.update({name: value.array for name in node.outputs[:1] if name is not None})
    paths = {each.value: each.path for each in held if each.kind == "buffer"}
    made, mutations = [], {}
    for node in nodes:
        if node.target == "onnx.Dropout":
            node = _dropout(node, arrays)
        elif node.target == "onnx.BatchNormalization":
            node = _batch_norm(node)
            for statistic, new in zip(node.arguments[3:5], node.outputs[1:3], strict=False):
                if isinstance(statistic, Value) and statistic.name in paths and new is not None:
                    mutations[paths[statistic.name]] = new
        made.append(node)
    return made, mutations


def _dropout(node: Node, arrays: Mapping[str, np.ndarray]) -> Node:
    """With a mode that is a boolean, where the file says which: evaluation if nothing does."""
    given: list[Argument] = list(node.arguments)
    given += [None] * (DROPOUT_MODE + 1 - len(given))
    mode = given[DROPOUT_MODE]
    known = arrays.get(mode.name) if isinstance(mode, Value) else np.zeros(1)
    if known is not None and known.size == 1:
        given[DROPOUT_MODE] = bool(known.reshape(-1)[0])
    if given[1] is None:
        given[1] = 0.5
    return replace(node, arguments=tuple(given))


def _batch_norm(node: Node) -> Node:
    """With a mode, and with names for the statistics that follow its result."""
    outputs = list(node.outputs[:3])
    for kind in ("mean", "variance")[len(outputs) - 1 :]:
        outputs.append(f"{outputs[0]}'{kind}")
    training = bool(node.keywords.get("training_mode", 0))
    keywords = {**node.keywords, "training_mode": training}
    return replace(node, keywords=keywords, outputs=tuple(outputs), several=True)
