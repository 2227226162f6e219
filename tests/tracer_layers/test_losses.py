"""Losses: their values, their Hessians' square roots, their samplers, and what they refuse."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import BatchError, QuantityError, ShapeError, TracerError
from tracer_layers.plugin import register_operations

LOSSES = [op for op in register_operations() if op.loss]
CASES = [
    pytest.param(op, i, id=f"{op.name}-{i}")
    for op in LOSSES
    for i in range(len(op.examples(np.random.default_rng(0))))
]
#: those whose Hessian has no root of a rule: it is found, or there is none
BARE = {"cosine_embedding", "triplet_margin", "ctc"}
ROOTED = [case for case in CASES if case.values[0].name not in BARE]
SAMPLED = [
    case
    for case in CASES
    if case.values[0].sqrt_hessian_sampled is not None
    and case.values[0].examples(np.random.default_rng(0))[case.values[1]][1].get("log_input", True)
]


def recorded(op, i):
    """The node of an example, whose prediction is a parameter, and weights of its losses."""
    inputs, params = op.examples(np.random.default_rng(0))[i]
    with tracer.Tape() as tape:
        op(tracer.parameter(inputs[0]), *inputs[1:], **params)
    node = tape.nodes[-1]
    return node, np.random.default_rng(1).uniform(0.2, 2, node.shape)


def hessians(node, weight):
    """`[N, C, C]`: the Hessian of the weighted sum, sample by sample."""
    x, *others = node.inputs

    def objective(x):
        return np.sum(node.op(x, *others, **node.params) * weight)

    full = tracer.hessian(objective)(x)
    size = x[0].size
    full = full.reshape(len(x), size, len(x), size)
    return np.stack([full[n, :, n] for n in range(len(x))])


def products(rows):
    """`[N, C, C]` from rows `[R, N, *d]`."""
    flat = rows.reshape(*rows.shape[:2], -1)
    return np.einsum("rnc,rnd->ncd", flat, flat)


@pytest.mark.parametrize(("op", "i"), ROOTED)
def test_rows_are_a_square_root_of_the_hessian(op, i):
    node, weight = recorded(op, i)
    rows = op.sqrt_hessian(node, weight)
    assert rows.shape[1:] == node.inputs[0].shape
    np.testing.assert_allclose(products(rows), hessians(node, weight), atol=1e-10)


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize(("op", "i"), ROOTED)
def test_rows_may_be_made_some_at_a_time(op, i, step):
    node, weight = recorded(op, i)
    for name, count in op.row_counts(node).items():
        rule = getattr(op, name)
        whole = rule(node, weight)
        parts = [rule(node, weight, slice(a, a + step)) for a in range(0, count, step)]
        assert len(whole) == count
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 3), (2, 1100)])
def test_rows_of_classes_may_be_made_some_at_a_time(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    target = np.zeros(shape[:1] + shape[2:], int)
    with tracer.Tape() as tape:
        losses = nn.cross_entropy(tracer.parameter(x), target, reduction="none")
    node, weight = tape.nodes[-1], np.random.default_rng(1).uniform(0.5, 2, losses.shape)
    for name, count in node.op.row_counts(node).items():
        rule = getattr(node.op, name)
        whole = rule(node, weight)
        assert len(whole) == count
        for some in (slice(0, 1), slice(1, 5), slice(count - 3, count), slice(2, 2)):
            np.testing.assert_array_equal(rule(node, weight, some), whole[some])


@pytest.mark.parametrize(("op", "i"), SAMPLED)
def test_sampled_rows_are_one_in_expectation(op, i):
    node, weight = recorded(op, i)
    rows = op.sqrt_hessian_sampled(node, weight, 40_000, np.random.default_rng(0))
    assert rows.shape == (40_000, *node.inputs[0].shape)
    expected = op.sqrt_hessian(node, weight)
    scale = np.abs(products(expected)).max()
    np.testing.assert_allclose(products(rows), products(expected), atol=0.04 * scale)


@pytest.mark.parametrize(("op", "i"), ROOTED)
def test_rows_keep_float32(op, i):
    inputs, params = op.examples(np.random.default_rng(0))[i]
    single = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
    with tracer.Tape() as tape:
        op(tracer.parameter(single[0]), *single[1:], **params)
    node = tape.nodes[-1]
    weight = np.ones(node.shape, np.float32)
    assert op.sqrt_hessian(node, weight).dtype == np.float32
    if op.sqrt_hessian_sampled is not None and params.get("log_input", True):
        rows = op.sqrt_hessian_sampled(node, weight, 2, np.random.default_rng(0))
        assert rows.dtype == np.float32


def test_which_losses_have_a_rule_for_their_rows():
    assert {op.name for op in LOSSES if op.sqrt_hessian is None} == BARE


@pytest.mark.parametrize(
    ("op", "i"), [case for case in CASES if case.values[0].name in BARE - {"ctc"}]
)
def test_losses_without_a_rule_have_the_gauss_newton_matrix_of_their_hessian(op, i):
    """Sample by sample, where it is convex; else they say so."""
    inputs, params = op.examples(np.random.default_rng(0))[i]
    undefined = 0
    for n in range(len(inputs[0])):
        x, *others = (v[n : n + 1] for v in inputs)
        scale = tracer.parameter(np.ones(x.shape[1:]), "scale")
        with tracer.Tape() as tape:
            loss = np.sum(op(tracer.batch(x) * scale, *others, **params))

        def value(y, op=op, others=others):
            return np.sum(op(y, *others, **params))

        hessian = tracer.hessian(value)(x).reshape(x.size, x.size)
        if np.linalg.eigvalsh(hessian).min() < -1e-6:
            undefined += 1
            with pytest.raises(QuantityError, match="not convex in the model's output"):
                tape.backward(loss, "diag_ggn_exact", undefined="raise")
            continue
        found = tape.backward(loss, "diag_ggn_exact")["diag_ggn_exact"]["scale"]
        expected = (np.diag(hessian) * x.ravel() ** 2).reshape(found.shape)
        np.testing.assert_allclose(found, expected, atol=1e-10)
    assert undefined


def test_temporal_classification_has_no_gauss_newton_matrix():
    x = nn.functional.log_softmax(np.random.default_rng(0).standard_normal((5, 2, 3)), -1)
    scale = tracer.parameter(np.ones(3), "scale")
    with tracer.Tape() as tape:
        given = np.array([[1, 2], [2, 2]]), np.array([5, 4]), np.array([2, 1])
        loss = nn.ctc_loss(tracer.batch(x, 1) * scale, *given)
    found = tape.backward(loss, ("grad_batch", "diag_h"))
    assert found["grad_batch"]["scale"].shape == (2, 3)
    with pytest.raises(QuantityError, match="not convex in the model's output"):
        tape.backward(loss, "diag_ggn_exact", undefined="raise")


def test_cross_entropy_is_the_negative_log_softmax_of_the_class():
    x = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    expected = [np.log(np.exp(x[0]).sum()) - 1.0, np.log(3)]
    np.testing.assert_allclose(nn.cross_entropy(x, np.array([0, 2]), reduction="none"), expected)


def test_the_mean_of_cross_entropy_divides_by_the_weights_that_count():
    x, weight = np.zeros((3, 2)), np.array([1.0, 3.0])
    loss = nn.cross_entropy(x, np.array([0, 1, -100]), weight)
    np.testing.assert_allclose(loss, (1 * np.log(2) + 3 * np.log(2)) / 4)
    np.testing.assert_allclose(nn.cross_entropy(x, np.array([0, -100, -100])), np.log(2))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (nn.MSELoss(), (0.25 + 4) / 2),
        (nn.L1Loss(), (0.5 + 2) / 2),
        (nn.HuberLoss(delta=1.0), (0.125 + 1.5) / 2),
        (nn.SmoothL1Loss(beta=4.0), (0.25 / 8 + 4 / 8) / 2),
        (nn.MSELoss(reduction="sum"), 4.25),
        (nn.SoftMarginLoss(), (np.log(2) * 2) / 2),
        (nn.HingeEmbeddingLoss(margin=3.0), (0.5 + 2.5 + 2 + 1) / 2),
    ],
)
def test_errors_of_numbers(loss, expected):
    value = loss(np.array([[0.5, 2.0]]), np.zeros((1, 2)))
    np.testing.assert_allclose(value.data, expected)


def test_losses_of_extreme_logits_are_finite():
    x, target = np.array([[1e4, -1e4]], np.float32), np.array([1])
    assert nn.cross_entropy(x, target) == pytest.approx(2e4)
    loss = nn.binary_cross_entropy_with_logits(x, np.array([[0.0, 1.0]], np.float32))
    assert loss == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("loss", "shape", "target"),
    [
        (nn.mse_loss, (4, 2, 3), (4, 2, 3)),
        (nn.huber_loss, (4, 2, 3), (4, 2, 3)),
        (nn.binary_cross_entropy_with_logits, (4, 2), (4, 2)),
        (nn.cross_entropy, (4, 3, 2), (4, 2)),
        (nn.cross_entropy, (2, 3, 2, 3), (2, 2, 3)),
    ],
)
def test_samples_may_lie_on_any_axis_of_the_prediction(loss, shape, target):
    """The same values as with the samples first."""
    rng, classes = np.random.default_rng(0), loss is nn.cross_entropy
    axis, target_axis = (2, 1) if classes else (1, 1)
    w, x = rng.standard_normal(shape[:axis] + shape[axis + 1 :]), rng.standard_normal(shape)
    t = rng.integers(0, 3, target) if classes else rng.uniform(0, 1, target)

    def results(samples_first):
        p = tracer.parameter(w, name="w")
        with tracer.Tape() as tape:
            if samples_first:
                y = np.tanh(tracer.batch(np.moveaxis(x, axis, 0)) * p)
                y = np.moveaxis(y, 2, 1) if classes else y
                value = loss(y, np.moveaxis(t, target_axis, 0))
            else:
                y = np.tanh(tracer.batch(x, axis=axis) * np.expand_dims(p, axis))
                value = loss(y, t)
        names = ("grad_batch", "sqrt_ggn_exact", "diag_ggn_exact_batch", "diag_h", "diag_h_batch")
        found = {name: value["w"] for name, value in tape.backward(value, names).items()}
        root = found["sqrt_ggn_exact"].reshape(-1, shape[axis], w.size)  # its rows in any order
        found["sqrt_ggn_exact"] = np.einsum("cnp,cnq->npq", root, root)
        return found

    expected = results(samples_first=True)
    for name, value in results(samples_first=False).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-11, atol=1e-13, err_msg=name)


def test_samples_where_the_classes_belong_are_refused():
    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        x = tracer.batch(np.ones((4, 3, 2)), axis=1)
        loss = nn.cross_entropy(x * w[:, None], np.zeros((4, 2), int))
    with pytest.raises(BatchError, match=r"classes on axis 1 .*moveaxis"):
        tape.backward(loss, ("diag_ggn_exact",))


def test_curvature_of_a_target_that_depends_on_parameters_is_refused():
    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        x = tracer.batch(np.ones((4, 3)))
        loss = nn.mse_loss(x * w, w * x * 2)
    with pytest.raises(QuantityError, match=r"input 1 depends on parameters.*detach"):
        tape.backward(loss, ("diag_ggn_exact",))


def test_losses_that_are_not_convex_or_not_sampled_say_so():
    x = tracer.parameter(np.ones((2, 3)))
    with tracer.Tape() as tape:
        nn.poisson_nll_loss(x, -np.ones((2, 3)), log_input=False, reduction="none")
    node, weight = tape.nodes[-1], np.ones((2, 3))
    with pytest.raises(QuantityError, match="not convex"):
        node.op.sqrt_hessian(node, weight)
    with pytest.raises(QuantityError, match="use the exact quantity"):
        node.op.sqrt_hessian_sampled(node, weight, 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.cross_entropy(np.ones((2, 3)), np.array([0, 3])), r"from 0 to 2.*got 3"),
        (lambda: nn.cross_entropy(np.ones((2, 3)), np.array([0, 1, 2])), r"indices \(ints\) \[2\]"),
        (lambda: nn.cross_entropy(np.ones((2, 3)), np.array([0.0, 1.0])), r"float64\[2\]"),
        (lambda: nn.cross_entropy(np.ones((2, 3)), np.array([0, 1]), np.ones(2)), "each of 3"),
        (lambda: nn.nll_loss(np.ones((2, 3)), np.ones((2, 3))), "use cross_entropy"),
        (lambda: nn.mse_loss(np.ones((2, 3)), np.ones((2, 1))), r"shape \[2, 3\], got \[2, 1\]"),
        (lambda: nn.gaussian_nll_loss(*[np.ones((2, 3))] * 2, np.ones(3)), r"var as a number"),
        (lambda: nn.gaussian_nll_loss(*[np.ones((2, 3))] * 2, -1.0), "negative"),
        (lambda: nn.binary_cross_entropy(np.full(2, 1.1), np.ones(2)), "from 0 to 1"),
        (lambda: nn.multi_margin_loss(np.ones((2, 3)), np.array([0, 3])), "0 to 2, got 0 to 3"),
        (lambda: nn.multi_margin_loss(np.ones((2, 3)), np.ones(2)), r"indices \(ints\) \[N\]"),
        (lambda: nn.multilabel_margin_loss(np.ones((2, 3)), np.full((2, 3), 3)), "0 to 2, or -1"),
        (lambda: nn.multilabel_margin_loss(np.ones((2, 3)), np.array([0])), r"labels \(ints\)"),
        (
            lambda: nn.cosine_embedding_loss(*[np.ones((2, 3))] * 2, np.ones(3)),
            r"a sign for each pair of vectors, \[2\], got \[3\]",
        ),
        (
            lambda: nn.triplet_margin_loss(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 4))),
            "vectors .* of one shape",
        ),
        (
            lambda: nn.ctc_loss(np.zeros((4, 2, 3)), np.ones((2, 2), int), [4, 5], [2, 2]),
            r"of at most T and S, .* input_lengths \[4, 5\]",
        ),
        (lambda: nn.ctc_loss(np.zeros((4, 2, 3)), np.ones(3, int), [4, 4], [2, 2]), "4 labels in"),
    ],
)
def test_wrong_targets_are_refused_with_the_shapes(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


def test_wrong_options_are_refused():
    with pytest.raises(TracerError, match='"mean", "sum" or "none", got \'avg\''):
        nn.MSELoss(reduction="avg")
    with pytest.raises(TracerError, match="size_average"):
        nn.CrossEntropyLoss(size_average=True)
    with pytest.raises(TracerError, match="delta is positive"):
        nn.huber_loss(np.ones(2), np.ones(2), delta=0)
    with pytest.raises(TracerError, match="p as 1 or 2, got 3"):
        nn.MultiMarginLoss(3)
    with pytest.raises(TracerError, match="a positive margin, got -1"):
        nn.TripletMarginLoss(-1)


def test_probabilities_that_do_not_sum_to_one_have_the_derivatives_of_their_formula():
    """The loss is `-sum_c q_c log p_c` whatever the q are; its Hessian is weighed by their sum."""
    rng = np.random.default_rng(0)
    x, q = rng.standard_normal((3, 4)), rng.random((3, 4))

    def loss(logits):
        return nn.functional.cross_entropy(logits, q, reduction="sum")

    def formula(logits):
        return -np.sum(q * (logits - tracer.logsumexp(logits, axis=1, keepdims=True)))

    np.testing.assert_allclose(tracer.grad(loss)(x), tracer.grad(formula)(x), rtol=1e-10)
    w = tracer.parameter(np.eye(4), "w")
    with tracer.Tape() as tape:
        value = loss(tracer.batch(x) @ w)
    diagonal = tape.backward(value, ("diag_ggn_exact",))["diag_ggn_exact"]["w"]
    hessian = tracer.hessian(lambda w: formula(x @ w))(np.eye(4)).reshape(16, 16)
    np.testing.assert_allclose(diagonal.reshape(-1), np.diag(hessian), rtol=1e-10)


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3), (3, 1), (5,)])
def test_the_short_root_of_the_softmax_has_a_row_less_per_position(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    classes = shape[min(1, len(shape) - 1)]
    x = x if len(shape) == 1 else np.concatenate([x[:1] * 40, x[1:]])  # one saturated sample
    target = np.zeros(shape[:1] + shape[2:] if len(shape) > 1 else (), int)
    with tracer.Tape() as tape:
        losses = nn.cross_entropy(tracer.parameter(x), target, reduction="none")
    node, weight = tape.nodes[-1], np.random.default_rng(1).uniform(0.5, 2, losses.shape)
    whole, short = (
        np.reshape(rule(node, weight), (-1, *shape))
        for rule in (node.op.sqrt_hessian, node.op.short_sqrt_hessian)
    )
    assert len(short) == len(whole) // classes * max(1, classes - 1)
    samples = len(x) if len(shape) > 1 else 1
    expected, found = (
        np.einsum("rna,rnb->nab", rows, rows)
        for rows in (r.reshape(len(r), samples, x.size // samples) for r in (whole, short))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("classes", [2, 10, 64, 65, 200])
@pytest.mark.parametrize("ignored", [-100, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_few_and_of_many_classes(classes, ignored, dtype):
    rng = np.random.default_rng(classes)
    x, target = rng.standard_normal((7, classes)).astype(dtype), rng.integers(0, classes, 7)
    target[:2] = 0, ignored
    logits = tracer.parameter(x, "x")
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(logits, target, ignore_index=ignored)
    gradient = tape.backward(loss)["grad"]["x"]

    wide, counted = x.astype(np.float64), target != ignored
    p = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    hot = np.arange(classes) == target[:, None]
    tolerance = 1e-12 if dtype is np.float64 else 1e-6
    expected = -np.log(p[hot & counted[:, None]]).sum() / counted.sum()
    np.testing.assert_allclose(loss.item(), expected, rtol=tolerance)
    expected = np.where(counted[:, None], p - hot, 0) / counted.sum()
    np.testing.assert_allclose(gradient, expected, atol=tolerance)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("loss", [nn.functional.cross_entropy, nn.functional.nll_loss])
@pytest.mark.parametrize("weight", [None, np.array([1.0, 2.0, 3.0])])
def test_the_mean_where_all_targets_are_ignored_is_that_of_none(loss, weight):
    x, target = np.zeros((4, 3)), np.full(4, -100)
    assert np.isnan(loss(x, target, weight=weight))
    assert loss(x, target, weight=weight, reduction="sum") == 0


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("p", [0, np.inf])
def test_a_triplet_of_distances_that_count_or_are_the_largest(p, swap):
    vectors = np.random.default_rng(0).standard_normal((3, 4, 5))

    def of_distances(a, b, c):
        near, far, other = (
            nn.functional.pairwise_distance(*v, p) for v in ((a, b), (a, c), (b, c))
        )
        return np.sum(np.maximum(4 + near - (np.minimum(far, other) if swap else far), 0))

    def loss(a, b, c):
        return nn.triplet_margin_loss(a, b, c, 4, p, swap=swap, reduction="sum")

    slopes = (tracer.grad(f, argnums=(0, 1, 2))(*vectors) for f in (loss, of_distances))
    for one, other in zip(*slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    slope = tracer.grad(loss)
    curved = tracer.jvp(lambda a: slope(a, *vectors[1:]), (vectors[0],), (vectors[1],))[1]
    np.testing.assert_array_equal(curved, 0)


def test_labels_that_do_not_fit_say_nothing_of_what_is_behind_the_end():
    x = nn.functional.log_softmax(np.random.default_rng(0).standard_normal((4, 2, 3)), -1)
    slope = tracer.grad(lambda x: nn.ctc_loss(x, np.ones((2, 2), int), [2, 4], [2, 2]))(x)
    assert np.isnan(slope[:2, 0]).all()
    np.testing.assert_array_equal(slope[2:, 0], 0)
    assert np.isfinite(slope[:, 1]).all()
