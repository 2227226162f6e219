"""Checks for authors of operations and quantities. Each raises `AssertionError` with what differs.

    from tracer.testing import check_operation, check_quantity

    def test_swish():
        check_operation(Swish)

    def test_my_quantity():
        check_quantity(MyQuantity(), reference=lambda d: (d.gradients**3).sum(0))

They need no test framework. An operation is checked at its `examples(rng)`, a list of
`(inputs, params)`; float64 arrays among the inputs are differentiated, all else is constant.
Examples lie away from kinks.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tracer import backend as array_backend
from tracer import registry
from tracer.cotangents import Cotangent
from tracer.functional import grad, jacobian
from tracer.kronecker import Kronecker
from tracer.operation import Operation, operation
from tracer.quantity import Context, Quantity, Shard
from tracer.sweep import Sampled, cotangents_of, derived, entry_value, fit
from tracer.tangents import push
from tracer.tape import Node, Tape
from tracer.tensor import Tensor, batch, parameter

#: step of central differences that balances truncation and rounding: the cube root of epsilon
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
#: rows of the stacks that rules are given
ROWS = 3
#: derivatives of operations are checked up to this order
HIGHEST_ORDER = 3
#: ways to mark inputs of one example as batches that are looked at, at most
MOST_MARKINGS = 256


class Case:
    """An operation at one example. `slots` are the inputs that are differentiated."""

    def __init__(self, op: Operation, inputs: Sequence[Any], params: dict[str, Any], title: str):
        self.op, self.params, self.title = op, params, title
        self.inputs = [np.asarray(x) if isinstance(x, np.generic) else x for x in inputs]
        self.slots = [
            i for i, x in enumerate(self.inputs)
            if isinstance(x, np.ndarray) and x.dtype.kind == "f"
        ]  # fmt: skip
        if not self.slots:
            raise AssertionError(f"{title}: an example needs an array of floats among its inputs")
        self.rng = np.random.default_rng(0)
        self.floats = [self.inputs[i] for i in self.slots]
        self.given = [x.copy() for x in self.floats]
        self.output = np.asarray(op.forward(*self.inputs, **params))
        self.node = self.record(self.inputs)

    def filled(self, floats: Sequence[Any]) -> list[Any]:
        """The inputs, with these in place of the arrays of floats."""
        inputs = list(self.inputs)
        for slot, x in zip(self.slots, floats, strict=True):
            inputs[slot] = x
        return inputs

    def call(self, *floats: Any) -> Any:
        return self.op(*self.filled(floats), **self.params)

    def weighted(self, weights: Any) -> Callable[..., Any]:
        """The sum of the output's elements with these weights, of the arrays of floats."""
        return lambda *floats: np.sum(self.call(*floats) * weights)

    def record(self, inputs: Sequence[Any]) -> Node:
        """A node of the operation. Its inputs are no leaves: it has of them what it saves."""
        with Tape():
            output = self.op(
                *(+parameter(x) if i in self.slots else x for i, x in enumerate(inputs)),
                **self.params,
            )
        assert output.node is not None
        return output.node

    def pull(self, node: Node, g: Any) -> list[Any]:
        """Stacks `[V, *input.shape]` per slot from the `vjp`; zeros where it gives None."""
        entries = cotangents_of(node, node, g)
        stacks = []
        for slot in self.slots:
            shape, entry = node.input_shape(slot), entry_value(entries[slot])
            if entry is None:
                entry = np.zeros_like(g, shape=(len(g), *shape))
            if entry.shape[0] != len(g):
                raise AssertionError(
                    f"{self.title}: the vjp gives input {slot} the shape {list(entry.shape)} for "
                    f"{len(g)} rows: stacks have the shape [V, *input.shape]"
                )
            stacks.append(fit(entry, shape))
        return stacks

    def random(self, *lead: int, like: Any = None) -> Any:
        shape = self.output.shape if like is None else like.shape
        return self.rng.standard_normal((*lead, *shape))

    def agree(self, what: str, got: Any, expected: Any, rtol: float, atol: float) -> None:
        agree(f"{self.title}: {what}", got, expected, rtol, atol)


