"""Initial values have the distributions that they are named after."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError

SHAPE = (120, 60, 3)


def parameter(shape=SHAPE, dtype=np.float32):
    return tracer.parameter(np.full(shape, np.nan, dtype))


def moments(name, *arguments, shape=SHAPE, **options):
    made = parameter(shape)
    assert getattr(nn.init, f"{name}_")(made, *arguments, generator=rng(), **options) is made
    assert made.dtype == np.float32
    values = made.data.astype(float)
    return values.mean(), values.std(), abs(values).max()


def rng():
    return np.random.default_rng(0)


FAN_IN, FAN_OUT = 180, 360
UNIFORM = np.sqrt(3)


@pytest.mark.parametrize(
    ("found", "mean", "std", "most"),
    [
        (lambda: moments("uniform", -2, 1), -0.5, 3 / np.sqrt(12), 2),
        (lambda: moments("normal", 0.3, 2), 0.3, 2, None),
        (lambda: moments("trunc_normal", 0, 1, -0.5, 0.5), 0, 0.284, 0.5),
        (lambda: moments("xavier_uniform", 2), 0, 2 * np.sqrt(2 / 540), 2 * np.sqrt(6 / 540)),
        (lambda: moments("xavier_normal"), 0, np.sqrt(2 / 540), None),
        (
            lambda: moments("kaiming_uniform", nonlinearity="relu"),
            0,
            np.sqrt(2 / FAN_IN),
            UNIFORM * np.sqrt(2 / FAN_IN),
        ),
        (lambda: moments("kaiming_normal", 1, "fan_out"), 0, np.sqrt(1 / FAN_OUT), None),
    ],
)
def test_moments(found, mean, std, most):
    found_mean, found_std, found_most = found()
    assert found_mean == pytest.approx(mean, abs=5 * std / np.sqrt(np.prod(SHAPE)))
    assert found_std == pytest.approx(std, rel=0.03)
    assert most is None or 0.95 * most < found_most <= most * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3)])
def test_orthogonal_rows_or_columns(shape):
    matrix = nn.init.orthogonal_(parameter(shape, np.float64), 2).data.reshape(shape[0], -1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_a_dirac_kernel_passes_its_inputs_on():
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
    nn.init.dirac_(layer.weight, groups=2)
    x = rng().standard_normal((2, 4, 5, 5), dtype=np.float32)
    np.testing.assert_allclose(layer(x).data, x, rtol=1e-6)


def test_constants_identities_and_sparse_columns():
    assert (nn.init.constant_(parameter(), 3).data == 3).all()
    assert (nn.init.ones_(parameter()).data == 1).all()
    assert (nn.init.zeros_(parameter()).data == 0).all()
    np.testing.assert_array_equal(nn.init.eye_(parameter((2, 3))).data, np.eye(2, 3))
    sparse = nn.init.sparse_(parameter((10, 7)), 0.33).data
    assert ((sparse == 0).sum(0) == 4).all()


def test_the_shared_generator_is_drawn_from_and_arrays_are_filled_in_place():
    array = np.empty((3, 2))
    tracer.seed(3)
    assert nn.init.normal_(array) is array
    tracer.seed(3)
    np.testing.assert_array_equal(nn.init.normal_(np.empty((3, 2))), array)


def test_what_was_read_before_stays_as_it_was():
    made = tracer.parameter(np.ones(3))
    before = made.data
    nn.init.zeros_(made)
    assert before.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: nn.init.xavier_normal_(parameter((3,))), ShapeError, "two axes or more"),
        (lambda: nn.init.eye_(parameter((3,))), ShapeError, "matrices"),
        (lambda: nn.init.dirac_(parameter((3, 3))), ShapeError, "3, 4 or 5 axes"),
        (lambda: nn.init.dirac_(parameter((3, 3, 3)), 2), ShapeError, "not divided by 2"),
        (lambda: nn.init.kaiming_normal_(parameter(), mode="fan"), TracerError, "fan_out"),
        (lambda: nn.init.calculate_gain("swish"), TracerError, "no gain is known of 'swish'"),
    ],
)
def test_mistakes(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_parameters_in_lists_and_dictionaries():
    class Model(nn.Module):
        def __init__(self):
            self.scales = nn.ParameterList([np.ones(2), nn.Parameter(np.zeros(3))])
            self.named = nn.ParameterDict({"a": np.ones(1, np.float32)})

        def forward(self, x):
            return x * self.scales[0] + self.named["a"]

    model = Model()
    assert [name for name, _ in model.named_parameters()] == ["scales.0", "scales.1", "named.a"]
    model.scales.append(np.ones(4)).extend([np.ones(5)])
    model.named["b"] = nn.Parameter(np.ones(2), requires_grad=False)
    assert [p.size for p in model.scales] == [2, 3, 4, 5]
    assert [p.size for p in model.scales[1:3]] == [3, 4]
    assert list(model.named.keys()) == ["a", "b"]
    assert not model.named["b"].requires_grad
    model.scales[0] = np.full(2, 7.0)
    with tracer.Tape() as tape:
        loss = model(np.ones((3, 2))).sum()
    gradients = tape.backward(loss)["grad"]
    assert set(gradients) == {*(f"scales.{i}" for i in range(4)), "named.a"}
    np.testing.assert_array_equal(gradients["scales.0"], 3)
    assert model.named.pop("b").size == 2
    assert "b" not in model.named
    with pytest.raises(KeyError):
        model.named["b"]
    with pytest.raises(TracerError, match="a parameter or an array is expected, got a str"):
        model.scales.append("weights")


def test_parameters_as_a_vector_and_back():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (13,)
    nn.utils.vector_to_parameters(np.arange(13.0), model.parameters())
    assert model[0].bias.data.tolist() == [6, 7, 8]
    assert model[1].bias.data.tolist() == [12]
    with pytest.raises(ShapeError, match="a vector of 13 elements, got"):
        nn.utils.vector_to_parameters(np.arange(12.0), model.parameters())
    with tracer.Tape() as tape:
        loss = (nn.utils.parameters_to_vector(model.parameters()) ** 2).sum()
    np.testing.assert_allclose(tape.backward(loss)["grad"]["1.bias"], [24])
