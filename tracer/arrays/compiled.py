"""Compiled kernels for NumPy's arrays: what they offer, and how a plugin's are reached.

An operation asks `compiled()` first, and goes on with NumPy where the answer is None: for dtypes,
layouts and sizes that a kernel is not for, and wherever there are no kernels. What NumPy computes
is what a kernel computes, to rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from tracer import registry
from tracer.arrays.kernels import Geometry
from tracer.arrays.types import Array


class Tally(NamedTuple):
    """How elements of `x [N, P]` are counted: `scale * x` between `edges [bins + 1]`, float64.

    As in `np.histogram`, but what lies outside counts in the first bin and in the last. Elements of
    column p count in row `column[p]`, int64, of `rows`; where there is no column, in the first.
    """

    edges: Array
    scale: float = 1.0
    column: Array | None = None
    rows: int = 1


class Visited(NamedTuple):
    """What is found in one visit of `x [N, P]`.

    `norms [N]`, squared, and `dots [K, N]`, inner products of rows with directions, are float64;
    `squares [P]` are sums of squares over rows, in the dtype of x; `counts` has for each tally
    `[rows, bins]`, int64, and how many elements are not a number, which are in no bin.
    """

    norms: Array
    dots: Array
    squares: Array | None
    counts: list[tuple[Array, int]]


class Compiled:
    """Kernels for NumPy's arrays; this class has none. A plugin registers a subclass's instance.

    Arrays are raw, of any dtype and layout; all but those named otherwise are of one dtype. The
    result is an array of its own, or None where the arguments are not for a kernel.
    """

    name = "compiled"
    #: the name, if these are to stand in place of another plugin's
    replaces: str | tuple[str, ...] = ()

    #: the recurrent layers that `recur` and the ways back know
    RECURRENT: ClassVar[tuple[str, ...]] = ("rnn_tanh", "rnn_relu", "lstm", "gru")
    #: the functions that `activate` and `activate_vjp` know: whose gradient is of their values,
    #: and whose is of what they were applied to
    OF_VALUES: ClassVar[tuple[str, ...]] = ("relu", "tanh", "sigmoid")
    OF_INPUTS: ClassVar[tuple[str, ...]] = ("erf", "gelu", "gelu_tanh", "silu")

    def ready(self) -> bool:
        """Whether these can run here. It is asked once, before the first call: they may be loaded,
        or built, then. Where they cannot, NumPy does all."""
        return True

    def describe(self) -> str:
        """Which kernels run, or why none does and what to do: for people."""
        return "none"

    def convolve(
        self, x: Array, weight: Array, w: Geometry, groups: int, bias: Array | None = None
    ) -> Array | None:
        """`x [N, C, *size]` with `weight [O, C/G, *kernel]`, plus `bias [O]`: `[N, O, *output]`.

        y[n,o,p] = b[o] + sum_ck W[o,c,k] x[n,c,i], i = stride p + dilation k - padding.
        """
        return None

    def transpose(self, y: Array, weight: Array, w: Geometry, groups: int) -> Array | None:
        """`y [N, O, *output]` with the same weight: `[N, C, *size]`.

        x[n,c,i] = sum_okp W[o,c,k] y[n,o,p] over the (k, p) that meet at i.
        """
        return None

    def correlate(self, x: Array, y: Array, w: Geometry, groups: int) -> Array | None:
        """`x [N, C, *size]` with `y [N, O, *output]`: `[O, C/G, *kernel]`.

        W[o,c,k] = sum_np y[n,o,p] x[n,c,i].
        """
        return None

    def correlation_norms(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[Array, Array] | None:
        """`[N]`, the squared norm of what each sample adds to `correlate`, and its result."""
        return None

    def correlation_squares(self, x: Array, y: Array, w: Geometry, groups: int) -> Array | None:
        """`[O, C/G, *kernel]`: the squares of what samples add to `correlate`, added up."""
        return None

    def correlation_each(
        self, x: Array, y: Array, w: Geometry, groups: int
    ) -> tuple[Array, Array] | None:
        """`[N, *kernel, C/G, O]`, what each sample adds to `correlate`, and its result."""
        return None

    def maximum(self, x: Array, w: Geometry) -> Array | None:
        """`[..., C, *size]` to `[..., C, *output]`: the maximum of each window, NaN if one is."""
        return None

    def maximum_keeping(self, x: Array, w: Geometry) -> tuple[Array, Array] | None:
        """The same, and `[..., C, *output]` of int8: which element of each window is its maximum,
        the first of equals, and the first NaN where there is one."""
        return None

    def spread_to_winners(self, y: Array, winner: Array, w: Geometry) -> Array | None:
        """`y [..., C, *output]` to `[..., C, *size]`; int8 `winner` may lack leading axes of `y`.

        x[...,i] = sum_p y[...,p] over the windows p whose winner is at i.
        """
        return None

    def activate(self, function: str, x: Array) -> Array | None:
        """One of these functions of each element, but for tanh, at which NumPy is as fast."""
        return None

    def activate_vjp(self, function: str, g: Array, y: Array) -> Array | None:
        """Its gradient, from `g [V, ...]` and the values `y [...]`, or of one of `OF_INPUTS` what
        it was applied to: as of `tracer_layers`."""
        return None

    def sum_channels(self, x: Array, rank: int) -> Array | None:
        """`x [V, ..., C, *size]` summed to `[V, C]`, with `rank` axes after the channels."""
        return None

    def visit(
        self,
        x: Array,
        directions: Sequence[Array] = (),
        tallies: Sequence[Tally] = (),
        squares: bool = False,
    ) -> Visited | None:
        """What is asked of `x [N, P]` and directions `[P]`, in one visit: see `Visited`."""
        return None

    def count_products(self, left: Array, right: Array, tally: Tally) -> Array | None:
        """`[rows, bins]`, int64, of all `right[n,o] left[n,i]`: `left [N, I]`, `right [N, O]`.

        A column of the tally is of `[O, I]`. All norms of rows are finite.
        """
        return None

    def pairs(
        self, left: Array, right: Array, others: Sequence[tuple[Array, Array]]
    ) -> Array | None:
        """`[K, N]`, float64: `sum_m (a[m] . left[n]) (b[m] . right[n])` of each of the others a, b.

        `left` and every a have rows of one length, `right` and every b of another.
        """
        return None

    def travel(
        self, now: Array, before: Array | None, first: Array | None, copy: Array | None
    ) -> tuple[float, float] | None:
        """`|now - before|^2` and `|now - first|^2`, 0 of what is None; `copy` becomes `now`."""
        return None

    def softmax(self, x: Array, bias: Array | None = None) -> bool:
        """Put `softmax(x + bias)` over the last axis in the place of `x`; whether that was done.

        `bias` has the last axes of `x`, or is None.
        """
        return False

    def softmax_vjp(self, g: Array, y: Array) -> Array | None:
        """Its gradient `y (g - sum(g y))` over the last axis, from `g [..., *y.shape]`."""
        return None

    def standardise(self, x: Array, eps: float) -> tuple[Array, Array] | None:
        """`(x - mean) rate` over the last axis, and `rate = 1 / sqrt(variance + eps)` with the axis
        kept, of the biased variance."""
        return None

    def standardise_vjp(self, g: Array, y: Array, rate: Array) -> Array | None:
        """Its gradient `(g - mean(g) - y mean(g y)) rate`, from `g [..., *y.shape]`."""
        return None

    def recur(
        self,
        kind: str,
        history: Array,
        x: Array,
        weight_ih: Array,
        bias_ih: Array | None,
        weight_hh: Array,
        bias_hh: Array | None,
    ) -> bool:
        """Complete a history of one of `RECURRENT`; whether that was done.

        `history [blocks, 1 + T, N, H]` is that of `tracer_layers.recurrent`, with the first states;
        `x [T, N, I]` are the inputs in the order of the loop; `weight_ih [gates * H, I]`,
        `weight_hh [gates * H, H]` and biases `[gates * H]` are the layer's.
        """
        return False

    def recur_back(
        self,
        kind: str,
        history: Array,
        weight: Array,
        shown: Array | None,
        states: list[Array],
        d: Array,
        du: Array,
    ) -> bool:
        """Go back through a history; whether that was done.

        `states` are the cotangents `[V, N, H]` of the last states and become those of the first;
        `shown [V, T, N, H]` are those of the hidden states. `d` and `du`, which may be one array,
        take those of what inputs and hidden states contribute, `[V, T, N, gates * H]`.
        """
        return False

    def recur_gradients(
        self,
        kind: str,
        history: Array,
        x: Array,
        weight_ih: Array,
        weight_hh: Array,
        shown: Array | None,
        states: list[Array],
        made: Sequence[Array | None],
    ) -> bool:
        """Go back through a history with one row, to gradients; whether that was done.

        `shown [T, N, H]` and `states [N, H]` are as in `recur_back`. `made` takes the gradients of
        x, weight_ih, bias_ih, weight_hh and bias_hh, in their shapes, None where one is not asked.
        """
        return False


NONE = Compiled()
_current: Compiled | None = None
_lock = threading.RLock()


def compiled() -> Compiled:
    """The kernels that run: those of a plugin, or else `NONE`."""
    return _current or _settled()


def _settled() -> Compiled:
    """The last of the registered kernels that can run, without loading plugins."""
    global _current
    with _lock:
        if _current is None:
            found = reversed(registry.kernels.registered())
            _current = next((kernels for kernels in found if kernels.ready()), NONE)
        return _current


def _forget(*_: object) -> None:
    """Ask again, since kernels came or went."""
    global _current
    _current = None


registry.kernels.holds(Compiled)
registry.kernels.added.append(_forget)
registry.kernels.removed.append(_forget)
