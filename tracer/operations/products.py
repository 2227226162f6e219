"""Products that contract axes: matmul, einsum and what is written in terms of them.

A contraction of data with a parameter gives its cotangent as an `Outer`: the letters of the
parameter are those of the output (O), those of the data (I) or both (G, a group); the letters that
data and output share besides the samples' are the uses (T).
"""

import functools
import math
import string
from collections.abc import Callable

import numpy as np

from tracer.arrays import backend
from tracer.arrays.parallel import stacked_product
from tracer.cotangents import Dense, Outer
from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import integer, operand, several_axes
from tracer.operations.arithmetic import NORMS
from tracer.record.axes import POOLED, UNKNOWN
from tracer.record.dispatch import implements, in_numpy, refuse_out
from tracer.record.operation import Operation, operation
from tracer.record.tensor import Tensor
from tracer.sweep.slopes import lifted, summed


@operation("matmul")
class MatMul(Operation):
    """`x @ y` for arrays of two and more axes."""

    saves = ("inputs",)
    takes_complex = True
    linear_in = (0, 1)
    broadcasts = True

    def forward(x, y):
        return stacked_product(x, y)

    def vjp(node, g):
        """g_x[v,...,i,k] = sum_j g[v,...,i,j] y[...,k,j], and of y, sum_i x[...,i,k] g[v,...,i,j].

        One matrix for many has the sum of theirs, by one product.
        """
        x, y = node.inputs

        def left():
            if x.ndim == 2 and g.ndim > 3:
                return _flat(g, -2) @ np.swapaxes(_flat(y[None], -2), -1, -2)
            return _of_rows(g, np.swapaxes(y, -1, -2), g)

        def right():
            if y.ndim == 2 and x.ndim > 2:
                count = math.prod(x.shape[:-1])
                rows = np.reshape(x, (count, x.shape[-1]))
                return rows.T @ np.reshape(g, (len(g), count, g.shape[-1]))
            return _of_rows(np.swapaxes(x, -1, -2), g, g)

        return left, right

    def jvp(node, tangents):
        """t_x @ y + x @ t_y."""
        (x, y), (t_x, t_y), rank = node.inputs, tangents, len(node.shape)
        total = None
        if t_x is not None:
            if y.ndim == 2:  # one product for all rows
                rows = np.reshape(t_x, (math.prod(t_x.shape[:-1]), t_x.shape[-1])) @ y
                total = np.reshape(rows, (*t_x.shape[:-1], y.shape[-1]))
            else:
                total = lifted(t_x, rank) @ y
        if t_y is not None:
            if x.ndim > 2 and y.ndim == 2:
                rows = np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])) @ t_y
                part = np.reshape(rows, (len(t_y), *x.shape[:-1], rows.shape[-1]))
            else:
                part = x @ lifted(t_y, rank)
            total = part if total is None else summed(total, part)
        return total

    def batch_axis(node, axes):
        return _einsum_axis(_matmul_subscripts(node), node, axes)

    def parameter_cotangent(node, slot, g):
        """U_y[v,n,k,j] = sum_i x[n,...,i,k] g[v,n,...,i,j], an `Outer`, and of x alike.

        The sum is over all uses of the matrix by sample n.
        """
        return contraction_cotangent(_matmul_subscripts(node), node, slot, g)

    def flops(node):
        return 2 * math.prod(node.shape) * node.input_shape(0)[-1]

    def examples(rng):
        return [
            ((rng.random((3, 4)), rng.random((4, 2))), {}),
            ((rng.random((2, 3, 4)), rng.random((4, 2))), {}),
            ((rng.random((3, 4)), rng.random((2, 4, 2))), {}),
            ((rng.random((2, 1, 3, 4)), rng.random((5, 4, 2))), {}),
        ]


def _of_rows(a, b, g):
    """`a @ b`, one of which is the stack g; of a single row, a product of two alike."""
    if len(g) != 1 or type(g) is not np.ndarray:
        return a @ b
    return stacked_product(*(each[0] if each is g else each for each in (a, b)))[None]


def _flat(a, axis):
    """`[V, *batch, i, o]` as `[V, i, batch * o]`."""
    moved = np.moveaxis(a, axis, 1)
    return np.reshape(moved, (*moved.shape[:2], math.prod(moved.shape[2:])))


def _matmul_subscripts(node):
    rank = len(node.shape)
    batch = string.ascii_lowercase[: rank - 2]
    operands = []
    for slot, own in enumerate(("yk", "kz")):
        shape = node.input_shape(slot)
        letters = batch[len(batch) - (len(shape) - 2) :]
        operands.append(letters + own)
    return operands, batch + "yz"


