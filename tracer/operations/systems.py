"""Linear systems of a known form: triangular, banded, of Toeplitz; and the LU decomposition.

For a x = b, g_b = a^-T g, and g_a = -g_b x^T at the entries that the form has (Giles 2008).
"""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, meeting, widened
from tracer.operations.arguments import raw
from tracer.operations.lapack import over_stack, scipy_linalg, solved
from tracer.operations.linalg import Matrix, regular, right_side, transposed, widened_stack
from tracer.record.axes import UNKNOWN
from tracer.record.operation import operation
from tracer.sweep.slopes import lifted


def _solver(function, arguments):
    """The forward function of a system: SciPy's `function` of what `arguments` makes of one."""

    @in_single
    def forward(*arrays, **options):
        dtype = np.result_type(*arrays)

        def of_one(*parts):
            *matrix, right = parts
            if not right.size:
                return right.astype(dtype)
            given, keywords = arguments(matrix, options)
            solve = scipy_linalg(function, right)
            return solve(*given, right, check_finite=False, **keywords).astype(dtype, copy=False)

        cores = {"solve_toeplitz": (1, 1, 2)}.get(function, (2, 2))
        return solved(of_one, cores, *arrays)

    return forward


# -- triangular -----------------------------------------------------------------------------------


@operation("solve_triangular")
class SolveTriangular(Matrix):
    """`solve(a, b)` for the lower or upper triangle of `a`, with ones on its diagonal if `unit`."""

    linear_in = (1,)
    takes_complex = True
    forward = _solver(
        "solve_triangular",
        lambda matrix, options: (
            matrix,
            {"lower": options["lower"], "unit_diagonal": options["unit"]},
        ),
    )

    def vjp(node, g):
        """g_b = a^-T g; g_a = -g_b x^T in the triangle."""
        g = widened(g)
        lower, unit = node.params["lower"], node.params["unit"]
        back = SolveTriangular(
            transposed(meeting(node.inputs[0], g.dtype)), g, lower=not lower, unit=unit
        )

        def by_matrix():
            whole = -(back @ transposed(node.output))
            return np.tril(whole, -int(unit)) if lower else np.triu(whole, int(unit))

        return by_matrix, lambda: back

    def jvp(node, tangents):
        """a^-1 (t_b - t_a x), of t_a the triangle."""
        lower, unit = node.params["lower"], node.params["unit"]
        t_a, t_b = map(widened_stack, tangents)
        if t_a is not None:
            t_a = np.tril(t_a, -int(unit)) if lower else np.triu(t_a, int(unit))
        right = right_side(node, t_a, t_b)
        return SolveTriangular(meeting(node.inputs[0], right.dtype), right, lower=lower, unit=unit)

    def examples(rng):
        a, b = regular(rng, 3, 3), rng.random((3, 2))
        return [((a, b), {"lower": True, "unit": False}), ((a, b), {"lower": False, "unit": True}),
                ((np.stack([a, a.T]), b), {"lower": False, "unit": False})]  # fmt: skip