def agree(what: str, got: Any, expected: Any, rtol: float, atol: float) -> None:
    """Raise `AssertionError` unless two arrays agree; `rtol` is relative to the largest element."""
    got, expected = np.asarray(array_backend.to_host(got)), np.asarray(expected)
    if got.shape != expected.shape:
        raise AssertionError(f"{what} has the shape {list(got.shape)}, not {list(expected.shape)}")
    if not expected.size:
        return
    error = np.abs(got - expected)
    bound = atol + rtol * np.abs(expected).max()
    if not (error <= bound).all():
        worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
        raise AssertionError(
            f"{what} is {got[worst]:.10g} at {tuple(map(int, worst))}, not "
            f"{expected[worst]:.10g} (off by {error[worst]:.3g}, at most {bound:.3g} is allowed)"
        )


def check_operation(
    op: Operation,
    cases: Sequence[tuple[Sequence[Any], dict[str, Any]]] | None = None,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    backend: Callable[[np.ndarray], Any] | None = None,
) -> None:
    """Check all rules of an operation at its examples, or at `cases` of the same form.

    Against numerical derivatives: `vjp`, and derivatives of order two and three. Against each
    other: stacks and single rows, linearity, `jvp` and `vjp`, dtypes. Where samples lie
    (`batch_axis`) against the forward function, `parameter_cotangent` and `carry` against one row
    per sample, and every registered quantity with a known definition against brute force.
    `backend` makes another library's array of a NumPy array: the rules run on these too, and
    must agree.
    """
    if cases is None:
        if not hasattr(op, "examples"):
            raise AssertionError(
                f"operation {op.name!r} has no examples(rng): return a list of (inputs, params)"
            )
        cases = op.examples(np.random.default_rng(0))
    for number, (inputs, params) in enumerate(cases):
        title = f"operation {op.name!r}, example {number}"
        try:
            case = Case(op, inputs, params, title)
            for check in CHECKS:
                check(case, rtol, atol)
            if backend is not None:
                _check_backend(case, backend, rtol, atol)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{title}: {type(error).__name__}: {error}") from error


# -- derivatives ------------------------------------------------------------------------------


def _columns(function: Callable[[Any], Any], x: Any, by: Any) -> Any:
    """`[*output.shape, *x.shape]` from a function of x and of the direction of one element."""
    columns = []
    for i in np.ndindex(x.shape):
        direction = np.zeros(x.shape, dtype=type(by))
        direction[i] = by
        columns.append(function(direction))
    if not columns:
        return np.zeros((*np.shape(function(np.zeros(x.shape))), *x.shape))
    return np.stack(columns, -1).reshape(*np.shape(columns[0]), *x.shape)


def numerical_jacobian(function: Callable[[Any], Any], x: Any) -> tuple[Any, float]:
    """`[*output.shape, *x.shape]` and how much more exact it is than central differences.

    By a complex step (Squire and Trapp 1998) where the function takes complex numbers and is
    analytic, which central differences tell; else by these.
    """
    central = _columns(lambda d: (function(x + d) - function(x - d)) / (2 * STEP), x, STEP)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stepped = _columns(lambda d: np.asarray(function(x + d)), x, 1e-100j)
    except (TypeError, ValueError):
        return central, 1.0
    exact = stepped.imag / 1e-100
    if stepped.dtype.kind == "c" and np.allclose(exact, central, rtol=1e-4, atol=1e-5):
        return exact, 1e-3
    return central, 1.0


def _check_vjp(case: Case, rtol: float, atol: float) -> None:
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


def _replaced(case: Case, k: int, x: Any) -> Any:
    floats = list(case.floats)
    floats[k] = x
    return case.op.forward(*case.filled(floats), **case.params)


