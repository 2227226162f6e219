"""SciPy's functions of matrices on stacks of them, from the library that the arrays are of."""

import itertools
import math

import numpy as np

from tracer.arrays import backend


def scipy_linalg(function, like):
    """A function of `scipy.linalg`, or of its counterpart for arrays of a device."""
    return backend.of(like).scipy("linalg", function)


def over_stack(function, cores, *arrays):
    """`function` of each matrix (vector) of stacks, which are broadcast against each other.

    `cores` says how many axes each array has without those of the stack.
    """
    leads = [a.shape[: a.ndim - core] for a, core in zip(arrays, cores, strict=True)]
    lead = np.broadcast_shapes(*leads)
    if not lead:
        return function(*arrays)
    library = backend.of(arrays[0]).namespace
    wide = [
        library.broadcast_to(a, (*lead, *a.shape[a.ndim - core :]))
        for a, core in zip(arrays, cores, strict=True)
    ]
    made = [function(*(a[index] for a in wide)) for index in itertools.product(*map(range, lead))]
    if not made:
        core = function(*(library.ones(a.shape[len(lead) :], a.dtype) for a in wide))
        return library.zeros((*lead, *core.shape), core.dtype)
    return library.stack(made).reshape(*lead, *made[0].shape)


def solved(function, cores, *arrays):
    """`over_stack` for a solver: the last array's columns go to one matrix together."""
    *matrix, right = arrays
    if right.ndim == 2 or any(a.ndim > core for a, core in zip(matrix, cores, strict=False)):
        return over_stack(function, cores, *arrays)
    lead, (n, k) = right.shape[:-2], right.shape[-2:]
    count = math.prod(lead)
    columns = right.reshape(count, n, k).swapaxes(0, 1).reshape(n, count * k)
    out = function(*matrix, columns)
    return out.reshape(len(out), count, k).swapaxes(0, 1).reshape(*lead, len(out), k)
