"""What is kept of the gradient as a sweep takes it from node to node: statistics, and cotangents.

Only sweeps of tapes that were asked to keep something are given an `Observed`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array
from tracer.errors import TracingError
from tracer.record.describe import describe
from tracer.record.freezing import origin_of
from tracer.record.leaf_kinds import CONSTANT
from tracer.record.node import Node
from tracer.record.recorder import Recorder
from tracer.record.statistics import statistics
from tracer.record.tensor import Tensor, TensorLike


class Observed:
    """Takes the gradient at each node of a sweep: `Tape(watch=True)`, `Tape(cotangents=True)`."""

    def __init__(self, tape: Recorder, cotangents: Cotangents | None):
        self._statistics = tape.watched
        self._values = tape.keeps_values
        self.cotangents = cotangents

    def see(self, node: Node, gradient: TensorLike) -> None:
        """Keep what is asked for of the gradient by this node, `[*shape]`.

        It is a tensor where the sweep is itself recorded.
        """
        if self._statistics is not None:
            value = gradient._value if isinstance(gradient, Tensor) else gradient
            self._statistics[id(node), "cotangent"] = statistics(value, values=self._values)
        if self.cotangents is not None:
            self.cotangents.keep(node, gradient)


class Cotangents:
    """`cotangents[t]` is the derivative of the loss by the recorded tensor `t`, `[*t.shape]`.

    It is of the last sweep for `grad`, in the tensor's dtype. What the loss does not depend on has
    zeros. Raises `TracingError` for a tensor that was not recorded, wants no gradient or was left
    out of the sweep.
    """

    def __init__(self, nodes: Collection[Node], like: Array, only: Collection[Node] | None):
        self._nodes = nodes
        self._like = like
        self._only = only
        self._kept: dict[Node, TensorLike] = {}

    def keep(self, node: Node, gradient: TensorLike) -> None:
        """Keep a copy: the sweep goes on to add to what it has, and gives away its memory."""
        if isinstance(gradient, Tensor):
            same = gradient.dtype == node.dtype
            self._kept[node] = gradient if same else gradient.astype(node.dtype)
        else:
            self._kept[node] = backend.as_array(gradient.astype(node.dtype))

    def __getitem__(self, tensor: Tensor) -> TensorLike:
        node = self._node_of(tensor)
        found = self._kept.get(node)
        if found is None:
            self._refuse_unknown(node)
            found = np.zeros_like(self._like, dtype=node.dtype, shape=node.shape)
            self._kept[node] = found
        return found

    def __contains__(self, tensor: object) -> bool:
        try:
            node = self._node_of(tensor)
            if node not in self._kept:
                self._refuse_unknown(node)
        except TracingError:
            return False
        return True

    def __iter__(self) -> NoReturn:
        raise TracingError("cotangents are found by their tensor, as in tape.cotangents[t]")

    def __repr__(self) -> str:
        return f"<cotangents of {len(self._kept):,} tensors: cotangents[tensor]>"

    def _node_of(self, tensor: object) -> Node:
        if not isinstance(tensor, Tensor):
            given = describe(tensor) if hasattr(tensor, "dtype") else f"{tensor!r:.60}"
            raise TracingError(
                f"cotangents are found by their tensor, as in tape.cotangents[t], and not by "
                f"{given}: keep the tensor when it is computed"
            )
        if tensor.node is None or tensor.node.op is CONSTANT:
            raise TracingError(
                f"{describe(tensor)} is a constant, which the loss was not differentiated by: "
                f"make it a parameter with tracer.parameter(array)"
            )
        return origin_of(tensor.node)

    def _refuse_unknown(self, node: Node) -> None:
        """Raise `TracingError` unless the derivative is zero, since the loss depends on others."""
        if node not in self._nodes and not any(node in each.parents for each in self._nodes):
            raise TracingError(f"{node!r} was not recorded on this tape")
        if not node.wants:
            raise TracingError(
                f"{node!r} wants no gradient, and the loss was not differentiated by it: make it, "
                f"or what it is computed of, a parameter with tracer.parameter(array)"
            )
        if self._only is not None and node not in self._only:
            raise TracingError(
                f"{node!r} was left out of the sweep by parameters=, so that its cotangent is not "
                f"known: sweep without it"
            )
