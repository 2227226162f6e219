"""Densities of `scipy.stats` for tensors: `tracer.scipy.stats.norm.logpdf(x, loc, scale)`.

Each has the methods that are differentiable (`logpdf`, `pdf`, `logcdf`, `cdf`, `logsf`, `sf`, or
`logpmf` and `pmf`), with SciPy's arguments and values, by all arguments whose derivative is in
closed form.
"""

import math

import numpy as np

from tracer.arrays import backend
from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import operand, raw
from tracer.operations.arithmetic import Xlogy
from tracer.scipy.distributions import Continuous, Discrete, Distribution, floats
from tracer.scipy.special import (  # type: ignore[attr-defined]
    betainc,
    betaincc,
    betaln,
    digamma,
    gammainc,
    gammaincc,
    gammaln,
    log_ndtr,
    ndtr,
    stdtr,
    xlog1py,
)

__all__ = [
    *("bernoulli", "beta", "binom", "cauchy", "chi2", "dirichlet", "expon", "gamma", "laplace"),
    *("lognorm", "multivariate_normal", "norm", "poisson", "t", "uniform"),
]

LOG_2, LOG_PI, LOG_2PI = math.log(2), math.log(math.pi), math.log(2 * math.pi)

norm = Continuous(
    "norm",
    logpdf=lambda z: -0.5 * np.square(z) - 0.5 * LOG_2PI,
    cdf=ndtr,
    sf=lambda z: ndtr(-z),
    logcdf=log_ndtr,
    logsf=lambda z: log_ndtr(-z),
)
lognorm = Continuous(
    "lognorm",
    "s",
    logpdf=lambda z, s: -0.5 * np.square(np.log(z) / s) - np.log(s * z) - 0.5 * LOG_2PI,
    cdf=lambda z, s: ndtr(np.log(z) / s),
    sf=lambda z, s: ndtr(-np.log(z) / s),
    logcdf=lambda z, s: log_ndtr(np.log(z) / s),
    logsf=lambda z, s: log_ndtr(-np.log(z) / s),
    low=0.0,
    within=1.0,
    open=True,
)
t = Continuous(
    "t",
    "df",
    logpdf=lambda z, df: (
        gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * (np.log(df) + LOG_PI)
        - (df + 1) / 2 * np.log1p(np.square(z) / df)
    ),
    cdf=lambda z, df: stdtr(df, z),
    sf=lambda z, df: stdtr(df, -z),
)  # fmt: skip
cauchy = Continuous(
    "cauchy",
    logpdf=lambda z: -LOG_PI - np.log1p(np.square(z)),
    cdf=lambda z: np.arctan2(1.0, -z) / math.pi,
    sf=lambda z: np.arctan2(1.0, z) / math.pi,
)


def _half(z):
    """The smaller tail of a Laplace distribution at z."""
    return 0.5 * np.exp(-abs(z))


def _laplace_logcdf(z):
    return np.where(z < 0, -abs(z) - LOG_2, np.log1p(-_half(z)))


laplace = Continuous(
    "laplace",
    logpdf=lambda z: -abs(z) - LOG_2,
    cdf=lambda z: np.where(z < 0, _half(z), 1 - _half(z)),
    sf=lambda z: np.where(z > 0, _half(z), 1 - _half(z)),
    logcdf=_laplace_logcdf,
    logsf=lambda z: _laplace_logcdf(-z),
)
expon = Continuous(
    "expon",
    logpdf=lambda z: -z,
    cdf=lambda z: -np.expm1(-z),
    sf=lambda z: np.exp(-z),
    logsf=lambda z: -z,
    low=0.0,
    within=1.0,
)
uniform = Continuous(
    "uniform",
    logpdf=lambda z: 0.0 * z,
    cdf=lambda z: 1.0 * z,
    sf=lambda z: 1.0 - z,
    low=0.0,
    high=1.0,
    within=0.5,
)
gamma = Continuous(
    "gamma",
    "a",
    logpdf=lambda z, a: Xlogy(a - 1, z) - z - gammaln(a),
    cdf=lambda z, a: gammainc(a, z),
    sf=lambda z, a: gammaincc(a, z),
    low=0.0,
    within=1.0,
)
chi2 = Continuous(
    "chi2",
    "df",
    logpdf=lambda z, df: Xlogy(df / 2 - 1, z) - z / 2 - gammaln(df / 2) - LOG_2 / 2 * df,
    cdf=lambda z, df: gammainc(df / 2, z / 2),
    sf=lambda z, df: gammaincc(df / 2, z / 2),
    low=0.0,
    within=1.0,
)
beta = Continuous(
    "beta",
    "a b",
    logpdf=lambda z, a, b: xlog1py(b - 1, -z) + Xlogy(a - 1, z) - betaln(a, b),
    cdf=lambda z, a, b: betainc(a, b, z),
    sf=lambda z, a, b: betaincc(a, b, z),
    low=0.0,
    high=1.0,
    within=0.5,
)
poisson = Discrete(
    "poisson",
    "mu",
    logpmf=lambda k, mu: Xlogy(k, mu) - gammaln(k + 1) - mu,
    cdf=lambda k, mu: gammaincc(k + 1, mu),
    sf=lambda k, mu: gammainc(k + 1, mu),
    valid=lambda mu: mu >= 0,
)
bernoulli = Discrete(
    "bernoulli",
    "p",
    logpmf=lambda k, p: Xlogy(k, p) + xlog1py(1 - k, -p),
    cdf=lambda k, p: 1 - p + 0 * k,
    sf=lambda k, p: p + 0 * k,
    valid=lambda p: (p >= 0) & (p <= 1),
    high=lambda p: 1,
)
binom = Discrete(
    "binom",
    "n p",
    logpmf=lambda k, n, p: (
        gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + Xlogy(k, p) + xlog1py(n - k, -p)
    ),
    cdf=lambda k, n, p: betaincc(k + 1, n - k, p),
    sf=lambda k, n, p: betainc(k + 1, n - k, p),
    valid=lambda n, p: (n >= 0) & (np.floor(n) == n) & (p >= 0) & (p <= 1),
    high=lambda n, p: n,
    constant=("n",),
)


