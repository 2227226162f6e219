"""Quantities of the generalised Gauss-Newton matrix (Schraudolph 2002): exact and sampled."""

import math

import numpy as np

from tracer import Tensor
from tracer.errors import QuantityError
from tracer.extend import (
    GGNMonteCarlo,
    Kronecker,
    Quantity,
    Rows,
    ggn_averaged,
    ggn_exact,
    ggn_outputs,
)

__all__ = [
    "KFAC",
    "KFLR",
    "KFRA",
    "DiagGGNExact",
    "DiagGGNExactBatch",
    "DiagGGNMC",
    "DiagGGNMCBatch",
    "SqrtGGNExact",
    "SqrtGGNMC",
]


class _Sampled(Quantity):
    """Configured by the number of samples drawn from the model's likelihood."""

    def __init__(self, mc_samples=1):
        self.rows = GGNMonteCarlo(samples=mc_samples)
        self.reference = None  # only their expectation is known


class Stacked:
    """Rows `[R, ...]`, to which further ones come up to `total`, into an array that is made once.

    Without a total, or for tensors, they are concatenated.
    """

    def __init__(self, rows, total=None):
        self.rows, self.total = rows, total
        self._whole = None

    def with_rows(self, more):
        start, stop = len(self.rows), len(self.rows) + len(more)
        if self.total is None or stop > self.total or isinstance(more, Tensor):
            return Stacked(np.concatenate([self.rows, more]))
        if self._whole is None:
            self._whole = np.empty_like(more, shape=(self.total, *more.shape[1:]))
            self._whole[:start] = self.rows
        self._whole[start:stop] = more
        self.rows = self._whole[:stop]
        return self

    def __getstate__(self):
        return {"rows": self.rows, "total": None, "_whole": None}


class SqrtGGNExact(Quantity):
    """Rows `u_cn = J_n^T s_cn` with `GGN = sum_cn u_cn u_cn^T`, `[C, N, *p.shape]`.

    `sum_c s_cn s_cn^T` is the Hessian H_n of the objective by sample n's output, and J_n the
    Jacobian of that output by p (Schraudolph 2002).
    """

    name = "sqrt_ggn_exact"
    rows = ggn_outputs
    cheaper = "diag_ggn_exact or ggnmp"
    lists_samples = True

    def elements(self, context):
        return (context.rows or 1) * (context.samples or 1) * math.prod(context.shape)

    def extract(self, cotangent, context):
        return Stacked(cotangent.per_sample(), context.rows)

    def join(self, first, second):
        return first.with_rows(second.rows)

    def merge(self, first, second, shards):
        roots = [shard.weight**0.5 for shard in shards]
        rows = [roots[0] * first.rows, roots[1] * second.rows]
        return Stacked(np.concatenate(rows, axis=1))

    def finish(self, state, context):
        return state.rows

    def reference(self, brute):
        return brute.roots


class SqrtGGNMC(_Sampled, SqrtGGNExact):
    """The same in expectation, `u_mn = J_n^T s_mn`, from M samples of the likelihood.

    `[M, N, *p.shape]`; `s_mn = sqrt(w / M) dl_n/df_n`, by the output f_n, at a target that is drawn
    from the model's likelihood (Dangel, Kunstner and Hennig 2020).
    """

    name = "sqrt_ggn_mc"
    cheaper = "diag_ggn_mc"


class DiagGGNExact(Quantity):
    """Diagonal of the generalised Gauss-Newton matrix, `sum_cn u_cn^2`, `[*p.shape]`.

    `u_cn` are rows as in `sqrt_ggn_exact` (Dangel, Kunstner and Hennig 2020).
    """

    name = "diag_ggn_exact"
    rows = ggn_exact
    cheaper = "diag_ggn_mc"

    def extract(self, cotangent, context):
        return cotangent.total_of_squares()

    def reference(self, brute):
        return np.square(brute.roots).sum((0, 1))


class DiagGGNMC(_Sampled, DiagGGNExact):
    """The same in expectation, `sum_mn u_mn^2`, from M samples of the likelihood."""

    name = "diag_ggn_mc"
    cheaper = ""


