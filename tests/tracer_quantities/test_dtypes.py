"""Data never decide the arithmetic of quantities, and half precision is enough for all of them."""

import math

import numpy as np
import pytest
from scipy.sparse.linalg import eigsh
from zoo import MODELS, draw

import tracer
import tracer_layers as nn
from tracer.cotangents.kronecker import Kronecker
from tracer.testing.networks import arrays as _arrays

DATA = ("uint8", "int8", "int16", "int32", "int64", "bool", "float16")

tracer.registry.load_plugins()
QUANTITIES = list(tracer.registry.quantities)

#: maps of data `[N, T, 3]` and weights `[3, 2]` that have Kronecker factors
MAPS = {
    "matmul": lambda x, w: np.sum(x @ w, axis=1),
    "one use": lambda x, w: x[:, 0] @ w,
    "einsum": lambda x, w: np.einsum("nti,io->not", x, w).sum(-1),
    "tensordot": lambda x, w: np.tensordot(x, w, 1)[:, 0],
    "transposed": lambda x, w: x[:, 1] @ np.transpose(w).T,
    "used twice": lambda x, w: np.tanh(x[:, 0] @ w) + x[:, 1] @ w,
}


#: models in which NumPy takes functions of bytes in half precision
NUMPYS_OWN = {"einsum"}


def linear(map_, x, dtype):
    """(parameters by name, prediction) of a linear map in plain code."""
    rng = np.random.default_rng(5)
    w = tracer.parameter((0.05 * rng.standard_normal((3, 2))).astype(dtype), name="w")
    b = tracer.parameter(rng.standard_normal(2).astype(dtype), name="b")
    return map_(tracer.batch(x), w) + b


def swept(predict, quantities, loss=nn.mse_loss):
    with tracer.Tape() as tape:
        out = predict()
        value = loss(out, np.ones(out.shape, out.dtype))
    return tape.backward(value, quantities, rng=np.random.default_rng(0))


def arrays(found, shapes):
    """name -> arrays of a quantity's values, of products with a basis where it is a matrix."""
    if hasattr(found, "matmat"):
        return {"": [found.matmat(np.eye(found.shape[1], dtype=found.dtype))]}
    return {name: _arrays(value, shapes[name]) for name, value in found.items()}


def agree(found, right, shapes, tolerance, what):
    for name, quantity in right.items():
        expected = arrays(quantity, shapes)
        for key, values in arrays(found[name], shapes).items():
            for got, value in zip(values, expected[key], strict=True):
                scale = max(abs(np.asarray(value, float)).max(), 1e-30)
                np.testing.assert_allclose(
                    got, value, rtol=0, atol=tolerance * scale, err_msg=f"{what}: {name} of {key}"
                )


def data(dtype, shape, seed=3):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) > 0.4
    if dtype == "float16":
        return rng.standard_normal(shape).astype(np.float16)
    low, high = (100, 250) if dtype == "uint8" else (-120, 120)
    return rng.integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DATA)
@pytest.mark.parametrize("name", MAPS)
def test_every_quantity_of_data_of_any_dtype(name, dtype):
    """Gauss-Newton rows, signed rows, factors, norms and products of plain NumPy code."""
    x, shapes = data(dtype, (4, 2, 3)), {"w": (3, 2), "b": (2,)}
    quantities = [q for q in QUANTITIES if q != "kfra"]
    found, right = (
        swept(lambda x=x: linear(MAPS[name], x, np.float64), quantities)
        for x in (x, x.astype(np.float64))
    )
    agree(found, right, shapes, 1e-10, dtype)


