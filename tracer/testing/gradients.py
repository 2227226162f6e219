"""The check of a function of one's own: its derivatives, of both modes, with differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from tracer.api.arguments import Argnums, arguments
from tracer.api.functional import jvp, vjp
from tracer.arrays import backend
from tracer.arrays.trees import flatten
from tracer.arrays.types import Array, Tree
from tracer.errors import TracingError
from tracer.record.tensor import Tensor, TensorLike
from tracer.testing.report import Report

#: the arrays of nested arguments or values
Leaves: TypeAlias = "Sequence[TensorLike]"
#: a function of such a list, whose value is one
OfLeaves: TypeAlias = "Callable[[Leaves], Leaves]"
#: how the two modes are called
FORWARD, REVERSE = "forward", "reverse"
ORDINALS = ("first", "second", "third", "fourth")
#: of the error that rounding leaves in differences, so many times are allowed
ROUNDING = 20


class Precision(NamedTuple):
    """The step of central differences, and how far they may be off: of rounding, of themselves."""

    step: float
    rounding: float
    relative: float


def _precision(leaves: Sequence[Array], rtol: float | None) -> Precision:
    """Of the least precise of the arguments: the step is the cube root of its epsilon."""
    eps = max(float(np.finfo(leaf.dtype).eps) for leaf in leaves)
    relative = (1e-6 if eps < 1e-10 else 1e-3) if rtol is None else rtol
    return Precision(eps ** (1 / 3), ROUNDING * eps ** (2 / 3), relative)


def check_gradients(
    function: Callable[..., Tree],
    argnums: Argnums | None = None,
    *,
    order: int = 2,
    modes: Sequence[str] = (FORWARD, REVERSE),
    rtol: float | None = None,
    seed: int = 0,
) -> Callable[..., Report]:
    """`check_gradients(f, order=2)(x)`: derivatives of `f` at `x` with central differences.

    Of all positional arguments of floats or complex numbers, or of those at `argnums`, up to
    `order`, by `modes`: "forward" (`jvp`), "reverse" (`vjp`), or both and, from the second order
    on, each of the other. Arguments and values may be nested. All is compared along random
    directions, of `seed`.

    What is allowed: a derivative may be off by a millionth of its largest element (a thousandth in
    single precision; `rtol` says otherwise), and by what rounding of the function's values leaves
    in differences. Raises `AssertionError` that names the order, the mode and the argument, and
    says where the function has a kink, or other values at each call.
    """
    unknown = [mode for mode in modes if mode not in (FORWARD, REVERSE)]
    if unknown or not modes or isinstance(modes, str):
        raise TracingError(f'modes are of ("forward", "reverse"), one or both, got {modes!r}')
    if order not in range(1, len(ORDINALS) + 1):
        raise TracingError(f"order is an integer from 1 to {len(ORDINALS)}, got {order!r}")

    def check(*args: Tree, **keywords: Tree) -> Report:
        chosen = _of_floats(args) if argnums is None else argnums
        given = arguments(function, chosen, args, keywords)
        values = {key: given.value(key) for key in given.keys}
        leaves, structure = flatten(values)
        names = [f"argument {path[1:].replace(']', '', 1)}" for path in structure.paths]
        arrays = list(map(_as_array, leaves))
        if not arrays:
            raise TracingError("check_gradients needs an argument of floats to differentiate by")

        def of_leaves(new: Leaves) -> Leaves:
            filled = structure.build(new)
            positional = [filled.get(i, x) for i, x in enumerate(given.args)]
            named = {key: filled.get(key, x) for key, x in given.keywords.items()}
            return _floats_of(function(*positional, **named))

        checked = _Check(names, _precision(arrays, rtol), modes, np.random.default_rng(seed))
        checked.run(of_leaves, arrays, order, ())
        return _report(modes, order)

    return check


def _of_floats(args: Sequence[Tree]) -> list[int]:
    """The arguments of which every leaf is of floats, and that have one."""

    def is_float(leaf: Tree) -> bool:
        kind = leaf.dtype.kind if hasattr(leaf, "dtype") else ""
        return kind in ("f", "c") or type(leaf) in (float, complex)

    held = (flatten(each)[0] for each in args)
    return [i for i, leaves in enumerate(held) if leaves and all(map(is_float, leaves))]


def _floats_of(value: Tree) -> Leaves:
    """The leaves of a value that have derivatives."""
    leaves, _ = flatten(value)
    made = list(map(_as_array, leaves))
    return [x for x in made if getattr(x, "dtype", np.dtype(object)).kind in "fc"]


def _as_array(leaf: Tree) -> Tree:
    """A number of Python's as an array of floats, or of complex numbers; anything else as it is."""
    if isinstance(leaf, int | float | complex):
        return np.asarray(leaf, complex if isinstance(leaf, complex) else float)
    return leaf


