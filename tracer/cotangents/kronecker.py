"""Kronecker-factored curvature blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NoReturn, TypeAlias

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single, widened
from tracer.arrays.types import Array, Convertible, Shape, Stack
from tracer.errors import QuantityError
from tracer.record import hints
from tracer.record.describe import describe

#: of a block, one for a vector, else pairs (of outputs, of inputs), for each group
Factors: TypeAlias = tuple[Array, ...]


class NoFactors(QuantityError):
    """A block without Kronecker factors; `why`, and `reason` from it, have no subject."""

    def __init__(self, shape: Shape, why: str):
        self.reason = f"has no Kronecker factors, since it {why}"
        super().__init__(
            f"a parameter of shape {list(shape)} {why}, so its curvature block has no Kronecker "
            f"factors: use diag_ggn_exact or sqrt_ggn_exact"
        )


class Kronecker:
    """A block as a Kronecker product of symmetric factors.

    `factors` is `(output_factor [O, O], input_factor [I, I])` for a weight `[O, I...]`, the block
    being output (x) input in row-major order; `(factor,)` for a vector; one pair after the other
    for a map in groups, whose block is block-diagonal. `pull` takes stacks in that natural layout
    to the layout of the parameter, `shape`, where they differ; what it leaves zero, as the rows
    that a slice leaves out, has a block of `rest` times the identity. Sweeps give the factors of a
    parameter of half precision in float32; linear algebra of half precision is done in that.
    """

    def __init__(
        self,
        factors: Factors,
        shape: Shape,
        pull: Callable[[Stack], Stack] | None = None,
        rest: float = 0.0,
    ):
        self.factors = factors
        self.shape = tuple(shape)
        self._pull = pull
        self._rest = rest

    def pull(self, stack: Stack) -> Stack:
        """`[K, natural]` to `[K, *shape]`."""
        if self._pull is not None:
            return self._pull(stack)
        return stack.reshape(len(stack), *self.shape)

    @property
    def groups(self) -> int:
        return max(1, len(self.factors) // 2)

    @property
    def pairs(self) -> list[tuple[Array, Array | None]]:
        """(output factor, input factor or None) per group."""
        if len(self.factors) == 1:
            return [(self.factors[0], None)]
        return list(zip(self.factors[::2], self.factors[1::2], strict=True))

    @property
    def _size(self) -> int:
        """Elements in the natural layout: those of the parameter that factors are of."""
        return sum(len(b) * (1 if a is None else len(a)) for b, a in self.pairs)

    @property
    def _whole(self) -> bool:
        """Whether the factors are of all elements of the parameter."""
        return self._size == math.prod(self.shape)

    def dense(self) -> Array:
        """The block `[P, P]` over the parameter in its own row-major order."""
        blocks = [b if a is None else np.kron(b, a) for b, a in self.pairs]
        size = sum(len(block) for block in blocks)
        out = np.zeros_like(blocks[0], shape=(size, size))
        start = 0
        for block in blocks:
            stop = start + len(block)
            out[start:stop, start:stop] = block
            start = stop
        if self.is_natural:
            return out
        order = self.order()
        if self._whole:
            return out[order][:, order]
        there = order >= 0
        every = np.where(there[:, None] & there, out[order][:, order], 0)
        return every + self._rest * np.diag(~there).astype(every.dtype)

    @property
    def is_natural(self) -> bool:
        """Whether the natural layout is that of the parameter in row-major order."""
        return self._pull is None

    def order(self) -> Array:
        """Positions in the natural layout, in the parameter's row-major order; -1 for the rest."""
        natural = backend.namespace(self.factors[0]).arange(self._size) + 1
        return self.pull(natural[None]).reshape(-1) - 1

    def _to_natural(self, vector: Array) -> Array:
        flat = vector.reshape(-1)
        if self.is_natural:
            return flat
        order = self.order()
        if not self._whole:
            there = order >= 0
            flat, order = flat[there], order[there]
        out = np.empty_like(flat)
        out[order] = flat
        return out

    def _apply(self, vector: Array, pairs: list[tuple[Array, Array | None]]) -> Array:
        if vector.shape != self.shape and vector.size != math.prod(self.shape):
            raise QuantityError(
                f"a vector of shape {list(self.shape)} is expected, got {list(vector.shape)}"
            )
        natural = self._to_natural(vector)
        out, start = [], 0
        for b, a in pairs:
            size = len(b) * (1 if a is None else len(a))
            part = natural[start : start + size]
            out.append(b @ part if a is None else (b @ part.reshape(len(b), -1) @ a).reshape(-1))
            start += size
        moved = self.pull(np.concatenate(out)[None])[0].reshape(vector.shape)
        if self._whole or not self._rest:
            return moved
        there = (self.order() >= 0).reshape(vector.shape)
        return np.where(there, moved, self._rest * vector)

    def matvec(self, vector: Convertible) -> Array:
        """The block times a vector shaped like the parameter (or flat): `block @ vector`."""
        return self._apply(backend.as_array(vector), self.pairs)

    __matmul__ = __rmatmul__ = matvec  # a block is symmetric

    __array_ufunc__ = None  # so that `array @ block` comes here

    def __array__(self, *args: Any, **options: Any) -> NoReturn:
        raise QuantityError(
            "a Kronecker block does not become an array by itself, which may be large: "
            "block.dense() is the matrix"
        )

    def __mul__(self, factor: float) -> Kronecker:
        """The block times a number, which its output factors take."""
        if not isinstance(factor, Real):
            raise QuantityError(
                f"a Kronecker block is multiplied by numbers, got {describe(factor)}: "
                f"block @ vector is its product with a vector"
            )
        number = float(factor)  # NumPy's would decide the dtype
        pairs = [(b * number, a) for b, a in self.pairs]
        return self._with([f for pair in pairs for f in pair if f is not None], self._rest * number)

    __rmul__ = __mul__

    def __truediv__(self, number: float) -> Kronecker:
        return self * (1 / number) if isinstance(number, Real) else self * number

    def __neg__(self) -> Kronecker:
        return self * -1

    def _no_sum(self, other: object) -> NoReturn:
        raise QuantityError(
            "sums of Kronecker blocks with others, or with numbers, are no Kronecker products: "
            "block.running_average(new, decay) averages factor by factor, as K-FAC does, "
            "inverse(damping) adds to the diagonal, and block.dense() is a matrix to be added to"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = _no_sum

    def running_average(self, new: Kronecker, decay: float = 0.95) -> Kronecker:
        """`decay * factor + (1 - decay) * new factor`, each factor by itself.

        These are K-FAC's running averages (Martens and Grosse 2015, section 5), no average of the
        blocks, whose sum is no Kronecker product. Raises `QuantityError` if `new` is not a block of
        the same structure, that of the same parameter used in the same way.
        """
        if not (isinstance(decay, Real) and 0 <= decay <= 1):
            raise QuantityError(f"decay is a number from 0 to 1, got {decay!r}")
        if not isinstance(new, Kronecker) or not self._is_like(new):
            raise QuantityError(
                f"a running average is of blocks of one parameter, used in the same way: this one "
                f"is {self!r} of a parameter of shape {list(self.shape)}, and the new one is "
                f"{new!r}"
            )
        pairs = zip(self.factors, new.factors, strict=True)
        rest = decay * self._rest + (1 - decay) * new._rest
        return self._with([decay * a + (1 - decay) * b for a, b in pairs], rest)

    def _is_like(self, other: Kronecker) -> bool:
        shapes = [[f.shape for f in block.factors] for block in (self, other)]
        if self.shape != other.shape or shapes[0] != shapes[1]:
            return False
        return self._pull is other._pull or bool((self.order() == other.order()).all())

    def _with(self, factors: list[Array], rest: float) -> Kronecker:
        """The same block with other factors."""
        return Kronecker(tuple(factors), self.shape, self._pull, rest)

    def inverse(self, damping: float = 0.0) -> Kronecker:
        """The inverse, with `sqrt(damping)` added to the diagonal of both factors.

        The two are balanced by the ratio of their mean eigenvalues (Martens and Grosse 2015,
        section 6.3). A single factor has `damping` itself added, as have elements that no factor is
        of. Raises `QuantityError` where the block is singular and damping is zero.
        """
        if damping < 0:
            raise QuantityError(f"damping is not negative, got {damping}")
        whole = self._whole
        if not whole and self._rest + damping == 0:
            raise QuantityError(
                f"the block of a parameter of shape {list(self.shape)} is zero where nothing uses "
                f"the parameter, and has no inverse: give a damping above 0"
            )
        factors: list[Array] = []
        for b, a in self.pairs:
            if a is None:
                factors.append(self._inverse_of(b, damping))
                continue
            mean_b, mean_a = (np.trace(widened(f)) / len(f) for f in (b, a))
            positive = (mean_b > 0) & (mean_a > 0)
            balance = np.sqrt(np.where(positive, mean_a, 1) / np.where(positive, mean_b, 1))
            root = math.sqrt(damping)
            factors.append(self._inverse_of(b, root / balance))
            factors.append(self._inverse_of(a, root * balance))
        rest = 0.0 if whole else 1 / (self._rest + damping)
        return Kronecker(tuple(factors), self.shape, self._pull, rest)

    def _inverse_of(self, factor: Array, damping: Array | float) -> Array:
        cause = None
        try:
            inverse = _damped_inverse(factor, damping)
            if backend.of(factor).asynchronous or _is_regular(factor, inverse):
                return inverse
        except np.linalg.LinAlgError as error:
            cause = error
        raise QuantityError(
            f"the block of a parameter of shape {list(self.shape)} is singular to rounding, as its "
            f"factor {list(factor.shape)} is: give it more damping, as in inverse(damping=1e-3)"
        ) from cause

    def eigh(self) -> list[tuple[Array, Array]]:
        """(eigenvalues, eigenvectors) of each factor, in the order of `factors`."""
        return [_eigh(factor) for factor in self.factors]

    def __repr__(self) -> str:
        sizes = ", ".join("x".join(map(str, f.shape)) for f in self.factors)
        return f"Kronecker({sizes})"

    def _repr_html_(self) -> str:
        """A table for notebooks: each factor's shape, trace and extreme eigenvalues."""
        rows = [
            (f"{side} factor{f' {group}' * (self.groups > 1)}", *_summary(factor))
            for group, pair in enumerate(self.pairs)
            for side, factor in zip(("output", "input"), pair, strict=True)
            if factor is not None
        ]
        head = ("", "shape", "trace", "smallest eigenvalue", "largest eigenvalue")
        lines = ["".join(f"<th>{text}</th>" for text in head)]
        lines += ["".join(f"<td>{text}</td>" for text in row) for row in rows]
        table = "".join(f"<tr>{line}</tr>" for line in lines)
        shape = "\N{MULTIPLICATION SIGN}".join(map(str, self.shape))
        return f"<table><caption>Kronecker block of a parameter {shape}</caption>{table}</table>"


hints.give(Kronecker, "a Kronecker block", hints.KRONECKER)


#: the eigenvalues of a factor are shown up to this size; it takes about 30 ms
LARGEST_SHOWN = 512


def _summary(factor: Array) -> tuple[str, ...]:
    """Shape, trace and extreme eigenvalues of a factor, as texts; blank where they take long."""
    values = backend.to_host(factor).astype(np.float64)
    texts = [f"{len(values)}\N{MULTIPLICATION SIGN}{len(values)}", f"{np.trace(values):.3g}"]
    if len(values) > LARGEST_SHOWN or not np.isfinite(values).all():
        return (*texts, "", "")
    eigenvalues = np.linalg.eigvalsh(values)
    return (*texts, f"{eigenvalues[0]:.3g}", f"{eigenvalues[-1]:.3g}")


@in_single
def _eigh(factor: Array) -> tuple[Array, ...]:
    return tuple(np.linalg.eigh(factor))


@in_single
def _damped_inverse(factor: Array, damping: Array | float) -> Array:
    """`(factor + damping I)^-1`."""
    one = backend.namespace(factor).eye(len(factor), dtype=factor.dtype)
    return np.linalg.inv(factor + damping * one)


def _is_regular(factor: Array, inverse: Array) -> bool:
    """Whether more than rounding is left of a factor's smallest eigenvalue."""
    if not factor.size:
        return True
    condition = float(abs(inverse).max()) * float(abs(factor).max())
    return condition * float(np.finfo(inverse.dtype).eps) < 0.1
