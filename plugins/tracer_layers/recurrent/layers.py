"""Recurrent layers over whole sequences: `RNN`, `LSTM` and `GRU`, as in `torch.nn`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Convertible, Generator, TensorLike, backend, composed, composes
from tracer_layers.activations.dropout_layers import dropout as dropped
from tracer_layers.module.arguments import at_least, probability
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.initial import fan_in_bound, uniform
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw
from tracer_layers.recurrent.cells import rnn_architecture
from tracer_layers.recurrent.recurrence import ARITHMETIC, Recurrence, by_steps
from tracer_layers.recurrent.sequences import (
    PackedSequence,
    checked_lengths,
    filled,
    within_lengths,
)
from tracer_layers.recurrent.states import NAMES, described, first_state, given_states
from tracer_layers.recurrent.steps import GRU as GRU_STEP
from tracer_layers.recurrent.steps import LSTM as LSTM_STEP
from tracer_layers.recurrent.steps import Architecture

__all__ = ["GRU", "LSTM", "RNN"]


class RecurrentLayer(Module):
    """What recurrent layers share: their parameters, and the loop over time.

    Parameters of layer k are `weight_ih_l{k}`, `weight_hh_l{k}`, `bias_ih_l{k}`, `bias_hh_l{k}`
    (and `weight_hr_l{k}` of an LSTM with projections), with `_reverse` after it for the second
    direction. They start uniform in `[-1/sqrt(H), 1/sqrt(H)]`.
    """

    def __init__(
        self,
        architecture: Architecture,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: object,
        dtype: DTypeLike | None,
        rng: Generator | None,
    ):
        name = type(self).__name__
        at_least(name, 1, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        at_least(name, 0, proj_size=proj_size)
        probability(name, dropout)
        if proj_size >= hidden_size:
            raise TracerError(
                f"{name} expects proj_size below hidden_size={hidden_size}, got {proj_size}"
            )
        if dropout and num_layers == 1:
            warnings.warn(
                f"{name} drops out between layers, and has one: leave dropout={dropout} out, or "
                f"raise num_layers",
                stacklevel=3,
            )
        self.architecture = architecture
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.proj_size, self.rng = bidirectional, proj_size, rng
        dtype = float_dtype(dtype, device)
        features = input_size
        for suffix in self._suffixes():
            if suffix.startswith("_l0"):
                features = input_size
            else:
                features = self._state_size * self._directions
            for part, shape in self._shapes(features).items():
                values = uniform(shape, fan_in_bound(hidden_size), dtype, rng)
                self.register_parameter(part + suffix, values)

    # -- sizes --------------------------------------------------------------------------------

    @property
    def _directions(self) -> int:
        return 1 + bool(self.bidirectional)

    @property
    def _state_size(self) -> int:
        """The size of the hidden state that is shown."""
        return self.proj_size or self.hidden_size

    def _suffixes(self) -> list[str]:
        """What the parameters of each layer and direction end in, in order."""
        ends = ("", "_reverse")[: self._directions]
        return [f"_l{layer}{end}" for layer in range(self.num_layers) for end in ends]

    def _shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        rows = self.architecture.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, features),
            "weight_hh": (rows, self._state_size),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    # -- where samples are --------------------------------------------------------------------

    @property
    def sequence_first(self) -> bool:  # type: ignore[override]  # of the instance, here
        return not self.batch_first

    def holds_samples(self, value: TensorLike) -> bool:
        """Sequences `[T, N, I]`; one without samples has no axis of them."""
        return value.ndim == 3

    # -- forward ------------------------------------------------------------------------------

    def forward(
        self, input: TensorLike, hx: Any = None, *, lengths: Convertible | None = None
    ) -> tuple[Any, Any]:
        """`(output, state)` of sequences `[T, N, I]`, `[N, T, I]` with `batch_first`, or `[T, I]`.

        `output` is the last layer's hidden state at every step, `state` (a pair `(h, c)` for an
        LSTM) that of every layer and direction after the last, `[layers * directions, N, H]`. `hx`
        is the first state, of the same form; zeros without it. `lengths` are the steps of each
        sequence where they differ; steps after a sequence's end are zero in the output and count in
        no quantity. A `PackedSequence` gives one.

        Raises `ShapeError` for inputs, states and lengths of the wrong shape or dtype.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ShapeError("a PackedSequence has lengths of its own: leave lengths out")
            padded = input.padded
            if padded.ndim != 3 or padded.shape[-1] != self.input_size:
                raise ShapeError(
                    f"{type(self).__name__} expects packed sequences [T, N, {self.input_size}], "
                    f"got {described(padded)}"
                )
            x = padded if isinstance(padded, Tensor) else tracer.batch(padded, 1)
            output, states = self._run(x, self._given(hx), input.lengths)
            return PackedSequence(output, input.lengths), states
        name, size = type(self).__name__, self.input_size
        if input.ndim not in (2, 3) or input.shape[-1] != size or not self._steps(input):
            order = "[N, T, {}]" if self.batch_first else "[T, N, {}]"
            raise ShapeError(
                f"{name} expects sequences {order.format(size)} of at least one step, or one "
                f"sequence [T, {size}], got {described(input)}"
            )
        if input.ndim == 2:
            return self._run_alone(input, hx, lengths)
        x = np.swapaxes(input, 0, 1) if self.batch_first else input
        if lengths is not None:
            lengths = checked_lengths(lengths, x.shape[0], x.shape[1])
            x = filled(x, lengths, 0)
        output, states = self._run(x, self._given(hx), lengths)
        return (np.swapaxes(output, 0, 1) if self.batch_first else output), states

    def _steps(self, input: TensorLike) -> int:
        """How many steps sequences have."""
        return input.shape[1 if self.batch_first and input.ndim == 3 else 0]

    def _run_alone(
        self, input: TensorLike, hx: Any, lengths: Convertible | None
    ) -> tuple[Any, Any]:
        """One sequence `[T, I]`, with states `[layers * directions, H]`."""
        if lengths is not None:
            raise ShapeError("lengths are of several sequences: cut the one that there is")
        given = self._given(hx)
        for state in given:
            if state is not None and state.ndim != 2:
                raise ShapeError(
                    f"{type(self).__name__} expects a state [layers * directions, size] for one "
                    f"sequence, got {described(state)}"
                )
        given = [None if state is None else state[:, None] for state in given]
        output, states = self._run(input[:, None], given, None)
        alone = tuple(s[:, 0] for s in states) if isinstance(states, tuple) else states[:, 0]
        return output[:, 0], alone

    def _given(self, hx: Any) -> list[Any]:
        return given_states(type(self).__name__, hx, self.architecture.states)

    def _run(
        self, x: TensorLike, given: list[TensorLike | None], lengths: Convertible | None
    ) -> tuple[Any, Any]:
        """`[T, N, I]` through all layers and directions."""
        x = floats(x, self.weight_ih_l0)
        mask, shortest = None, len(x)
        if lengths is not None and lengths.min() < len(x):
            mask = backend.of(raw(x)).from_host(within_lengths(lengths, len(x)))
            shortest = int(lengths.min())
        firsts, lasts = self._first_states(given, x), []
        suffixes = iter(self._suffixes())
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = dropped(x, self.dropout, self.training, rng=self.rng)
            outputs = []
            for direction in range(self._directions):
                suffix = next(suffixes)
                with tracer.scope(suffix[1:], self.architecture.name):
                    first, reverse = firsts[len(lasts)], direction == 1
                    output, states = self._loop(x, first, suffix, reverse, mask, shortest)
                outputs.append(output)
                lasts.append(states)
            x = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
        stacked = tuple(np.stack(states) for states in zip(*lasts, strict=True))
        return x, stacked if len(stacked) > 1 else stacked[0]

    def _loop(
        self,
        x: TensorLike,
        states: Sequence[TensorLike],
        suffix: str,
        reverse: bool,
        mask: Array | None,
        shortest: int,
    ) -> tuple[TensorLike, Sequence[TensorLike]]:
        """One layer in one direction: `[T, N, H]`, and the last states.

        See `by_steps` for `mask` and `shortest`.
        """
        held = self._shapes(0)
        weight_ih, bias_ih, weight_hh, bias_hh, weight_hr = (
            getattr(self, name + suffix) if name in held else None
            for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh", "weight_hr")
        )
        if self.architecture.additive and bias_hh is not None:
            bias_ih, bias_hh = bias_ih + bias_hh, None
        inputs = x, weight_ih, bias_ih, weight_hh, bias_hh, *states
        options = {"architecture": self.architecture, "reverse": reverse}
        plain = weight_hr is None and mask is None and self.architecture in ARITHMETIC
        if plain and composes(*inputs):
            output, *states = composed(Recurrence, *inputs, **options)
        else:
            output, *states = by_steps(
                *inputs, **options, weight_hr=weight_hr, mask=mask, shortest=shortest
            )
        return output, states

    def _first_states(
        self, given: list[TensorLike | None], x: TensorLike
    ) -> list[list[TensorLike]]:
        """The first states of every layer and direction."""
        name, count = type(self).__name__, self.num_layers * self._directions
        sizes = (self._state_size, self.hidden_size)[: self.architecture.states]
        for state, size in zip(given, sizes, strict=True):
            if state is not None and (state.ndim != 3 or len(state) != count):
                raise ShapeError(
                    f"{name} expects a state [{count}, {x.shape[1]}, {size}] (layers * directions, "
                    f"samples, size), got {described(state)}"
                )
        return [
            [
                first_state(name, None if state is None else state[i], x, size, called)
                for state, size, called in zip(given, sizes, NAMES[len(sizes)], strict=True)
            ]
            for i in range(count)
        ]

    def flatten_parameters(self) -> None:
        """Does nothing: parameters need not lie together."""

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                    "dropout": 0.0, "bidirectional": False}  # fmt: skip
        parts += [
            f"{name}={getattr(self, name)}"
            for name, default in defaults.items()
            if getattr(self, name) != default
        ]
        return ", ".join(parts)


class RNN(RecurrentLayer):
    """`h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`, or with `relu` (Elman 1990)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        self.nonlinearity = nonlinearity
        super().__init__(
            rnn_architecture("RNN", nonlinearity), input_size, hidden_size, num_layers, bias,
            batch_first, dropout, bidirectional, 0, device, dtype, rng,
        )  # fmt: skip


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    With `proj_size` the hidden state is a projection of what the memory shows (Sak et al. 2014).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        super().__init__(
            LSTM_STEP, input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, proj_size, device, dtype, rng,
        )  # fmt: skip


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014), the reset gate after the product, as in PyTorch."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        super().__init__(
            GRU_STEP, input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, 0, device, dtype, rng,
        )  # fmt: skip