@operation("lu")
class LU(Matrix):
    """L and U of matrices whose rows are in the order of their pivots, in one array."""

    saves = ("output",)
    takes_complex = True

    @in_single
    def forward(a):
        def of_one(x):
            return scipy_linalg("lu_factor", x)(x, check_finite=False)[0] if x.size else x.copy()

        return over_stack(of_one, (2,), a)

    def vjp(node, g):
        """L^-T (tril(L^T g_L, -1) + triu(g_U U^T)) U^-T (Murray 2016)."""
        lu, g = widened(node.output), widened(g)
        one = backend.of(raw(lu)).constant(np.eye, lu.shape[-1], None, 0, raw(lu).dtype)
        lower, upper = np.tril(lu, -1) + one, np.triu(lu)
        inner = np.tril(transposed(lower) @ np.tril(g, -1), -1)
        inner = inner + np.triu(np.triu(g) @ transposed(upper))
        left = SolveTriangular(transposed(lower), inner, lower=False, unit=True)
        right = SolveTriangular(upper, transposed(left), lower=False, unit=False)
        return (transposed(right),)

    def jvp(node, tangents):
        """L tril(P, -1) + triu(P) U with P = L^-1 t U^-1."""
        lu, t = widened(node.output), widened(tangents[0])
        one = backend.of(raw(lu)).constant(np.eye, lu.shape[-1], None, 0, raw(lu).dtype)
        lower, upper = np.tril(lu, -1) + one, np.triu(lu)
        inner = SolveTriangular(lower, t, lower=True, unit=True)
        inner = transposed(
            SolveTriangular(transposed(upper), transposed(inner), lower=True, unit=False)
        )
        return np.tril(lower @ np.tril(inner, -1), -1) + np.triu(np.triu(inner) @ upper)

    def examples(rng):
        return [((regular(rng, 3, 3),), {}), ((regular(rng, 2, 2, 2),), {})]


def pivots_of(a):
    """The pivots of matrices: row i was exchanged with row pivots[i]."""

    def of_one(x):
        if not x.size:
            return np.zeros(0, np.int32)
        return scipy_linalg("lu_factor", x)(x, check_finite=False)[1]

    return over_stack(of_one, (2,), widened(a))


def order_of(pivots):
    """The order that exchanges leave rows in, `[..., n]`."""
    pivots = backend.of(pivots).to_host(pivots)
    order = np.broadcast_to(np.arange(pivots.shape[-1]), pivots.shape).copy()
    for i in range(pivots.shape[-1]):
        other = pivots[..., i, None]
        moved = np.take_along_axis(order, other, -1)
        np.put_along_axis(order, other, order[..., i, None], -1)
        order[..., i, None] = moved
    return order


def permuted(a, order):
    """The rows of matrices in an order, or in one for each."""
    order = backend.of(raw(a)).from_host(order)
    if order.ndim == 1:
        return a[..., order, :]
    return np.take_along_axis(a, order[..., None], axis=-2)


# -- banded ---------------------------------------------------------------------------------------


def _shifted(size, offsets):
    """Indices j + offset `[len(offsets), size]`, kept within, and which are within."""
    index = np.arange(size) + np.asarray(offsets)[:, None]
    return np.clip(index, 0, max(size - 1, 0)), (index >= 0) & (index < size)


def along_diagonals(left, right, offsets):
    """Sums over k of `left[..., j + offset, k] * right[..., j, k]`, as `[..., offsets, j]`."""
    index, within = _shifted(left.shape[-2], offsets)
    library = backend.of(raw(left))
    index, within = library.from_host(index), library.from_host(within)
    sums = np.sum(left[..., index, :] * right[..., None, :, :], axis=-1)
    return np.where(within, sums, 0)


def transposed_bands(ab, below, above):
    """The bands of the transposed matrix, which has `above` of them below its diagonal."""
    offsets = range(-below, above + 1)
    index, within = _shifted(ab.shape[-1], offsets)
    rows = np.arange(below + above, -1, -1)[:, None]
    library = backend.of(raw(ab))
    rows, index, within = map(library.from_host, (rows, index, within))
    return np.where(within, ab[..., rows, index], 0)


def unpacked_bands(ab, below, above):
    """The matrices of bands `ab[above + i - j, j] = a[i, j]`, with zeros elsewhere."""
    offset = np.subtract.outer(np.arange(ab.shape[-1]), np.arange(ab.shape[-1]))  # i - j
    row = np.clip(above + offset, 0, above + below)
    library = backend.of(raw(ab))
    within = library.from_host((offset >= -above) & (offset <= below))
    row, column = library.from_host(row), library.from_host(np.arange(ab.shape[-1]))
    return np.where(within, ab[..., row, column], 0)


