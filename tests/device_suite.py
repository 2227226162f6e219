"""What must hold on every device as it does on the host, in both precisions.

`tests/tracer/test_device_suite.py` collects these tests for the double of a device, `tests/gpu` for
a GPU. A fixture `place` gives the device's name.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.arrays import backend
from tracer.testing import agree, check_operation

sys.path += [str(Path(__file__).parent / name) for name in ("tracer_layers", "tracer_quantities")]
from coverage_cases import CASES, Attending
from coverage_table import Reference, listed
from layer_zoo import COUPLING, LAYERS, network

#: dtype -> how far values may be apart: relative to the largest, and where they cancel
TOLERANCE = {"float32": (2e-4, 1e-6), "float64": (1e-9, 1e-12)}
PRECISIONS = pytest.mark.parametrize("dtype", TOLERANCE)

registry.load_plugins()
OPERATIONS = list(registry.operations)
QUANTITIES = [
    name for name, q in registry.quantities.items() if q.rows is not None and name != "pchmp"
]
OF_LAYERS = ("grad", "batch_l2", "diag_ggn_exact", "kflr")
COVERAGE = listed((Path(__file__).parents[1] / "docs" / "reference" / "coverage.md").read_text())


def there(value, place, dtype):
    """Arrays on the device, floats in this dtype, and complex numbers of two such."""
    if isinstance(value, tuple):
        return tuple(there(item, place, dtype) for item in value)
    if isinstance(value, dict):
        return {key: there(item, place, dtype) for key, item in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    kind = {"f": dtype, "c": np.result_type(dtype, np.complex64)}.get(value.dtype.kind)
    return tracer.to_device(value if kind is None else value.astype(kind), place)


def same(what, found, expected, dtype, place, scale=1.0):
    """Values on the device, in this dtype, agree with those of the host in double precision."""
    rtol, atol = TOLERANCE[dtype]
    kind = type(tracer.to_device(np.zeros(1), place))
    for got, value in zip(parts(found), parts(expected), strict=True):
        assert type(got) is kind, what
        if value.dtype.kind in "fc":
            assert got.real.dtype == dtype, what
        agree(f"{what} on {place}", got, value, scale * rtol, scale * atol)


def parts(value):
    """The arrays in a value of a quantity."""
    return getattr(value, "factors", None) or (value if isinstance(value, tuple) else (value,))


# -- operations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name, place):
    check_operation(registry.operations[name], backend=lambda x: tracer.to_device(x, place))


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "astype"])
def test_operation_in_single_precision(name, place):
    for inputs, params in registry.operations[name].examples(np.random.default_rng(0)):
        (output, slopes), (expected, exact) = (
            pulled_back(registry.operations[name], *there((inputs, params), location, dtype))
            for location, dtype in ((place, "float32"), ("cpu", "float64"))
        )
        same(name, output, expected, "float32", place)
        for slope, value in zip(slopes, exact, strict=True):
            same(f"vjp of {name}", slope, value, "float32", place, scale=5)


def pulled_back(op, inputs, params):
    """The output, and the cotangents of all arrays of floats for a fixed one of the output."""
    floats = [i for i, x in enumerate(inputs) if hasattr(x, "shape") and x.dtype.kind in "fc"]

    def function(*values):
        given = dict(zip(floats, values, strict=True))
        return op(*[given.get(i, x) for i, x in enumerate(inputs)], **params)

    output, pullback = tracer.vjp(function, *[inputs[i] for i in floats])
    g = np.random.default_rng(1).standard_normal(output.shape).astype(output.dtype)
    return output, pullback(backend.of(output).from_host(g))


# -- layers -------------------------------------------------------------------------------------


def swept(model, inputs, quantities, location, dtype):
    """Output and quantities of a model, moved with its input."""
    model.to(dtype).to(location)
    with tracer.Tape() as tape:
        output = model(there(inputs, location, dtype))
        loss = np.mean(np.square(output[0] if isinstance(output, tuple) else output))
    results = tape.backward(loss, quantities, outputs=None)
    return loss.data, results


@PRECISIONS
@pytest.mark.parametrize("name", [*LAYERS, *COUPLING])
def test_layer(name, dtype, place):
    model, x = network(*(LAYERS | COUPLING)[name])
    state = model.state_dict()
    (expected, exact), (found, results) = (
        swept(model, x, ("grad",), location, precision)
        for location, precision in (("cpu", "float64"), (place, dtype))
        if model.load_state_dict(state)
    )
    same(name, found, expected, dtype, place)
    for key, value in exact["grad"].items():
        same(f"gradient of {key} of {name}", results["grad"][key], value, dtype, place, scale=20)


SEQUENCES = {
    "RNN": lambda: nn.RNN(4, 3, 2, batch_first=True),
    "LSTM": lambda: nn.LSTM(4, 3, batch_first=True, bidirectional=True),
    "GRU": lambda: nn.GRU(4, 3, batch_first=True),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True),
}


@PRECISIONS
@pytest.mark.parametrize("name", SEQUENCES)
def test_layer_of_sequences(name, dtype, place):
    tracer.seed(0)
    model, x = SEQUENCES[name]().double(), np.random.default_rng(0).standard_normal((3, 5, 4))
    found = {}
    for location, precision in (("cpu", "float64"), (place, dtype)):
        model.to(precision).to(location)
        with tracer.Tape() as tape:
            output = model(there(x, location, precision))
            output = output[0] if isinstance(output, tuple) else output
            target = there(np.zeros(output.shape), location, precision)
            loss = nn.functional.mse_loss(output, target)
        found[location] = tape.backward(loss, OF_LAYERS)
    for quantity in OF_LAYERS:
        for key, value in found["cpu"][quantity].items():
            what = f"{quantity} of {key} of {name}"
            same(what, found[place][quantity][key], value, dtype, place, scale=20)


def covered(case, quantities, place):
    """Quantities of the small network around a layer that the table of coverage is made with."""
    made = Reference(case)
    net, criterion = made.net.to(place), made.criterion.to(place)
    if isinstance(net.layer, Attending):
        net.layer.options = tracer.to_device(net.layer.options, place)
    x, target, given = tracer.to_device((made.inputs, made.target, case.given), place)
    tracer.seed(1)
    with tracer.Tape() as tape:
        loss = criterion(net(x), target, *given)
    return tape.backward(loss, quantities, rng=np.random.default_rng(6))


def arrays(quantity, values, place):
    """The values of a quantity as arrays, by name; roots and products by what they stand for."""
    rng = np.random.default_rng(2)
    there = backend.of(tracer.to_device(np.zeros(1), place)).from_host
    if hasattr(values, "matvec"):
        yield quantity, values.matvec(there(rng.standard_normal(values.shape[0])))
        return
    for name, value in values.items():
        what = f"{quantity} of {name}"
        if quantity.startswith("sqrt_ggn"):
            rows = value.reshape(*value.shape[:2], -1)
            yield what, np.einsum("vnp,vnq->npq", rows, rows)
        elif quantity in ("ggnmp", "hmp", "pchmp"):
            yield what, value(there(rng.standard_normal((2, *value.shape))))
        else:
            yield from ((what, part) for part in parts(value))


@pytest.mark.parametrize("name", CASES)
def test_every_quantity_of_a_layer(name, place):
    """All that the table of coverage lists, in one sweep."""
    quantities = [q for q, cell in COVERAGE[name].items() if not cell.startswith("undefined")]
    expected, found = (covered(CASES[name], quantities, where) for where in ("cpu", place))
    assert list(found) == quantities
    for quantity in quantities:
        pairs = zip(
            arrays(quantity, found[quantity], place),
            arrays(quantity, expected[quantity], "cpu"),
            strict=True,
        )
        for (what, got), (_, value) in pairs:
            same(f"{what} of {name}", got, value, "float64", place, scale=20)


# -- quantities and functions -------------------------------------------------------------------

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 2))
W, V = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2))


@PRECISIONS
@pytest.mark.parametrize("budget", [None, 512])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_quantity(quantity, dtype, budget, place):
    """Of a network with two layers; what is sampled is drawn by a generator of the host."""
    found = {}
    for location, precision in (("cpu", "float64"), (place, dtype)):
        w, x, y, v = there((W, X, Y, V), location, precision)
        with tracer.Tape() as tape:
            w, v = tracer.parameter(w, name="w"), tracer.parameter(v, name="v")
            f = np.tanh(tracer.batch(x) @ w) @ v
            loss = nn.functional.mse_loss(f, y, reduction="sum") * 0.5
        rng = np.random.default_rng(0)
        found[location] = tape.backward(loss, (quantity,), memory_budget=budget, rng=rng)[quantity]
    for key, value in found["cpu"].items():
        what = f"{quantity} of {key}"
        same(what, found[place][key], value, dtype, place, scale=20)


def plain(w, x):
    return np.sum(np.exp(np.tanh(x @ w)) * 0.3)


FUNCTIONS = {
    "grad": tracer.grad(plain),
    "jacobian": tracer.jacobian(lambda w, x: np.tanh(x @ w)),
    "hessian": tracer.hessian(plain),
    "hvp": lambda w, x: tracer.hvp(lambda w: plain(w, x))(w, w),
    "jvp": lambda w, x: tracer.jvp(plain, (w, x), (w, x)),
    "ggn_vp": lambda w, x: tracer.ggn_vp(lambda w: np.tanh(x @ w), lambda f: np.sum(f**2))(w, w),
    "grad of grad": tracer.grad(lambda w, x: np.sum(tracer.grad(plain, 1)(w, x) ** 2)),
}


@PRECISIONS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_of_functions(name, dtype, place):
    expected = FUNCTIONS[name](W, X)
    same(name, FUNCTIONS[name](*there((W, X), place, dtype)), expected, dtype, place, scale=5)
