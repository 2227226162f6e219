"""Definitions of the quantities (QUANTITIES), one sample and one output at a time.

A model is a function `model(parameters, inputs) -> output` of a dict and a list of arrays whose
samples lie along `axes`; the output has its samples first. Losses are squared error and
cross-entropy with class indices, written here once more in plain NumPy.
"""

import numpy as np

import tracer
from tracer_layers.functional import cross_entropy, mse_loss

REGISTERED = {"squared": mse_loss, "cross_entropy": cross_entropy}


def plain_loss(kind, output, target):
    """The loss of one sample `[1, ...]`, summed over its outputs."""
    if kind == "squared":
        return np.sum((output - target) ** 2)
    picked = np.take_along_axis(output, target[:, None], 1)[:, 0]
    return np.sum(tracer.logsumexp(output, axis=1) - picked)


def draw_target(kind, shape, rng):
    if kind == "squared":
        return rng.standard_normal(shape)
    return rng.integers(0, shape[1], (shape[0], *shape[2:]))


def weight(kind, output_shape, reduction):
    """PyTorch's factor of every sample's loss in the objective."""
    if reduction == "sum":
        return 1.0
    count = np.prod(output_shape)
    return 1 / count if kind == "squared" else output_shape[1] / count


def hessian_root(kind, output):
    """`R [M, *output.shape]` of one sample `[1, ...]`: its loss has the Hessian `R^T R`.

    That of cross-entropy, `diag(p) - p p^T`, is the sum of `p_i p_j (e_i - e_j) (e_i - e_j)^T` over
    pairs of classes. The difference itself is lost to rounding where a probability is close to 1.
    """
    if kind == "squared":
        return np.sqrt(2) * np.eye(output.size).reshape(-1, *output.shape)
    p = np.exp(output - output.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = []
    for place in np.ndindex(output.shape[2:]):
        for i in range(output.shape[1]):
            for j in range(i):
                row = np.zeros(output.shape)
                root = np.sqrt(p[0, i, *place] * p[0, j, *place])
                row[0, i, *place], row[0, j, *place] = root, -root
                rows.append(row)
    return np.stack(rows)


class Problem:
    """A model at some parameters with inputs, target and loss; and what follows by definition."""

    def __init__(self, model, parameters, inputs, axes=None, kind="squared", reduction="mean"):
        self.model, self.parameters, self.inputs = model, parameters, inputs
        self.axes = axes or [0] * len(inputs)
        self.kind, self.reduction = kind, reduction
        self.samples = inputs[0].shape[self.axes[0]]
        self.output = model(parameters, inputs)
        self.target = draw_target(kind, self.output.shape, np.random.default_rng(5))
        self.weight = weight(kind, self.output.shape, reduction)

    def backward(self, quantities, **options):
        """What the library says, in one sweep."""
        with tracer.Tape() as tape:
            leaves = {k: tracer.parameter(v, name=k) for k, v in self.parameters.items()}
            inputs = [
                tracer.batch(x, axis=axis) for x, axis in zip(self.inputs, self.axes, strict=True)
            ]
            output = self.model(leaves, inputs)
            loss = REGISTERED[self.kind](output, self.target, reduction=self.reduction)
        return tape.backward(loss, quantities, **options)

    # -- by definition ----------------------------------------------------------------------

    def one(self, n):
        """The inputs of sample n alone."""
        return [np.take(x, [n], axis) for x, axis in zip(self.inputs, self.axes, strict=True)]

    def grad_batch(self):
        """name -> `[N, *p]`: `w dl_n/dp`, each from a record of its own."""
        rows = []
        for n in range(self.samples):
            target = self.target[n : n + 1]

            def loss(parameters, n=n, target=target):
                output = self.model(parameters, self.one(n))
                return self.weight * plain_loss(self.kind, output, target)

            rows.append(tracer.grad(loss)(self.parameters))
        return {name: np.stack([row[name] for row in rows]) for name in self.parameters}

    def ggn_batch(self):
        """name -> `[N, P, P]`: `w J_n^T H_n J_n` with the Jacobian of the whole batch's model."""
        jacobians = tracer.jacobian(lambda p: self.model(p, self.inputs))(self.parameters)
        size = self.output[0].size
        roots = np.stack([hessian_root(self.kind, self.output[[n]]) for n in range(self.samples)])
        roots = roots.reshape(self.samples, -1, size)
        blocks = {}
        for name, jacobian in jacobians.items():
            rows = roots @ jacobian.reshape(self.samples, size, -1)
            blocks[name] = self.weight * np.swapaxes(rows, 1, 2) @ rows
        return blocks


FIRST_ORDER = ("grad", "grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "variance")
CURVATURE = ("sqrt_ggn_exact", "diag_ggn_exact", "diag_ggn_exact_batch")
SAMPLED = ("sqrt_ggn_mc", "diag_ggn_mc", "diag_ggn_mc_batch")


def expected_first_order(g):
    """quantity -> value for one parameter, from `g [N, *p]`."""
    flat = g.reshape(len(g), -1)
    return {
        "grad": g.sum(0),
        "grad_batch": g,
        "batch_l2": (flat**2).sum(1),
        "batch_dot": flat @ flat.T,
        "sum_grad_squared": (g**2).sum(0),
        "variance": (g**2).mean(0) - g.mean(0) ** 2,
    }


def assert_first_order(results, problem, rtol=1e-8):
    for name, g in problem.grad_batch().items():
        for quantity, value in expected_first_order(g).items():
            if quantity in results:
                assert_close(results[quantity][name], value, f"{quantity} of {name}", rtol)


def assert_curvature(results, problem, rtol=1e-8):
    for name, blocks in problem.ggn_batch().items():
        shape = problem.parameters[name].shape
        diagonals = np.diagonal(blocks, axis1=1, axis2=2).reshape(-1, *shape)
        root = results["sqrt_ggn_exact"][name]
        assert root.shape[1:] == (problem.samples, *shape)
        flat = root.reshape(*root.shape[:2], -1)
        gram = np.einsum("cnp,cnq->npq", flat, flat)
        assert_close(gram, blocks, f"sqrt_ggn_exact of {name}", rtol)
        assert_close(
            results["diag_ggn_exact"][name], diagonals.sum(0), f"diag_ggn_exact of {name}", rtol
        )
        if "diag_ggn_exact_batch" in results:
            assert_close(
                results["diag_ggn_exact_batch"][name],
                diagonals,
                f"diag_ggn_exact_batch of {name}",
                rtol,
            )


def assert_sampled_agree(results, problem, rtol=1e-8):
    """Sampled quantities of one sweep come from the same rows."""
    for name in problem.parameters:
        root = results["sqrt_ggn_mc"][name]
        assert_close(results["diag_ggn_mc"][name], (root**2).sum((0, 1)), "diag_ggn_mc", rtol)
        assert_close(
            results["diag_ggn_mc_batch"][name], (root**2).sum(0), "diag_ggn_mc_batch", rtol
        )


def assert_close(value, expected, message, rtol=1e-8):
    scale = max(float(np.abs(expected).max(initial=0)), 1e-4)
    assert value.shape == expected.shape, f"{message}: {value.shape}, not {expected.shape}"
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol * scale, err_msg=message)