def _check_jvp(case: Case, rtol: float, atol: float) -> None:
    """`<g, J t> = <J^T g, t>`, for tangents of all inputs together and of each alone."""
    g = case.random(ROWS)
    pulled = case.pull(case.node, g)
    tangents = [case.random(2, like=x) for x in case.floats]
    every = range(len(case.slots))
    for chosen in [every, *([k] for k in every if len(every) > 1)]:
        stacks = {case.node.parents[case.slots[k]]: tangents[k] for k in chosen}
        push([case.node], stacks, recorded=False)
        moved = stacks[case.node]
        if moved.shape != (2, *case.output.shape):
            raise AssertionError(
                f"{case.title}: the jvp has the shape {list(moved.shape)}, not "
                f"[V, *output.shape] = {[2, *case.output.shape]}"
            )
        got = g.reshape(ROWS, -1) @ moved.reshape(2, -1).T
        expected = sum(pulled[k].reshape(ROWS, -1) @ tangents[k].reshape(2, -1).T for k in chosen)
        case.agree("<g, jvp(t)> against <vjp(g), t>", got, expected, 1e-9, 1e-11)


def _check_higher_orders(case: Case, rtol: float, atol: float) -> None:
    """Gradients of directional derivatives, along a random direction."""
    derivative = case.weighted(case.random())
    numbers = tuple(range(len(case.slots)))
    for order in range(2, HIGHEST_ORDER + 1):
        directions = [case.random(like=x) for x in case.floats]
        derivative = _along(derivative, numbers, directions)
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


def _along(
    function: Callable[..., Any], numbers: tuple[int, ...], directions: Sequence[Any]
) -> Callable[..., Any]:
    def slope(*floats: Any) -> Any:
        slopes = grad(function, numbers)(*floats)
        return sum(np.sum(s * d) for s, d in zip(slopes, directions, strict=True))

    return slope


def _number(value: Any) -> float:
    return float(value.data if isinstance(value, Tensor) else value)


def _check_single_precision(case: Case, rtol: float, atol: float) -> None:
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


# -- samples ----------------------------------------------------------------------------------


def _markings(case: Case) -> Iterator[tuple[list[int | None], int, int]]:
    """(axis of the samples per input, axis in the output, number of samples) that `op` claims.

    Those of a loss lie along the first axis of its prediction and its other inputs. A mark says
    where they lie whatever was known before, so that it claims nothing.
    """
    if case.op.batch_axis is None or case.op.name == "batch":
        return
    options = [
        (None, *(a for a, n in enumerate(x.shape) if n > 1 and (a == 0 or not case.op.loss)))
        if isinstance(x, np.ndarray) else (None,)
        for x in case.inputs
    ]  # fmt: skip
    if case.op.loss:
        options[0] = (0,)
    for axes in itertools.islice(itertools.product(*options), MOST_MARKINGS):
        sizes = {x.shape[a] for x, a in zip(case.inputs, axes, strict=True) if a is not None}
        if len(sizes) == 1:
            axis = case.op.batch_axis(case.node, list(axes))
            if isinstance(axis, int):
                yield list(axes), axis, sizes.pop()


def _check_batch_axis(case: Case, rtol: float, atol: float) -> None:
    """What one sample's inputs are changes one sample's output, where the rule says it lies."""
    for axes, axis, count in _markings(case):
        what = f"batch_axis says {axis} for samples along {axes}, but there the output"
        if case.output.shape[axis : axis + 1] != (count,):
            raise AssertionError(
                f"{case.title}: {what} {list(case.output.shape)} has not {count} samples"
            )
        for n in range(count):
            inputs = [
                x if a is None else _with_sample_copied(x, a, n, (n + 1) % count)
                for x, a in zip(case.inputs, axes, strict=True)
            ]
            others = np.delete(case.op.forward(*inputs, **case.params), n, axis)
            case.agree(
                f"{what} of other samples than {n}", others, np.delete(case.output, n, axis),
                1e-12, 1e-12,
            )  # fmt: skip


def _with_sample_copied(x: Any, axis: int, to: int, source: int) -> Any:
    moved = np.moveaxis(x.copy(), axis, 0)
    moved[to] = moved[source]
    return np.moveaxis(moved, 0, axis)


