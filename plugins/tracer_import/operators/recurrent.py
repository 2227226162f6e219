"""Recurrent layers that a program keeps as one operator: LSTM, GRU and plain ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tracer
from tracer.errors import TracingError
from tracer.extend import TensorLike, composed, composes
from tracer_import.operators.table import add_operator
from tracer_layers import functional
from tracer_layers.recurrent import recurrence
from tracer_layers.recurrent.recurrence import ARITHMETIC, by_steps
from tracer_layers.recurrent.states import NAMES, first_state
from tracer_layers.recurrent.steps import GRU, LSTM, RNN_RELU, RNN_TANH, Architecture

#: the loop over time as one operation
WHOLE: Any = recurrence.Recurrence


def _direction(
    x: TensorLike, parameters: Sequence[TensorLike], states: Sequence[TensorLike],
    architecture: Architecture, reverse: bool,
) -> tuple[TensorLike, list[TensorLike]]:  # fmt: skip
    """One layer in one direction, `[T, N, H]`, and its last states.

    The parameters are the weights of inputs and of states, then, if there are any, both biases,
    and the projection.
    """
    weight_ih, weight_hh, *rest = parameters
    bias_ih, bias_hh = rest[:2] if len(rest) > 1 else (None, None)
    weight_hr = rest[-1] if len(rest) % 2 else None
    if architecture.additive and bias_ih is not None and bias_hh is not None:
        bias_ih, bias_hh = bias_ih + bias_hh, None
    inputs: Any = x, weight_ih, bias_ih, weight_hh, bias_hh, *states
    options: dict[str, Any] = {"architecture": architecture, "reverse": reverse}
    if weight_hr is None and architecture in ARITHMETIC and composes(*inputs):
        output, *last = composed(WHOLE, *inputs, **options)
    else:
        output, *last = by_steps(*inputs, **options, weight_hr=weight_hr)
    return output, last


def _layers(
    architecture: Architecture, x: TensorLike, firsts: Sequence[TensorLike],
    params: Sequence[TensorLike], has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """All layers: the output, and the last states of each layer and direction."""
    if x.ndim == 2:
        inner = (architecture, x[:, None], [state[:, None] for state in firsts], params, has_biases)
        options = (num_layers, dropout, train, bidirectional, False)
        output, *lasts = _layers(*inner, *options)
        return output[:, 0], *(state[:, 0] for state in lasts)
    x = np.swapaxes(x, 0, 1) if batch_first else x
    directions = 1 + bidirectional
    each = len(params) // (num_layers * directions)
    found: list[list[TensorLike]] = []
    for layer in range(num_layers):
        if layer and dropout:
            x = functional.dropout(x, dropout, train)
        outputs = []
        for direction in range(directions):
            number = len(found)
            held = params[number * each : (number + 1) * each]
            with tracer.scope(f"l{layer}{'_reverse' if direction else ''}", architecture.name):
                states = [
                    first_state(architecture.name, state[number], x, state.shape[-1], name)
                    for state, name in zip(firsts, NAMES[len(firsts)], strict=True)
                ]
                output, last = _direction(x, held, states, architecture, direction == 1)
            outputs.append(output)
            found.append(last)
        x = outputs[0] if directions == 1 else np.concatenate(outputs, axis=-1)
    stacked = (np.stack(states) for states in zip(*found, strict=True))
    return np.swapaxes(x, 0, 1) if batch_first else x, *stacked


def _refuse_packed(last: Any) -> None:
    if not isinstance(last, bool):
        raise TracingError(
            "the program runs a recurrent layer on packed sequences: export it with padded ones"
        )


def _lstm(
    input: TensorLike, hx: Sequence[TensorLike], params: Sequence[TensorLike], has_biases: bool,
    num_layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """Long short-term memory: output, hidden states and memories."""
    _refuse_packed(batch_first)
    options = (has_biases, num_layers, dropout, train, bidirectional, batch_first)
    return _layers(LSTM, input, hx, params, *options)


def _of_one_state(architecture: Architecture) -> Callable[..., Any]:
    def function(
        input: TensorLike, hx: TensorLike, params: Sequence[TensorLike], has_biases: bool,
        num_layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        _refuse_packed(batch_first)
        options = (has_biases, num_layers, dropout, train, bidirectional, batch_first)
        return _layers(architecture, input, [hx], params, *options)

    return function


def _lstm_cell(
    input: TensorLike, hx: Sequence[TensorLike], w_ih: TensorLike, w_hh: TensorLike,
    b_ih: TensorLike | None = None, b_hh: TensorLike | None = None,
) -> Any:  # fmt: skip
    """One step of an LSTM."""
    hidden = functional.linear(hx[0], w_hh, b_hh)
    return LSTM.step(functional.linear(input, w_ih, b_ih), hidden, *hx)


def _cell(architecture: Architecture) -> Callable[..., Any]:
    def function(
        input: TensorLike, hx: TensorLike, w_ih: TensorLike, w_hh: TensorLike,
        b_ih: TensorLike | None = None, b_hh: TensorLike | None = None,
    ) -> Any:  # fmt: skip
        hidden = functional.linear(hx, w_hh, b_hh)
        return architecture.step(functional.linear(input, w_ih, b_ih), hidden, hx)[0]

    return function


add_operator("lstm.input", _lstm, mode="train")
add_operator("gru.input", _of_one_state(GRU), mode="train")
add_operator("rnn_tanh.input", _of_one_state(RNN_TANH), mode="train")
add_operator("rnn_relu.input", _of_one_state(RNN_RELU), mode="train")
add_operator("lstm_cell.default", _lstm_cell)
add_operator("gru_cell.default", _cell(GRU))
add_operator("rnn_tanh_cell.default", _cell(RNN_TANH))
add_operator("rnn_relu_cell.default", _cell(RNN_RELU))
