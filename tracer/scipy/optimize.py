"""`scipy.optimize` for functions written in NumPy's: SciPy's solvers, with exact derivatives.

Functions take arrays, or nested dicts, lists and tuples of them, as the start is; results have what
SciPy's have, plain. Derivatives of where a solver ends are those of `tracer.implicit`.
"""

import numpy as np
from scipy import optimize

from tracer.api.closures import captured, plainly
from tracer.api.functional import hessian, hvp, jacobian, value_and_grad
from tracer.api.opaque import plain
from tracer.arrays.trees import flatten
from tracer.errors import TracingError
from tracer.record import hints
from tracer.record.frames import INTERNAL_FILES
from tracer.record.recorder import open_tape
from tracer.record.tensor import Tensor
from tracer.scipy.adjoints import plain_tree

INTERNAL_FILES.add(__file__)

__all__ = ["brentq", "least_squares", "minimize", "minimize_scalar", "root"]

#: methods of `minimize` that take no gradient, products with the Hessian, and the Hessian
WITHOUT_GRADIENT = {"nelder-mead", "powell", "cobyla", "cobyqa"}
WITH_PRODUCTS = {"newton-cg", "trust-ncg", "trust-krylov", "trust-constr"}
WITH_HESSIAN = {"dogleg", "trust-exact"}
#: methods of `root` that take a Jacobian
WITH_JACOBIAN = {"hybr", "lm"}


def minimize(
    fun,
    x0,
    args=(),
    method=None,
    jac=None,
    hess=None,
    hessp=None,
    *,
    constraints=(),
    **options,
):
    """`scipy.optimize.minimize` of `fun(x, *args)`, a number, from `x0`, nested or not.

    Without a `jac` the method gets the exact gradient and, if it takes them, products with the
    Hessian ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr") or the Hessian ("dogleg",
    "trust-exact"). Constraints without a `jac` get their derivatives, too. With `jac=True`, `fun`
    gives its value and its gradient, as `tracer.value_and_grad(f)` does.

    `result.x` and `result.jac` are of the structure of `x0`; `bounds`, and what a callback gets,
    are of all numbers in one vector.
    """
    given = _Point(x0, args, "minimize", fun)
    name = (method or "").lower() if isinstance(method, str | None) else ""
    hands = {"jac": given.passed(jac), "hess": given.passed(hess), "hessp": given.passed(hessp)}
    value = given.plainly(fun) if jac is not True else given.with_gradient(fun)
    if jac is None and name not in WITHOUT_GRADIENT:
        value, hands["jac"] = _with_gradient(given.of_vector(fun)), True
        if hess is None and hessp is None:
            if name in WITH_PRODUCTS:
                hands["hessp"] = hvp(given.of_vector(fun))
            elif name in WITH_HESSIAN:
                hands["hess"] = hessian(given.of_vector(fun))
    hands = {key: each for key, each in hands.items() if each is not None}
    every = constraints if isinstance(constraints, list | tuple) else [constraints]
    limits = [_with_derivatives(each, given, name) for each in every]
    options |= {"method": method, "constraints": limits, **hands}
    return given.result(plainly(lambda: optimize.minimize(value, given.vector, **options)))


def root(fun, x0, args=(), method="hybr", jac=None, **options):
    """`scipy.optimize.root`: where `fun(x, *args)`, of the structure of x, is zero.

    The methods "hybr" and "lm" get the exact Jacobian, unless a `jac` is given.
    """
    given = _Point(x0, args, "root", fun)
    if jac is None and method.lower() in WITH_JACOBIAN:
        exact = jacobian(given.of_vector(fun))
    else:
        exact = given.passed(jac)
    value = given.with_gradient(fun) if jac is True else given.plainly(fun)
    options |= {"method": method, "jac": exact}
    found = plainly(lambda: optimize.root(value, given.vector, **options))
    return given.result(found, ("x",))


def least_squares(fun, x0, jac=None, *, args=(), **options):
    """`scipy.optimize.least_squares`: the least sum of squares of the residuals `fun(x, *args)`.

    Without a `jac` it gets the exact Jacobian. `kwargs` are those of `fun`.
    """
    named = options.pop("kwargs", {})
    given = _Point(x0, args, "least_squares", fun, named)
    jac = jacobian(given.of_vector(fun)) if jac is None else given.passed(jac)
    solve = optimize.least_squares
    found = plainly(lambda: solve(given.plainly(fun), given.vector, jac=jac, **options))
    return given.result(found, ("x", "grad"))


def minimize_scalar(fun, bracket=None, bounds=None, args=(), **options):
    """`scipy.optimize.minimize_scalar` of `fun(x, *args)`, which may give a tensor.

    SciPy's methods take no derivatives.
    """
    given = _Point(1.0, args, "minimize_scalar", fun)
    solve, number = optimize.minimize_scalar, given.of_number(fun)
    return plainly(lambda: solve(number, bracket, bounds, **options))


def brentq(f, a, b, args=(), **options):
    """`scipy.optimize.brentq`: the root of `f(x, *args)`, which may give a tensor, in `[a, b]`.

    It takes no derivatives.
    """
    given = _Point(float(a), args, "brentq", f)
    return plainly(lambda: optimize.brentq(given.of_number(f), a, b, **options))


