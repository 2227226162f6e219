"""Sources that are told apart as they are not Gaussian.

Signals are mixtures of independent sources with heavy tails. The matrix that takes them apart has
the largest likelihood: densities of what it makes, and its volume (Bell and Sejnowski 1995).

    python docs/examples/programs/independent_components.py
"""

import numpy as np
from descent import show

from tracer.scipy.optimize import minimize
from tracer.scipy.stats import t

SOURCES, TIMES = 4, 400


def loss(unmixing, signals):
    """Less the mean log-density of signals `[SOURCES, TIMES]`, by Student's t of the sources."""
    densities = np.sum(t.logpdf(unmixing @ signals, 2.4), axis=0)
    return -np.mean(densities) - np.linalg.slogdet(unmixing)[1]


def figures():
    """The loss before and after, and how well each source correlates with one that was found."""
    rng = np.random.default_rng(0)
    sources = rng.standard_t(2.4, (SOURCES, TIMES))
    signals = rng.standard_normal((SOURCES, SOURCES)) @ sources
    found = minimize(loss, np.eye(SOURCES), (signals,), method="CG")
    among = np.abs(np.corrcoef(found.x @ signals, sources)[:SOURCES, SOURCES:])
    return {
        "loss": np.array([loss(np.eye(SOURCES), signals), found.fun]),
        "correlation": np.max(among, axis=0),
    }


if __name__ == "__main__":
    show(figures())