def _report(modes: Sequence[str], order: int) -> Report:
    orders = "order 1" if order == 1 else f"orders 1 to {order}"
    return Report(dict.fromkeys(modes, f"{orders} with central differences"), {}, True)


class _Check:
    """What stays the same from order to order."""

    def __init__(
        self,
        names: Sequence[str],
        precision: Precision,
        modes: Sequence[str],
        rng: np.random.Generator,
    ):
        self.names, self.precision, self.modes, self.rng = names, precision, modes, rng

    def run(self, f: OfLeaves, x: list[Array], order: int, before: tuple[str, ...]) -> None:
        """Check the derivative of `f`, which is one by the modes `before`, and then its own."""
        value = [_plain(y) for y in f(x)]
        if not value:
            raise AssertionError("the function has no floats in its value to differentiate")
        self._same_again(f, x, value)
        t, g = self._directions(x), [self._normal(y) for y in value]
        for mode in self.modes:
            self._compare(f, x, t, g, (*before, mode))
        if order > 1:
            for mode in self.modes:
                d, w = self._directions(x), [self._normal(y) for y in value]
                derivative = _along(f, d) if mode == FORWARD else _weighted(f, w)
                self.run(derivative, x, order - 1, (*before, mode))

    def _normal(self, like: np.ndarray) -> np.ndarray:
        """Standard normal numbers, complex ones of real and imaginary parts."""
        made = self.rng.standard_normal(like.shape)
        return made + 1j * self.rng.standard_normal(like.shape) if like.dtype.kind == "c" else made

    def _directions(self, x: Sequence[Array]) -> list[Array]:
        """One for each argument, of the size of its elements, so that steps suit them."""
        out = []
        for leaf in x:
            host = backend.to_host(leaf)
            size = np.abs(host)
            t = self._normal(host) * np.where(size, size, 1)
            out.append(backend.of(leaf).from_host(t.astype(leaf.dtype)))
        return out

    def _same_again(self, f: OfLeaves, x: list[Array], value: Sequence[np.ndarray]) -> None:
        again = [_plain(y) for y in f(x)]
        pairs = zip(value, again, strict=True)
        if not all(_are_same(one, other) for one, other in pairs):
            raise AssertionError(
                "the function gives other values when it is called again with the same arguments: "
                "seed its random numbers inside of it, or give them as an argument"
            )

    def _compare(
        self, f: OfLeaves, x: list[Array], t: list[Array], g: list[np.ndarray], by: tuple[str, ...]
    ) -> None:
        problem = self._problem(f, x, t, g, by[-1])
        if problem is None:
            return
        which = list(self.names)
        for k, name in enumerate(self.names):
            alone = [d if i == k else 0 * d for i, d in enumerate(t)]
            if len(t) > 1 and (found := self._problem(f, x, alone, g, by[-1])) is not None:
                problem, which = found, [name]
                break
        ordinal, modes = ORDINALS[len(by) - 1], " over ".join(f"{m}-mode" for m in reversed(by))
        raise AssertionError(
            f"the {ordinal} derivative by {' and '.join(which)} ({modes}) {problem}"
        )

    def _problem(
        self, f: OfLeaves, x: list[Array], t: list[Array], g: list[np.ndarray], mode: str
    ) -> str | None:
        """What is wrong along `t`, in words; None if nothing is."""
        step, rounding, relative = self.precision
        right = list(_differences(f, x, t, step))
        values = [_plain(y) for y in f(x)]
        if mode == FORWARD:
            got = [_plain(y) for y in jvp(f, (x,), (t,))[1]]
        else:
            (pulled,) = vjp(f, x)[1]([backend.of(x[0]).from_host(w) for w in g])
            got = [
                np.array(sum(_dot(_plain(p), _plain(d)) for p, d in zip(pulled, t, strict=True)))
            ]
            right = [np.array(sum(_dot(w, r) for w, r in zip(g, right, strict=True)))]
            values = [np.array(sum(_dot(abs(w), abs(y)) for w, y in zip(g, values, strict=True)))]
        for one, other, value in zip(got, right, values, strict=True):
            if not other.size:
                continue
            bound = relative * _largest(other) + rounding * _largest(value)
            off = np.abs(one - other)
            if not (off <= bound).all():
                worst = np.unravel_index(np.argmax(np.nan_to_num(off, nan=np.inf)), off.shape)
                return (
                    f"is {one[worst]:.10g} along a random direction, where central differences "
                    f"give {other[worst]:.10g} (off by {off[worst]:.3g}, at most {bound:.3g} is "
                    f"allowed){self._kink(f, x, t)}"
                )
        return None

    def _kink(self, f: OfLeaves, x: list[Array], t: list[Array]) -> str:
        """What more may be said where slopes over short steps differ from each other."""
        here, steps = f(x), [sign * self.precision.step for sign in (1, -1, 2, -2)]
        moved = [f(_moved(x, t, step)) for step in steps]
        for y, *others in zip(here, *moved, strict=True):
            pairs = zip(others, steps, strict=True)
            slopes = np.array([(_plain(z) - _plain(y)) / step for z, step in pairs])
            if slopes.dtype.kind == "c":
                slopes = np.concatenate([slopes.real, slopes.imag], axis=-1)
            bend = slopes.max(0, initial=-np.inf) - slopes.min(0, initial=np.inf)
            if bend.size and bend.max() > 1e-2 * _largest(slopes):
                at = np.unravel_index(np.argmax(bend), bend.shape)
                low, high = slopes.min(0)[at], slopes.max(0)[at]
                return (
                    f"; its slopes over short steps range from {low:.3g} to {high:.3g}: near a "
                    f"kink, a step or a pole differences say nothing, so check elsewhere"
                )
        return ""


