"""Products with curvature matrices: block by block as functions, whole as SciPy operators.

They keep the record of the objective alive for as long as they live.
"""

import html
import math

import numpy as np

from tracer.errors import QuantityError, ShapeError
from tracer.extend import Quantity, backend, hessian_eigenvectors, widened, working

__all__ = [
    "GGN",
    "GGNMP",
    "HMP",
    "PCHMP",
    "FisherEmpirical",
    "FisherMC",
    "Hessian",
]


TIMES = "\N{MULTIPLICATION SIGN}"


class BlockProduct:
    """`product(v)` or `product @ v`: a parameter's block times `[V, *p.shape]` or `[*p.shape]`.

    Products of equal shape add up, and are multiplied by numbers, as their blocks are.
    """

    def __init__(self, shape, product):
        self.shape = shape
        self._product = product

    def __call__(self, v):
        v = backend.as_array(v)
        if v.shape == self.shape:
            return self(v[None])[0]
        if v.ndim == 0 or v.shape[1:] != self.shape:
            raise ShapeError(
                f"a stack of vectors of shape [{', '.join(['V', *map(str, self.shape)])}] is "
                f"expected, got {list(v.shape)}"
            )
        if not len(v):
            return self._product(np.zeros_like(v, shape=(1, *self.shape)))[:0]
        return self._product(v)

    __matmul__ = __call__

    def __add__(self, other):
        return BlockProduct(self.shape, lambda stack: self(stack) + other(stack))

    def __rmul__(self, factor):
        return BlockProduct(self.shape, lambda stack: factor * self(stack))

    def __repr__(self):
        return f"<product with a block of shape {list(self.shape)}>"

    def __reduce__(self):
        raise _not_pickled("product")


def _not_pickled(kind):
    return QuantityError(
        f"this {kind} reads the record of its objective, and cannot be pickled or copied: pickle "
        f"what it gives, as in {kind} @ vectors"
    )


class GGNMP(Quantity):
    """Products with the blocks of the generalised Gauss-Newton matrix (Schraudolph 2002).

    `v -> sum_n J_n^T H_n J_n v`.
    """

    name = "ggnmp"
    rows = None

    def of_objective(self, objective):
        return blocks(objective, objective.gauss_newton("exact", self.name))

    def reference(self, brute):
        return brute.ggn


class HMP(Quantity):
    """Products with the blocks of the Hessian, `v -> (d^2 L / dp^2) v` (Pearlmutter 1994)."""

    name = "hmp"
    rows = None

    def of_objective(self, objective):
        return blocks(objective, objective.products.hessian)

    def reference(self, brute):
        return brute.hessian


def blocks(objective, product):
    return {
        name: BlockProduct(leaf.shape, lambda stack, leaf=leaf: product({leaf: stack})[leaf])
        for name, leaf in objective.parameters.items()
    }


class PCHMP(Quantity):
    """Products with the blocks of the positive-curvature Hessian (Chen et al. 2019).

    The Hessian is a sum of rows with signs, `v -> sum_rn sign_rn u_rn u_rn^T v`. The curvature that
    operations add to that of the losses is made positive, row by row: `modify="abs"` takes negative
    rows as positive ones, `modify="clip"` leaves them out. `[V, *p]` (or `[*p]`) to the same. The
    products keep the rows: a memory budget is for making and applying them.
    """

    name = "pchmp"
    rows = hessian_eigenvectors
    cheaper = "hmp or ggnmp"

    def __init__(self, modify="abs"):
        if modify not in ("abs", "clip"):
            raise QuantityError(f'modify is "abs" or "clip", got {modify!r}')
        self.modify = modify

    def elements(self, context):
        return 0  # what it keeps are rows, which the sweep plans for

    def extract(self, cotangent, context):
        signs = cotangent.signs
        if signs is None:
            return [(cotangent, 1)]
        return [(cotangent, abs(signs) if self.modify == "abs" else np.maximum(signs, 0))]

    def of_block(self, objective, leaf):
        raise QuantityError(
            "the positive-curvature Hessian is defined for parameters that the model is linear in, "
            "use by use: use ggnmp or hmp"
        )

    def finish(self, state, context):
        def product(stack):
            out = np.zeros_like(stack, dtype=np.result_type(stack.dtype, context.dtype))
            for direction, row in zip(stack, out, strict=True):
                direction = widened(direction)
                for rows, weights in state:
                    row += rows.scaled(rows.project(direction) * weights).total().sum(0)
            return out

        return BlockProduct(context.shape, product)

    def merge(self, first, second, shards):
        return [
            (rows, shard.weight * weights)
            for state, shard in zip((first, second), shards, strict=True)
            for rows, weights in state
        ]


class Matrix(Quantity):
    """A matrix over all parameters as a `LinearOperator`, SciPy's or, on a GPU, CuPy's.

    Parameters follow each other in the order of the model, each in row-major order; the operator's
    `parameters` maps names to slices, and its `backend` is that of its vectors. `matmat` takes many
    columns through one sweep. It is of the parameters' dtype, for half precision of float32, and
    multiplies complex vectors as what they are.
    """

    rows = None

    def product(self, objective):
        """A function from stacks of vectors by leaf to stacks by leaf."""
        raise QuantityError(f"quantity {self.name!r} defines no product")

    def of_objective(self, objective):
        return operator(objective, self.product(objective), self.name)


class GGN(Matrix):
    """The generalised Gauss-Newton matrix, `sum_n J_n^T H_n J_n` (Schraudolph 2002)."""

    name = "ggn"

    def product(self, objective):
        return objective.gauss_newton("exact", self.name)

    def reference(self, brute):
        return brute.ggn


