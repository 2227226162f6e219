"""Rules of operations where some inputs are data of ints, bools or half precision."""

import itertools

import numpy as np
import pytest

import tracer
from tracer.plugins.core import FAMILIES
from tracer.record.operation import Elementwise

tracer.registry.load_plugins()
#: those of matrices that are to be regular
REGULAR = {
    *("solve", "lstsq", "solve_triangular", "solve_banded", "solve_toeplitz", "solve_sylvester"),
    "spsolve",
}
DATA = ("uint8", "int8", "int16", "int32", "int64", "bool", "float16")

#: of several floats, of which each may be data; layers' operations meet none but floats
SEVERAL = {
    op.name: op
    for family in FAMILIES
    for op in family.OPERATIONS
    if hasattr(op, "examples")
    and all(
        len(inputs) > 1 and all(np.asarray(x).dtype.kind == "f" for x in inputs)
        for inputs, _ in op.examples(np.random.default_rng(0))
    )
}  # fmt: skip


def data(op, dtype, like):
    """Numbers whose squares the dtype does not hold, or small ones where powers are taken."""
    most = {"uint8": 250, "int8": 120}.get(dtype, 180)
    values = np.linspace(2, most, max(1, like.size)).reshape(like.shape)
    if op.name in ("power", "logaddexp", "logaddexp2", "exp2"):
        values = np.linspace(1, 3, max(1, like.size)).reshape(like.shape)
    if op.name in REGULAR and like.ndim > 1:
        values = values + 40 * np.eye(*like.shape[-2:])
    return np.rint(values).astype(dtype)


def gradients(op, inputs, params, wanted):
    """The output, and what all rules give for the wanted slot."""
    leaf = tracer.parameter(inputs[wanted], name="leaf")
    made = [leaf if slot == wanted else x for slot, x in enumerate(inputs)]
    with tracer.Tape() as tape:
        out = op(*made, **params)
        weight = np.linspace(1, 2, out.size).reshape(out.shape)
        loss = np.sum(out * weight)
    return out.data, tape.backward(loss)["grad"]["leaf"]


@pytest.mark.parametrize("name", SEVERAL)
def test_rules_compute_in_the_dtype_of_what_they_differentiate(name):
    op = SEVERAL[name]
    for inputs, params in op.examples(np.random.default_rng(0)):
        inputs = [np.asarray(x, float) for x in inputs]
        for wanted, dtype in itertools.product(range(len(inputs)), DATA):
            if name in REGULAR and dtype == "bool":
                continue  # of ones alone, which is singular
            given = [x if i == wanted else data(op, dtype, x) for i, x in enumerate(inputs)]
            wide = [x.astype(float) for x in given]
            with np.errstate(all="ignore"):
                out, found = gradients(op, given, params, wanted)
                right_out, right = gradients(op, wide, params, wanted)
            what = f"{name} by input {wanted}, others {dtype}"
            assert found.dtype == np.float64
            np.testing.assert_allclose(out, right_out, rtol=1e-12, atol=1e-12, err_msg=what)
            np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-12, err_msg=what)


@pytest.mark.parametrize(
    ("dtype", "by"),
    [
        ("float16", [0.3, 1.7, -2.2]),
        ("int8", [0, -128, 127]),
        ("uint8", [0, 1, 2]),
        ("uint64", [3, 1, 0]),
    ],
)
@pytest.mark.parametrize("power", [np.power, np.float_power])
def test_exponents_that_are_data_are_lowered_in_the_base_s_dtype(power, dtype, by):
    """`y - 1`, and less again for second derivatives, would overflow in bytes."""
    x, by = np.array([0.8, 1.1, 1.3]), np.array(by, dtype)
    for derivative in (tracer.grad, tracer.hessian):
        found = derivative(lambda x: np.sum(power(x, by)))(x)
        right = derivative(lambda x: np.sum(power(x, by.astype(float))))(x)
        np.testing.assert_allclose(found, right, rtol=1e-12)


def test_averages_sum_weights_in_the_dtype_of_the_result():
    x, weights = np.linspace(0, 1, 5), np.array([0.1, 0.7, 0.3, 0.9, 0.2], np.float16)
    value, gradient = tracer.value_and_grad(lambda x: np.average(x, weights=weights))(x)
    assert value == np.average(x, weights=weights)
    exact = weights.astype(float)
    np.testing.assert_allclose(gradient, exact / exact.sum(), rtol=1e-14)


