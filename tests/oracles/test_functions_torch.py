"""Functions that are no layers against PyTorch's: values, and gradients of all inputs."""

import numpy as np
import pytest

import tracer
import tracer_layers

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:.*nn.functional.upsample:UserWarning"),
    pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning"),
]
F, TF = tracer_layers.functional, torch.nn.functional


def normal(*shape):
    return lambda rng: rng.standard_normal(shape)


def unit(*shape):
    return lambda rng: rng.uniform(-1.3, 1.3, shape)


def grids(kind):
    """Of `grid_sample`: one call for each padding of the borders, with aligned corners and not."""
    return {
        f"{kind}-{padding}-{aligned}": (
            lambda F, x, grid, p=padding, a=aligned: F.grid_sample(x, grid, kind, p, a),
            [normal(2, 3, 4, 5), unit(2, 3, 6, 2)],
        )
        for padding in ("zeros", "border", "reflection")
        for aligned in (True, False)
    }


def volumes(kind):
    return {
        f"{kind}-3d-{padding}": (
            lambda F, x, grid, p=padding: F.grid_sample(x, grid, kind, p, False),
            [normal(2, 2, 3, 4, 5), unit(2, 2, 3, 2, 3)],
        )
        for padding in ("zeros", "border", "reflection")
    }


def interpolated(shape, **options):
    return (lambda F, x: F.interpolate(x, **options)), [normal(*shape)]


#: name -> the call, and what makes its inputs
CASES = {
    **grids("bilinear"),
    **grids("nearest"),
    **grids("bicubic"),
    **volumes("bilinear"),
    **volumes("nearest"),
    "grid-far-outside": (
        lambda F, x, grid: F.grid_sample(x, 9 * grid, "bilinear", "reflection", True),
        [normal(1, 2, 3, 2), unit(1, 4, 5, 2)],
    ),
    "affine_grid": (lambda F, t: F.affine_grid(t, [2, 3, 4, 5], False), [normal(2, 2, 3)]),
    "affine_grid-aligned": (lambda F, t: F.affine_grid(t, [2, 3, 4, 1], True), [normal(2, 2, 3)]),
    "affine_grid-3d": (lambda F, t: F.affine_grid(t, [2, 1, 2, 3, 4], False), [normal(2, 3, 4)]),
    "area": interpolated((2, 3, 5, 7), size=(3, 4), mode="area"),
    "area-factor": interpolated((2, 3, 6), scale_factor=0.5, mode="area"),
    **{
        f"antialias-{mode}-{i}": interpolated((2, 3, 7, 5), mode=mode, antialias=True, **options)
        for mode in ("bilinear", "bicubic")
        for i, options in enumerate((
            {"size": (3, 4)},
            {"size": (9, 2), "align_corners": True},
            {"scale_factor": (0.4, 1.7)},
            {"scale_factor": 0.6, "recompute_scale_factor": True},
        ))
    },
    "upsample": (lambda F, x: F.upsample(x, scale_factor=2), [normal(2, 3, 4)]),
    "upsample_nearest": (lambda F, x: F.upsample_nearest(x, 7), [normal(2, 3, 4, 5)]),
    "upsample_bilinear": (lambda F, x: F.upsample_bilinear(x, (3, 8)), [normal(2, 3, 4, 5)]),
    "local_response_norm": (lambda F, x: F.local_response_norm(x, 3, 0.5), [normal(2, 5, 4)]),
    "local_response_norm-even": (
        lambda F, x: F.local_response_norm(x, 4, 0.5, 1.5, 2.0),
        [normal(2, 5, 4, 3)],
    ),
    "pdist": (lambda F, x: F.pdist(x), [normal(5, 3)]),
    "pdist-3": (lambda F, x: F.pdist(x, 3.0), [normal(5, 3)]),
    "pdist-1": (lambda F, x: F.pdist(x, 1.0), [normal(5, 3)]),
    "pdist-inf": (lambda F, x: F.pdist(x, float("inf")), [normal(5, 3)]),
    "conv_tbc": (lambda F, x, w, b: F.conv_tbc(x, w, b, 1), [normal(5, 2, 3), normal(3, 3, 4),
                                                            normal(4)]),
}  # fmt: skip