class Hessian(Matrix):
    """The Hessian, `d^2 L / dp dp^T`, by its products with vectors (Pearlmutter 1994)."""

    name = "hessian"

    def product(self, objective):
        return objective.products.hessian

    def reference(self, brute):
        return brute.hessian


class FisherMC(Matrix):
    """The Fisher matrix from targets sampled once from the model's likelihood.

    `sum_mn u_mn u_mn^T` of the rows of `sqrt_ggn_mc`: in expectation `w sum_n F_n`, for the Fisher
    matrix `F_n` of sample n (Martens 2020).
    """

    name = "fisher_mc"

    def __init__(self, mc_samples=1):
        self.mc_samples = mc_samples

    def product(self, objective):
        return objective.gauss_newton("sampled", self.name, self.mc_samples)


class FisherEmpirical(Matrix):
    """`w sum_n (dl_n/dp)(dl_n/dp)^T`, with the gradients of the losses at the given targets.

    It is not the Fisher matrix (Kunstner, Balles and Hennig 2019).
    """

    name = "fisher_empirical"

    def product(self, objective):
        return objective.gauss_newton("empirical", self.name)

    def reference(self, brute):
        gradients = brute.gradients.reshape(len(brute.gradients), -1)
        return gradients.T @ gradients / brute.weight


def _check_vectors(x, total):
    """Raise for what is no vector of all parameters, nor columns of them."""
    if isinstance(x, np.ma.MaskedArray):
        backend.refuse_subclass(x)
    shape = np.shape(x) if isinstance(x, list | tuple) else getattr(x, "shape", ())
    if isinstance(x, list | tuple | np.ndarray) and shape and total not in shape[-2:]:
        raise ShapeError(
            f"an operator over all parameters takes vectors of their {total} elements, [{total}] "
            f"or columns [{total}, K], got {list(shape)}"
        )


def operator(objective, product, name):
    """A symmetric operator of SciPy's or CuPy's from a product with stacks of vectors by leaf."""
    leaves = list(objective.parameters.values())
    sizes = [int(np.prod(leaf.shape)) for leaf in leaves]
    stops = np.cumsum(sizes)
    spans = [slice(int(stop - size), int(stop)) for stop, size in zip(stops, sizes, strict=True)]
    dtype = working(np.result_type(*(leaf.dtype for leaf in leaves)))
    total = sum(sizes)

    library = backend.of(objective.like(leaves[0])) if leaves else backend.NUMPY

    class Operator(library.linear_operator):  # type: ignore[name-defined]  # of the library
        backend = library  # where its vectors are
        parameters = dict(zip(objective.parameters, spans, strict=True))

        def dot(self, x):
            _check_vectors(x, total)
            return super().dot(x)

        def matvec(self, x):
            _check_vectors(x, total)
            return super().matvec(x)

        def matmat(self, x):
            _check_vectors(x, total)
            return super().matmat(x)

        def rmatvec(self, x):
            return self.matvec(x)  # real and symmetric

        def rmatmat(self, x):
            return self.matmat(x)

        def __reduce__(self):
            raise _not_pickled("operator")

        def _repr_html_(self):
            """A table for notebooks: which rows and columns are of which parameter."""
            rows = "".join(
                f"<tr><td>{html.escape(parameter)}</td>"
                f"<td>{TIMES.join(map(str, leaf.shape)) or 'scalar'}</td>"
                f"<td>{span.start:,} to {span.stop - 1:,}</td></tr>"
                for (parameter, leaf), span in zip(objective.parameters.items(), spans, strict=True)
            )
            what = f"{html.escape(name)}: operator {total:,}{TIMES}{total:,}, {dtype}"
            head = "<tr><th>parameter</th><th>shape</th><th>rows and columns</th></tr>"
            return f"<table><caption>{what}</caption>{head}{rows}</table>"

        def _matmat(self, columns):
            if columns.ndim > 2:  # a stack of matrices, as SciPy takes from 1.18 on
                return np.swapaxes(self._matvec(np.swapaxes(columns, -1, -2)), -1, -2)
            if columns.dtype.kind == "c":
                return self._matmat(columns.real) + 1j * self._matmat(columns.imag)
            out = np.empty_like(columns, dtype=dtype)
            # vectors and products of a chunk take an eighth
            limit = objective.allowed.limit(16 * columns.size * dtype.itemsize)
            step = max(1, total, columns.shape[1])
            if limit is not None:
                step = max(1, limit // max(1, 16 * total * dtype.itemsize))
            for start in range(0, columns.shape[1], step):
                some = slice(start, start + step)
                rows = columns[:, some].T.astype(dtype, order="C")
                vectors = {}
                for leaf, span in zip(leaves, spans, strict=True):
                    stack = rows[:, span].reshape(-1, *leaf.shape)  # a view
                    vectors[leaf] = stack.astype(working(leaf.dtype), copy=False)
                moved = product(vectors)
                for leaf, span in zip(leaves, spans, strict=True):
                    out[span, some] = moved[leaf].reshape(len(rows), -1).T
            return out

        def _matvec(self, vectors):
            """`[..., N]`, where SciPy before 1.18 knows `[N]` and a column `[N, 1]`."""
            if vectors.shape == (total, 1):
                return self._matmat(vectors)
            columns = vectors.reshape(math.prod(vectors.shape[:-1]), total).T
            return self._matmat(columns).T.reshape(vectors.shape)

        def _adjoint(self):
            return self

        _transpose = _adjoint

    return Operator(dtype=dtype, shape=(total, total))
