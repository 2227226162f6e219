"""Whole curvature matrices by definition: derivatives of functions of one vector of parameters."""

import numpy as np
from brute_force import Problem, plain_loss

import tracer


def assert_close(value, expected, message):
    """To the rounding of numbers around one: a saturated loss has curvature far below."""
    assert value.shape == expected.shape, f"{message}: {value.shape}, not {expected.shape}"
    scale = max(float(np.abs(expected).max(initial=0)), 1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-9 * scale, err_msg=message)


def flat(parameters):
    """All parameters as one vector, in their order."""
    return np.concatenate([value.ravel() for value in parameters.values()])


def placed(parameters, vector):
    """The parts of a vector (array or tensor), shaped like the parameters."""
    parts, start = {}, 0
    for name, value in parameters.items():
        parts[name] = vector[start : start + value.size].reshape(value.shape)
        start += value.size
    return parts


def spans(parameters):
    """name -> slice of the vector of all parameters."""
    stops = np.cumsum([value.size for value in parameters.values()]).tolist()
    return {
        name: slice(stop - value.size, stop)
        for (name, value), stop in zip(parameters.items(), stops, strict=True)
    }


def ordered(matrix, parameters, operator):
    """A matrix over the parameters, in the order of the operator's own (that of their use)."""
    places = spans(parameters)
    order = np.concatenate(
        [np.arange(places[name].start, places[name].stop) for name in operator.parameters]
    )
    return matrix[np.ix_(order, order)]


def hessian_of(function, parameters):
    """`[P, P]` of `function(parameters) -> number`."""
    return tracer.hessian(lambda v: function(placed(parameters, v)))(flat(parameters))


class Curvature:
    """Of each sample of a `Problem`: `gradients` `[N, P]`, `hessians` and `ggns` `[N, P, P]`."""

    def __init__(self, problem: Problem):
        self.problem, parameters = problem, problem.parameters
        vector = flat(parameters)

        def output(v, n):
            return problem.model(placed(parameters, v), problem.one(n))

        def loss(f, n):
            return problem.weight * plain_loss(problem.kind, f, problem.target[n : n + 1])

        every = range(problem.samples)
        self.gradients = np.stack(
            [tracer.grad(lambda v, n=n: loss(output(v, n), n))(vector) for n in every]
        )
        self.hessians = np.stack(
            [tracer.hessian(lambda v, n=n: loss(output(v, n), n))(vector) for n in every]
        )
        self.ggns = np.stack([self._ggn(output, loss, vector, n) for n in every])

    def _ggn(self, output, loss, vector, n):
        jacobian = tracer.jacobian(lambda v: output(v, n))(vector).reshape(-1, vector.size)
        inner = tracer.hessian(lambda f: loss(f, n))(self.problem.output[n : n + 1])
        return jacobian.T @ inner.reshape(len(jacobian), -1) @ jacobian

    def blocks(self, matrix):
        """name -> the parameter's block of a `[..., P, P]`."""
        return {
            name: matrix[..., span, span] for name, span in spans(self.problem.parameters).items()
        }