class MultivariateNormal(Distribution):
    """Of vectors `x [..., D]`, with a mean `[D]` and a covariance `[D, D]`.

    A covariance that is a number or a vector is a multiple of the identity, or a diagonal. Of a
    matrix the lower triangle counts.
    """

    methods = ("logpdf", "pdf", "entropy")

    def logpdf(self, x, mean=None, cov=1, allow_singular=False):
        """The logarithm of the density, `[...]`, without axes of size 1."""
        if allow_singular:
            raise TracingError(
                f"{self!r} takes no singular covariance: give cov + eps * np.eye(len(cov)), or the "
                f"coordinates that vary"
            )
        centred = mean is None
        x, mean, cov = floats([x, 0.0 if centred else mean, cov])
        mean, cov = _moments(None if centred else mean, cov)
        size = len(mean)
        if not x.ndim or (x.ndim == 1 and size == 1):
            x = np.reshape(x, (-1, 1))
        if x.shape[-1] != size:
            raise ShapeError(f"{self!r} takes x of {size} coordinates, got {list(x.shape)}")
        root = np.linalg.cholesky(cov)
        away = np.reshape(x - mean, (-1, size))
        whitened = np.linalg.solve(root, away.T)
        logdet = 2 * np.sum(np.log(np.diagonal(root)))
        out = -0.5 * (size * LOG_2PI + logdet + np.sum(np.square(whitened), axis=0))
        return np.squeeze(np.reshape(out, x.shape[:-1]))

    def pdf(self, x, mean=None, cov=1, allow_singular=False):
        """The density, `[...]`, without axes of size 1."""
        return np.exp(self.logpdf(x, mean, cov, allow_singular))

    def entropy(self, mean=None, cov=1):
        """The differential entropy."""
        centred = mean is None
        mean, cov = floats([0.0 if centred else mean, cov])
        _, cov = _moments(None if centred else mean, cov)
        root = np.linalg.cholesky(cov)
        return 0.5 * len(cov) * (LOG_2PI + 1) + np.sum(np.log(np.diagonal(root)))


def _moments(mean, cov):
    """The mean `[D]` and the covariance `[D, D]`, of what SciPy takes for them."""
    size = math.prod(mean.shape) if mean is not None else len(cov) if cov.ndim else 1
    mean = np.zeros_like(raw(cov), shape=(size,)) if mean is None else np.reshape(mean, (size,))
    if cov.ndim < 2:
        eye = backend.namespace(cov).eye(size, dtype=cov.dtype)
        cov = eye * cov if cov.ndim == 0 or size == len(cov) else cov
    if cov.shape != (size, size):
        raise ShapeError(
            f"tracer.scipy.stats.multivariate_normal takes a covariance of shape {[size, size]} "
            f"for a mean of {size} coordinates, got {list(cov.shape)}"
        )
    return mean, cov


class Dirichlet(Distribution):
    """Of vectors `x [K]` or `[K, N]` that sum up to one, or of all of these but the last."""

    methods = ("logpdf", "pdf", "entropy")

    def logpdf(self, x, alpha):
        """The logarithm of the density, a number or `[N]`."""
        x, alpha = floats([operand(x), operand(alpha)])
        if len(x) == len(alpha) - 1:
            x = np.concatenate([x, 1 - np.sum(x, axis=0, keepdims=True)])
        if len(x) != len(alpha) or alpha.ndim != 1:
            raise ShapeError(
                f"{self!r} takes x of {len(alpha)} coordinates along its first axis for alpha "
                f"{list(alpha.shape)}, got {list(x.shape)}"
            )
        known = raw(x)
        if (raw(alpha) <= 0).any() or (known < 0).any() or (known > 1).any():
            raise ValueError(f"{self!r} takes alpha above zero and x from zero to one")
        if (abs(np.sum(known, axis=0) - 1) > max(1e-9, 100 * np.finfo(known.dtype).eps)).any():
            raise ValueError(f"{self!r} takes x that sums up to one along its first axis")
        powers = np.reshape(alpha - 1, (len(alpha),) + (1,) * (x.ndim - 1))
        return np.sum(Xlogy(powers, x), axis=0) - _log_beta(alpha)

    def pdf(self, x, alpha):
        """The density, a number or `[N]`."""
        return np.exp(self.logpdf(x, alpha))

    def entropy(self, alpha):
        """The differential entropy."""
        (alpha,) = floats([operand(alpha)])
        total = np.sum(alpha)
        spread = (total - len(alpha)) * digamma(total) - np.sum((alpha - 1) * digamma(alpha))
        return _log_beta(alpha) + spread


def _log_beta(alpha):
    return np.sum(gammaln(alpha)) - gammaln(np.sum(alpha))


multivariate_normal = MultivariateNormal("multivariate_normal")
dirichlet = Dirichlet("dirichlet")