@operation("matvec")
class MatVec(Operation):
    """`x @ y` for a vector `y`."""

    saves = ("inputs",)
    takes_complex = True
    linear_in = (0, 1)

    def forward(x, y):
        return np.matmul(x, y)

    def vjp(node, g):
        """g_x[v,...,k] = g[v,...] y[k]; g_y[v,k] = sum_... g[v,...] x[...,k]."""
        x, y = node.inputs

        def right():
            count = math.prod(x.shape[:-1])
            rows = np.reshape(x, (count, x.shape[-1]))
            return np.reshape(g, (len(g), count)) @ rows

        return lambda: g[..., None] * y, right

    def jvp(node, tangents):
        """t_x @ y + x @ t_y."""
        (x, y), (t_x, t_y) = node.inputs, tangents
        total = None if t_x is None else t_x @ y
        if t_y is not None:
            count = math.prod(x.shape[:-1])
            rows = t_y @ np.reshape(x, (count, x.shape[-1])).T
            part = np.reshape(rows, (len(t_y), *x.shape[:-1]))
            total = part if total is None else summed(total, part)
        return total

    def batch_axis(node, axes):
        return _einsum_axis(_matvec_subscripts(node), node, axes)

    def parameter_cotangent(node, slot, g):
        """U_y[v,n,k] = sum_... g[v,n,...] x[n,...,k], an `Outer`."""
        return contraction_cotangent(_matvec_subscripts(node), node, slot, g)

    def flops(node):
        return 2 * math.prod(node.input_shape(0))

    def examples(rng):
        return [
            ((rng.random(3), rng.random(3)), {}),
            ((rng.random((2, 3)), rng.random(3)), {}),
            ((rng.random((4, 2, 3)), rng.random(3)), {}),
        ]


def _matvec_subscripts(node):
    batch = string.ascii_lowercase[: len(node.shape)]
    return [batch + "z", "z"], batch


#: what else multiplies: each gives the product of two, or None if it does not know them
others: list[Callable[[object, object], object]] = []


@implements(np.matmul)
def matmul(x, y):
    try:
        x, y = operand(x), operand(y)
    except TracingError:
        for product in others:
            if (made := product(x, y)) is not None:
                return made
        raise
    x_rank, y_rank = x.ndim, y.ndim
    if y_rank == 1 and x_rank:
        if x is y and isinstance(x, Tensor) and x.node is not None and x.node.op in NORMS:
            return np.sum(np.square(x))  # smooth at zero
        return MatVec(x, y)
    if x_rank == 0 or y_rank == 0:
        raise ShapeError("matmul takes arrays with at least one axis: use * for scalars")
    if x_rank >= 2 and y_rank >= 2:
        return MatMul(x, y)
    return MatMul(x[None, :], y)[..., 0, :]