#: functions that are called in place, of a tensor that is no leaf, as PyTorch asks for
OVER_THEIR_INPUT = {
    "relu_": (),
    "elu_": (0.7,),
    "celu_": (1.0,),
    "selu_": (),
    "leaky_relu_": (0.2,),
    "hardtanh_": (-0.5, 0.7),
    "threshold_": (0.1, 0.4),
    "rrelu_": (0.1, 0.3),
}
CASES |= {
    name: ((lambda F, x, n=name, given=given: getattr(F, n)(1 * x, *given)), [normal(3, 4)])
    for name, given in OVER_THEIR_INPUT.items()
}
CASES |= {
    **{
        f"{kind}{rank}d_with_indices": (
            lambda F, x, n=f"{kind}{rank}d_with_indices": getattr(F, n)(x, 2)[0],
            [normal(2, 3, *(5,) * rank)],
        )
        for kind in ("max_pool", "adaptive_max_pool")
        for rank in (1, 2, 3)
    },
    **{
        f"conv_transpose{rank}d": (
            lambda F, x, w, b, n=f"conv_transpose{rank}d": getattr(F, n)(x, w, b, 2, 1, 1),
            [normal(2, 3, *(3,) * rank), normal(3, 2, *(3,) * rank), normal(2)],
        )
        for rank in (1, 2, 3)
    },
    "group_norm": (
        lambda F, x, w, b: F.group_norm(x, 2, w, b),
        [normal(2, 4, 3), normal(4), normal(4)],
    ),
    "layer_norm": (
        lambda F, x, w, b: F.layer_norm(x, [2, 3], w, b),
        [normal(4, 2, 3), normal(2, 3), normal(2, 3)],
    ),
    "rms_norm": (lambda F, x, w: F.rms_norm(x, [3], w, 0.1), [normal(4, 3), normal(3)]),
    "batch_norm": (
        lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True),
        [normal(4, 3, 2), normal(3), normal(3)],
    ),
    "pixel_shuffle": (lambda F, x: F.pixel_shuffle(x, 2), [normal(2, 8, 2, 3)]),
    "pixel_unshuffle": (lambda F, x: F.pixel_unshuffle(x, 2), [normal(2, 2, 4, 6)]),
    "cosine_similarity": (
        lambda F, x, y: F.cosine_similarity(x, y, -1),
        [normal(4, 3), normal(4, 3)],
    ),
    "attention": (
        lambda F, q, k, v: F.scaled_dot_product_attention(
            q, k, v, None, 0.0, True, scale=0.3, enable_gqa=True
        ),
        [normal(2, 4, 3, 5), normal(2, 2, 3, 5), normal(2, 2, 3, 6)],
    ),
}


def drawn(makers):
    rng = np.random.default_rng(0)
    return [make(rng) for make in makers]


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    call, makers = CASES[name]
    inputs = drawn(makers)
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    expected = call(TF, *tensors)
    weights = np.random.default_rng(1).standard_normal(expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    value, pullback = tracer.vjp(lambda *x: call(F, *x), *inputs)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    for x, gradient in zip(tensors, pullback(weights), strict=True):
        np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith("antialias")])
def test_single_precision(name):
    call, makers = CASES[name]
    inputs = [x.astype(np.float32) for x in drawn(makers)]
    value = call(F, *inputs)
    assert value.dtype == np.float32
    expected = call(TF, *map(torch.tensor, inputs)).numpy()
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=2e-5)


# -- maxima at random places, and put back --------------------------------------------------------


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("options", [{"output_size": 3}, {"output_ratio": 0.5}])
def test_maxima_at_random_places(rank, options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, *(9, 7, 8)[:rank]))
    if rank == 3 and "output_ratio" in options:
        options = {"output_ratio": (0.5, 0.4, 0.6)}
    elif "output_ratio" in options:
        options = {"output_ratio": (0.5, 0.4)}
    samples = rng.random((2, 3, rank))
    name = f"fractional_max_pool{rank}d"
    ours = getattr(F, f"{name}_with_indices")(x, 2, **options, _random_samples=samples)
    theirs = getattr(TF, f"{name}_with_indices")(
        torch.tensor(x), 2, **options, _random_samples=torch.tensor(samples)
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
    layer = getattr(tracer_layers, f"FractionalMaxPool{rank}d")(2, **options, return_indices=True)
    out, places = layer(x)
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), places.reshape(2, 3, -1), -1).ravel(),
        out.data.ravel(),
    )