def one_row_per_sample(g: Any, axis: int) -> Any:
    """`[V, *shape]` as `[V * N, *shape]`: each row N times, zero but for one sample."""
    count = g.shape[1 + axis]
    samples = np.moveaxis(g, 1 + axis, 1)
    apart = np.zeros((len(g), count, *samples.shape[1:]))
    for n in range(count):
        apart[:, n, n] = samples[:, n]
    return np.moveaxis(apart, 2, 2 + axis).reshape(len(g) * count, *g.shape[1:])


def _check_parameter_cotangent(case: Case, rtol: float, atol: float) -> None:
    """What reaches an unbatched input from each sample, in all its contractions."""
    for axes, axis, count in _markings(case):
        g = case.random(ROWS)
        apart = case.pull(case.node, one_row_per_sample(g, axis))
        entries = cotangents_of(case.node, case.node, g)
        for k, slot in enumerate(case.slots):
            if axes[slot] is not None:
                continue
            expected = apart[k].reshape(ROWS, count, *case.floats[k].shape)
            rule, cotangent = case.op.parameter_cotangent, None
            if rule is not None:
                cotangent = rule(Sampled(case.node, axis, list(axes)), slot, g)
            if cotangent is None:
                cotangent = derived(case.node, case.node, slot, g, axis, entries)
            if cotangent is not None:
                title = f"{case.title}: with samples along {axes}, input {slot}'s cotangent"
                check_cotangent(cotangent, expected, title=title)


def check_cotangent(
    cotangent: Cotangent, dense: Any, *, rtol: float = 1e-9, title: str = "the cotangent"
) -> None:
    """Check all contractions of an object of the algebra against the array `[V, N, *p]`."""
    rng = np.random.default_rng(0)
    rows, samples, *shape = dense.shape
    flat = dense.reshape(rows * samples, -1)
    signs, direction = rng.choice([-1.0, 1.0], (rows, samples)), rng.standard_normal(shape)
    signed = signs.reshape(rows, samples, *(1,) * len(shape)) * dense * dense
    picked = rng.permutation(samples)[: max(1, samples - 1)]
    found = {
        "per_sample()": (cotangent.per_sample(), dense),
        "total()": (cotangent.total(), dense.sum(1)),
        "sum_of_squares()": (cotangent.sum_of_squares(), (dense * dense).sum((0, 1))),
        "sum_of_squares(signs)": (cotangent.sum_of_squares(signs), signed.sum((0, 1))),
        "per_sample_squares()": (cotangent.per_sample_squares(), (dense * dense).sum(0)),
        "per_sample_squares(signs)": (cotangent.per_sample_squares(signs), signed.sum(0)),
        "squared_norms()": (cotangent.squared_norms(), (flat * flat).sum(-1)),
        "gram()": (cotangent.gram(), flat @ flat.T),
        "project(direction)": (cotangent.project(direction), flat @ direction.reshape(-1)),
        "select(rows, samples)": (
            cotangent.select(slice(1, None), picked).per_sample(), dense[1:][:, picked],
        ),
        "combine([itself])": (cotangent.combine([cotangent]).per_sample(), 2 * dense),
    }  # fmt: skip
    for name, (got, expected) in found.items():
        if name in ("squared_norms()", "gram()", "project(direction)"):
            expected = expected.reshape(got.shape)
        agree(f"{title}, {name}", got, expected, rtol, 1e-12)


# -- quantities -------------------------------------------------------------------------------


class BruteForce(NamedTuple):
    """Derivatives of a parameter, sample by sample, that quantities are defined by.

    `gradients [N, *p]`; `roots [R, N, *p]`, whose squares are the Gauss-Newton matrix;
    `hessians [N, *p]`, the diagonals of the samples' Hessians.
    """

    gradients: Any
    roots: Any
    hessians: Any


def brute_force(
    output: Callable[[Any], Any], slope: Any, root: Any, losses: Callable[[Any], Any], x: Any
) -> BruteForce:
    """From the output `[N, C]` as a function of one parameter, and the losses' `[N]`.

    `slope [N, C]` are the derivatives of the losses by the output, `root [N, C]` the square roots
    of their second derivatives.
    """
    by_output = jacobian(output)(x)
    second = jacobian(jacobian(losses))(x)
    diagonals = np.einsum("npp->np", second.reshape(len(second), x.size, x.size))
    return BruteForce(
        np.einsum("nc,nc...->n...", slope, by_output),
        np.einsum("nc,nc...->cn...", root, by_output),
        diagonals.reshape(len(second), *x.shape),
    )