@operation("einsum")
class Einsum(Operation):
    """`np.einsum` with explicit subscripts: `inputs` and `output`, strings of letters."""

    saves = ("inputs",)
    takes_complex = True
    linear_in = tuple(range(26))

    def views(node):
        """Whether it is of one operand, and sums over nothing."""
        inputs, output = node.params["inputs"], node.params["output"]
        return len(inputs) == 1 and len(output) == len(set(inputs[0]))

    def forward(*operands, inputs, output):
        if len(set(map(type, operands))) > 1:
            backend.one_library(*operands)
        if len(operands) > 2 and len({operand.dtype for operand in operands}) > 1:
            # pairs are contracted one after the other: bytes among themselves would overflow
            dtype = np.result_type(*operands)
            operands = [operand.astype(dtype, copy=False) for operand in operands]
        return np.einsum(f"{','.join(inputs)}->{output}", *operands, optimize=len(operands) > 2)

    def vjp(node, g):
        """The einsum of g and the other operands to an operand's letters.

        For "ij,jk->ik", g_a[v,i,j] = sum_k g[v,i,k] b[j,k]. Along a letter that this operand alone
        has it is the same everywhere; of a repeated letter it lies on the diagonal.
        """
        inputs, output = node.params["inputs"], node.params["output"]
        return [
            lambda slot=slot: _einsum_vjp(node, slot, g, inputs, output)
            for slot in range(len(inputs))
        ]

    def jvp(node, tangents):
        """The sum of the einsums with the tangent of each operand in its place, a letter longer."""
        inputs, output = node.params["inputs"], node.params["output"]
        stack = next(c for c in string.ascii_letters if c not in "".join(inputs) + output)
        total = None
        for slot, tangent in enumerate(tangents):
            if tangent is not None:
                letters = tuple(stack + s if i == slot else s for i, s in enumerate(inputs))
                operands = [tangent if i == slot else x for i, x in enumerate(node.inputs)]
                part = Einsum(*operands, inputs=letters, output=stack + output)
                total = part if total is None else summed(total, part)
        return total

    def batch_axis(node, axes):
        return _einsum_axis((node.params["inputs"], node.params["output"]), node, axes)

    def parameter_cotangent(node, slot, g):
        """The same sum for each sample n by itself.

        For "nj,jk->nk", U_b[v,n,j,k] = a[n,j] g[v,n,k], an `Outer`.
        """
        subscripts = node.params["inputs"], node.params["output"]
        return contraction_cotangent(subscripts, node, slot, g)

    def flops(node):
        sizes = {}
        for slot, letters in enumerate(node.params["inputs"]):
            sizes.update(zip(letters, node.input_shape(slot), strict=True))
        return 2 * math.prod(sizes.values())

    def examples(rng):
        a, b, c = rng.random((2, 3)), rng.random((3, 4)), rng.random((3, 3))
        return [
            ((a, b), {"inputs": ("ij", "jk"), "output": "ki"}),
            ((a,), {"inputs": ("ij",), "output": "j"}),
            ((c,), {"inputs": ("ii",), "output": "i"}),
            ((c,), {"inputs": ("ii",), "output": ""}),
            ((a, b, c), {"inputs": ("ij", "jk", "jl"), "output": "ilk"}),
        ]


def _einsum_vjp(node, slot, g, inputs, output, keep=""):
    """The stack for one operand; `keep` names letters of the output to keep besides (samples)."""
    own = inputs[slot]
    stack = next(c for c in string.ascii_letters if c not in "".join(inputs) + output)
    others = [(inputs[i], node.inputs[i]) for i in range(len(inputs)) if i != slot]
    present = set(output).union(*(letters for letters, _ in others))
    wanted = "".join(dict.fromkeys(own))
    target = stack + keep + "".join(c for c in wanted if c in present)
    operands = [stack + output, *(letters for letters, _ in others)]
    out = np.einsum(f"{','.join(operands)}->{target}", g, *(a for _, a in others))
    shape = node.input_shape(slot)
    sizes = dict(zip(own, shape, strict=True))
    lead = out.shape[: 1 + len(keep)]
    if len(target) - len(lead) < len(wanted) or len(wanted) < len(own):
        # an axis of one element meets longer ones, or a longer one meets ones
        there = dict(zip(target[len(lead) :], out.shape[len(lead) :], strict=True))
        wide = [i for i, c in enumerate(target) if i >= len(lead) and sizes[c] == 1 != there[c]]
        if wide:
            out = np.sum(out, axis=tuple(wide), keepdims=True)
        # letters that only this operand has were summed: every element of them has a share
        expanded = [min(sizes[c], there[c]) if c in there else 1 for c in wanted]
        out = np.broadcast_to(
            np.reshape(out, (*lead, *expanded)), (*lead, *(sizes[c] for c in wanted))
        )
    if len(wanted) < len(own):
        # a repeated letter took a diagonal: its gradient lies on that diagonal
        every = "".join(own)
        eyes = np.ones(shape, dtype=bool)
        for i, c in enumerate(every):
            j = every.index(c)
            if j < i:
                grid = np.ogrid[tuple(slice(n) for n in shape)]
                eyes = eyes & (grid[i] == grid[j])
        pick = [sizes[c] if every.index(c) == i else 1 for i, c in enumerate(every)]
        eyes = backend.of(g).from_host(eyes)
        out = np.where(eyes, np.reshape(out, (*lead, *pick)), 0)
    return out


def _einsum_axis(subscripts, node, axes):
    inputs, output = subscripts
    found = set()
    for letters, axis in zip(inputs, axes, strict=True):
        if axis is UNKNOWN:
            return UNKNOWN
        if isinstance(axis, int):
            found.add(letters[axis])
    if len(found) > 1:
        return UNKNOWN
    (letter,) = found
    return output.index(letter) if letter in output else POOLED