def test_plain_numpy_keeps_numpys_dtypes():
    """Of bytes NumPy takes logarithms in half precision, and so does a trace of it."""
    x = np.array([3, 200], np.uint8)
    for function in (np.log, np.sqrt, np.exp, np.sum, np.mean):
        with np.errstate(over="ignore"):
            traced, plain = function(tracer.batch(x)), function(x)
        assert traced.dtype == plain.dtype
        np.testing.assert_array_equal(traced.data, plain)


def test_means_and_variances_of_half_precision():
    """Of 3,000 squares of 100, whose sum half precision does not hold."""
    x = np.random.default_rng(0).standard_normal((4, 3000)).astype(np.float16) * 10
    for function in (np.mean, np.var, np.std):
        traced = function(tracer.parameter(x), axis=1)
        assert traced.dtype == np.float16
        np.testing.assert_allclose(
            traced.data, function(x.astype(float), axis=1), rtol=2e-3, atol=1e-2
        )


@pytest.mark.parametrize("number", [2, 2.0, True])
def test_python_numbers_upcast_nothing(number):
    for dtype in (np.float16, np.float32):
        x = tracer.parameter(np.ones(3, dtype), name="x")
        with tracer.Tape() as tape:
            y = ((x * number + number) / number) ** number
            y = np.where(y > number, y, number) - np.maximum(x, number)
            loss = np.mean(np.clip(y, -number, number))
        assert loss.dtype == dtype
        assert tape.backward(loss)["grad"]["x"].dtype == dtype


def test_elementwise_operations_of_half_precision():
    """Of every operation of one array: its dtype stays, and gradients are right to rounding."""
    for name, op in tracer.registry.operations.items():
        if not isinstance(op, Elementwise) or not hasattr(op, "examples"):
            continue
        for inputs, params in op.examples(np.random.default_rng(0)):
            if len(inputs) != 1 or "astype" in name or inputs[0].dtype.kind == "c":
                continue
            x = inputs[0].astype(np.float16)
            out, found = gradients(op, [x], params, 0)
            right_out, right = gradients(op, [x.astype(float)], params, 0)
            np.testing.assert_allclose(out, right_out, rtol=4e-3, atol=4e-3, err_msg=name)
            np.testing.assert_allclose(found, right, rtol=2e-2, atol=2e-2, err_msg=name)
            assert found.dtype == np.float16


def test_linear_algebra_of_half_precision_goes_through_single():
    """NumPy refuses it; what it would give is rounded to half precision."""
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((3, 3)) + 4 * np.eye(3)).astype(np.float16)
    functions = {
        "inv": np.linalg.inv,
        "det": np.linalg.det,
        "slogdet": lambda a: np.linalg.slogdet(a)[1],
        "cholesky": lambda a: np.linalg.cholesky(a @ a.T),
        "solve": lambda a: np.linalg.solve(a, a[:, 0] + 1),
        "matrix_power": lambda a: np.linalg.matrix_power(a, -2),
        "eigh": lambda a: np.linalg.eigh(a)[1] * np.linalg.eigh(a)[0],
        "eig": lambda a: np.real(np.linalg.eig(a @ a.T)[0]).astype(a.dtype),
        "svd": lambda a: np.linalg.svd(a)[0][:, 0] * np.linalg.svd(a[:, :2], False)[1][0],
        "qr": lambda a: np.linalg.qr(a)[1],
        "pinv": lambda a: np.linalg.pinv(a[:, :2]),
        "lstsq": lambda a: np.linalg.lstsq(a[:, :2], a[:, 2], rcond=None)[0],
        "norm": lambda a: np.linalg.norm(a, "nuc") + np.linalg.norm(a, 2),
    }
    for name, function in functions.items():
        found, right = [], []
        for values, x in ((found, a), (right, a.astype(float))):
            leaf = tracer.parameter(x, name="a")
            with tracer.Tape() as tape:
                out = function(leaf)
                loss = np.sum(out * out)
            values += [out.data, tape.backward(loss)["grad"]["a"]]
        for got, value in zip(found, right, strict=True):
            assert got.dtype == np.float16
            scale = abs(value).max()
            np.testing.assert_allclose(got, value, atol=2e-2 * scale, err_msg=name)


def test_the_mean_of_more_elements_than_half_precision_counts_has_its_gradient():
    """65504 is its largest number."""
    for mean in (np.mean, np.average, lambda x: np.mean(x.reshape(2, -1), axis=1)[0] / 2):
        found = tracer.grad(lambda x, mean=mean: mean(x * 2))(np.ones(100_000, np.float16))
        assert found[0] == np.float16(2e-5)
