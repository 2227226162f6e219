"""Whether a loss is the mean or the sum of the samples' losses, found out on two samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tracer.errors import TracerError
from tracer.extend import DType
from tracer_scale.merging import MEAN, SUM
from tracer_scale.shards import Batch

#: of a batch, `(x, y)`, the denominator of its mean
Denominator: TypeAlias = Callable[..., float]

#: how many classes are tried, the first ones, for whether a mean weighs them
CLASSES = 16

WAYS = (
    "a model that mixes samples or draws at random is folded in evaluation, after model.eval(), as "
    "one with batch normalisation or dropout; for a weighed mean (weights of classes, targets that "
    "are ignored) give weight=, a function of (x, y) with the denominator of a batch's mean"
)


def reduction_of(
    value: Callable[[Batch], float], batch: Batch, weight: Denominator | None, mean: bool | None
) -> str:
    """ "mean", "sum", or nothing where the losses of the samples are too small to tell.

    `value` is the loss of a batch. The first sample and the last are looked at, or one sample twice
    where there are no others. Raises `TracerError` where it is neither.
    """
    if weight is not None:
        return MEAN
    expected = {None: "", True: MEAN, False: SUM}[mean]
    pair = [0, len(batch[-1]) - 1]
    both = value(_taken(batch, pair))
    try:
        one, other = (value(_taken(batch, [i])) for i in pair)
    except ValueError as error:
        raise TracerError(
            f"the loss of single samples cannot be computed ({error}): {WAYS}"
        ) from error
    if not math.isfinite(both + one + other):
        if not math.isfinite(value(batch)):
            return expected  # the model's own trouble, which the values show
        raise TracerError(f"the loss of some single samples is no number: {WAYS}")
    precision = float(np.finfo(_dtype(batch)).eps) ** 0.5
    size = max(abs(one) + abs(other), abs(both))
    close = size * precision
    is_sum = abs(both - (one + other)) <= close
    is_mean = abs(both - (one + other) / 2) <= close
    if is_sum and is_mean:
        return expected
    found = SUM if is_sum else MEAN if is_mean else ""
    if not found and size < precision:  # of a logarithm near 1, rounding is all that is left
        return expected
    if not found or found != (expected or found):
        said = f"not the {expected}" if expected and found else "neither the mean nor the sum"
        raise TracerError(
            f"the loss of two samples is {both:.6g}, {said} of {one:.6g} and {other:.6g}, which "
            f"they have alone: {WAYS}"
        )
    return found


def refuse_class_weights(value: Callable[[Batch], float], batch: Batch) -> None:
    """Raise `TracerError` for a mean in which classes weigh differently, or are ignored.

    The samples of a shard may be of one class, where such a mean is as a plain one. So the first
    sample is taken twice, with its class and with others, `CLASSES` of them, which are tried until
    the loss takes no more. Targets that are not whole numbers are none of classes.
    """
    target = batch[-1]
    if target.dtype.kind not in "iu" or not len(target):
        return
    precision = float(np.finfo(_dtype(batch)).eps) ** 0.5
    alone = value(_taken(batch, [0]))
    for label in range(CLASSES):
        pair = (*(array[[0, 0]] for array in batch[:-1]), target[[0, 0]])
        pair[-1][1] = label
        try:
            other, both = value(_taken(pair, [1])), value(pair)
        except (ArithmeticError, LookupError, ValueError, TracerError):
            return
        size = max(abs(alone), abs(other), abs(both))
        if not math.isfinite(size) or size < precision:  # rounding, as near a logarithm of 1
            continue
        if abs(both - (alone + other) / 2) > precision * size:
            raise TracerError(
                f"the mean of the loss weighs class {label} and others differently, or ignores "
                f"one, and its denominator is not the number of samples: give weight=, a function "
                f"of (x, y) with the denominator of a batch's mean"
            )


def refuse_weights(loss: Callable[..., object], ignored: bool) -> None:
    """Raise `TracerError` for a loss whose mean is known to be weighed."""
    given = getattr(loss, "keywords", None) or {}
    reduction = given.get("reduction", getattr(loss, "reduction", MEAN))
    weighed = given.get("weight", getattr(loss, "weight", None)) is not None
    if reduction == MEAN and (weighed or ignored):
        why = "weights of classes" if weighed else "targets that are ignored"
        raise TracerError(
            f"the mean of the loss has {why}, and its denominator is not the number of samples: "
            f"give weight=, a function of (x, y) with the denominator of a batch's mean"
        )


def _taken(batch: Batch, samples: list[int]) -> Batch:
    return tuple(array[samples] for array in batch)


def _dtype(batch: Batch) -> DType:
    """Of the least precise floats among the inputs; float32 where there are none."""
    kinds = [array.dtype for array in batch if array.dtype.kind == "f" and array.dtype.itemsize > 2]
    return min(kinds, key=lambda kind: kind.itemsize, default=np.dtype(np.float32))
