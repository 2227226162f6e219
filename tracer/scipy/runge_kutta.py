"""The steps of SciPy's explicit Runge-Kutta methods, in operations that are recorded.

SciPy chooses the steps, on plain numbers; here they are made again, of the same coefficients, so
that derivatives are those of the numbers that were computed. Steps themselves are constants, but
for the two ends of the interval.
"""

from itertools import pairwise

import numpy as np
from scipy import integrate

from tracer.api.opaque import plain
from tracer.record.frames import INTERNAL_FILES

INTERNAL_FILES.add(__file__)

METHODS = {
    "RK23": integrate.RK23,
    "RK45": integrate.RK45,
    "DOP853": integrate.DOP853,
}


def recorded_steps(
    function,
    method,
    steps,
    y0,
    times,
):
    """`[T, n]`: the solution at `times`, by steps that are given from `steps[0]` to the last."""
    rule = METHODS[method]
    plain_times = np.asarray(plain(times), float)
    known = [float(plain(t)) for t in steps]
    forwards = known[-1] >= known[0]
    found = []
    y, slope = y0, function(steps[0], y0)
    for i, t in enumerate(plain_times):
        if t == known[0]:
            found.append(y0 + (times[i] - steps[0]) * slope)
    for (begin, end), (t_old, t_new) in zip(pairwise(steps), pairwise(known), strict=True):
        h = end - begin
        stages = _stages(function, rule, begin, y, slope, h)
        moved = y + h * _weighted(stages, rule.B)
        new_slope = function(begin + h, moved)
        inside = [
            i for i, t in enumerate(plain_times)
            if (t_old < t <= t_new if forwards else t_new <= t < t_old)
        ]  # fmt: skip
        if inside:
            at = _between(function, rule, begin, h, y, moved, [*stages, new_slope])
            found += [at(times[i]) for i in inside]
        y, slope = moved, new_slope
    return np.stack(found)


def _stages(
    function,
    rule,
    t,
    y,
    slope,
    h,
):
    """k_s = f(t + c_s h, y + h sum_r a_sr k_r)."""
    stages = [slope]
    for a, c in zip(rule.A[1:], rule.C[1:], strict=True):
        stages.append(function(t + c * h, y + h * _weighted(stages, a)))
    return stages


def _weighted(stages, weights):
    """The sum of stages with weights; those that weigh nothing are left out."""
    pairs = [(w, k) for w, k in zip(weights, stages, strict=False) if w != 0]
    return sum((w * k for w, k in pairs[1:]), pairs[0][0] * pairs[0][1])


def _between(
    function,
    rule,
    t,
    h,
    y,
    moved,
    stages,
):
    """The solution within a step, a polynomial of `(time - t) / h`."""
    if rule is not integrate.DOP853:
        powers = [_weighted(stages, column) for column in np.transpose(rule.P)]

        def polynomial(time):
            x = (time - t) / h
            return y + h * sum(q * x ** (i + 1) for i, q in enumerate(powers))

        return polynomial
    for a, c in zip(rule.A_EXTRA, rule.C_EXTRA, strict=True):
        stages = [*stages, function(t + c * h, y + h * _weighted(stages, a))]
    step, first, last = moved - y, stages[0], stages[rule.n_stages]
    terms = [step, h * first - step, 2 * step - h * (last + first)]
    terms += [h * _weighted(stages, row) for row in rule.D]

    def nested(time):
        """Hairer, Norsett and Wanner (1993), section II.6."""
        x, total = (time - t) / h, 0.0
        for i, term in enumerate(reversed(terms)):
            total = (total + term) * (x if i % 2 == 0 else 1 - x)
        return y + total

    return nested
