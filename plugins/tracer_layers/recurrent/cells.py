"""Cells: one step of a recurrent layer as a module, as in `torch.nn`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from tracer.errors import ShapeError, TracerError
from tracer.extend import Generator, TensorLike
from tracer_layers.linear_maps.layers import linear
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.initial import fan_in_bound, uniform
from tracer_layers.module.module import Module
from tracer_layers.recurrent.states import NAMES, described, first_state, given_states
from tracer_layers.recurrent.steps import GRU, LSTM, RNN_RELU, RNN_TANH, Architecture

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


def rnn_architecture(layer: str, nonlinearity: str) -> Architecture:
    """The plain recurrence with this activation."""
    if nonlinearity not in ("tanh", "relu"):
        raise TracerError(f'{layer} expects nonlinearity "tanh" or "relu", got {nonlinearity!r}')
    return RNN_TANH if nonlinearity == "tanh" else RNN_RELU


class RecurrentCell(Module):
    """What cells share: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, and the step itself."""

    def __init__(
        self,
        architecture: Architecture,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: object,
        dtype: DTypeLike | None,
        rng: Generator | None,
    ):
        name = type(self).__name__
        at_least(name, 1, input_size=input_size, hidden_size=hidden_size)
        self.architecture = architecture
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows, bound = architecture.gates * hidden_size, fan_in_bound(hidden_size)
        dtype = float_dtype(dtype, device)
        self.weight_ih = uniform((rows, input_size), bound, dtype, rng)
        self.weight_hh = uniform((rows, hidden_size), bound, dtype, rng)
        for part in ("bias_ih", "bias_hh"):
            values = uniform((rows,), bound, dtype, rng) if bias else None
            self.register_parameter(part, values)

    def holds_samples(self, value: TensorLike) -> bool:
        """Inputs and states `[N, size]`; those of one sample have no axis of samples."""
        return value.ndim == 2

    def forward(self, input: TensorLike, hx: Any = None) -> Any:
        """The next state from an input `[N, I]` (or `[I]`) and a state; zeros if it is None."""
        name, size = type(self).__name__, self.input_size
        if input.ndim not in (1, 2) or input.shape[-1] != size:
            raise ShapeError(
                f"{name} expects inputs [N, {size}], or one sample [{size}], got {described(input)}"
            )
        x = floats(input if input.ndim == 2 else input[None], self.weight_ih)
        states = self._states(hx, x, lone=input.ndim == 1)
        projected = linear(x, self.weight_ih, self.bias_ih)
        u = linear(states[0], self.weight_hh, self.bias_hh)
        states = self.architecture.step(projected, u, *states)
        if input.ndim == 1:
            states = tuple(state[0] for state in states)
        return states[0] if len(states) == 1 else states

    def _states(self, hx: Any, x: TensorLike, lone: bool) -> Sequence[TensorLike]:
        name = type(self).__name__
        given = given_states(name, hx, self.architecture.states)
        given = [s[None] if lone and s is not None and s.ndim == 1 else s for s in given]
        return [
            first_state(name, state, x, self.hidden_size, called)
            for state, called in zip(given, NAMES[len(given)], strict=True)
        ]

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if not self.bias:
            parts.append(f"bias={self.bias}")
        if self.architecture is RNN_RELU:
            parts.append("nonlinearity=relu")
        return ", ".join(parts)


class RNNCell(RecurrentCell):
    """`h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`, or with `relu` (Elman 1990)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        self.nonlinearity = nonlinearity
        architecture = rnn_architecture("RNNCell", nonlinearity)
        super().__init__(architecture, input_size, hidden_size, bias, device, dtype, rng)


class LSTMCell(RecurrentCell):
    """Long short-term memory: a state `(h, c)` to the next (Hochreiter and Schmidhuber 1997)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        super().__init__(LSTM, input_size, hidden_size, bias, device, dtype, rng)


class GRUCell(RecurrentCell):
    """Gated recurrent unit (Cho et al. 2014), the reset gate after the product, as in PyTorch."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        super().__init__(GRU, input_size, hidden_size, bias, device, dtype, rng)