def contraction_cotangent(subscripts, node, slot, g):
    """What reaches a parameter through a contraction with data, as an `Outer` where it is one.

    U[v,n,g,o,i] = sum_t right[v,n,t,g,o] left[n,t,g,i]: cotangents of the output, and data. The
    module says which letters are those of n, t, g, o and i.
    """
    inputs, output = subscripts
    own, sample = inputs[slot], output[node.batch_axis]
    others = [i for i in range(len(inputs)) if i != slot]
    if len(others) == 1 and isinstance(node.batch_axes[others[0]], int):
        data = inputs[others[0]]
        outs = [c for c in own if c in output and c not in data]
        ins = [c for c in own if c in data and c not in output]
        groups = [c for c in own if c in data and c in output]
        uses = [c for c in output if c in data and c not in own and c != sample]
        plain = len({*data}) == len(data) and len({*own}) == len(own) and sample not in own
        complete = {*outs, *ins, *groups} == {*own} and {*data} == {sample, *uses, *ins, *groups}
        sizes = dict(zip(own, node.input_shape(slot), strict=True))
        full = all(
            size == n or size == sizes.get(c, size)
            for c, size, n in zip(output, node.shape, node.shape, strict=True)
        )
        broadcast = any(
            node.input_shape(i)[k] == 1 and size > 1
            for i in range(len(inputs))
            for k, c in enumerate(inputs[i])
            if c in output
            for size in [node.shape[output.index(c)]]
        )
        if plain and complete and full and not broadcast:
            x = node.inputs[others[0]]
            left = _arranged(x, data, [[sample], uses, groups, ins])
            right = _arranged(g, "*" + output, [["*"], [sample], uses, groups, outs])
            natural = [*groups, *outs, *ins]
            outer = Outer(left, right, tuple(sizes[c] for c in natural))
            return outer.permuted([natural.index(c) for c in own])
    if sample in own or any(
        c in output and n == 1 for c, n in zip(own, node.input_shape(slot), strict=True)
    ):
        return None
    return Dense(_einsum_vjp(node, slot, g, tuple(inputs), output, keep=sample))


def _arranged(array, letters, groups):
    """The array with its axes grouped: each group of letters becomes one axis."""
    order = [letters.index(c) for group in groups for c in group]
    moved = np.transpose(array, order)
    sizes = [math.prod(array.shape[letters.index(c)] for c in group) for group in groups]
    return np.reshape(moved, sizes)


@implements(np.einsum)
def einsum(*operands, out=None, optimize=False, **kwargs):
    refuse_out("einsum", out)
    if operands and not isinstance(operands[0], str):
        operands = _as_text(operands)
    if kwargs:
        raise ShapeError(
            "np.einsum on tensors takes subscripts as a string and arrays, without further options"
        )
    arrays = [operand(a) for a in operands[1:]]
    inputs, output = _explicit(operands[0], tuple(a.ndim for a in arrays))
    return Einsum(*arrays, inputs=inputs, output=output)


def _as_text(operands):
    """`einsum(A, [0, 1], B, [1, 2], [0])` with the lists as a text in front."""
    count = len(operands) // 2
    arrays, axes = operands[: 2 * count : 2], [*operands[1 : 2 * count : 2], *operands[2 * count :]]
    named = [i for each in axes for i in each if i is not ...]
    known = sorted({integer(i, "an axis of np.einsum") for i in named})
    if len(known) > len(string.ascii_letters) or any(i < 0 for i in known):
        raise ShapeError(f"np.einsum names axes by up to 52 integers from 0 on, got {known}")
    letters = dict(zip(known, string.ascii_letters, strict=False)) | {...: "..."}
    texts = ["".join(letters[i if i is ... else int(i)] for i in each) for each in axes]
    arrow = f"->{texts[-1]}" if len(operands) % 2 else ""
    return (",".join(texts[:count]) + arrow, *arrays)


