"""Losses of classes: cross-entropy of logits, and negative log-likelihood of log-probabilities."""

from __future__ import annotations

import math

import numpy as np

from tracer import operation
from tracer.errors import QuantityError, ShapeError
from tracer.extend import (
    Array,
    DType,
    Node,
    SeedRows,
    Stack,
    at_places,
    backend,
    by_contraction,
)
from tracer_layers.activations.operations import LogNormalisedExponential
from tracer_layers.losses.loss import (
    EVERY,
    Loss,
    diagonal,
    each_position,
    from_host,
    only_prediction,
    sample_axis,
)
from tracer_layers.module.rules import arange, raw

#: classes up to which matrices `[C, C]` are kept
MOST_KEPT = 1024
#: dtype of ints -> that of the same bits without a sign
UNSIGNED = {np.dtype(f"i{size}"): np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
#: classes up to which they go into memory one after the other: see `_by_class`
FEW_CLASSES = 64


def _class_axis(x: Array) -> int:
    """The axis of the classes, from the end: axis 1, or the only one."""
    return 1 - x.ndim if x.ndim > 1 else -1


def _with_class_axis(values: Array, x: Array) -> Array:
    """Values `[..., N, *extra]` of samples, with an axis of size 1 for the classes of `x`."""
    place = values.ndim + 1 + _class_axis(x)
    return values.reshape(*values.shape[:place], 1, *values.shape[place:])


def along_classes(values: Array, x: Array) -> Array:
    """Class weights `[C]`, shaped to be broadcast to the logits."""
    return values.reshape(-1, *(1,) * (-1 - _class_axis(x)))


def _by_class(x: Array) -> Array:
    """Logits `[N, C]` with each of few classes in one piece of memory, anything else as it is.

    NumPy reduces along a short last axis one row at a time: with 10 classes, a softmax of 128
    samples takes 17 microseconds in C order and 10 so, one of 3,200 samples 250 and 53.
    """
    few = type(x) is np.ndarray and x.ndim == 2 and x.shape[1] <= FEW_CLASSES
    return np.asfortranarray(x) if few else x


def ignored_class(x: Array, target: Array, ignore_index: int) -> int | None:
    """`ignore_index`, or None where all targets are known to be classes, and to count.

    What is known here need not be asked again for each of them by a loss and its rules.
    """
    if x.ndim == 0 or backend.of(target).asynchronous:
        return ignore_index
    classes = x.shape[_class_axis(x)]
    if target.ndim < x.ndim and not 0 <= ignore_index < classes and _are_classes(target, classes):
        return None
    return ignore_index


def _are_classes(target: Array, count: int) -> bool:
    """Whether all are at least 0 and below `count`: negative ints, read as unsigned, are large."""
    unsigned = UNSIGNED.get(target.dtype)
    if unsigned is not None:
        target = target.view(unsigned)
    return target.size == 0 or bool(np.maximum.reduce(target, axis=None) < count)


def picked_values(values: Array, target: Array, ignored: int | None) -> Array:
    """Of `values [N, C, *extra]` those of the targets' classes, zero where a target is ignored.

    A target that is no class is a `ShapeError` or, where asking would wait for a device, gives NaN.
    """
    if ignored is None:
        return _at(target, values)
    classes, asked = values.shape[_class_axis(values)], not backend.of(target).asynchronous
    known, counted = (target >= 0) & (target < classes), target != ignored
    wrong = counted & ~known
    if asked and bool(wrong.any()):
        raise ShapeError(
            f"expects class indices from 0 to {classes - 1}, or ignore_index={ignored}, got "
            f"{int(backend.to_host(target[wrong]).reshape(-1)[0])}: count classes from 0, or give "
            f"the prediction more classes"
        )
    picked = np.where(counted, _at(np.where(known, target, 0), values), 0)
    return picked if asked else np.where(wrong, np.nan, picked)


def _at(index: Array, values: Array) -> Array:
    """Of `values [N, C, *extra]` those of the classes `index [N, *extra]`."""
    if values.ndim == 2:  # as below, with nothing to reshape
        return values[arange(values, len(index)), index]
    places = [
        arange(values, size).reshape(-1, *(1,) * (index.ndim - 1 - i))
        for i, size in enumerate(index.shape)
    ]
    places.insert(values.ndim + _class_axis(values), index)
    return values[tuple(places)]


def _check(x: Array, target: Array, weight: Array | None) -> None:
    axis = _class_axis(x) % max(1, x.ndim)
    expected = x.shape[:axis] + x.shape[axis + 1 :]
    indices = target.dtype.kind in "iu" and target.shape == expected
    if x.ndim == 0 or not (indices or (target.shape == x.shape and target.dtype.kind == "f")):
        first = "; the prediction comes first, then the target" if target.ndim > x.ndim else ""
        raise ShapeError(
            f"expects class indices (ints) {list(expected)} or, in cross_entropy, probabilities "
            f"(floats) {list(x.shape)} as the target of a prediction {list(x.shape)}, got "
            f"{target.dtype}{list(target.shape)}: classes are on axis 1 of the prediction{first}"
        )
    if weight is not None and weight.shape != (x.shape[axis],):
        raise ShapeError(
            f"expects a weight for each of {x.shape[axis]} classes, got {list(weight.shape)}"
        )


def _one_hot(target: Array, x: Array, ignored: int | None) -> Array:
    """1 where the class is the target's, and the target counts, else 0, of the shape of `x`.

    Booleans or, of few classes, numbers that lie in memory as `_by_class` puts logits: with 10 of
    them, made and subtracted for 128 samples in 2 microseconds in place of 5.
    """
    axis, target = _class_axis(x), raw(target)
    count = x.shape[axis]
    if ignored is None and x.ndim == 2 and count <= FEW_CLASSES:
        return backend.of(target).constant(np.eye, count, count, 0, x.dtype).take(target, axis=1).T
    hot = along_classes(arange(target, count), x) == _with_class_axis(target, x)
    if ignored is None or not 0 <= ignored < count:
        return hot
    return hot & _with_class_axis(target != ignored, x)


def _log_probabilities(node: Node) -> Array:
    """The model's, of the logits' shape."""
    if node.kept is not None:
        return node.kept
    x = node.inputs[0]
    return LogNormalisedExponential(_by_class(x), axis=_class_axis(x))


def _distribution(node: Node) -> Array:
    """`q` of the logits' shape, so that the loss is `-sum_c q_c log softmax(x)_c`."""
    x, _, *weights = node.inputs
    q = _unweighted(node)
    return q * along_classes(weights[0], x) if weights else q


def _unweighted(node: Node) -> Array:
    """What the target, smoothing and ignored targets make of `q`, before the class weights."""
    x, target = node.inputs[:2]
    smoothing, axis = node.params["label_smoothing"], _class_axis(x)
    if target.ndim == x.ndim:
        return target * (1 - smoothing) + smoothing / x.shape[axis] if smoothing else target
    ignored = node.params["ignored"]
    hot = _one_hot(target, x, ignored)
    if not smoothing:
        return hot
    spread = smoothing / x.shape[axis]
    if ignored is not None:
        spread = np.where(_with_class_axis(target == ignored, x), 0, spread)
    return (hot * (1 - smoothing) + spread).astype(x.dtype)


def _mass(node: Node, q: Array) -> Array | None:
    """The sum of `q` over the classes, `[N, 1, *extra]`; None where it is 1 for all."""
    x, target, *weights = node.inputs
    if weights or target.ndim == x.ndim:
        return np.sum(q, axis=_class_axis(x), keepdims=True)
    ignored = node.params["ignored"]
    return None if ignored is None else _with_class_axis(target != ignored, x)


def _per_class(values: Array, x: Array) -> Stack:
    """A stack `[V, *x.shape]` summed over all but the classes: `[V, C]`."""
    axis = _class_axis(x)
    others = tuple(i - x.ndim for i in range(x.ndim) if i - x.ndim != axis)
    return np.sum(values, axis=others)


@operation("cross_entropy")
class CrossEntropy(Loss):
    """`-sum_c q_c log softmax(x)_c` of logits `x [N, C, *extra]`; its likelihood is categorical.

    The target is class indices `[N, *extra]` or probabilities of the shape of `x`; class weights
    `[C]` are an optional third input. The loss is of shape `[N, *extra]`, zero where the target is
    the class `ignored`, which is None where all are known to be classes that count.
    """

    jvp = by_contraction(lambda node: (_class_axis(node.inputs[0]),))

    def forward_keeping(x, target, weight=None, *, ignored, label_smoothing):
        _check(x, target, weight)
        axis = _class_axis(x)
        log_p = LogNormalisedExponential.forward(_by_class(x), axis=axis)
        scaled = log_p if weight is None else log_p * along_classes(weight, x)
        if target.ndim == x.ndim:
            loss = -(target * scaled).sum(axis=axis)
        else:
            loss = -picked_values(scaled, target, ignored)
        if label_smoothing:
            uniform = -scaled.mean(axis=axis)
            if target.ndim != x.ndim and ignored is not None:
                uniform = np.where(target != ignored, uniform, 0)
            loss = loss * (1 - label_smoothing) + uniform * label_smoothing
        return loss, log_p

    def vjp(node, g):
        """g_x[v,n,c] = g[v,n] (m[n] p[n,c] - q[n,c]) with p = softmax(x) and m = sum_c q_c.

        Of target probabilities, -g w (1 - label_smoothing) log p; of class weights w, in q = w r,
        -sum_n g[v,n] r[n,c] log p[n,c].
        """
        x, target, *weights = node.inputs
        g = _with_class_axis(g, x)

        def logits():
            p, q = np.exp(_log_probabilities(node)), _distribution(node)
            mass = _mass(node, q)
            return g * ((p if mass is None else mass * p) - q)

        def probabilities():
            log_p = _log_probabilities(node)
            scaled = log_p * along_classes(weights[0], x) if weights else log_p
            return -g * (scaled * (1 - node.params["label_smoothing"]))

        def class_weights():
            return _per_class(-g * (_unweighted(node) * _log_probabilities(node)), x)

        target_rule = probabilities if target.ndim == x.ndim else None
        return (logits, target_rule, class_weights)[: len(node.inputs)]

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = sqrt(weight m p_c) (e_c - p), a row per class: of each sample, m (diag(p) - p p^T).

        One set of C rows for each position of `[*extra]`; m is the sum of q over the classes.
        """
        p, scale = _probabilities(node, weight)
        x, axis = node.inputs[0], _class_axis(node.inputs[0])
        others = [i for i in range(-x.ndim, 0) if i != axis]
        lengths = np.expand_dims(np.moveaxis(np.sqrt(p) * scale, axis, 0), axis)

        def of(some):
            return lengths[some] * np.where(each_position(x, *others, some=some), 1 - p, -p)

        return _apart(node, SeedRows(x.shape[axis], of))[rows]

    def short_sqrt_hessian(node, weight, rows=EVERY):
        """C - 1 rows, the Cholesky factor of `diag(p) - p p^T` (Tanabe and Sagae 1992); at least 1.

        With t_c the probability of the classes after c, row c is `sqrt(p_c t_c / t_{c-1})` times
        1 at c and `-p_i / t_c` at each later i; all times sqrt(weight m), as in `sqrt_hessian`.
        """
        x, axis = node.inputs[0], _class_axis(node.inputs[0])
        if x.shape[axis] == 1:
            return CrossEntropy.sqrt_hessian(node, weight, rows)
        p, scale = (array.swapaxes(0, axis) for array in _probabilities(node, weight))
        count, tiny = x.shape[axis], np.finfo(x.dtype).tiny
        after = np.cumsum(p[::-1], 0)[::-1]  # [C, ...]: t_{c-1}
        least = np.maximum(after, tiny)
        lengths = np.sqrt(p[:-1] * (after[1:] / least[:-1]))
        shares = -lengths / least[1:]
        ends, weighed = lengths * scale, p * scale

        def of(some):
            here, later = _places(x, count, some)
            made = np.where(here, ends[some, None], shares[some, None] * weighed * later)
            return made.swapaxes(1, x.ndim + axis + 1)

        return _apart(node, SeedRows(count - 1, of))[rows]

    def row_counts(node):
        x = node.inputs[0]
        count, positions = x.shape[_class_axis(x)], _positions(node)
        short = max(1, count - 1) * positions
        return {"sqrt_hessian": count * positions, "short_sqrt_hessian": short}

    def sqrt_hessian_sampled(node, weight, samples, rng):
        """sqrt(weight m / M) (p - e_c), with classes c drawn from p."""
        p, scale = _probabilities(node, weight)
        x, axis = node.inputs[0], _class_axis(node.inputs[0])
        shape = [1 if i == x.ndim + axis else size for i, size in enumerate(x.shape)]
        uniform = from_host(rng.random((samples, *shape)), raw(x))
        below = raw(np.cumsum(p, axis=axis)) < uniform
        drawn = below.sum(axis=axis, keepdims=True).clip(0, x.shape[axis] - 1)
        hot = along_classes(arange(raw(x), x.shape[axis]), x) == drawn
        return scale * samples**-0.5 * (p - hot)

    def examples(rng):
        x, extra = rng.standard_normal((3, 4)), rng.standard_normal((2, 3, 2))
        target, weight = np.array([0, 3, 1]), rng.uniform(0.5, 2, 4)
        p = rng.dirichlet(np.ones(4), 3)
        plain = {"ignored": None, "label_smoothing": 0.0}
        return [
            ((x, target), plain),
            ((x, target), {"ignored": 1, "label_smoothing": 0.0}),
            ((x, target, weight), {"ignored": 3, "label_smoothing": 0.1}),
            ((x, p, weight), {"ignored": None, "label_smoothing": 0.1}),
            ((extra, rng.integers(0, 3, (2, 2))), plain),
        ]


def _places(x: Array, size: int, some: slice) -> tuple[Array, Array]:
    """Rows of what is on the diagonal (bools) and above it (ones), `[size - 1, size]`.

    Axes of size 1 follow, one for each other axis of `x`.
    """
    if size <= MOST_KEPT:
        here, later = backend.of(raw(x)).constant(_all_places, size, x.ndim - 1, x.dtype)
        return here[some], later[some]
    every = arange(raw(x), size).reshape(size, *(1,) * (x.ndim - 1))
    first = every[some, None]
    return first == every, (first < every).astype(x.dtype)


def _all_places(size: int, others: int, dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    shape = (size - 1, size, *(1,) * others)
    above = np.triu(np.ones((size - 1, size), dtype), 1)
    return np.eye(size - 1, size, dtype=bool).reshape(shape), above.reshape(shape)


def _apart(node: Node, rows: SeedRows) -> SeedRows:
    """Rows of all positions as rows of one position each."""
    x = node.inputs[0]
    kept = _class_axis(x) % x.ndim, sample_axis(node)
    return at_places(rows, _positions(node), lambda some: each_position(x, *kept, some=some))


def _positions(node: Node) -> int:
    """How many predictions of classes there are of one sample."""
    x = node.inputs[0]
    kept = _class_axis(x) % x.ndim, sample_axis(node)
    return math.prod(size for i, size in enumerate(x.shape) if i not in kept)


def _probabilities(node: Node, weight: Array) -> tuple[Array, Array]:
    """The model's probabilities, and the square root of what each position's Hessian weighs."""
    only_prediction(node)
    x = node.inputs[0]
    total, scale = _mass(node, _distribution(node)), _with_class_axis(weight, x)
    signed = len(node.inputs) > 2 or node.inputs[1].ndim == x.ndim
    if signed and not backend.of(x).asynchronous and bool((raw(total) < 0).any()):
        raise QuantityError(
            "cross_entropy is not convex in its prediction where class weights or target "
            "probabilities sum to a negative number: give weights that are not negative"
        )
    p = np.exp(_log_probabilities(node))
    return p, np.sqrt(scale if total is None else scale * total)


@operation("nll")
class NegativeLogLikelihood(Loss):
    """`-x[target]` of log-probabilities `x [N, C, *extra]`, linear in them: its Hessian is zero.

    For Gauss-Newton quantities use `cross_entropy` on logits, which is curved.
    """

    jvp = by_contraction(lambda node: (_class_axis(node.inputs[0]),))

    def forward(x, target, weight=None, *, ignored):
        _check(x, target, weight)
        if target.ndim == x.ndim:
            raise ShapeError("expects class indices as targets, got floats: use cross_entropy")
        scaled = x if weight is None else x * along_classes(weight, x)
        return -picked_values(scaled, target, ignored)

    def vjp(node, g):
        """g_x[v,n,c] = -g[v,n] w[c] at the target c, 0 elsewhere; g_w = -sum_n g x there."""
        x, target, *weights = node.inputs
        hot = _one_hot(target, x, node.params["ignored"])
        picked = np.where(hot, -_with_class_axis(g, x), 0)
        return (
            lambda: picked * along_classes(weights[0], x) if weights else picked,
            None,
            lambda: _per_class(picked * x, x),
        )[: len(node.inputs)]

    def sqrt_hessian(node, weight, rows=EVERY):
        """Zero: it is linear in x."""
        return diagonal(0 * node.inputs[0], node, rows)

    def examples(rng):
        x, weight = np.log(rng.dirichlet(np.ones(4), 3)), rng.uniform(0.5, 2, 4)
        target = np.array([0, 3, 1])
        return [((x, target), {"ignored": None}), ((x, target, weight), {"ignored": 3})]
