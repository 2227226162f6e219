"""ONNX's recurrent layers and attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer.extend import TensorLike
from tracer_import.operators import (
    attention,
)
from tracer_import.operators.context import Operand, like
from tracer_import.operators.table import OPERATORS, add_operator, operator

#: by architecture: for each gate in PyTorch's order, its place in ONNX's
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}


def _recurrent(kind: str) -> Callable[..., Any]:
    def function(
        x: TensorLike, w: TensorLike, r: TensorLike, b: TensorLike | None = None,
        sequence_lens: Operand = None, initial_h: Operand = None, initial_c: Operand = None,
        hidden_size: int = 0, direction: str = "forward", layout: int = 0,
        linear_before_reset: int = 0, **options: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        if direction == "reverse" or layout or (kind == "GRU" and not linear_before_reset):
            raise ValueError(f"this form of {kind} is not there: export it from PyTorch")
        params: list[TensorLike] = []
        for i in range(w.shape[0]):
            size = r.shape[-1]
            both = [] if b is None else [b[i, : b.shape[1] // 2], b[i, b.shape[1] // 2 :]]
            for array in (w[i], r[i], *both):
                blocks = [array[g * size : (g + 1) * size] for g in GATES[kind]]
                params.append(np.concatenate(blocks) if len(blocks) > 1 else blocks[0])
        states = list((initial_h, initial_c)[: 2 if kind == "LSTM" else 1])
        zeros = np.zeros((w.shape[0], x.shape[1], r.shape[-1]), x.dtype)
        states = [like(zeros, x) if s is None else s for s in states]
        call = OPERATORS[f"aten.{kind.lower()}{'_tanh' if kind == 'RNN' else ''}.input"].function
        given = states if kind == "LSTM" else states[0]
        flags = (b is not None, 1, 0.0, False, w.shape[0] == 2, False)
        output, *last = call(x, given, params, *flags)
        split = np.reshape(output, (*output.shape[:2], w.shape[0], r.shape[-1]))
        return np.moveaxis(split, 2, 1), *last

    return function


for _name in GATES:
    add_operator(f"onnx.{_name}", _recurrent(_name))


@operator("onnx.Attention")
def scaled_attention(
    query: TensorLike, key: TensorLike, value: TensorLike, mask: TensorLike | None = None,
    is_causal: int = 0, scale: float | None = None, **options: Any,
) -> TensorLike:  # fmt: skip
    """Attention of heads `[N, H, T, D]`."""
    shared = query.shape[1] != key.shape[1]
    return attention.attention(query, key, value, mask, 0.0, bool(is_causal), scale, shared)
