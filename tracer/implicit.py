"""Derivatives of what solves an equation, by the implicit function theorem.

```python
from tracer import implicit

sqrt = implicit.root(lambda x, a: x * x - a)
tracer.grad(lambda a: sqrt(1.0, a))(4.0)  # 0.25
```

The solver is not differentiated: where `f(x, *args) = 0`, `dx = -(df/dx)^-1 (df/dargs) dargs`
(Blondel et al. 2022). So it may be any, of SciPy's or one's own, in any number of steps, which take
no memory. The derivatives are again of such a form, so that there are those of every order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from tracer.api.closures import captured, plainly
from tracer.api.functional import grad, jacobian
from tracer.api.linearisation import Linearisation
from tracer.api.opaque import Call, Cotangents, Leaves, Site, plain
from tracer.arrays.trees import Structure, flatten
from tracer.arrays.types import Array, Tree
from tracer.errors import ShapeError, TracingError
from tracer.record.describe import describe
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node
from tracer.record.tensor import Tensor, TensorLike

INTERNAL_FILES.add(__file__)

__all__ = ["fixed_point", "minimum", "root"]

#: `solver(f, x0) -> x` of plain arrays, nested as `x0`
Solver: TypeAlias = "Callable[[Callable[[Tree], Tree], Tree], Tree]"
#: `linear(matvec, b) -> x` of plain vectors
LinearSolver: TypeAlias = "Callable[[Callable[[Array], Array], Array], Array]"
Function: TypeAlias = "Callable[..., Tree]"

#: what solves linear systems by products with the matrix
ITERATIVE = ("gmres", "cg", "bicgstab")
#: the most steps of a fixed-point iteration
MOST_STEPS = 10_000


def root(
    function: Function, solver: Solver | None = None, *, linear: str | LinearSolver = "dense"
) -> Function:
    """`root(f)(x0, *args)`: the x near `x0` with `f(x, *args) = 0`, of the structure of x.

    x and the arguments are arrays of floats, or nested; derivatives are by the arguments and by
    tensors around `f`, as parameters of a model. There are none by `x0`.

    `solver(g, x0)` gives the root of `g(x) = f(x, *args)`, all plain; without one it is
    `scipy.optimize.root` with the exact Jacobian, which raises `TracingError` where it finds none.
    Derivatives are those at a root: how exact one is, is the solver's affair.

    `linear` solves the system of the derivative: "dense" by the matrix `df/dx`; "gmres",
    "bicgstab", and "cg" where it is symmetric and positive, by products with it, to 1e-10; or a
    function `linear(matvec, b)`. Where the matrix is singular, there is no derivative, and
    `TracingError` is raised.
    """
    _check("root", function, solver, linear)
    return _solved("root", function, function, solver or _newton, linear)


def fixed_point(
    function: Function, solver: Solver | None = None, *, linear: str | LinearSolver = "dense"
) -> Function:
    """`fixed_point(f)(x0, *args)`: the x with `x = f(x, *args)`; see `root` for the rest.

    Without a solver it is `x = f(x)` again and again, until a step is at most a few roundings;
    where 10,000 steps do not come there, `TracingError` is raised. A `solver(g, x0)` gets
    `g(x) = f(x, *args)`.
    """

    def residual(x: Tree, *args: Tree) -> Tree:
        leaves, structure = flatten(x)
        moved = structure.match(function(x, *args), "value", "point")
        return structure.build([a - b for a, b in zip(moved, leaves, strict=True)])

    _check("fixed_point", function, solver, linear)
    return _solved("fixed_point", function, residual, solver or _iteration, linear)


def minimum(
    function: Function, solver: Solver | None = None, *, linear: str | LinearSolver = "dense"
) -> Function:
    """`minimum(f)(x0, *args)`: the x near `x0` where `f(x, *args)`, a number, is least; see `root`.

    Its derivatives are those of a root of the gradient. Without a solver it is
    `scipy.optimize.minimize` with the gradient (BFGS), and then Newton's method. A `solver(g, x0)`
    gets `g(x) = f(x, *args)`.
    """
    _check("minimum", function, solver, linear)
    return _solved("minimum", function, grad(function), solver or _descent, linear)


# -- the theorem -------------------------------------------------------------------------------


def _solved(
    name: str, function: Function, residual: Function, solver: Solver, linear: str | LinearSolver
) -> Function:
    def call(x0: Tree, *args: Tree) -> Tree:
        start, structure = _start(name, x0)

        def solution(*given: Tree) -> Tree:
            found = solver(lambda x: _as_given(x, function(x, *given)), structure.build(start))
            leaves = structure.match(found, "solution", "start")
            return structure.build([_like(x, s, name) for x, s in zip(leaves, start, strict=True)])

        plain_args = [_plain(arg) for arg in args]
        known = [plainly(lambda: solution(*plain_args))]
        around = captured(residual, known[0], *plain_args)

        def compute(*given: Tree) -> Tree:
            return known.pop() if known else solution(*given)

        def rule(site: Site, cotangents: Leaves) -> Cotangents:
            def equation(x: TensorLike, *inputs: TensorLike) -> TensorLike:
                args = site.call.args(inputs)
                return _packed(residual(_unpacked(x, start, structure), *args), structure)

            g = _joined(cotangents)
            point = (_joined(site.outputs), *site.inputs)
            record = Linearisation(equation, point, range(len(point)), around=site.around)
            w = _transposed(record, equation, point, site.around, g, linear)
            return record.pull(record.cotangents(-w))[1:]

        return Call(name, compute, args, rule, around).run()

    call.__name__ = f"{name}_of_{getattr(function, '__name__', 'function')}"
    call.__doc__ = f"The {name} of: {function.__doc__ or function}"
    return call


def _transposed(
    record: Linearisation,
    equation: Callable[..., TensorLike],
    point: tuple[TensorLike, ...],
    around: Mapping[Node, TensorLike],
    g: TensorLike,
    linear: str | LinearSolver,
) -> TensorLike:
    """w with `(df/dx)^T w = g`."""
    n = len(g)
    if linear == "dense":
        eye = np.eye(n, dtype=g.dtype)
        matrix = record.pull([eye], (n,))[0]
        try:
            return np.linalg.solve(np.swapaxes(matrix, 0, 1), g)
        except np.linalg.LinAlgError as error:
            raise TracingError(
                "the equation has no derivative here: the matrix df/dx is singular at the solution"
            ) from error
    if not any(isinstance(x, Tensor) for x in (g, *point, *record.pull(record.cotangents(g)))):
        return _iterative(linear)(lambda w: record.pull([w[None]])[0], plain(g))

    def system(w: TensorLike, g: TensorLike, *point: TensorLike) -> TensorLike:
        inner = Linearisation(equation, point, range(len(point)), around=around)
        return inner.pull(inner.cotangents(w))[0] - g

    def solver(residual: Callable[[Tree], Tree], start: Tree) -> Tree:
        zero = residual(start)
        return _iterative(linear)(lambda w: residual(w) - zero, -zero)

    solved = _solved("linear_system", system, system, solver, linear)
    return solved(np.zeros(n, g.dtype), g, *point)


def _iterative(linear: str | LinearSolver) -> LinearSolver:
    if callable(linear):
        return linear
    from scipy.sparse import linalg

    def solve(matvec: Callable[[Array], Array], b: Array) -> Array:
        operator = linalg.LinearOperator((len(b), len(b)), matvec=matvec, dtype=b.dtype)
        rtol = max(1e-10, 10 * float(np.finfo(b.dtype).eps))
        w, failed = getattr(linalg, linear)(operator, b, rtol=rtol, atol=0.0)
        if failed:
            raise TracingError(
                f"{linear} does not solve the system of the derivative, of {len(b)} unknowns: take "
                f'linear="dense", or a function linear(matvec, b) with a preconditioner'
            )
        return w

    return solve


# -- solvers -----------------------------------------------------------------------------------


def _newton(function: Callable[[Tree], Tree], start: Tree) -> Tree:
    """SciPy's root of a function, with its exact Jacobian."""
    from scipy.optimize import root as of_scipy

    leaves, structure = flatten(start)

    def flat(x: Array) -> Array:
        return plain(_packed(function(_unpacked(x, leaves, structure)), structure))

    slopes = jacobian(lambda x: _packed(function(_unpacked(x, leaves, structure)), structure))
    x0 = np.asarray(_joined(leaves), float)
    found = of_scipy(flat, x0, jac=slopes, method="hybr", options={"xtol": 1e-14})
    rest = np.abs(found.fun).max(initial=0)
    if not found.success and not rest <= 1e-10 * max(1, np.abs(flat(x0)).max(initial=0)):
        raise TracingError(
            f"scipy.optimize.root finds no root from this start: {found.message.strip()} Give a "
            f"start that is nearer, or a solver(f, x0)"
        )
    return _unpacked(found.x, leaves, structure)


