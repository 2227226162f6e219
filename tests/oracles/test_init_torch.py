"""Initial values, and parameters in containers, compared with PyTorch's."""

import inspect

import numpy as np
import pytest

import tracer
import tracer_layers as nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

SHAPES = [(3, 4), (6, 2, 3), (2, 5, 3, 4), (4, 2, 2, 3, 2)]


@pytest.mark.parametrize("name", nn.init.__all__)
def test_arguments(name):
    ours = inspect.signature(getattr(nn.init, name)).parameters.values()
    theirs = inspect.signature(getattr(torch.nn.init, name)).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def test_none_is_missing():
    theirs = {
        name
        for name, value in vars(torch.nn.init).items()
        if inspect.isfunction(value) and name.endswith("_") and not name.startswith("_")
    }
    assert theirs <= set(nn.init.__all__)


@pytest.mark.parametrize("shape", SHAPES)
def test_fans(shape):
    theirs = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert nn.init._calculate_fan_in_and_fan_out(np.empty(shape)) == theirs


@pytest.mark.parametrize("name", nn.init.LINEAR)
def test_gains_of_linear_maps(name):
    assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)


@pytest.mark.parametrize("param", [None, 0.2, 1])
@pytest.mark.parametrize("name", ["tanh", "relu", "leaky_relu", "selu"])
def test_gains(name, param):
    assert nn.init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(6, 2, 3), (4, 7, 3, 4), (4, 2, 2, 3, 2)])
def test_dirac(shape, groups):
    theirs = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    np.testing.assert_array_equal(nn.init.dirac_(np.empty(shape), groups), theirs)


SAMPLED = {
    "uniform_": (-1.0, 3.0),
    "normal_": (1.0, 0.5),
    "trunc_normal_": (0.3, 1.0, -1.0, 0.5),
    "xavier_uniform_": (1.5,),
    "xavier_normal_": (),
    "kaiming_uniform_": (0.3, "fan_out"),
    "kaiming_normal_": (0, "fan_in", "relu"),
    "orthogonal_": (2,),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_distributions(name):
    """Quantiles of many elements are PyTorch's, to five standard errors at the ends."""
    arguments, shape = SAMPLED[name], (400, 100, 5)
    torch.manual_seed(0)
    theirs = getattr(torch.nn.init, name)(torch.empty(shape), *arguments).numpy()
    made = tracer.parameter(np.empty(shape, np.float32))
    ours = getattr(nn.init, name)(made, *arguments, generator=np.random.default_rng(0)).data
    places = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(
        np.quantile(ours, places), np.quantile(theirs, places), atol=0.046 * theirs.std()
    )
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    if "uniform" in name or name == "trunc_normal_":
        assert abs(ours).max() == pytest.approx(abs(theirs).max(), rel=0.01)


def test_sparse():
    theirs = torch.nn.init.sparse_(torch.empty(11, 7), 0.3).numpy()
    ours = nn.init.sparse_(np.empty((11, 7)), 0.3)
    np.testing.assert_array_equal((ours == 0).sum(0), (theirs == 0).sum(0))


@pytest.mark.parametrize(
    ("name", "shape", "arguments"),
    [
        ("xavier_uniform_", (3,), ()),
        ("kaiming_normal_", (3,), ()),
        ("kaiming_normal_", (3, 3), (0, "fan_it")),
        ("kaiming_uniform_", (3, 3), (0, "fan_in", "gelu")),
        ("orthogonal_", (3,), ()),
        ("eye_", (3,), ()),
        ("dirac_", (3, 3), ()),
        ("dirac_", (3, 3, 3), (2,)),
        ("sparse_", (3, 3, 3), (0.1,)),
    ],
)
def test_what_is_refused_there_is_refused_here(name, shape, arguments):
    with pytest.raises((ValueError, RuntimeError)):
        getattr(torch.nn.init, name)(torch.empty(shape), *arguments)
    with pytest.raises(tracer.errors.TracerError):
        getattr(nn.init, name)(np.empty(shape), *arguments)


# -- parameters in containers ----------------------------------------------------------------------


def built(nn, array):
    """A model of lists and dictionaries of parameters, in either library."""
    model = nn.Module()
    model.scales = nn.ParameterList([nn.Parameter(array(2)), nn.Parameter(array(3), False)])
    model.named = nn.ParameterDict({"b": nn.Parameter(array(1)), "a": nn.Parameter(array(2))})
    model.named["c"] = nn.Parameter(array(4))
    model.scales.append(nn.Parameter(array(5)))
    model.scales.extend([model.named["a"]])
    model.scales += [nn.Parameter(array(6))]
    model.inner = nn.Linear(2, 2)
    model.mean = nn.Buffer(array(3))
    model.seen = nn.Buffer(array(1), persistent=False)
    return model


def test_names_of_what_containers_hold():
    ours, theirs = built(nn, np.ones), built(torch.nn, torch.ones)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, -1), slice(5, 9)])
def test_slices_of_lists(part):
    ours, theirs = built(nn, np.ones).scales[part], built(torch.nn, torch.ones).scales[part]
    assert [tuple(p.shape) for p in ours] == [tuple(p.shape) for p in theirs]
    assert list(ours.state_dict()) == list(theirs.state_dict())
