"""Ordinary differential equations recorded as one operation, with the adjoint equation as its rule.

The solver runs on plain arrays and nothing of its steps is kept. For cotangents `g_i` of the values
`y_i` at the times `t_i`, a rule goes back from the last time to the first (Pontryagin et al. 1962;
Chen et al. 2018):

    da/dt = -a^T df/dy,    ds/dt = -a^T df/dp,    a(t_i) jumps by g_i,

with y itself solved once more beside them, from the value that it had at each time. Then `a(t0)` is
the cotangent of y0, `s(t0)` that of the parameters, `g_i f(t_i, y_i)` that of the time `t_i`, and
`-a(t0) f(t0, y0)` that of the first. What is solved is again such an equation, so that there are
derivatives of every order.

A right side is `f(t, y, *args) -> dy/dt [n]`, of tensors or arrays, and a solver is
`solver(f, t0, y0, times) -> [T, n]` of plain arrays, with `f(t, y)`.
"""

import numpy as np

from tracer.api.closures import captured
from tracer.api.linearisation import Linearisation
from tracer.api.opaque import Call, plain
from tracer.arrays.trees import flatten
from tracer.record.frames import INTERNAL_FILES
from tracer.record.tensor import Tensor

INTERNAL_FILES.add(__file__)


def plainly_of(function, args):
    """The right side at these arguments, for a solver of plain arrays."""
    return lambda t, y: np.asarray(plain(function(t, y, *args)), float).reshape(-1)


def plain_tree(tree):
    leaves, structure = flatten(tree)
    return structure.build([plain(leaf) for leaf in leaves])


class Seen:
    """A right side for a solver of plain arrays, and the tensors `around` it that it takes.

    They are looked for where it starts and, if there are none, wherever it gives a tensor; callers
    `look` where it ends. (What is taken in between alone, beside others, a sweep refuses.)
    """

    def __init__(self, function, t, y, args):
        self.function, self.args = function, plain_tree(tuple(args))
        self.around = []
        self.look(t, y)

    def look(self, t, y):
        known = {tensor.node for tensor in self.around}
        found = captured(self.function, t, y, *self.args)
        self.around += [tensor for tensor in found if tensor.node not in known]

    def __call__(self, t, y):
        slope = self.function(t, y, *self.args)
        if isinstance(slope, Tensor) and not self.around:
            self.look(t, y)
        return np.asarray(plain(slope), float).reshape(-1)


def solved(
    function,
    t0,
    y0,
    times,
    args,
    solver,
    first=None,
    around=None,
):
    """`[T, n]`: the solution at `times`, from `y0 [n]` at `t0`, with all its derivatives.

    `first` are the values, where they are known already.
    """
    known = [] if first is None else [first]
    if around is None:
        around = Seen(function, float(plain(t0)), np.asarray(plain(y0)), args).around

    def compute(t0, y0, times, *args):
        if known:
            return known.pop()
        return solver(plainly_of(function, args), float(t0), y0, times)

    def rule(site, cotangents):
        return _adjoint(function, solver, site, cotangents[0])

    return Call("ode", compute, (t0, y0, times, *args), rule, around).run()


def _adjoint(function, solver, site, g):
    t0, y0, times, *parameters = site.inputs
    n, count = len(y0), len(times)
    around = list(site.around.items())

    def slope(t, y, *inputs):
        _, _, _, *args = site.call.args([t0, y0, times, *inputs])
        return np.reshape(function(t, y, *args), -1)

    def at(t, y, *inputs):
        """The right side at a time and what it is of, parameters around it among these."""
        point = (t, y, *inputs)
        return Linearisation(slope, point, range(len(point)), around=dict(around))

    def backwards(t, z, *inputs):
        """The slopes of y, a and s, all in one vector."""
        y, a = z[:n], z[n : 2 * n]
        record = at(t, y, *inputs)
        pulled = record.pull(record.cotangents(a))[1:]
        parts = [np.reshape(p, -1) for p in pulled]
        return np.concatenate([record.value(), *(-p for p in parts)])

    every = [*parameters, *(value for _, value in around)]
    sizes = [int(np.size(plain(p))) for p in every]
    a, s = np.zeros(n), np.zeros(sum(sizes))
    wants_start, _, wants_times = site.wanted[:3]
    of_times = []
    values = site.outputs[0]
    for i in reversed(range(count)):
        a = a + g[i]
        if wants_times:
            of_times.append(np.sum(g[i] * at(times[i], values[i], *parameters).value()))
        end = times[i - 1] if i else t0
        if plain(end) != plain(times[i]):
            z = np.concatenate([values[i], a, s])
            z = _solved_back(backwards, times[i], z, end, parameters, solver, every)
            a, s = z[n : 2 * n], z[2 * n :]
    of_start = -np.sum(a * at(t0, y0, *parameters).value()) if wants_start else None
    entries, begin = [], 0
    for value, size in zip(every, sizes, strict=True):
        entries.append(np.reshape(s[begin : begin + size], np.shape(plain(value))))
        begin += size
    return [of_start, a, np.stack(of_times[::-1]) if of_times else None, *entries]


def _solved_back(
    backwards,
    t,
    z,
    end,
    parameters,
    solver,
    every,
):
    """The state at an earlier time: recorded, where something of it is a tensor."""
    if not any(isinstance(x, Tensor) for x in (t, z, end, *every)):
        value = solver(
            plainly_of(backwards, parameters), float(plain(t)), np.asarray(z), np.array([end])
        )
        return value[0]
    return solved(backwards, t, z, np.reshape(end, 1), parameters, solver)[0]