def _iteration(function: Callable[[Tree], Tree], start: Tree) -> Tree:
    """x = f(x), until x stays as it is."""
    leaves, structure = flatten(start)
    x = _joined(leaves)
    with np.errstate(over="ignore", invalid="ignore"):  # where it grows, the error says so
        for _ in range(MOST_STEPS):
            moved = plain(_packed(function(_unpacked(x, leaves, structure)), structure))
            step = np.abs(moved - x).max(initial=0)
            x = moved
            if not np.isfinite(step):
                break
            if step <= 8 * np.finfo(x.dtype).eps * max(1, np.abs(x).max(initial=0)):
                return _unpacked(x, leaves, structure)
    raise TracingError(
        f"x = f(x) comes to no fixed point in {MOST_STEPS:,} steps: give a solver(f, x0), or write "
        f"implicit.root of f(x) - x"
    )


def _descent(value: Callable[[Tree], Tree], start: Tree) -> Tree:
    """SciPy's minimum of a function, and the root of its gradient there."""
    from scipy.optimize import minimize as of_scipy

    leaves, structure = flatten(start)

    def flat(x: TensorLike) -> TensorLike:
        return value(_unpacked(x, leaves, structure))

    slope = grad(flat)
    found = of_scipy(flat, np.asarray(_joined(leaves), float), jac=slope)
    return _newton(lambda x: slope(_joined(flatten(x)[0])), _unpacked(found.x, leaves, structure))