def _flat(rows: Any) -> Any:
    return rows.reshape(len(rows), -1)


#: quantity -> its value
DEFINITIONS: dict[str, Callable[[BruteForce], Any]] = {
    "grad": lambda d: d.gradients.sum(0),
    "grad_batch": lambda d: d.gradients,
    "batch_l2": lambda d: np.square(_flat(d.gradients)).sum(1),
    "batch_dot": lambda d: _flat(d.gradients) @ _flat(d.gradients).T,
    "sum_grad_squared": lambda d: np.square(d.gradients).sum(0),
    "variance": lambda d: d.gradients.var(0),
    "sqrt_ggn_exact": lambda d: d.roots,
    "diag_ggn_exact": lambda d: np.square(d.roots).sum((0, 1)),
    "diag_ggn_exact_batch": lambda d: np.square(d.roots).sum(0),
    "diag_h": lambda d: d.hessians.sum(0),
    "diag_h_batch": lambda d: d.hessians,
}


def _of_each_sample(rows: Any) -> Any:
    """A sample's share of a matrix, `[N, P, P]`, from one of its square roots `[R, N, *p]`."""
    flat = rows.reshape(*rows.shape[:2], -1)
    return np.einsum("rnp,rnq->npq", flat, flat)


#: values that are defined up to a transformation, and what of them is compared
COMPARED = {"sqrt_ggn_exact": _of_each_sample}


def _check_quantities(case: Case, rtol: float, atol: float) -> None:
    """Quantities of inputs, of what scales the samples of inputs, and of inputs of inputs."""
    seen = set()
    for axes, axis, _ in _markings(case):
        batched = tuple(a is not None for a in axes)
        if batched not in seen:
            seen.add(batched)
            _check_graph(case, *_parameters_beside_samples(case, axes, axis), rtol, atol)
    if not case.op.loss and case.op.name != "batch":
        _check_graph(case, *_parameters_before_samples(case), rtol, atol)


def _parameters_beside_samples(
    case: Case, axes: Sequence[int | None], axis: int
) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """Unbatched inputs are parameters, batched ones are data times parameters.

    Of a loss the prediction alone depends on parameters.
    """
    slots = [slot for slot in case.slots if slot == 0 or not case.op.loss]
    arrays = [
        x if axes[slot] is None
        else np.ones([1 if i == axes[slot] else n for i, n in enumerate(x.shape)])
        for slot, x in ((slot, case.inputs[slot]) for slot in slots)
    ]  # fmt: skip

    def output(parameters: Sequence[Any]) -> Any:
        inputs = [
            x if a is None else batch(x, axis=a) for x, a in zip(case.inputs, axes, strict=True)
        ]
        for slot, p in zip(slots, parameters, strict=True):
            inputs[slot] = p if axes[slot] is None else inputs[slot] * p
        return np.moveaxis(case.op(*inputs, **case.params), axis, 0)

    return arrays, output