@operation("solve_banded")
class SolveBanded(Matrix):
    """`solve(a, b)` for a matrix of bands `ab[above + i - j, j] = a[i, j]`."""

    linear_in = (1,)
    takes_complex = True
    forward = _solver(
        "solve_banded",
        lambda matrix, options: (((options["below"], options["above"]), *matrix), {}),
    )

    def vjp(node, g):
        """g_b = a^-T g; g_ab[above + i - j, j] = -(g_b x^T)[i, j]."""
        g = widened(g)
        below, above = node.params["below"], node.params["above"]
        ab = transposed_bands(meeting(node.inputs[0], g.dtype), below, above)
        back = SolveBanded(ab, g, below=above, above=below)
        offsets = range(-above, below + 1)
        return lambda: -along_diagonals(back, node.output, offsets), lambda: back

    def jvp(node, tangents):
        """a^-1 (t_b - t_a x)."""
        t_ab, t_b = map(widened_stack, tangents)
        t_a = None if t_ab is None else unpacked_bands(t_ab, **node.params)
        right = right_side(node, t_a, t_b)
        return SolveBanded(meeting(node.inputs[0], right.dtype), right, **node.params)

    def examples(rng):
        ab, b = rng.random((4, 5)), rng.random((5, 2))
        ab[2] += 4
        return [((ab, b), {"below": 1, "above": 2}),
                ((np.stack([ab, 2 * ab])[:, 1:], b), {"below": 1, "above": 1})]  # fmt: skip


# -- Toeplitz -------------------------------------------------------------------------------------


def toeplitz_of(c, r):
    """Matrices of first columns `c` and first rows `r`, of which r[0] is not read; None is zero."""
    like = raw(r if c is None else c)
    step = np.subtract.outer(np.arange(like.shape[-1]), np.arange(like.shape[-1]))  # i - j
    below, step = map(backend.of(like).from_host, (step >= 0, abs(step)))
    return np.where(below, 0 if c is None else c[..., step], 0 if r is None else r[..., step])


@operation("solve_toeplitz")
class SolveToeplitz(Matrix):
    """`solve(a, b)` for the matrix of a first column `c` and a first row `r`; r[0] is not read."""

    linear_in = (2,)
    takes_complex = True
    forward = _solver("solve_toeplitz", lambda matrix, options: ((tuple(matrix),), {}))

    def vjp(node, g):
        """g_b = a^-T g; g_c and g_r are sums of -g_b x^T along diagonals."""
        g = widened(g)
        c, r = (meeting(x, g.dtype) for x in node.inputs[:2])
        n = c.shape[-1]
        first = backend.of(raw(g)).from_host(np.arange(n) == 0)
        back, x = SolveToeplitz(np.where(first, c, r), c, g), node.output

        def by_row():
            sums = -np.sum(along_diagonals(x, back, range(n)), axis=-1)
            return np.concatenate([np.zeros_like(raw(sums)[..., :1]), sums[..., 1:]], -1)

        return lambda: -np.sum(along_diagonals(back, x, range(n)), axis=-1), by_row, lambda: back

    def jvp(node, tangents):
        """a^-1 (t_b - t_a x)."""
        t_c, t_r, t_b = map(widened_stack, tangents)
        t_c, t_r = (None if t is None else lifted(t, len(node.shape) - 1) for t in (t_c, t_r))
        t_a = None if t_c is None and t_r is None else toeplitz_of(t_c, t_r)
        right = right_side(node, t_a, t_b)
        c, r = (meeting(x, right.dtype) for x in node.inputs[:2])
        return SolveToeplitz(c, r, right)

    def batch_axis(node, axes):
        return UNKNOWN

    def examples(rng):
        c, r, b = rng.random(3), rng.random(3), rng.random((3, 2))
        c[0] += 3
        return [((c, r, b), {}), ((np.stack([c, 2 * c]), r, b), {})]


OPERATIONS = [SolveTriangular, LU, SolveBanded, SolveToeplitz]
