"""Arrays that a program makes: of one value, in steps, at random; and others in another dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer.errors import TracingError
from tracer.extend import DType, Tensor, TensorLike, backend, drawn, generator, raw
from tracer_import.operators.context import Operand, current, default_dtype, like, made, sizes
from tracer_import.operators.table import add_operator, operator

#: what says where and how an array lies in memory, which is decided here
Ignored: TypeAlias = object
#: elements of an array that a program makes at most
MOST = 1 << 28


def _check_count(*shape: Any) -> None:
    """Refuse an array that is too large to be meant."""
    count = math.prod(shape)
    if count > MOST or min(shape, default=0) < 0:
        raise TracingError(
            f"the program makes an array {list(shape)} of {count:,} elements, and at most {MOST:,} "
            f"are made: give it smaller inputs"
        )


def _filled(size: Sequence[int], value: Operand, dtype: Any) -> Any:
    shape = sizes(size)
    _check_count(*shape)
    return made(np.full(shape, raw(value), dtype))


@operator("full.default")
def full(
    size: Sequence[int], fill_value: Operand, dtype: DType | None = None, **place: Ignored
) -> TensorLike:
    """One value in a shape."""
    if dtype is None:
        dtype = default_dtype() if isinstance(fill_value, float) else np.asarray(fill_value).dtype
    return _filled(size, fill_value, dtype)


def _of_value(value: int) -> Callable[..., Any]:
    def function(size: Sequence[int], dtype: DType | None = None, **place: Ignored) -> TensorLike:
        return _filled(size, value, default_dtype(dtype))

    return function


def _like_value(value: int) -> Callable[..., Any]:
    def function(self: TensorLike, dtype: DType | None = None, **place: Ignored) -> TensorLike:
        return np.full_like(raw(self), value, dtype=dtype or self.dtype)

    return function


def _new_value(value: int) -> Callable[..., Any]:
    def function(
        self: TensorLike, size: Sequence[int], dtype: DType | None = None, **place: Ignored
    ) -> TensorLike:
        return _filled(size, value, dtype or self.dtype)

    return function


for _name, _value in (("zeros", 0), ("ones", 1), ("empty", 0)):
    add_operator(f"{_name}.{'memory_format' if _name == 'empty' else 'default'}", _of_value(_value))
    add_operator(f"{_name}_like.default", _like_value(_value))
    add_operator(f"new_{_name}.default", _new_value(_value))


@operator("empty_permuted.default")
def empty_permuted(
    size: Sequence[int],
    physical_layout: Sequence[int],
    dtype: DType | None = None,
    **place: Ignored,
) -> TensorLike:
    """Zeros, in whatever order they lie in memory."""
    return _filled(size, 0, default_dtype(dtype))


@operator("full_like.default")
def full_like(
    self: TensorLike, fill_value: Operand, dtype: DType | None = None, **place: Ignored
) -> TensorLike:
    """One value in the shape of another array."""
    return np.full_like(raw(self), raw(fill_value), dtype=dtype or self.dtype)


@operator("new_full.default")
def new_full(
    self: TensorLike,
    size: Sequence[int],
    fill_value: Operand,
    dtype: DType | None = None,
    **place: Ignored,
) -> TensorLike:
    """One value in a shape, in the dtype of another array."""
    return _filled(size, fill_value, dtype or self.dtype)


@operator("fill.Scalar", "fill.Tensor")
def fill(self: TensorLike, value: Operand) -> TensorLike:
    """One value in place of all."""
    if isinstance(value, Tensor):
        return np.broadcast_to(value.astype(self.dtype), self.shape)
    return np.full_like(raw(self), raw(value))


@operator("zero.default")
def zero(self: TensorLike) -> TensorLike:
    """Zeros in place of all."""
    return np.zeros_like(raw(self))


@operator("copy.default")
def copy(self: TensorLike, src: TensorLike, non_blocking: bool = False) -> TensorLike:
    """Other values, in the shape and dtype of `self`."""
    src = src if src.dtype == self.dtype else src.astype(self.dtype)
    return src if src.shape == self.shape else np.broadcast_to(src, self.shape)


@operator("tracer.written")
def written(self: TensorLike, value: TensorLike) -> TensorLike:
    """What was written into `self`, which keeps its dtype and shape."""
    return copy(self, value)


@operator("scalar_tensor.default")
def scalar_tensor(s: Operand, dtype: DType | None = None, **place: Ignored) -> TensorLike:
    """A number as an array without axes."""
    return made(np.array(raw(s), default_dtype(dtype)))


@operator("arange.default", "arange.start", "arange.start_step")
def arange(*limits: Operand, dtype: DType | None = None, **options: Ignored) -> TensorLike:
    """Numbers in steps: up to `end`, from `start`, by `step`."""
    named = [options[name] for name in ("start", "end", "step") if name in options]
    numbers = [raw(n) for n in (*limits, *named)]
    if dtype is None and any(isinstance(n, float) for n in numbers):
        dtype = default_dtype()
    first, last, step = [*((0, *numbers) if len(numbers) == 1 else numbers), 1][:3]
    if step:
        _check_count(max(0, int((last - first) / step)))
    found = np.arange(*numbers, dtype=dtype)
    return made(found if dtype is not None or found.dtype.kind != "i" else found.astype(np.int64))


@operator("linspace.default")
def linspace(
    start: float, end: float, steps: int, dtype: DType | None = None, **place: Ignored
) -> TensorLike:
    """So many numbers from one to another."""
    _check_count(int(steps))
    return made(np.linspace(raw(start), raw(end), int(steps), dtype=default_dtype(dtype)))


@operator("eye.default", "eye.m")
def eye(n: int, m: int | None = None, dtype: DType | None = None, **place: Ignored) -> TensorLike:
    """The identity."""
    _check_count(n, n if m is None else m)
    return made(np.eye(n, m, dtype=default_dtype(dtype)))


# -- at random ------------------------------------------------------------------------------------


def _random(shape: Sequence[int], dtype: Any, draw: str) -> TensorLike:
    beside = current.get().library.from_host(np.zeros((), default_dtype(dtype)))
    rng = generator(beside)
    size = sizes(shape)
    _check_count(*size)
    numbers = rng.standard_normal(size) if draw == "normal" else rng.random(size)
    return drawn(np.asarray(numbers).astype(beside.dtype), beside)


@operator("rand.default")
def rand(size: Sequence[int], dtype: DType | None = None, **place: Ignored) -> TensorLike:
    """Uniform numbers below 1."""
    return _random(size, dtype, "uniform")


@operator("randn.default")
def randn(size: Sequence[int], dtype: DType | None = None, **place: Ignored) -> TensorLike:
    """Normal numbers."""
    return _random(size, dtype, "normal")


@operator("rand_like.default")
def rand_like(self: TensorLike, dtype: DType | None = None, **place: Ignored) -> TensorLike:
    """Uniform numbers in the shape of another array."""
    return _random(self.shape, dtype or self.dtype, "uniform")


@operator("randn_like.default")
def randn_like(self: TensorLike, dtype: DType | None = None, **place: Ignored) -> TensorLike:
    """Normal numbers in the shape of another array."""
    return _random(self.shape, dtype or self.dtype, "normal")


@operator("bernoulli.p")
def bernoulli(self: TensorLike, p: float = 0.5, **place: Ignored) -> TensorLike:
    """Ones with a probability, else zeros."""
    data = raw(self)
    ones = generator(data).random(data.shape) < p
    return drawn(np.asarray(ones).astype(data.dtype), data)


@operator("bernoulli.default")
def bernoulli_of(self: TensorLike, **place: Ignored) -> TensorLike:
    """Ones with the probabilities that an array has, else zeros."""
    data = raw(self)
    ones = generator(data).random(data.shape) < data
    return drawn(np.asarray(ones).astype(data.dtype), data)


# -- as they are, or in another dtype -------------------------------------------------------------


@operator(
    *("alias.default", "contiguous.default", "clone.default", "lift_fresh_copy.default"),
    *("lift_fresh.default", "to.device", "alias_copy.default", "resolve_conj.default"),
    *("resolve_neg.default", "positive.default"),
)
def same(
    self: TensorLike, *place: Ignored, dtype: DType | None = None, **more: Ignored
) -> TensorLike:
    """The same values."""
    given = dtype or next((x for x in place if isinstance(x, np.dtype)), None)
    return self if given is None or given == self.dtype else self.astype(given)


@operator("detach.default")
def detach(self: TensorLike) -> TensorLike:
    """The same values, through which nothing is differentiated."""
    return self.detach() if isinstance(self, Tensor) else self


@operator("to.dtype", "to.dtype_layout", "_to_copy.default")
def to(
    self: TensorLike, dtype: DType | None = None, *place: Ignored, **more: Ignored
) -> TensorLike:
    """In another dtype."""
    return self if dtype is None or dtype == self.dtype else self.astype(dtype)


@operator("type_as.default", "to.other")
def type_as(self: TensorLike, other: TensorLike, **place: Ignored) -> TensorLike:
    """In the dtype of another array."""
    return to(self, other.dtype)


@operator("diff.default")
def diff(
    self: TensorLike, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None
) -> TensorLike:
    """Differences of neighbours along an axis."""
    parts = [x for x in (prepend, self, append) if x is not None]
    x = np.concatenate(parts, axis=dim) if len(parts) > 1 else self
    for _ in range(n):
        lead = (slice(None),) * (dim % x.ndim)
        later, earlier = x[(*lead, slice(1, None))], x[(*lead, slice(0, -1))]
        x = np.not_equal(later, earlier) if x.dtype == bool else later - earlier
    return x


@operator("bucketize.Tensor")
def bucketize(
    self: TensorLike, boundaries: TensorLike, out_int32: bool = False, right: bool = False
) -> Any:
    """Between which boundaries elements are."""
    edges, values = backend.to_host(boundaries), backend.to_host(self)
    found = np.searchsorted(edges, values, "right" if right else "left")
    return like(found, self)
