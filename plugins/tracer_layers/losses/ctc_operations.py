"""Connectionist temporal classification: labels of a sequence, without knowing where they are."""

from __future__ import annotations

import numpy as np

import tracer
from tracer import operation
from tracer.extend import (
    UNKNOWN,
    Array,
    by_contraction,
)
from tracer_layers.losses.loss import Loss
from tracer_layers.module.rules import arange, raw

#: the logarithm of what cannot be; an infinite one would give NaN in differences
NEVER = -1e30


@operation("ctc")
class ConnectionistTemporal(Loss):
    """The negative log of how likely labels are, over all ways to lie along a sequence.

    Log-probabilities x are `[T, N, C]`, labels `[N, S]`, and the lengths of both `[N]`; the loss is
    `[N]` (Graves et al. 2006). A way goes through the states "blank, label, blank, ..., blank", of
    which it may leave out a blank between labels that differ. It is not convex, and has no rule for
    the root of its Hessian.
    """

    jvp = by_contraction(lambda node: (-3, -1))

    def forward_keeping(x, labels, frames, lengths, *, blank):
        seen, skips, ends = _lattice(x, labels, lengths, blank)
        found = _forward(seen, skips, frames)
        likelihood = _likelihood(found[0][-1], ends)
        return np.where(likelihood < NEVER / 2, np.inf, -likelihood), found

    def vjp(node, g):
        """g_x[v,t,n,c] = -g[v,n] sum_s y[t,n,s] over the states s that are class c.

        y[t,n,s] is how likely state s is at time t, given the labels.
        """
        x, labels, frames, lengths = node.inputs
        blank = node.params["blank"]
        seen, skips, ends = _lattice(x, labels, lengths, blank)
        found = node.kept or _forward(seen, skips, frames)
        likely = np.stack(_backward(*found, skips, ends, frames))  # [T, N, states]
        states = _states(raw(labels), blank)
        classes = (states[..., None] == arange(states, x.shape[-1])).astype(x.dtype)
        occupied = np.einsum("tns,nsc->tnc", likely, classes)
        fits = raw(_likelihood(found[0][-1], ends)) >= NEVER / 2
        none = np.where(raw(g) == 0, 0, np.nan).astype(x.dtype)
        slope = np.where(fits, -g, none)[:, None]
        going = arange(raw(x), len(x))[:, None] < raw(frames)
        return np.where(going, slope, 0)[..., None] * occupied, None, None, None

    def batch_axis(node, axes):
        """The samples are on axis 1 of the log-probabilities."""
        return 0 if axes[0] == 1 else UNKNOWN

    def examples(rng):
        x = np.log(rng.dirichlet(np.ones(4), (5, 3)))
        labels, lengths = np.array([[1, 2], [3, 3], [2, 0]]), np.array([2, 2, 1])
        return [((x, labels, np.array([5, 4, 3]), lengths), {"blank": 0})]


def _states(labels: Array, blank: int) -> Array:
    """`[N, 2 S + 1]`: the class of each state."""
    around = np.full_like(labels, blank)
    pairs = np.stack([around, labels], axis=-1).reshape(len(labels), 2 * labels.shape[1])
    return np.concatenate([pairs, np.full_like(labels, blank, shape=(len(labels), 1))], axis=1)


def _lattice(x: Array, labels: Array, lengths: Array, blank: int) -> tuple[Array, Array, Array]:
    """Of each state its log-probabilities `[T, N, states]`, if the blank before it may be left out,
    and if a way may end there, `[N, states]`.
    """
    states = _states(raw(labels), blank)
    every = np.broadcast_to(states, (x.shape[0], *states.shape)).copy()
    seen = np.maximum(np.take_along_axis(x, every, -1), NEVER)
    before = np.concatenate([np.full_like(states[:, :2], blank), states[:, :-2]], axis=1)
    skips = (states != blank) & (states != before)
    places, last = arange(states, states.shape[1]), 2 * raw(lengths)[:, None]
    return seen, skips, (places == last) | (places == last - 1)


def _moved(a: Array, by: int, fill: float) -> Array:
    """States `[N, states]` by some places on, or back where that is negative."""
    filler = np.full_like(raw(a), fill)
    if by > 0:
        return np.concatenate([filler[:, :by], a[:, :-by]], axis=1)
    return np.concatenate([a[:, -by:], filler[:, :-by]], axis=1)


def _before(a: Array, skips: Array) -> tuple[Array, Array, Array]:
    """How likely the states are from which each is reached: itself, the one before, and that's."""
    return a, _moved(a, 1, NEVER), np.where(skips, _moved(a, 2, NEVER), NEVER)


def _forward(seen: Array, skips: Array, frames: Array) -> tuple[list[Array], list[Array]]:
    """`[N, states]` at each time: the log of what leads to a state, with it and without.

    Behind the end of a sequence nothing changes.
    """
    start = np.where(arange(raw(seen), seen.shape[-1]) < 2, seen[0], NEVER)
    reached, arriving = [start], [start]
    for t in range(1, len(seen)):
        stay, step, skip = _before(reached[-1], skips)
        arriving.append(np.logaddexp(np.logaddexp(stay, step), skip))
        going = raw(frames)[:, None] > t
        reached.append(np.where(going, arriving[-1] + seen[t], reached[-1]))
    return reached, arriving


def _likelihood(last: Array, ends: Array) -> Array:
    return tracer.logsumexp(np.where(ends, last, NEVER), axis=-1)


def _backward(
    reached: list[Array], arriving: list[Array], skips: Array, ends: Array, frames: Array
) -> list[Array]:
    """`[N, states]` at each time: how likely each state is, given the labels."""
    last = np.where(ends, reached[-1], NEVER)
    here = np.exp(last - _likelihood(reached[-1], ends)[:, None])
    likely = []
    for t in range(len(reached) - 1, -1, -1):
        going = raw(frames)[:, None] > t
        likely.append(np.where(going, here, 0))
        if t:
            ways = [np.exp(w - arriving[t]) * here for w in _before(reached[t - 1], skips)]
            back = ways[0] + _moved(ways[1], -1, 0) + _moved(ways[2], -2, 0)
            here = np.where(going, back, here)
    return likely[::-1]
