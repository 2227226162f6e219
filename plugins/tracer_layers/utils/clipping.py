"""Bounds of gradients: of the norm of all together, or of each element."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array, backend, raw

__all__ = ["clip_grad_norm", "clip_grad_value", "clip_grads_with_norm", "get_total_norm"]


def clip_grad_norm(
    results: Mapping[str, Any],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Array:
    """Scale the gradients of a sweep so that their norm is at most `max_norm`; gives their norm.

    `results` are those of `Tape.backward`, whose `"grad"` is changed, in place, or that mapping of
    parameters to arrays. The norm, an array without axes, is that of all gradients as one vector,
    of the order `norm_type`, which is positive (`math.inf` for the largest element). As in
    PyTorch, the factor is `max_norm / (norm + 1e-6)`. No device is waited for, unless
    `error_if_nonfinite`, which raises `TracerError` for a norm that is none.
    """
    if not norm_type > 0:
        raise TracerError(f"norm_type is a positive number or math.inf, got {norm_type}")
    _check_bound("max_norm", max_norm)
    norm = get_total_norm(_gradients(results).values(), norm_type, error_if_nonfinite)
    clip_grads_with_norm(results, max_norm, norm)
    return norm


def get_total_norm(
    tensors: Mapping[str, Any] | Iterable[Array],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: object = None,
) -> Array:
    """The norm of arrays as one vector, or of the gradients in the results of a sweep."""
    if not norm_type > 0:
        raise TracerError(f"norm_type is a positive number or math.inf, got {norm_type}")
    arrays = _gradients(tensors).values() if isinstance(tensors, Mapping) else tensors
    norm = total_norm([raw(array) for array in arrays], norm_type)
    if error_if_nonfinite and not math.isfinite(float(norm)):
        raise TracerError(f"the norm of the gradient is {float(norm)}, and cannot be bounded")
    return norm


def clip_grads_with_norm(
    results: Mapping[str, Any], max_norm: float, total_norm: Array, foreach: object = None
) -> None:
    """Scale the gradients of a sweep, of the norm `total_norm`, to be at most `max_norm` long."""
    _check_bound("max_norm", max_norm)
    gradients = _gradients(results)
    factor = np.minimum(max_norm / (total_norm + 1e-6), 1.0)
    alone = not _share_memory(list(gradients.values()))
    for name, gradient in gradients.items():
        gradients[name] = scaled(gradient, factor, alone)


def clip_grad_value(results: Mapping[str, Any], clip_value: float) -> None:
    """Bound each element of the gradients of a sweep to `-clip_value` and `clip_value`."""
    _check_bound("clip_value", clip_value)
    gradients = _gradients(results)
    for name, gradient in gradients.items():
        gradients[name] = np.clip(gradient, -clip_value, clip_value)


def _check_bound(name: str, bound: object) -> None:
    """Raise `TracerError` for a bound that would turn gradients round."""
    if not isinstance(bound, Real) or not bound >= 0:
        raise TracerError(f"{name} is a number from 0, got {bound!r}")


def total_norm(arrays: list[Array], norm_type: float = 2.0) -> Array:
    """The norm of all elements together, where they are; 0 of none."""
    arrays = [array for array in arrays if array.size]
    if not arrays:
        return np.zeros(())
    if norm_type == math.inf:
        return np.stack([abs(a).max() for a in arrays]).max()
    norms = np.stack([_norm(a, norm_type) for a in arrays])
    return _norm(norms, norm_type)


def _norm(array: Array, order: float) -> Array:
    flat = array.reshape(-1)
    if flat.dtype.itemsize < 4:  # squares of half precision end at 256
        flat = flat.astype(np.float32)
    if order == 2:
        return np.sqrt(flat @ flat)
    return (abs(flat) ** order).sum() ** (1 / order)


def _share_memory(arrays: list[Array]) -> bool:
    """Whether one is there twice, or a view, which may be of another."""
    owned = all(getattr(array, "base", None) is None for array in arrays)
    return not owned or len({id(array) for array in arrays}) < len(arrays)


def scaled(gradient: Array, factor: Array, alone: bool) -> Array:
    """A gradient times a number of any dtype, in its own dtype; in place where it is `alone`.

    They are multiplied in the wider one: small factors are no numbers of half precision.
    """
    if alone and type(gradient) is np.ndarray and gradient.flags.writeable:
        return np.multiply(gradient, factor, out=gradient, casting="same_kind")
    return (gradient * factor).astype(gradient.dtype, copy=False)


def _gradients(results: Any) -> Any:
    if not isinstance(results, Mapping):
        raise TracerError(
            f"gradients are clipped in the results of a sweep, tape.backward(loss), since "
            f"parameters keep none, got a {type(results).__name__}"
        )
    if all(backend.is_array(value) for value in results.values()):
        return results
    if "grad" not in results:
        raise TracerError(
            f"gradients are clipped in the results of a sweep, tape.backward(loss), and these are "
            f"of {', '.join(map(repr, results)) or 'nothing'}"
        )
    return results["grad"]