def _plain(y: TensorLike) -> np.ndarray:
    return backend.to_host(y._value if isinstance(y, Tensor) else y)


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two values are the same but for last bits, which may depend on where arrays lie."""
    if one.shape != other.shape or one.dtype.kind not in "fc":
        return np.array_equal(one, other)
    bound = 64 * float(np.finfo(one.dtype).eps)
    size = np.max(abs(one), where=np.isfinite(one), initial=0)
    return np.allclose(one, other, rtol=bound, atol=bound * size, equal_nan=True)


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """`Re(sum(a * b))`, as cotangents and directions pair."""
    if a.dtype.kind == "c" or b.dtype.kind == "c":
        return float(np.sum(np.multiply(a, b)).real)
    return float(np.sum(np.multiply(a, b, dtype=float)))


def _largest(a: np.ndarray) -> float:
    return float(np.abs(a).max(initial=0.0))


def _moved(x: Sequence[Array], t: Sequence[Array], by: float) -> list[Array]:
    return [a + by * d for a, d in zip(x, t, strict=True)]


def _differences(
    f: OfLeaves, x: Sequence[Array], t: Sequence[Array], step: float
) -> Iterator[np.ndarray]:
    """The derivative of each output along `t`: `4/3 D(h) - 1/3 D(2h)` of central differences."""
    values = [f(_moved(x, t, by * step)) for by in (1, -1, 2, -2)]
    for up, down, up2, down2 in zip(*values, strict=True):
        one, two = _plain(up) - _plain(down), _plain(up2) - _plain(down2)
        yield (8 * one - two) / (12 * step)


def _along(f: OfLeaves, t: list[Array]) -> OfLeaves:
    """The derivative of `f` in a direction, as a function of where it is taken."""
    return lambda x: jvp(f, (x,), (t,))[1]


def _weighted(f: OfLeaves, g: list[np.ndarray]) -> OfLeaves:
    """The gradient of the sum of outputs with weights, as a function of where it is taken."""

    def gradient(x: Leaves) -> Leaves:
        _, pull = vjp(f, x)
        return pull([backend.of(x[0]).from_host(w) for w in g])[0]

    return gradient
