"""Checks of where samples lie, and of what reaches an unbatched input from each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tracer.arrays.types import Array, Stack
from tracer.sweep.carry import derived
from tracer.sweep.rules import Sampled, cotangents_of
from tracer.testing.cases import ROWS, Case
from tracer.testing.contractions import check_cotangent

#: ways to mark inputs of one example as batches that are looked at, at most
MOST_MARKINGS = 256


def markings(case: Case) -> Iterator[tuple[list[int | None], int, int]]:
    """(axis of the samples per input, axis in the output, number of samples) that `op` claims.

    Those of a loss lie along the first axis of its prediction and its other inputs. A mark says
    where they lie whatever was known before, so that it claims nothing.
    """
    if case.op.batch_axis is None or case.op.name == "batch":
        return
    options = [
        (None, *(a for a, n in enumerate(x.shape) if n > 1 and (a == 0 or not case.op.loss)))
        if isinstance(x, np.ndarray) else (None,)
        for x in case.inputs
    ]  # fmt: skip
    if case.op.loss:
        options[0] = (0,)
    for axes in itertools.islice(itertools.product(*options), MOST_MARKINGS):
        sizes = {x.shape[a] for x, a in zip(case.inputs, axes, strict=True) if a is not None}
        if len(sizes) == 1:
            axis = case.op.batch_axis(case.node, list(axes))
            if isinstance(axis, int):
                yield list(axes), axis, sizes.pop()


def axes_of(case: Case) -> Iterator[tuple[tuple[int, int, int], int]]:
    """(input, its number of axes, one of these) where samples may lie, and the size there."""
    for slot, x in enumerate(case.inputs):
        for axis, size in enumerate(x.shape if isinstance(x, np.ndarray) else ()):
            if axis == 0 or not case.op.loss:
                yield (slot, x.ndim, axis), size


def claims_single(case: Case, slot: int, axis: int) -> bool:
    """Whether `batch_axis` says where one sample along an axis of size one lies in the output.

    Nothing can tell whether that is right: there is no other sample to exchange it with.
    """
    if case.op.batch_axis is None or case.op.name == "batch":
        return False
    axes: list[int | None] = [None] * len(case.inputs)
    axes[slot] = axis
    return isinstance(case.op.batch_axis(case.node, axes), int)


def check_batch_axis(case: Case, rtol: float, atol: float) -> None:
    """What one sample's inputs are changes one sample's output, where the rule says it lies."""
    for axes, axis, count in markings(case):
        what = f"batch_axis says {axis} for samples along {axes}, but there the output"
        if case.output.shape[axis : axis + 1] != (count,):
            raise AssertionError(
                f"{case.title}: {what} {list(case.output.shape)} has not {count} samples"
            )
        for n in range(count):
            inputs = [
                x if a is None else _with_sample_copied(x, a, n, (n + 1) % count)
                for x, a in zip(case.inputs, axes, strict=True)
            ]
            others = np.delete(case.op.forward(*inputs, **case.params), n, axis)
            case.agree(
                f"{what} of other samples than {n}", others, np.delete(case.output, n, axis),
                1e-12, 1e-12,
            )  # fmt: skip


def _with_sample_copied(x: Array, axis: int, to: int, source: int) -> Array:
    moved = np.moveaxis(x.copy(), axis, 0)
    moved[to] = moved[source]
    return np.moveaxis(moved, 0, axis)


def one_row_per_sample(g: Stack, axis: int) -> Stack:
    """`[V, *shape]` as `[V * N, *shape]`: each row N times, zero but for one sample."""
    count = g.shape[1 + axis]
    samples = np.moveaxis(g, 1 + axis, 1)
    apart = np.zeros((len(g), count, *samples.shape[1:]))
    for n in range(count):
        apart[:, n, n] = samples[:, n]
    return np.moveaxis(apart, 2, 2 + axis).reshape(len(g) * count, *g.shape[1:])


def check_parameter_cotangent(case: Case, rtol: float, atol: float) -> None:
    """What reaches an unbatched input from each sample, in all its contractions."""
    for axes, axis, count in markings(case):
        g = case.random(ROWS)
        apart = case.pull(case.node, one_row_per_sample(g, axis))
        entries = cotangents_of(case.node, case.node, g)
        for k, slot in enumerate(case.slots):
            if axes[slot] is not None:
                continue
            expected = apart[k].reshape(ROWS, count, *case.floats[k].shape)
            rule, cotangent = case.op.parameter_cotangent, None
            if rule is not None:
                cotangent = rule(Sampled(case.node, axis, list(axes)), slot, g)
            if cotangent is None:
                cotangent = derived(case.node, case.node, slot, g, axis, entries)
            if cotangent is not None:
                title = f"{case.title}: with samples along {axes}, input {slot}'s cotangent"
                check_cotangent(cotangent, expected, title=title)