@pytest.mark.parametrize("name", MODELS)
def test_bytes_in_every_way_to_use_a_parameter(name):
    """Where NumPy itself takes bytes to what it takes floats to."""
    function, parameters, inputs, axes = draw(name, np.random.default_rng(0))
    parameters = {key: 0.01 * value for key, value in parameters.items()}
    numbers = [
        np.random.default_rng(i).integers(100, 250, x.shape).astype(np.uint8)
        if x.dtype.kind == "f"
        else x.astype(np.int8)
        for i, x in enumerate(inputs)
    ]
    wide = [
        x.astype(np.float64 if y.dtype.kind == "f" else np.int64)
        for x, y in zip(numbers, inputs, strict=True)
    ]
    quantities = ("grad", "grad_batch", "batch_l2", "batch_dot", "variance", "diag_ggn_exact")
    quantities += ("sqrt_ggn_exact", "diag_h", "diag_ggn_exact_batch")

    def found(given):
        leaves = {k: tracer.parameter(value, name=k) for k, value in parameters.items()}
        with np.errstate(over="ignore", invalid="ignore"), tracer.Tape() as tape:
            places = axes or [0] * len(given)
            out = function(leaves, [tracer.batch(x, a) for x, a in zip(given, places, strict=True)])
            value = nn.mse_loss(out, np.ones(out.shape))
        return out.data, lambda: tape.backward(value, quantities)

    (out, of_bytes), (right_out, right) = found(numbers), found(wide)
    if out.dtype == np.float64 and np.allclose(out, right_out, rtol=1e-12):
        shapes = {key: value.shape for key, value in parameters.items()}
        agree(of_bytes(), right(), shapes, 1e-9, name)
    else:
        assert name in NUMPYS_OWN


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_single_precision_parameters_and_bytes(dtype):
    """NumPy takes bytes and float32 to float32: so do squares and Gram matrices."""
    x, shapes = data(dtype, (4, 2, 3)), {"w": (3, 2), "b": (2,)}
    for name, map_ in MAPS.items():
        quantities = [q for q in QUANTITIES if q != "kfra"]
        found, right = (
            swept(lambda x=x, map_=map_: linear(map_, x, np.float32), quantities)
            for x in (x, x.astype(np.float32))
        )
        agree(found, right, shapes, 1e-4, f"{name} of {dtype}")
        for quantity in ("grad", "batch_l2", "diag_h", "sqrt_ggn_exact"):
            assert found[quantity]["w"].dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_bytes_meet_a_tied_table(dtype):
    """An embedding by indices of few bits, whose table is the last layer's weight, too."""
    index = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    table = tracer.parameter(np.random.default_rng(0).standard_normal((4, 3)), name="table")

    def predict():
        return nn.functional.embedding(tracer.batch(index), table)[:, 0] @ table.T

    def wide():
        rows = nn.functional.embedding(tracer.batch(index.astype(int)), table)
        return rows[:, 0] @ table.T

    names = ("grad", "batch_l2", "diag_ggn_exact", "grad_batch")
    agree(swept(predict, names), swept(wide, names), {"table": (4, 3)}, 1e-12, dtype)


# -- half precision -------------------------------------------------------------------------------


def network():
    tracer.seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, 4), nn.Sigmoid(), nn.Linear(4, 3),
    )  # fmt: skip


HALF = np.random.default_rng(0).standard_normal((6, 2, 4, 4)).astype(np.float16)
CLASSES = np.array([0, 1, 2, 2, 1, 0])


def of_network(model, x, quantities):
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), CLASSES)
    return tape.backward(loss, quantities, rng=np.random.default_rng(0))


def in_half(*quantities):
    return of_network(network().half(), HALF, quantities)


def in_double(*quantities):
    """The same of the same numbers."""
    return of_network(network().half().double(), HALF.astype(float), quantities)


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_of_half_precision(name):
    found, right = in_half(name), in_double(name)
    shapes = {key: p.shape for key, p in network().named_parameters()}
    if name.startswith("sqrt"):  # rows of a root are right up to their signs
        found, right = (
            {name: {k: np.einsum("cn...,cn...->n...", v, v, dtype=float) for k, v in r.items()}}
            for r in (found[name], right[name])
        )
    elif name in ("kfra", "kfac") or "mc" in name:
        for key, value in found[name].items() if name != "fisher_mc" else ():
            for array in _arrays(value, shapes[key]):
                assert np.isfinite(array).all()
        if name != "kfra":
            return  # sampled targets differ by rounding
    agree(found, right, shapes, 5e-2, name)


@pytest.mark.parametrize("name", ["grad", "grad_batch", "batch_l2", "diag_h", "variance"])
def test_values_are_of_the_dtype_of_the_parameter(name):
    for value in in_half(name)[name].values():
        assert value.dtype == np.float16


@pytest.mark.parametrize("name", ["grad_batch", "diag_ggn_exact", "diag_h", "kflr", "kfra", "ggn"])
def test_chunks_of_half_precision(name):
    """Within a budget there are more sweeps, of the same values."""
    shapes = {key: p.shape for key, p in network().named_parameters()}
    whole = in_half(name)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(network().half()(HALF), CLASSES)
    agree(tape.backward(loss, (name,), memory_budget=2**13), whole, shapes, 5e-3, name)


