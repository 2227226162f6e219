"""`odeint` and `solve_ivp`: SciPy's solutions of differential equations, with derivatives."""

import numpy as np
from scipy import integrate

from tracer.api.closures import plainly
from tracer.api.opaque import plain
from tracer.arrays.trees import flatten
from tracer.errors import TracingError
from tracer.operations.joining import array
from tracer.record.frames import INTERNAL_FILES
from tracer.record.tensor import Tensor
from tracer.scipy.adjoints import Seen, solved
from tracer.scipy.runge_kutta import METHODS, recorded_steps

INTERNAL_FILES.add(__file__)

ADJOINT, DIRECT = "adjoint", "direct"
#: options of solvers that are of the right side given, and not of the adjoint equation
OF_ONE_EQUATION = ("jac", "jac_sparsity", "lband", "uband", "first_step")


def odeint(
    func,
    y0,
    t,
    args=(),
    Dfun=None,
    *,
    tfirst=False,
    full_output=False,
    **options,
):
    """`scipy.integrate.odeint`: `[T, n]`, the solution of `dy/dt = func(y, t, *args)` at times `t`.

    It starts at `t[0]` from `y0 [n]`. Derivatives are by `y0`, the times, floats in `args` (arrays,
    also nested) and tensors around `func`, as parameters of a model, by the adjoint equation, which
    is solved to the same `rtol` and `atol`; memory does not grow with the steps. Options are
    SciPy's. `func` is written in NumPy's functions.
    """

    def right(t, y, *args):
        dy = func(t, y, *args) if tfirst else func(y, t, *args)
        return _vector(dy)

    y0, t = _start(y0), _floats(t)
    times = np.asarray(plain(t))
    if times.ndim != 1 or not len(times):
        raise ValueError(f"odeint takes times in one axis, t[0] the first, got shape {times.shape}")
    seen = Seen(right, times[0], np.asarray(plain(y0)), args)

    def slopes(t, y):
        given = seen.args
        return plain(Dfun(t, y, *given) if tfirst else Dfun(y, t, *given))

    options |= {"full_output": full_output, "Dfun": None if Dfun is None else slopes}
    found = plainly(lambda: integrate.odeint(seen, plain(y0), times, tfirst=True, **options))
    values, info = found if full_output else (found, None)
    seen.look(times[-1], values[-1])
    if seen.around or _has_tensors((y0, t, args)):
        solver = _by_odeint({k: v for k, v in options.items() if k in OF_ODEINT})
        values = solved(right, t[0], y0, t, args, solver, values, seen.around)
    return (values, info) if full_output else values


#: options of `odeint` that are of its adjoint equation, too
OF_ODEINT = ("rtol", "atol", "hmax", "hmin", "mxstep", "mxhnil", "mxordn", "mxords")


def _by_odeint(options):
    def solve(f, t0, y0, times):
        every = times if len(times) and times[0] == t0 else np.concatenate([[t0], times])
        made = {**options, "atol": _for_more(options.get("atol"), len(y0))}
        made["tcrit"] = every[-1:]  # beyond the first time the right side may not be defined
        found = integrate.odeint(f, y0, every, tfirst=True, **made)
        return found[len(every) - len(times) :]

    return solve


def _for_more(atol, n):
    """Tolerances of y for y, a and s: those of y, and the least of them."""
    if atol is None or np.ndim(atol) == 0 or len(atol) == n:
        return atol
    return np.concatenate([atol, np.full(n - len(atol), np.min(atol))])