def _parameters_before_samples(case: Case) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The operation acts on parameters alone, and samples use its output."""
    scales = case.rng.uniform(0.5, 1.5, (ROWS, *(1,) * case.output.ndim))
    return case.floats, lambda parameters: batch(scales) * case.call(*parameters)


def _check_graph(
    case: Case, arrays: list[Any], output: Callable[[Sequence[Any]], Any], rtol: float, atol: float
) -> None:
    """All quantities of a weighted sum of squares of `output(parameters)`, `[N, ...]`."""
    with Tape() as tape:
        f = output([parameter(x, name=str(i)) for i, x in enumerate(arrays)])
        if f.node is None or not f.node.wants:
            return
        weights = case.rng.uniform(0.5, 1.5, f.shape)
        loss = np.sum(np.square(f) * weights)
    names = [name for name in DEFINITIONS if name in registry.quantities]
    weights = _flat(weights)
    results = tape.backward(loss, quantities=names, outputs=f)
    for i, x in enumerate(arrays):

        def of_one(x: Any, i: int = i) -> Any:
            f = output([*arrays[:i], x, *arrays[i + 1 :]])
            return np.reshape(f, (len(f), -1))

        def losses(x: Any, of_one: Callable[[Any], Any] = of_one) -> Any:
            return np.sum(np.square(of_one(x)) * weights, axis=1)

        slope, root = 2 * weights * _flat(f.data), np.sqrt(2 * weights)
        derivatives = brute_force(of_one, slope, root, losses, x)
        for name in names:
            compared = COMPARED.get(name, _itself)
            expected = compared(DEFINITIONS[name](derivatives))
            what = f"{name} of parameter {i}"
            case.agree(what, compared(results[name][str(i)]), expected, rtol, atol)


def _itself(value: Any) -> Any:
    return value


# -- other array libraries --------------------------------------------------------------------


def _check_backend(case: Case, wrap: Callable[[Any], Any], rtol: float, atol: float) -> None:
    """Forward, `vjp`, `jvp` and second derivatives on another library's arrays, as on NumPy's."""
    params = {key: _wrapped(value, wrap) for key, value in case.params.items()}
    inputs = [_wrapped(x, wrap) for x in case.inputs]
    there = Case.__new__(Case)
    there.op, there.params, there.title, there.slots = case.op, params, case.title, case.slots
    there.inputs, there.floats = inputs, [inputs[i] for i in case.slots]
    kind = type(wrap(np.zeros(1)))

    def same(what: str, got: Any, expected: Any) -> None:
        if type(got) is not kind:
            raise AssertionError(
                f"{case.title}: {what} on {kind.__name__} gives {type(got).__name__}"
            )
        case.agree(f"{what} on {kind.__name__}", got, expected, rtol, atol)

    _check_sweeps_on_backend(case, there, wrap, rtol, atol)
    same("forward", case.op.forward(*inputs, **params), case.output)
    node, g = there.record(inputs), case.random(ROWS)
    for got, expected in zip(there.pull(node, wrap(g)), case.pull(case.node, g), strict=True):
        same("vjp", got, expected)
    tangents = [case.random(2, like=x) for x in case.floats]
    moved = []
    for each, place in ((node, wrap), (case.node, _itself)):
        stacks = {
            each.parents[slot]: place(t) for slot, t in zip(case.slots, tangents, strict=True)
        }
        push([each], stacks, recorded=False)
        moved.append(stacks[each])
    same("jvp", *moved)
    weights, numbers = case.random(), tuple(range(len(case.slots)))
    second = []
    for at, place in ((there, wrap), (case, _itself)):
        slope = _along(at.weighted(place(weights)), numbers, [place(t[0]) for t in tangents])
        second.append(grad(slope, numbers)(*at.floats))
    for got, expected in zip(*second, strict=True):
        same("the second derivative", got, expected)


def _check_sweeps_on_backend(
    case: Case, there: Case, wrap: Callable[[Any], Any], rtol: float, atol: float
) -> None:
    """Quantities of graphs around the operation, which use all contractions of its cotangents."""
    seen = set()
    for axes, axis, _ in _markings(case):
        batched = tuple(a is not None for a in axes)
        if batched in seen:
            continue
        seen.add(batched)
        results = []
        for at, place in ((there, wrap), (case, _itself)):
            arrays = _parameters_beside_samples(case, axes, axis)[0]
            output = _parameters_beside_samples(at, axes, axis)[1]
            with Tape() as tape:
                f = output([parameter(place(x), name=str(i)) for i, x in enumerate(arrays)])
                if f.node is None or not f.node.wants:
                    break
                flat: Any = np.reshape(f, (len(f), -1))
                losses: Any = SquaredError(flat, np.zeros_like(flat.data))
                loss: Any = np.sum(losses)
            names = [name for name in PORTABLE if name in registry.quantities]
            results.append(tape.backward(loss, quantities=names))
        for name in results[1] if len(results) == 2 else ():
            for key, expected in results[1][name].items():
                what = f"{name} of parameter {key} on {type(results[0][name][key]).__name__}"
                case.agree(what, results[0][name][key], expected, rtol, atol)


#: quantities that together use all contractions
PORTABLE = ("grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "diag_ggn_exact_batch")


def _wrapped(value: Any, wrap: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple):
        return tuple(_wrapped(item, wrap) for item in value)
    return wrap(value) if isinstance(value, np.ndarray) else value


CHECKS: tuple[Callable[[Case, float, float], None], ...] = (
    _check_vjp,
    _check_jvp,
    _check_higher_orders,
    _check_single_precision,
    _check_batch_axis,
    _check_parameter_cotangent,
    _check_quantities,
)


# -- quantities alone -------------------------------------------------------------------------


@operation("testing_squared_error")
class SquaredError(Operation):
    """`sum_c (f_nc - y_nc)^2`, `[N]`, of Gaussian likelihood N(f, I/2); draws sample by sample."""

    saves = ("inputs",)
    loss = True

    def forward(f: Any, y: Any) -> Any:
        return np.sum(np.square(f - y), axis=-1)

    def vjp(node: Any, g: Any) -> Any:
        f, y = node.inputs
        slope = 2 * g[..., None] * (f - y)
        return slope, -slope

    def batch_axis(node: Any, axes: Any) -> Any:
        return 0

    def sqrt_hessian(node: Any, weight: Any) -> Any:
        count, outputs = node.inputs[0].shape
        each = np.stack([np.eye(outputs)] * count, axis=1)
        return array_backend.of(weight).from_host(each) * np.sqrt(2 * weight)[:, None]

    def sqrt_hessian_sampled(node: Any, weight: Any, samples: int, rng: Any) -> Any:
        count, outputs = node.inputs[0].shape
        noise = np.moveaxis(rng.standard_normal((count, samples, outputs)), 0, 1)
        return array_backend.of(weight).from_host(noise) * np.sqrt(2 * weight / samples)[:, None]

    def examples(rng: Any) -> Any:
        return [((rng.random((3, 2)), rng.random((3, 2))), {})]


class _State:
    """A quantity's state and context, kept from being finished."""

    def __init__(self, state: Any, context: Context):
        self.state, self.context = state, context