def test_linear_algebra_of_factors():
    """Inverses and eigenvalues of a half-precision model's factors, and of one's own."""
    found, right = in_half("kflr")["kflr"], in_double("kflr")["kflr"]
    for key, block in found.items():
        expected, small = right[key], Kronecker(
            tuple(f.astype(np.float16) for f in block.factors), block.shape, block._pull
        )  # fmt: skip
        for some in (block, small):
            vector = np.ones(math.prod(block.shape), np.float16)
            solved, solution = (b.inverse(0.1).matvec(vector) for b in (some, expected))
            np.testing.assert_allclose(solved, solution, rtol=5e-2, atol=5e-2 * abs(solution).max())
            for (values, _), (eigenvalues, _) in zip(some.eigh(), expected.eigh(), strict=True):
                np.testing.assert_allclose(values, eigenvalues, atol=2e-2 * eigenvalues.max())
            dense = expected.dense()
            np.testing.assert_allclose(some.dense(), dense, atol=2e-2 * abs(dense).max())


@pytest.mark.parametrize("name", ["ggn", "hessian", "fisher_empirical"])
def test_operators_of_half_precision(name):
    """SciPy's eigensolvers take them, in float32."""
    operator, right = in_half(name)[name], in_double(name)[name]
    assert operator.dtype == np.float32
    vector = np.ones(operator.shape[0], np.float16)
    expected = right @ vector.astype(float)
    np.testing.assert_allclose(operator @ vector, expected, atol=2e-2 * abs(expected).max())
    start = np.ones(operator.shape[0], np.float32)
    largest = eigsh(operator, k=1, v0=start, return_eigenvectors=False)
    np.testing.assert_allclose(largest, eigsh(right, k=1, return_eigenvectors=False), rtol=2e-2)


@pytest.mark.parametrize("name", ["ggnmp", "hmp", "pchmp"])
def test_products_with_blocks_take_any_dtype(name):
    product, wide = (found(name)[name]["4.weight"] for found in (in_half, in_double))
    for dtype in (np.float16, np.float32, np.float64):
        vector = np.ones(product.shape, dtype)
        expected = wide(vector.astype(float))
        assert product(vector).dtype == dtype
        np.testing.assert_allclose(product(vector), expected, atol=2e-2 * abs(expected).max())


def test_squares_that_half_precision_cannot_hold_on_the_way():
    """Squared norms of 1e5 add up in two terms that cancel in the variance; sums of many."""
    x = np.full((50, 4), 200, np.float16)
    w = tracer.parameter(np.zeros((4, 1), np.float16), name="w")
    with tracer.Tape() as tape:
        loss = nn.mse_loss(tracer.batch(x) @ w, np.ones((50, 1), np.float16))
    found = tape.backward(loss, ("variance", "batch_l2", "grad", "sum_grad_squared"))
    gradient = -2 * 200 / 50
    assert np.all(found["variance"]["w"] < 1e-2)
    np.testing.assert_allclose(found["batch_l2"]["w"], 4 * gradient**2)
    np.testing.assert_allclose(found["sum_grad_squared"]["w"], 50 * gradient**2)
    np.testing.assert_allclose(found["grad"]["w"], 50 * gradient)


def test_objectives_in_plain_code_of_half_precision():
    """The root of a loss's Hessian from the record, and the diagonal of one that is not linear."""

    def swept(dtype):
        w = tracer.parameter(np.linspace(-1, 1, 6).reshape(3, 2).astype(dtype), name="w")
        x = np.linspace(-2, 2, 12).reshape(4, 3).astype(np.float16).astype(dtype)
        with tracer.Tape() as tape:
            out = np.tanh(tracer.batch(x) @ w)
            loss = np.mean(np.log(np.sum(np.exp(out * out), axis=1)))
        return tape.backward(loss, ("grad", "diag_ggn_exact", "diag_h"), outputs=out)

    right = swept(np.float64)
    for name, found in swept(np.float16).items():
        value = right[name]["w"]
        np.testing.assert_allclose(found["w"], value, atol=3e-2 * abs(value).max())


def test_functions_of_functions_of_half_precision():
    x = np.linspace(-1, 1, 5).astype(np.float16)

    def f(x):
        return np.mean(np.square(np.tanh(x)) * x)

    wide = x.astype(float)
    for transform in (tracer.grad, tracer.jacobian, tracer.hessian):
        found, right = transform(f)(x), transform(f)(wide)
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, right, atol=5e-3)
