"""Optimisers that step each parameter by its own gradient: the rule, and where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tracer import Tensor
from tracer.errors import ShapeError
from tracer.extend import Array, Shape, backend, in_parallel, is_private, rebind, widened, working
from tracer_training.optimizers.groups import State, arrays_of, options
from tracer_training.optimizers.optimizer import Closure, Optimizer, Results

#: elements of a block. Each call of NumPy gives the interpreter's lock away and has to get it back:
#: AdamW of 1.3 million takes 3.0, 1.3, 1.1 and 1.0 ms with blocks of 2^15, 2^17, 2^18 and 2^19
BLOCK = 1 << 19


class FirstOrder(Optimizer):
    """Base of optimisers that step each parameter by its own gradient.

    A subclass has `initial`, the state before the first step, `begin`, which counts the step and
    returns its numbers, and `update`, the rule, which writes into `p` and the arrays of the state.
    Rules that are `elementwise` are applied to blocks, by several threads. Parameters of half
    precision are stepped in float32, which their states are of: the squares of small gradients are
    zero in half precision, as is Adam's `eps`.
    """

    elementwise = True

    def averages(self, o: SimpleNamespace) -> tuple[str, ...]:
        """The arrays of a state that only these options need: zeros, until they are switched on."""
        return ()

    def begun(self, p: Array, o: SimpleNamespace) -> State:
        return {**self.initial(p, o), **{name: np.zeros_like(p) for name in self.averages(o)}}

    def begin(self, state: State, p: Array, o: SimpleNamespace) -> Any:
        """Count a step in the state; the numbers that the rule needs besides the options."""
        state["step"] += 1
        return SimpleNamespace()

    def update(self, p: Array, g: Array, s: dict[str, Array], o: SimpleNamespace, at: Any) -> None:
        """Step `p` along the gradient `g` in place; `s` are the arrays of the state."""
        raise NotImplementedError(f"{self._kind} has no rule: define update(self, p, g, s, o, at)")

    def state_shape(self, parameter: Tensor) -> Shape:
        return parameter.shape

    def step(self, results: Results, closure: Closure | None = None) -> None:
        pieces: list[Piece] = []
        stepped: list[tuple[Tensor, Array]] = []
        last, o = None, SimpleNamespace()
        # all are looked at before a step is counted: one that does not fit changes nothing
        fitted = [(group, p, fitting(g, p)) for group, p, g in self.given(results)]
        for group, parameter, g in fitted:
            if group is not last:
                last, o = group, options(group)
            alone = is_private(parameter)
            old = parameter.data
            new = old if alone else np.empty_like(old)
            state, wide = self.state[parameter], widened(old)
            if not state:
                state.update(self.begun(wide, o))
            for name in self.averages(o):
                if name not in state:  # the option was switched on after other steps
                    state[name] = np.zeros_like(wide)
            at = self.begin(state, wide, o)
            whole = _with_an_axis(Piece(new, old, g, arrays_of(state), o, at))
            pieces += divided(whole) if self.elementwise else [whole]
            stepped.append((parameter, new))
        in_parallel(self._run, pieces, pieces[0].new)
        for parameter, new in stepped:
            rebind(parameter, new)

    def _run(self, piece: Piece) -> None:
        new, old, g, s, o, at = piece
        if o.maximize:
            g = -g
        if is_half(new):
            p = widened(old)
            self.update(p, g, s, o, at)
            new[...] = p
            return
        if new is not old:
            new[...] = old
        self.update(new, g, s, o, at)


class Piece(NamedTuple):
    """Elements that a rule is applied to: where they go, what they are, and what the rule reads."""

    new: Array
    old: Array
    gradient: Array
    state: dict[str, Array]
    options: SimpleNamespace
    numbers: Any


def _with_an_axis(piece: Piece) -> Piece:
    """A parameter without axes as one with an element: NumPy's sums of the former are no arrays."""
    if piece.old.ndim:
        return piece
    new, old, g = (array.reshape(1) for array in piece[:3])
    state = {key: array if array.ndim else array.reshape(1) for key, array in piece.state.items()}
    return Piece(new, old if piece.old is not piece.new else new, g, state, *piece[4:])


def divided(whole: Piece) -> Iterator[Piece]:
    """A parameter in blocks; all of it at once where it is small, or lies in memory in pieces."""
    new, old, g, state, o, at = whole
    large = old.size > BLOCK and type(old) is np.ndarray
    lines = _lines([new, old, g, *state.values()]) if large else None
    if lines is None:
        yield whole
        return
    for start in range(0, old.size, BLOCK):
        n, p, d, *s = [line[start : start + BLOCK] for line in lines]
        yield Piece(n, p if new is not old else n, d, dict(zip(state, s, strict=True)), o, at)


def _lines(arrays: list[Array]) -> list[Array] | None:
    """Arrays of one shape as they lie in memory, if they all lie in the same order; else None."""
    if all(a.flags.c_contiguous for a in arrays):
        return [a.reshape(-1) for a in arrays]
    if all(a.flags.f_contiguous for a in arrays):
        return [a.T.reshape(-1) for a in arrays]
    return None


def fitting(gradient: Any, parameter: Tensor) -> Array:
    """A gradient in the dtype in which its parameter is stepped."""
    g = gradient if backend.is_array(gradient) else np.asarray(gradient)
    if g.shape != parameter.shape:
        raise ShapeError(
            f"a gradient of the parameter {parameter.name or ''}{list(parameter.shape)} has its "
            f"shape, got {list(g.shape)}"
        )
    dtype = working(parameter.dtype)
    return g if g.dtype == dtype else g.astype(dtype)


def is_half(array: Array) -> bool:
    """Whether an array is of less precision than what it is stepped in."""
    return array.dtype != working(array.dtype)


def decayed(g: Array, p: Array, weight_decay: float) -> Array:
    """The gradient with that of `weight_decay / 2 |p|^2`."""
    return g + weight_decay * p if weight_decay else g


def lerp(average: Array, value: Array, weight: float) -> None:
    """`average += weight (value - average)`, in place."""
    average += weight * (value - average)