def solve_ivp(
    fun,
    t_span,
    y0,
    method="RK45",
    t_eval=None,
    dense_output=False,
    events=None,
    vectorized=False,
    args=None,
    *,
    gradient=ADJOINT,
    **options,
):
    """`scipy.integrate.solve_ivp`, whose `t [T]` and `y [n, T]` have derivatives.

    They are by `y0`, both ends of `t_span`, `t_eval`, floats in `args` (arrays, also nested) and
    tensors around `fun`. Where there is no `t_eval`, the times between the ends are the solver's,
    and constants. Options are SciPy's.

    `gradient="adjoint"` solves the adjoint equation to the same tolerances: memory does not grow
    with the steps. `"direct"`, for RK23, RK45 and DOP853, records the steps: the derivative is that
    of the numbers, exactly, and takes their memory; every quantity goes through it.

    Raises `TracingError` for `events` and `dense_output` where derivatives are wanted: give times
    as `t_eval`, and find an event's as the `tracer.implicit.root` of a function of the time.
    """
    if gradient not in (ADJOINT, DIRECT):
        raise TracingError(f'gradient is "{ADJOINT}" or "{DIRECT}", got {gradient!r}')
    args = () if args is None else tuple(args)

    def right(t, y, *args):
        if vectorized:
            return np.reshape(fun(t, np.reshape(y, (-1, 1)), *args), -1)
        return _vector(fun(t, y, *args))

    y0, (t0, t1) = _start(y0), map(_floats, t_span)
    ends = float(plain(t0)), float(plain(t1))
    seen = Seen(right, ends[0], np.asarray(plain(y0)), args)
    times = None if t_eval is None else np.asarray(plain(_floats(t_eval)))
    given = {key: _plain_option(value, seen.args) for key, value in options.items()}

    def solution(*how):
        return plainly(lambda: integrate.solve_ivp(seen, ends, plain(y0), method, *how, **given))

    result = solution(times, dense_output, _plain_events(events, seen.args))
    if len(result.t):
        seen.look(result.t[-1], result.y[:, -1])
    if not seen.around and not _has_tensors((y0, t0, t1, t_eval, args)):
        return result
    _refuse(method, gradient, dense_output, events)
    count = len(result.t)
    if t_eval is not None:
        at = _floats(t_eval)[:count]
    else:
        inner = [float(t) for t in result.t[1:]]
        reached = result.success and count > 1
        at = array([t0, *inner[:-1], t1] if reached else [t0, *inner])
    if gradient == DIRECT:
        steps = result.t if t_eval is None else solution().t
        reached = [t1] if result.success and len(steps) > 1 else [float(t) for t in steps[-1:]]
        every = [t0, *(float(t) for t in steps[1:-1]), *reached]
        y = recorded_steps(lambda t, y: right(t, y, *args), method, every, y0, at)
    else:
        rest = {key: value for key, value in given.items() if key not in OF_ONE_EQUATION}
        y = solved(right, t0, y0, at, args, _by_solve_ivp(method, rest), result.y.T, seen.around)
    result.t, result.y = at, np.swapaxes(y, 0, 1)
    return result


def _by_solve_ivp(method, options):
    def solve(f, t0, y0, times):
        if not len(times):
            return np.zeros((0, len(y0)))
        made = dict(options)
        if "atol" in made:
            made["atol"] = _for_more(made["atol"], len(y0))
        found = integrate.solve_ivp(f, (t0, times[-1]), y0, method, times, **made)
        if not found.success:
            raise TracingError(
                f"the equation is not solved from t = {t0:.6g} to {times[-1]:.6g}: {found.message}"
            )
        return found.y.T

    return solve


def _refuse(method, gradient, dense_output, events):
    if events is not None:
        raise TracingError(
            "solve_ivp gives events no derivatives: find the time of one by tracer.implicit.root "
            "of a function of the time, event(t, solution at t_eval=[t]), started at SciPy's"
        )
    if dense_output:
        raise TracingError(
            "solve_ivp gives no dense output with derivatives: give the times as t_eval="
        )
    if gradient == DIRECT and method not in METHODS:
        raise TracingError(
            f'gradient="direct" records the steps of {", ".join(METHODS)}, got {method!r}: take '
            f'one of these, or gradient="adjoint"'
        )


def _plain_option(value, args):
    """An option for the solver of plain arrays: `jac(t, y, *args)` gets the arguments."""
    if callable(value):
        return lambda t, y: plain(value(t, y, *args))
    return plain(value)


def _plain_events(events, args):
    """The same for events, with what SciPy reads of them."""
    if events is None:
        return None

    def made_of(event):
        made = _plain_option(event, args)
        for name in ("terminal", "direction"):
            if hasattr(event, name):
                setattr(made, name, getattr(event, name))
        return made

    return [made_of(e) for e in events] if _is_list(events) else made_of(events)


def _is_list(value):
    return isinstance(value, list | tuple)


def _vector(dy):
    """What a right side returns, as SciPy takes it: an array, a number, or a list of numbers."""
    return array(dy) if isinstance(dy, list | tuple) else dy


def _start(y0):
    y = _floats(y0)
    if y.ndim > 1:
        raise ValueError(f"y0 has one axis, as for SciPy, got shape {y.shape}")
    return np.reshape(y, -1)


def _floats(value):
    """A tensor or an array of float64. Complex numbers are refused."""
    made = array(value) if isinstance(value, list | tuple) else value
    made = made if isinstance(made, Tensor) else np.asarray(made)
    if made.dtype.kind == "c":
        raise TracingError(
            "differential equations of complex numbers have no derivatives here: write real and "
            "imaginary parts as one real vector"
        )
    return made if made.dtype == float else made.astype(float)


def _has_tensors(tree):
    return any(isinstance(leaf, Tensor) for leaf in flatten(tree)[0])
