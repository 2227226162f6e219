"""What is given in place of an array: taken as NumPy takes it, or refused in a sentence."""

import contextlib

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tests.tracer_layers.layer_zoo import LAYERS
from tracer.errors import TracerError, TracingError

F = nn.functional
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((3, 2)), np.array([0, 1, 0])
MAPS = {rank: RNG.standard_normal((2, 2, *(6,) * rank)) for rank in (1, 2, 3)}


def kernel(rank):
    return RNG.standard_normal((2, 2, *(1,) * rank))


#: arguments of functions that take other than one array of two maps `[6, 6]`
ARGUMENTS = {
    "linear": (X, X),
    "bilinear": (X, X, RNG.standard_normal((4, 2, 2))),
    "embedding": (Y, X),
    "embedding_bag": (Y[None], X),
    "one_hot": (Y,),
    "scaled_dot_product_attention": (MAPS[1],) * 3,
    "prelu": (X, np.array([0.1])),
    "pad": (X, (1, 1)),
    "interpolate": (MAPS[2], 12),
    "unfold": (MAPS[2], 2),
    "fold": (RNG.standard_normal((3, 8, 25)), 6, 2),
    "pixel_shuffle": (RNG.standard_normal((3, 4, 6, 6)), 2),
    "pixel_unshuffle": (MAPS[2], 2),
    "channel_shuffle": (MAPS[2], 2),
    "layer_norm": (X, 2),
    "rms_norm": (X, [2]),
    "group_norm": (MAPS[2], 2),
    "batch_norm": (X, np.zeros(2), np.ones(2)),
    "threshold": (X, 0.1, 0.2),
    "softmax": (X, 1),
    "log_softmax": (X, 1),
    "softmin": (X, 1),
    "cosine_similarity": (X, X),
    "pairwise_distance": (X, X),
    "cross_entropy": (X, Y),
    "nll_loss": (X, Y),
    "gaussian_nll_loss": (X, X, abs(X)),
    "binary_cross_entropy_with_logits": (X, X),
    **{f"conv{rank}d": (MAPS[rank], kernel(rank)) for rank in MAPS},
    **{f"conv_transpose{rank}d": (MAPS[rank], kernel(rank)) for rank in MAPS},
    **{f"lp_pool{rank}d": (MAPS[rank], 2.0, 2) for rank in MAPS},
    **{
        f"{kind}_pool{rank}d": (MAPS[rank], 2)
        for rank in MAPS
        for kind in ("max", "avg", "adaptive_max", "adaptive_avg")
    },
    **{f"dropout{rank}d": (MAPS[rank],) for rank in MAPS},
    **dict.fromkeys(["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"], (X, X)),
    "poisson_nll_loss": (X, abs(X)),
}
SIGNS, LABELS = np.array([1, -1, 1]), np.array([[0, -1], [1, -1], [-1, 0]])
LOGS = np.log(RNG.dirichlet(np.ones(3), (4, 2)))
ARGUMENTS |= {
    **{
        f"{kind}_pool{rank}d_with_indices": (MAPS[rank], 2)
        for rank in MAPS
        for kind in ("max", "adaptive_max")
    },
    **{
        f"max_unpool{rank}d":
        (*getattr(F, f"max_pool{rank}d")(MAPS[rank], 2, return_indices=True), 2)
        for rank in MAPS
    },
    **{
        f"fractional_max_pool{rank}d{ending}": (MAPS[rank], 2, 3)
        for rank in (2, 3)
        for ending in ("", "_with_indices")
    },
    "affine_grid": (RNG.standard_normal((2, 2, 3)), (2, 1, 3, 3)),
    "grid_sample": (MAPS[2], RNG.uniform(-1, 1, (2, 3, 3, 2))),
    "conv_tbc": (MAPS[1], RNG.standard_normal((1, 6, 2)), np.ones(2)),
    "local_response_norm": (MAPS[2], 2),
    "native_channel_shuffle": (MAPS[2], 2),
    "pdist": (X,),
    "threshold_": (X, 0.1, 0.2),
    "upsample": (MAPS[2], 12),
    "upsample_nearest": (MAPS[2], 12),
    "upsample_bilinear": (MAPS[2], 12),
    "multi_head_attention_forward": (
        *(RNG.standard_normal((4, 3, 2)),) * 3, 2, 1, RNG.standard_normal((6, 2)), np.ones(6),
        None, None, False, 0.0, X[:2], np.ones(2),
    ),
    "binary_cross_entropy": (RNG.random((3, 2)), RNG.random((3, 2))),
    "kl_div": (-abs(X), abs(X)),
    "hinge_embedding_loss": (X, np.sign(X)),
    "soft_margin_loss": (X, np.sign(X)),
    "margin_ranking_loss": (X, 2 * X + 1, np.sign(X)),
    "multi_margin_loss": (X, Y),
    "multilabel_margin_loss": (X, LABELS),
    "multilabel_soft_margin_loss": (X, abs(X)),
    "cosine_embedding_loss": (X, X + 1, SIGNS),
    "triplet_margin_loss": (X, X + 1, X - 1),
    "triplet_margin_with_distance_loss": (X, X + 1, X - 1),
    "ctc_loss": (LOGS, np.array([[1, 2], [2, 0]]), np.array([4, 4]), np.array([2, 1])),
    "linear_cross_entropy": (X, RNG.standard_normal((2, 2)), Y),
}  # fmt: skip
OTHERS = {"None": None, "text": "abc", "dict": {"a": 1}}