class _Unfinished(Quantity):
    """Another quantity with rows, whose values are its states."""

    def __init__(self, quantity: Quantity):
        self.name, self.rows = quantity.name, quantity.rows
        self.per_sample, self.needs_samples = quantity.per_sample, quantity.needs_samples
        self.extract, self.join = quantity.extract, quantity.join  # type: ignore[method-assign]
        self.of_block = quantity.of_block  # type: ignore[method-assign]

    def finish(self, state: Any, context: Context) -> _State:
        return _State(state, context)


def check_quantity(
    quantity: Any,
    *,
    reference: Callable[[BruteForce], Any] | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> list[str]:
    """Check a quantity (an instance, a class or a registered name) on a small network.

    `reference(derivatives)` gives its value at a parameter from each sample's derivatives (see
    `BruteForce`); quantities with a known definition need none. The states of two shards merge to
    the state of their union, for objectives that are sums and means, unless `merge` is None or
    the quantity has no rows. Chunks of a `memory_budget` change nothing.

    Returns the names of the checks that applied: of `"reference"`, `"merge"` and `"chunks"`.
    """
    if isinstance(quantity, str):
        quantity = registry.quantities[quantity]
    if isinstance(quantity, type):
        quantity = quantity()
    reference = DEFINITIONS.get(quantity.name) if reference is None else reference
    applied = {"chunks"}
    for mean in (False, True):
        data = Network(mean)
        values = data.values(quantity)
        title = f"quantity {quantity.name!r}, {'mean' if mean else 'sum'} of losses"
        if reference is not None:
            applied.add("reference")
            compared = COMPARED.get(quantity.name, _itself)
            for name, value in values.items():
                expected = compared(reference(data.derivatives(name)))
                agree(f"{title}: {name}", compared(value), expected, rtol, atol)
        for budget in (1, 256, 2048):
            chunked = data.values(quantity, budget)
            data.compare(f"{title}, memory_budget={budget}", chunked, values, rtol, atol)
        if quantity.merge is not None and quantity.rows is not None:
            applied.add("merge")
            merged = data.merged(quantity)
            data.compare(f"{title}, merged from two shards", merged, values, rtol, atol)
    return sorted(applied)


class Network:
    """A network with two layers, its data, and the losses' sum or mean."""

    samples, first_shard = 6, 4

    def __init__(self, mean: bool):
        rng = np.random.default_rng(1)
        self.mean = mean
        self.x, self.y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
        self.parameters = {
            "w": rng.standard_normal((3, 4)),
            "b": rng.standard_normal(4),
            "v": rng.standard_normal((4, 2)),
        }

    def predict(self, p: Mapping[str, Any], x: Any) -> Any:
        return np.tanh(x @ p["w"] + p["b"]) @ p["v"]

    def swept(self, quantity: Quantity, part: slice, budget: int | None, rng: Any) -> Any:
        """What `backward` gives for the quantity and some of the samples."""
        with Tape() as tape:
            p = {name: parameter(x, name=name) for name, x in self.parameters.items()}
            losses: Any = SquaredError(self.predict(p, batch(self.x[part])), self.y[part])
            loss = np.sum(losses) / (len(losses) if self.mean else 1)
        return tape.backward(loss, (quantity,), memory_budget=budget, rng=rng)[quantity.name]

    def values(self, quantity: Quantity, budget: int | None = None) -> Mapping[str, Any]:
        """By parameter, or of all parameters under an empty name."""
        found = self.swept(quantity, slice(None), budget, np.random.default_rng(2))
        return found if isinstance(found, Mapping) else {"": found}

    def merged(self, quantity: Quantity) -> dict[str, Any]:
        """Values of the union of two shards, from their states."""
        rng, unfinished = np.random.default_rng(2), _Unfinished(quantity)
        parts = slice(0, self.first_shard), slice(self.first_shard, self.samples)
        first, second = (self.swept(unfinished, part, None, rng) for part in parts)
        counts = [self.first_shard, self.samples - self.first_shard]
        shards = tuple(Shard(n, n / self.samples if self.mean else 1.0) for n in counts)
        return {
            name: quantity.finish(
                quantity.merge(state.state, second[name].state, shards),  # type: ignore[arg-type]
                replace(state.context, samples=self.samples),
            )
            for name, state in first.items()
        }

    def derivatives(self, name: str) -> BruteForce:
        """Brute force for one parameter."""

        def output(x: Any) -> Any:
            return self.predict({**self.parameters, name: x}, self.x)

        weight = 1 / self.samples if self.mean else 1.0
        x = self.parameters[name]
        error = output(x) - self.y
        return brute_force(
            output,
            2 * weight * error,
            np.full_like(error, math.sqrt(2 * weight)),
            lambda x: weight * np.sum(np.square(output(x) - self.y), axis=1),
            x,
        )

    def compare(
        self, what: str, got: Mapping[str, Any], expected: Mapping[str, Any], rtol: float,
        atol: float,
    ) -> None:  # fmt: skip
        for name, value in expected.items():
            shape = self.parameters[name].shape if name else ()
            for one, other in zip(_arrays(got[name], shape), _arrays(value, shape), strict=True):
                agree(f"{what}: {name}", one, other, rtol, atol)


def _arrays(value: Any, shape: tuple[int, ...]) -> list[Any]:
    """The arrays of a value: factors of a Kronecker block, items of a container, a matrix."""
    if isinstance(value, Kronecker):
        return list(value.factors)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [array for item in value for array in _arrays(item, shape)]
    if hasattr(value, "matmat"):
        return [value.matmat(np.eye(value.shape[1]))]
    if callable(value):
        return [value(np.eye(math.prod(shape)).reshape(-1, *shape))]
    return [value]
