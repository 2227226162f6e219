"""Checks of an operation's rules: first derivatives, higher ones, dtypes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tracer.api.functional import grad, jvp
from tracer.arrays.types import Array, Stack
from tracer.record.node import Node
from tracer.record.tensor import Tensor, TensorLike
from tracer.sweep.tangents import tangent_of, transposed
from tracer.testing.cases import ROWS, Case

#: step of central differences that balances truncation and rounding: the cube root of epsilon
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
#: derivatives of operations are checked up to this order
HIGHEST_ORDER = 3


def _columns(function: Callable[[Array], Array], x: Array, by: complex) -> Array:
    """`[*output.shape, *x.shape]` from a function of x and of the direction of one element."""
    columns = []
    for i in np.ndindex(x.shape):
        direction = np.zeros(x.shape, dtype=type(by))
        direction[i] = by
        columns.append(function(direction))
    if not columns:
        return np.zeros((*np.shape(function(np.zeros(x.shape))), *x.shape))
    return np.stack(columns, -1).reshape((*np.shape(columns[0]), *x.shape))


def _differences(function: Callable[[Array], Array], x: Array, step: float) -> Array:
    """Central differences, `[*output.shape, *x.shape]`."""
    return _columns(lambda d: (function(x + d) - function(x - d)) / (2 * step), x, step)


def numerical_jacobian(function: Callable[[Array], Array], x: Array) -> tuple[Array, float]:
    """`[*output.shape, *x.shape]` and how much more exact it is than differences.

    By a complex step (Squire and Trapp 1998) where the function takes complex numbers and is
    analytic, which central differences tell. Else by these and those of twice the step, from which
    `4/3 D(h) - 1/3 D(2h)` cancels the error of order `h^2` (Richardson 1911): it is not small where
    a function bends much, as batch normalisation of samples that hardly differ.
    """
    central = _differences(function, x, STEP)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stepped = _columns(lambda d: np.asarray(function(x + d)), x, 1e-100j)
    except (TypeError, ValueError):
        return _extrapolated(central, function, x), 1.0
    exact = stepped.imag / 1e-100
    if stepped.dtype.kind == "c" and np.allclose(exact, central, rtol=1e-4, atol=1e-5):
        return exact, 1e-3
    return _extrapolated(central, function, x), 1.0


def _extrapolated(central: Array, function: Callable[[Array], Array], x: Array) -> Array:
    return (4 * central - _differences(function, x, 2 * STEP)) / 3


def check_vjp(case: Case, rtol: float, atol: float) -> None:
    """One row and many: right, linear, and nothing given to the rules is written into."""
    g = case.random(ROWS)
    given = [*case.given, g.copy()]
    stacks = case.pull(case.node, g)
    for before, after in zip(given, (*case.floats, g), strict=True):
        case.agree("an array given to forward or vjp, afterwards,", after, before, 0, 0)
    for k, (slot, x) in enumerate(zip(case.slots, case.floats, strict=True)):
        slope, finer = numerical_jacobian(partial(_replaced, case, k), x)
        expected = g.reshape(ROWS, -1) @ slope.reshape(case.output.size, -1)
        case.agree(
            f"the vjp of input {slot}", stacks[k], expected.reshape(ROWS, *x.shape),
            rtol * finer, atol * finer,
        )  # fmt: skip
    combined = case.pull(case.node, (2 * g[0] - 3 * g[1])[None])
    for v in range(ROWS):
        for k, single in enumerate(case.pull(case.node, g[v : v + 1])):
            case.agree(f"row {v} alone", single[0], stacks[k][v], 1e-10, 1e-12)
    for k, stack in enumerate(stacks):
        expected = 2 * stack[0] - 3 * stack[1]
        case.agree("the vjp of a sum of cotangents", combined[k][0], expected, 1e-10, 1e-12)


def check_kept(case: Case, rtol: float, atol: float) -> None:
    """The vjp without what `forward_keeping` kept."""
    if case.op.keeps:
        g, node = case.random(ROWS), case.record(case.inputs)
        if node.kept is not None:
            node.kept = None
        pairs = zip(case.pull(node, g), case.pull(case.node, g), strict=True)
        for slot, (again, expected) in zip(case.slots, pairs, strict=True):
            case.agree(f"the vjp of input {slot} with nothing kept", again, expected, 1e-10, 1e-12)


def _replaced(case: Case, k: int, x: Array) -> Any:
    floats = list(case.floats)
    floats[k] = x
    return case.op.forward(*case.filled(floats), **case.params)


def check_jvp(case: Case, rtol: float, atol: float) -> None:
    """`<g, J t> = <J^T g, t>`, for tangents of all inputs together and of each alone.

    Rows are those of single tangents, and the rule for cotangents, transposed, gives the same.
    """
    g = case.random(ROWS)
    pulled = case.pull(case.node, g)
    tangents = [case.random(2, like=x) for x in case.floats]
    given = [t.copy() for t in tangents]
    every = range(len(case.slots))
    for chosen in [every, *([k] for k in every if len(every) > 1)]:
        some = [tangents[k] if k in chosen else None for k in every]
        moved = _pushed(case, case.node, some)
        if moved.shape != (2, *case.output.shape):
            raise AssertionError(
                f"{case.title}: the jvp has the shape {list(moved.shape)}, not "
                f"[V, *output.shape] = {[2, *case.output.shape]}"
            )
        for v in range(2):
            alone = _pushed(case, case.node, [t if t is None else t[v : v + 1] for t in some])
            case.agree(f"the jvp of row {v} alone", alone[0], moved[v], 1e-10, 1e-12)
        got = g.reshape(ROWS, -1) @ moved.reshape(2, -1).T
        expected = sum(pulled[k].reshape(ROWS, -1) @ tangents[k].reshape(2, -1).T for k in chosen)
        case.agree("<g, jvp(t)> against <vjp(g), t>", got, expected, 1e-9, 1e-11)
        back = transposed(case.node, case.node, _by_input(case, case.node, some))
        case.agree("the jvp against the transposed vjp", moved, back, 1e-9, 1e-11)
    for before, after in zip(given, tangents, strict=True):
        case.agree("a tangent given to the jvp, afterwards,", after, before, 0, 0)
    _check_recorded_jvp(case, rtol, atol)


def _by_input(case: Case, node: Node, tangents: Sequence[Stack | None]) -> list[Stack | None]:
    """Tangents of all inputs of a node, from those of the arrays of floats."""
    found: list[Stack | None] = [None] * len(node.parents)
    for slot, tangent in zip(case.slots, tangents, strict=True):
        found[slot] = tangent
    return found


def _pushed(case: Case, node: Node, tangents: Sequence[Stack | None]) -> Stack:
    """A stack of tangents of the output."""
    return tangent_of(node, node, _by_input(case, node, tangents))


def _check_recorded_jvp(case: Case, rtol: float, atol: float) -> None:
    """The gradient of a directional derivative: of one by the jvp, that of one by the vjp."""
    weights, numbers = case.random(), tuple(range(len(case.slots)))
    directions = tuple(case.random(like=x) for x in case.floats)

    def slope(*floats: TensorLike) -> TensorLike:
        return np.sum(jvp(case.call, floats, directions)[1] * weights)

    got = grad(slope, numbers)(*case.floats)
    expected = grad(along(case.weighted(weights), numbers, directions), numbers)(*case.floats)
    for slot, mine, other in zip(case.slots, got, expected, strict=True):
        scale = max(1.0, float(np.max(abs(other), initial=0)))
        case.agree(f"the gradient of the jvp by input {slot}", mine, other, 1e-8, 1e-9 * scale)


def check_higher_orders(case: Case, rtol: float, atol: float) -> None:
    """Gradients of directional derivatives, along a random direction."""
    derivative = case.weighted(case.random())
    numbers = tuple(range(len(case.slots)))
    for order in range(2, HIGHEST_ORDER + 1):
        directions = [case.random(like=x) for x in case.floats]
        derivative = along(derivative, numbers, directions)
        t = [case.random(like=x) for x in case.floats]
        slopes = grad(derivative, numbers)(*case.floats)
        got = sum(np.sum(slope * d) for slope, d in zip(slopes, t, strict=True))
        above, below = (
            derivative(*(x + sign * STEP * d for x, d in zip(case.floats, t, strict=True)))
            for sign in (1, -1)
        )
        expected = (_number(above) - _number(below)) / (2 * STEP)
        scale = max(1.0, abs(_number(above)))
        case.agree(f"the derivative of order {order}", got, expected, 10 * rtol, 10 * scale * atol)


def along(
    function: Callable[..., Any], numbers: tuple[int, ...], directions: Sequence[Array]
) -> Callable[..., Any]:
    def slope(*floats: Any) -> Any:
        slopes = grad(function, numbers)(*floats)
        return sum(np.sum(s * d) for s, d in zip(slopes, directions, strict=True))

    return slope


def _number(value: TensorLike) -> float:
    return float(value.data if isinstance(value, Tensor) else value)


def check_single_precision(case: Case, rtol: float, atol: float) -> None:
    """float32 in, float32 out, unless an input of the operation is a dtype."""
    inputs = case.filled([x.astype(np.float32) for x in case.floats])
    expected = next((x for x in inputs if isinstance(x, np.dtype)), np.dtype(np.float32))
    node = case.record(inputs)
    if node.dtype != expected:
        raise AssertionError(f"{case.title}: forward of float32 inputs gives {node.dtype}")
    stacks = case.pull(node, case.random(2).astype(node.dtype))
    for slot, stack in zip(case.slots, stacks, strict=True):
        if stack.dtype != np.float32:
            raise AssertionError(
                f"{case.title}: the vjp of float32 inputs gives input {slot} {stack.dtype}"
            )
    tangents = [case.random(2, like=x).astype(np.float32) for x in case.floats]
    moved = _pushed(case, node, tangents)
    if moved.dtype != node.dtype:
        raise AssertionError(f"{case.title}: the jvp of float32 inputs gives {moved.dtype}")