class _Point:
    """Where a solver starts, as a vector, and functions of points like it as functions of vectors.

    Raises `TracingError` where a tape is open that would take the result, a constant, for what
    depends on its tensors.
    """

    def __init__(
        self,
        x0,
        args,
        name,
        function,
        named=None,
    ):
        self.args = args if isinstance(args, tuple) else (args,)
        self.named = dict(named or {})
        leaves, self.structure = flatten(x0)
        if isinstance(x0, list | tuple) and all(map(np.isscalar, x0)):  # a vector, to SciPy
            leaves, self.structure = flatten(np.asarray(x0, float))
        arrays = [np.asarray(plain(leaf)) for leaf in leaves]
        self.leaves = [a if a.dtype.kind == "f" else a.astype(float) for a in arrays]
        self.vector = _joined([leaf.astype(float) for leaf in self.leaves])
        if open_tape() is not None:
            self._refuse_tensors(name, function, x0)

    def _refuse_tensors(self, name, function, x0):
        given = flatten((x0, self.args, self.named))[0]
        tensors = [
            t for t in given if isinstance(t, Tensor) and t.node is not None and t.node.wants
        ]
        start, args = self.structure.build(self.leaves), plain_tree(self.args)
        if tensors or captured(function, start, *args):
            raise TracingError(
                f"{name} gives plain numbers, which a tape takes for constants, and its function "
                f"depends on tensors that want a gradient: take tracer.implicit.minimum or root, "
                f"or write `with tracer.pause():` around it"
            )

    def point(self, vector):
        """A vector as a point: arrays of the shapes and dtypes of the start."""
        parts, begin = [], 0
        for leaf in self.leaves:
            part = np.reshape(vector[begin : begin + leaf.size], leaf.shape)
            parts.append(part if part.dtype == leaf.dtype else part.astype(leaf.dtype))
            begin += leaf.size
        return self.structure.build(parts)

    def of_vector(self, function):
        """A function of vectors: its value a number, or one vector of all that it gives."""

        def call(vector):
            value = function(self.point(vector), *self.args, **self.named)
            leaves, structure = flatten(value)
            return value if structure.is_leaf else _joined(leaves)

        return call

    def plainly(self, function):
        """The same, plain."""
        of_vector = self.of_vector(function)
        return lambda vector: plain_tree(of_vector(vector))

    def with_gradient(self, function):
        """A function that gives its value and its gradient, as SciPy takes them."""

        def call(vector):
            value, slope = function(self.point(vector), *self.args)
            if not self.structure.is_leaf:
                slope = _joined(self.structure.match(slope, "gradient", "start"))
            return plain(value), plain(slope)

        return call

    def passed(self, given):
        """A derivative of the caller's own, as a function of vectors; or what SciPy makes of it."""
        if not callable(given) or isinstance(given, type | optimize.HessianUpdateStrategy):
            return given

        def call(vector, *others):
            value = given(self.point(vector), *others, *self.args)
            leaves, structure = flatten(value)
            return plain_tree(value if structure.is_leaf else _joined(leaves))

        return call

    def of_number(self, function):
        return lambda x: float(plain(function(x, *self.args)))

    def result(self, found, names=("x", "jac")):
        """The result, with what is of the length of the start in its structure."""
        for name in names:
            value = found.get(name)
            if isinstance(value, np.ndarray) and value.shape == self.vector.shape:
                found[name] = self.point(value)
        return found


def _with_gradient(function):
    both = value_and_grad(function)

    def call(x):
        value, slope = both(x)
        return float(np.reshape(value, ())), slope

    return call


def _with_derivatives(constraint, given, name):
    """A constraint of SciPy's whose function is written in NumPy's, with its derivatives."""
    if isinstance(constraint, dict) and not constraint.get("jac"):
        extra = constraint.get("args", ())
        own = _of(given, lambda point: constraint["fun"](point, *extra))
        if name != "trust-constr":
            made = {**constraint, "args": (), "fun": lambda x: plain(own(x))}
            return made | {"jac": jacobian(own)}
        high = 0.0 if constraint["type"].lower() == "eq" else np.inf
        return _nonlinear(own, 0.0, high)
    if isinstance(constraint, optimize.NonlinearConstraint) and constraint.jac == "2-point":
        own, c = _of(given, constraint.fun), constraint
        exact = name == "trust-constr" and isinstance(c.hess, optimize.BFGS)  # as without any
        return _nonlinear(own, c.lb, c.ub, None if exact else c.hess, c.keep_feasible)
    return constraint


def _nonlinear(own, low, high, bends=None, keep=False):
    def exact(x, v):
        return hessian(lambda z: np.sum(v * own(z)))(x)

    bends = exact if bends is None else bends
    return optimize.NonlinearConstraint(
        lambda x: plain(own(x)), low, high, jacobian(own), bends, keep
    )


def _of(given, function):
    """A constraint's function of vectors; its arguments are no others than the point."""
    return lambda vector: np.reshape(function(given.point(vector)), -1)


def _joined(leaves):
    flat = [np.reshape(leaf, -1) for leaf in leaves]
    return flat[0] if len(flat) == 1 else np.concatenate(flat)


def __getattr__(name):
    way = None if name.startswith("_") else "scipy.optimize has it for arrays"
    raise hints.missing("module 'tracer.scipy.optimize'", name, way, __all__)