@functools.cache
def _explicit(subscripts, ranks):
    """Subscripts with the ellipsis written out and the output given."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, output = subscripts.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ranks):
        raise ShapeError(f"einsum {subscripts!r} names {len(inputs)} operands, got {len(ranks)}")
    free = [c for c in string.ascii_letters if c not in subscripts]
    longest = max(
        (r - len(s) + 3 for s, r in zip(inputs, ranks, strict=True) if "..." in s), default=0
    )
    filler = "".join(free[:longest])
    inputs = [
        s.replace("...", filler[longest - (r - len(s) + 3) :] if "..." in s else "")
        for s, r in zip(inputs, ranks, strict=True)
    ]
    for letters, rank in zip(inputs, ranks, strict=True):
        if len(letters) != rank:
            raise ShapeError(f"einsum {subscripts!r}: {letters!r} stands for {rank} axes")
    if arrow:
        output = output.replace("...", filler)
    else:
        every = "".join(inputs)
        output = filler + "".join(
            c for c in sorted(set(every)) if every.count(c) == 1 and c not in filler
        )
    return tuple(inputs), output


@implements(np.tensordot)
def tensordot(a, b, axes=2):
    a, b = operand(a), operand(b)
    a_rank, b_rank = a.ndim, b.ndim
    if isinstance(axes, list | tuple) or getattr(axes, "ndim", 0):
        a_axes, b_axes = axes
    else:
        count = integer(axes, "`axes` of np.tensordot")
        a_axes, b_axes = tuple(range(a_rank - count, a_rank)), tuple(range(count))
    a_axes, b_axes = several_axes(a_axes, a_rank), several_axes(b_axes, b_rank)
    sizes = [[x.shape[i] for i in some] for x, some in ((a, a_axes), (b, b_axes))]
    if sizes[0] != sizes[1]:
        raise ShapeError(f"np.tensordot sums over axes of sizes {sizes[0]} and {sizes[1]}")
    letters = iter(string.ascii_letters)
    a_letters = [next(letters) for _ in range(a_rank)]
    b_letters = [next(letters) for _ in range(b_rank)]
    for i, j in zip(a_axes, b_axes, strict=True):
        b_letters[j] = a_letters[i]
    shared = {a_letters[i] for i in a_axes}
    output = "".join(c for c in [*a_letters, *b_letters] if c not in shared)
    return Einsum(a, b, inputs=("".join(a_letters), "".join(b_letters)), output=output)


@implements(np.dot)
def dot(a, b, out=None):
    refuse_out("dot", out)
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    if np.ndim(b) <= 2:
        return np.matmul(a, b)
    return np.tensordot(a, b, ((np.ndim(a) - 1,), (np.ndim(b) - 2,)))


@implements(np.vdot)
def vdot(a, b, /):
    return np.matmul(np.ravel(conjugate(operand(a))), np.ravel(b))


@implements(np.inner)
def inner(a, b, /):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return np.tensordot(a, b, ((np.ndim(a) - 1,), (np.ndim(b) - 1,)))


@implements(np.outer)
def outer(a, b, out=None):
    refuse_out("outer", out)
    return np.ravel(a)[:, None] * np.ravel(b)[None, :]


@implements(np.kron)
def kron(a, b):
    rank = max(np.ndim(a), np.ndim(b))
    a = np.reshape(a, (1,) * (rank - np.ndim(a)) + np.shape(a))
    b = np.reshape(b, (1,) * (rank - np.ndim(b)) + np.shape(b))
    spread_a = np.reshape(a, [s for n in a.shape for s in (n, 1)])
    spread_b = np.reshape(b, [s for n in b.shape for s in (1, n)])
    return np.reshape(spread_a * spread_b, [m * n for m, n in zip(a.shape, b.shape, strict=True)])


@implements(np.cross)
def cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    a, b = operand(a), operand(b)
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, 0), np.moveaxis(b, axisb, 0)
    if len(a) != 3 or len(b) != 3:
        raise ShapeError("np.cross on tensors takes vectors of three elements")
    parts = [a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.moveaxis(np.stack(parts), 0, axisc)


def conjugate(a):
    """The conjugate of complex numbers, and real ones as they are."""
    return np.conj(a) if a.dtype.kind == "c" else a


def _of_vectors(name, subscripts, conjugates):
    """A product of vectors; `conjugates` says whether NumPy's takes the conjugate of the first."""
    left, right = subscripts.partition("->")[0].replace("...", "").split(",")
    i = next(c for c in left if c in right)

    def handler(a, b):
        a, b = operand(a), operand(b)
        if a.ndim < len(left) or b.ndim < len(right):
            raise ShapeError(f"np.{name} takes arrays with more axes, got {a.ndim} and {b.ndim}")
        m, n = a.shape[left.index(i) - len(left)], b.shape[right.index(i) - len(right)]
        if m != n:
            raise ShapeError(f"np.{name} sums over axes of {m} and {n} elements")
        return np.einsum(subscripts, conjugate(a) if conjugates else a, b)

    return handler


for _function, _subscripts in {
    "vecdot": "...i,...i->...",
    "matvec": "...ij,...j->...i",
    "vecmat": "...i,...ij->...j",
}.items():
    _handler = _of_vectors(_function, _subscripts, conjugates=_function.startswith("vec"))
    implements(in_numpy(_function))(_handler)

Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda self, other: matmul(other, self)


OPERATIONS = [MatMul, MatVec, Einsum]