class DiagGGNExactBatch(Quantity):
    """Each sample's share of the diagonal, `sum_c u_cn^2`, `[N, *p.shape]`."""

    name = "diag_ggn_exact_batch"
    rows = ggn_exact
    per_sample = True
    cheaper = "diag_ggn_exact"

    def elements(self, context):
        return (context.samples or 1) * math.prod(context.shape)

    def extract(self, cotangent, context):
        return cotangent.per_sample_squares()

    def merge(self, first, second, shards):
        return np.concatenate([shards[0].weight * first, shards[1].weight * second])

    def reference(self, brute):
        return np.square(brute.roots).sum(0)


class DiagGGNMCBatch(_Sampled, DiagGGNExactBatch):
    """The same in expectation, `sum_m u_mn^2`, from M samples of the likelihood."""

    name = "diag_ggn_mc_batch"
    cheaper = "diag_ggn_mc"


class KFLR(Quantity):
    """Kronecker factors `G (x) A` of the GGN block, exact in the outputs (Botev et al. 2017).

    `A = mean_nt a a^T` of the inputs and `G = sum_cnt b b^T` of the rows at the output.
    `sharing` is "expand", as here, or "reduce" (Eschenhagen et al. 2023) for weights that a sample
    uses several times. "independent", for recurrent weights whose time steps are taken as
    independent and alike (Martens, Ba and Johnson 2018), is `E[T] A_0 (x) G_0` per sample of T
    steps, A_0 and G_0 being means over samples and steps. With the sum over samples in the output
    factor, as here, that is "expand" with the scale 1.
    """

    name = "kflr"
    rows: Rows = ggn_exact
    factored = True
    of_uses = True
    separates = True
    cheaper = "kfac or diag_ggn_mc"

    def __init__(self, sharing="expand"):
        if sharing not in ("expand", "reduce", "independent"):
            raise QuantityError(f'sharing is "expand", "reduce" or "independent", got {sharing!r}')
        self.sharing = sharing

    def extract(self, cotangent, context):
        return cotangent.kronecker(self.sharing)

    def elements(self, context):
        outputs, inputs = context.shape[:1], context.shape[1:]
        return math.prod(outputs) ** 2 + (math.prod(inputs) ** 2 if inputs else 0)

    def join(self, first, second):
        """Further rows add to the output factors; the inputs are the same."""
        pairs = enumerate(zip(first.factors, second.factors, strict=True))
        factors = tuple(a if i % 2 else a + b for i, (a, b) in pairs)
        return Kronecker(factors, first.shape, first._pull)

    def merge(self, first, second, shards):
        count = shards[0].samples + shards[1].samples
        return _combined(
            first,
            second,
            (shards[0].weight, shards[1].weight),
            (shards[0].samples / count, shards[1].samples / count),
        )


class KFAC(KFLR):
    """The same from M samples of the model's likelihood (Martens and Grosse 2015).

    `G = sum_mnt b b^T` of sampled rows; for convolutions, Grosse and Martens (2016).
    """

    name = "kfac"
    cheaper = "diag_ggn_mc"

    def __init__(self, mc_samples=1, sharing="expand"):
        super().__init__(sharing)
        self.rows = GGNMonteCarlo(samples=mc_samples)


class KFRA(KFLR):
    """The same from the recursively averaged Gauss-Newton matrix (Botev, Ritter and Barber 2017).

    The matrix of a tensor is `mean_n J_n^T B J_n` with B that of the next one (equation 20). The
    average over samples is taken at each tensor of a chain. Where the model branches and joins
    again, as in a residual block, it is taken before and after. It is a D x D matrix for the D
    elements of a sample's tensor, which exists whole whatever the memory budget; its rows go on in
    chunks. Where segments of the chain share a parameter, all rows go at once, and `QuantityError`
    is raised if they do not fit the budget.
    """

    name = "kfra"
    rows = ggn_averaged
    cheaper = "kflr"


def _combined(first, second, outputs, inputs):
    """Weighted sums of two blocks' factors: output factors come first, input factors second."""
    factors = []
    for i, (a, b) in enumerate(zip(first.factors, second.factors, strict=True)):
        x, y = inputs if i % 2 else outputs
        factors.append(x * a + y * b)
    return Kronecker(tuple(factors), first.shape, first._pull)