@pytest.mark.parametrize("name", F.__all__)
def test_a_function_takes_arrays_or_says_so(name):
    function, arguments = getattr(F, name), ARGUMENTS.get(name, (MAPS[2],))
    expected = function(*arguments)
    for i, argument in enumerate(arguments):
        if not isinstance(argument, np.ndarray):
            continue
        for wrong in (argument.tolist(), *OTHERS.values()):
            for first in (arguments[0], tracer.parameter(np.ones(2)).detach()):
                given = [first, *arguments[1:]]
                given[i] = wrong
                if first is not arguments[0] and i == 0:
                    continue
                try:
                    got = function(*given)
                except TracerError:
                    continue
                if isinstance(wrong, list):
                    assert np.shape(got) == np.shape(expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_arrays_or_says_so(name):
    make, shape = LAYERS[name]
    for wrong in (np.ones(shape).tolist(), tuple(np.ones(shape)), 3.0, *OTHERS.values()):
        for model in (make(), nn.Sequential(nn.Identity(), make())):
            with tracer.Tape(), contextlib.suppress(TracerError):
                model(wrong)


@pytest.mark.parametrize(
    "name", [name for name in F.__all__ if name.endswith("loss") or "cross_entropy" in name]
)
def test_a_loss_takes_lists_in_the_dtype_of_the_prediction(name):
    loss, (x, *others) = getattr(F, name), ARGUMENTS[name]
    single = x.astype(np.float32)
    prediction = tracer.parameter(single, name="x")
    with tracer.Tape() as tape:
        got = loss(prediction, *(other.tolist() for other in others))
    arrays = (o.astype(np.float32) if o.dtype.kind == "f" else o for o in others)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.data, loss(single, *arrays), rtol=1e-6)
    assert tape.backward(got)["grad"]["x"].shape == x.shape
    named = "linear" if name.startswith("linear") else rf"{name} expects an array as \w+, got None"
    with pytest.raises(TracingError, match=named):
        loss(prediction, None, *others[1:])


def test_weights_of_a_loss_are_lists_too():
    expected = F.cross_entropy(X, Y, np.array([1.0, 2.0]))
    np.testing.assert_allclose(F.cross_entropy(X, Y.tolist(), [1.0, 2.0]), expected)
    expected = F.mse_loss(X, X + 1, weight=np.ones((3, 2)))
    np.testing.assert_allclose(F.mse_loss(X, X + 1, weight=[[1.0, 1.0]] * 3), expected)


def test_the_sentence_names_the_layer_and_what_came():
    with pytest.raises(TracingError, match=r"Linear expects an array .*got a list: write np\."):
        nn.Linear(2, 3)(X.tolist())
    with pytest.raises(TracingError, match=r"max_pool2d expects an array .*got None"):
        F.max_pool2d(None, 2)
    with pytest.raises(TracerError, match="objects"):
        F.mse_loss(X, [[1.0], [2.0, 3.0]])


def test_attributes_missing_in_a_users_model_stay_what_they_are():
    class Model(nn.Module):
        def forward(self, x):
            return self.missing(x)

    with pytest.raises(AttributeError, match="missing"):
        Model()([1.0])
