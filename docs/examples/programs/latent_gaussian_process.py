"""Where points lie on what they vary along: a Gaussian process with unknown inputs.

Six measured columns are smooth functions of one hidden number. The hidden numbers and the scales
maximise the evidence together; their order comes out, up to a reflection.

    python docs/examples/programs/latent_gaussian_process.py
"""

import numpy as np
from descent import show
from gaussian_process import log_evidence, unfitted

from tracer.scipy.optimize import minimize
from tracer.scipy.stats import norm


def curve(rng, points=30, columns=6):
    """Hidden numbers `[N]` and what is measured, `[N, columns]`."""
    hidden = rng.standard_normal(points)
    phases = np.linspace(0, 2, columns)
    measured = np.sin(hidden[:, None] * 0.8 + phases)
    return hidden, measured + 0.05 * rng.standard_normal((points, columns))


def loss(unknown, measured):
    """Less the logarithm of the density of all columns and of the hidden numbers."""
    scales, hidden = unknown["scales"], unknown["hidden"]
    evidence = sum(log_evidence(scales, hidden, column) for column in measured.T)
    return -evidence - np.sum(norm.logpdf(hidden))


def ranks(values):
    """The place of each value in their order."""
    return np.argsort(np.argsort(values))


def figures():
    """The loss before and after, and the correlation of the orders."""
    rng = np.random.default_rng(0)
    hidden, measured = curve(rng)
    main = np.linalg.svd(measured - measured.mean(axis=0), full_matrices=False)[0][:, :1]
    start = {
        "scales": unfitted() | {"noise": np.array(-3.0)},
        "hidden": 3 * main + 0.3 * rng.standard_normal((30, 1)),
    }
    found = minimize(loss, start, (measured,), method="CG", options={"maxiter": 60})
    order = np.corrcoef(ranks(found.x["hidden"][:, 0]), ranks(hidden))[0, 1]
    return {"loss": np.array([loss(start, measured), found.fun]), "order": abs(order)}


if __name__ == "__main__":
    show(figures())