@pytest.mark.parametrize(
    ("rank", "windows", "options"),
    [
        (1, (2,), {}),
        (1, (3, 2, 1), {}),
        (2, (2,), {}),
        (2, ((3, 2), (2, 1), (1, 0)), {"output_size": (7, 6)}),
        (3, (2,), {"output_size": (2, 3, 7, 5, 6)}),
    ],
)
def test_maxima_put_back(rank, windows, options):
    x = np.random.default_rng(0).standard_normal((2, 3, *(7, 5, 6)[:rank]))
    if rank == 2:
        x = np.random.default_rng(0).standard_normal((2, 3, 7, 6))
    leaf = torch.tensor(x, requires_grad=True)
    pool = getattr(torch.nn, f"MaxPool{rank}d")(*windows, return_indices=True)
    maxima, places = pool(leaf)
    maxima = maxima.detach().requires_grad_()
    theirs = getattr(torch.nn, f"MaxUnpool{rank}d")(*windows)
    ours = getattr(tracer_layers, f"MaxUnpool{rank}d")(*windows)
    assert repr(ours) == repr(theirs)
    expected = theirs(maxima, places, **options)
    weights = np.random.default_rng(1).standard_normal(expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    index = places.numpy()
    value, pullback = tracer.vjp(lambda y: ours(y, index, **options), maxima.detach().numpy())
    np.testing.assert_array_equal(value, expected.detach().numpy())
    if windows == (2,):  # windows that overlap share places, whose values are one's alone here
        np.testing.assert_allclose(pullback(weights)[0], maxima.grad.numpy(), rtol=1e-12)


# -- normalisation ---------------------------------------------------------------------------------


def test_local_response():
    x = np.random.default_rng(0).standard_normal((2, 5, 3, 4))
    theirs, ours = (nn.LocalResponseNorm(3, 0.5, 1.5, 2.0) for nn in (torch.nn, tracer_layers))
    assert repr(ours) == repr(theirs)
    np.testing.assert_allclose(ours(x).data, theirs(torch.tensor(x)).numpy(), rtol=1e-10)


# -- attention -------------------------------------------------------------------------------------


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("extra", [False, True])
def test_attention_as_a_function(separate, extra):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 4)), rng.standard_normal((5, 2, 6)), None
    k = k if separate else rng.standard_normal((5, 2, 4))
    v = rng.standard_normal((5, 2, 3 if separate else 4))
    wide = k.shape[-1], v.shape[-1]
    arrays = {
        "in_proj_weight": None if separate else rng.standard_normal((12, 4)),
        "in_proj_bias": rng.standard_normal(12),
        "bias_k": rng.standard_normal((1, 1, 4)) if extra else None,
        "bias_v": rng.standard_normal((1, 1, 4)) if extra else None,
        "out_proj_weight": rng.standard_normal((4, 4)),
        "out_proj_bias": rng.standard_normal(4),
    }
    if separate:
        arrays |= {"q_proj_weight": rng.standard_normal((4, 4))}
        arrays |= {
            f"{n}_proj_weight": rng.standard_normal((4, w)) for n, w in zip("kv", wide, strict=True)
        }
    options = {"add_zero_attn": extra, "dropout_p": 0.0, "use_separate_proj_weight": separate}
    tensors = {n: x if x is None else torch.tensor(x) for n, x in arrays.items()}
    ours = F.multi_head_attention_forward(q, k, v, 4, 2, **arrays, **options)
    theirs = TF.multi_head_attention_forward(
        *map(torch.tensor, (q, k, v)), 4, 2, **tensors, **options
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-10)


def test_channels_are_shuffled():
    x = np.random.default_rng(0).standard_normal((2, 4, 2, 3))
    expected = TF.native_channel_shuffle(torch.tensor(x), 2)  # which has no gradient there
    np.testing.assert_array_equal(F.native_channel_shuffle(x, 2), expected.numpy())


# -- layers that find out their sizes --------------------------------------------------------------

LAZY = {
    "LazyLinear": ((3,), (5, 4)),
    **{f"LazyConv{rank}d": ((2, 3), (3, 4, *(5,) * rank)) for rank in (1, 2, 3)},
    **{f"LazyConvTranspose{rank}d": ((2, 3), (3, 4, *(5,) * rank)) for rank in (1, 2, 3)},
    **{f"LazyBatchNorm{rank}d": ((), (3, 4, *(5,) * rank)) for rank in (1, 2, 3)},
    **{f"LazyInstanceNorm{rank}d": ((), (3, 4, *(5,) * rank)) for rank in (1, 2, 3)},
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", LAZY)
def test_lazy_layers(name):
    given, shape = LAZY[name]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    theirs, ours = getattr(torch.nn, name)(*given), getattr(tracer_layers, name)(*given)
    theirs(torch.tensor(x))
    ours.load_state_dict(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    expected = theirs.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours.eval()(x).data, expected, rtol=1e-4, atol=1e-5)
