"""Quantities of the generalised Gauss-Newton matrix (Schraudolph 2002): exact and sampled."""

import numpy as np

from tracer.kronecker import Kronecker
from tracer.quantity import Quantity
from tracer.rows import GGNMonteCarlo, ggn_averaged, ggn_exact, ggn_outputs


class _Sampled(Quantity):
    """Configured by the number of samples drawn from the model's likelihood."""

    def __init__(self, mc_samples=1):
        self.rows = GGNMonteCarlo(samples=mc_samples)


class SqrtGGNExact(Quantity):
    """Rows `u_cn` with `GGN = sum_cn u_cn u_cn^T`, `[C, N, *p.shape]`.

    The state is the list of the rows of each chunk.
    """

    name = "sqrt_ggn_exact"
    rows = ggn_outputs

    def extract(self, cotangent, context):
        return [cotangent.per_sample()]

    def join(self, first, second):
        return first + second

    def merge(self, first, second, shards):
        roots = [shard.weight**0.5 for shard in shards]
        rows = [self.finish(state, None) for state in (first, second)]
        return [np.concatenate([roots[0] * rows[0], roots[1] * rows[1]], axis=1)]

    def finish(self, state, context):
        return state[0] if len(state) == 1 else np.concatenate(state)


class SqrtGGNMC(_Sampled, SqrtGGNExact):
    """The same in expectation, from M samples of the likelihood, `[M, N, *p.shape]`."""

    name = "sqrt_ggn_mc"


class DiagGGNExact(Quantity):
    """Diagonal of the generalised Gauss-Newton matrix, `[*p.shape]`."""

    name = "diag_ggn_exact"
    rows = ggn_exact

    def extract(self, cotangent, context):
        return cotangent.total_of_squares()


class DiagGGNMC(_Sampled, DiagGGNExact):
    """The same in expectation, from M samples of the likelihood."""

    name = "diag_ggn_mc"


class DiagGGNExactBatch(Quantity):
    """Each sample's share of the diagonal, `[N, *p.shape]`."""

    name = "diag_ggn_exact_batch"
    rows = ggn_exact
    per_sample = True

    def extract(self, cotangent, context):
        return cotangent.per_sample_squares()

    def merge(self, first, second, shards):
        return np.concatenate([shards[0].weight * first, shards[1].weight * second])


class DiagGGNMCBatch(_Sampled, DiagGGNExactBatch):
    """The same in expectation, from M samples of the likelihood."""

    name = "diag_ggn_mc_batch"


class KFLR(Quantity):
    """Kronecker factors of the GGN block, exact in the outputs (Botev et al. 2017).

    `sharing` is "expand" or "reduce" (Eschenhagen et al. 2023) for weights that a sample uses
    several times. "independent", for recurrent weights whose time steps are taken as independent
    and alike (Martens, Ba and Johnson 2018), is `E[T] A_0 (x) G_0` per sample of T steps, A_0 and
    G_0 being means over samples and steps. With the sum over samples in the output factor, as
    here, that is "expand" with the scale 1.
    """

    name = "kflr"
    rows = ggn_exact

    def __init__(self, sharing="expand"):
        self.sharing = sharing

    def extract(self, cotangent, context):
        return cotangent.kronecker(self.sharing)

    def join(self, first, second):
        """Further rows add to the output factors; the inputs are the same."""
        return _combined(first, second, (1, 1), (1, 0))

    def merge(self, first, second, shards):
        count = shards[0].samples + shards[1].samples
        return _combined(
            first,
            second,
            (shards[0].weight, shards[1].weight),
            (shards[0].samples / count, shards[1].samples / count),
        )


class KFAC(KFLR):
    """The same from M samples of the model's likelihood (Martens and Grosse 2015)."""

    name = "kfac"

    def __init__(self, mc_samples=1, sharing="expand"):
        super().__init__(sharing)
        self.rows = GGNMonteCarlo(samples=mc_samples)


class KFRA(KFLR):
    """The same from the recursively averaged Gauss-Newton matrix (Botev, Ritter and Barber 2017).

    The average over samples is taken at each tensor of a chain. Where the model branches and joins
    again, as in a residual block, it is taken before and after. It is a D x D matrix for the D
    elements of a sample's tensor, which exists whole whatever the memory budget; its rows go on in
    chunks. Where links of the chain share a parameter, all rows go at once, and `QuantityError` is
    raised if they do not fit the budget.
    """

    name = "kfra"
    rows = ggn_averaged


def _combined(first, second, outputs, inputs):
    """Weighted sums of two blocks' factors: output factors come first, input factors second."""
    factors = []
    for i, (a, b) in enumerate(zip(first.factors, second.factors, strict=True)):
        x, y = inputs if i % 2 else outputs
        factors.append(x * a + y * b)
    return Kronecker(tuple(factors), first.shape, first._pull)
