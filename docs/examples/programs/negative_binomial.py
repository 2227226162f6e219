"""Maximum likelihood for counts that vary more than a Poisson distribution allows.

The likelihood of a negative binomial distribution has its maximum in p in closed form. What is
left is one equation in r, solved by Halley's method with exact derivatives.

    python docs/examples/programs/negative_binomial.py
"""

import numpy as np
from descent import show
from scipy.optimize import newton

import tracer
from tracer.scipy.special import gammaln


def log_likelihood(r, p, counts):
    """Of counts k with chances `C(k + r - 1, k) p^k (1 - p)^r`."""
    ways = gammaln(counts + r) - gammaln(r) - gammaln(counts + 1)
    return np.sum(ways + counts * np.log(p) + r * np.log(1 - p))


def best_p(r, counts):
    """The p of the largest likelihood for an r."""
    mean = np.mean(counts)
    return mean / (mean + r)


def fit(counts, start=1.0):
    """The r and p of the largest likelihood."""

    def slope(r):
        return tracer.grad(log_likelihood)(r, best_p(r, counts), counts)

    first = tracer.grad(slope)
    r = float(newton(slope, start, fprime=first, fprime2=tracer.grad(first)))
    return r, best_p(r, counts)


def sample(rng, r=5.0, p=0.5, size=1000):
    """Counts: Poisson ones, whose rates are of a gamma distribution."""
    return rng.poisson(rng.gamma(r, p / (1 - p), size)).astype(float)


def figures():
    """The r and p that 1,000 counts of r = 5 and p = 0.5 give, and the slopes there."""
    counts = sample(np.random.default_rng(0))
    r, p = fit(counts)
    slopes = tracer.grad(log_likelihood, (0, 1))(r, p, counts)
    return {"r": r, "p": p, "slopes": np.array(slopes)}


if __name__ == "__main__":
    show(figures())