# -- nested points as vectors --------------------------------------------------------------------


def _start(name: str, x0: Tree) -> tuple[list[Array], Structure]:
    leaves, structure = flatten(x0)
    made = []
    for leaf in leaves:
        array = np.asarray(plain(leaf))
        if array.dtype.kind not in "fiu":
            raise TracingError(f"{name} starts at arrays of floats, got {describe(leaf)}")
        made.append(array if array.dtype.kind == "f" else array.astype(float))
    return made, structure


def _plain(tree: Tree) -> Tree:
    leaves, structure = flatten(tree)
    return structure.build([plain(leaf) for leaf in leaves])


def _as_given(x: Tree, value: Tree) -> Tree:
    """The value: of arrays arrays, whatever is around the function, and tensors of tensors."""
    return value if any(isinstance(leaf, Tensor) for leaf in flatten(x)[0]) else _plain(value)


def _like(x: object, start: Array, name: str) -> Array:
    array = np.asarray(plain(x), start.dtype)
    if array.shape != start.shape:
        raise ShapeError(
            f"the solver of {name} gave {describe(x)}, where the start is of shape "
            f"{list(start.shape)}: return x of the shape of x0"
        )
    return array


def _joined(leaves: Leaves) -> TensorLike:
    flat = [np.reshape(leaf, -1) for leaf in leaves]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def _packed(tree: Tree, structure: Structure) -> TensorLike:
    return _joined(structure.match(tree, "value", "point"))


def _unpacked(x: TensorLike, like: list[Array], structure: Structure) -> Tree:
    parts, begin = [], 0
    for leaf in like:
        parts.append(np.reshape(x[begin : begin + leaf.size], leaf.shape))
        begin += leaf.size
    return structure.build(parts)


def _check(name: str, function: object, solver: object, linear: object) -> None:
    if not callable(function):
        raise TracingError(
            f"implicit.{name} takes a function f(x, *args), got {describe(function)}"
        )
    if solver is not None and not callable(solver):
        raise TracingError(
            f"solver is a function solver(f, x0) that gives x, got {describe(solver)}"
        )
    if not callable(linear) and linear not in ("dense", *ITERATIVE):
        known = ", ".join(f'"{each}"' for each in ("dense", *ITERATIVE))
        raise TracingError(f"linear is one of {known}, or linear(matvec, b), got {linear!r}")
