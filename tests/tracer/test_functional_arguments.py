"""Functions of functions: every transform by every kind of argument, against differences."""

import inspect
from collections import OrderedDict, defaultdict
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer import ggn_vp, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from tracer.arrays.trees import flatten

RNG = np.random.default_rng(0)


class Layer(NamedTuple):
    w: np.ndarray
    b: np.ndarray


def array(*shape):
    return RNG.standard_normal(shape)


def frozen():
    layer = nn.Linear(2, 3).double()
    layer.requires_grad_(False)
    return layer.weight


def read_only():
    values = array(3)
    values.setflags(write=False)
    return values


ARGUMENTS = {
    "an array": lambda: array(2, 3),
    "a number": lambda: 0.7,
    "a NumPy number": lambda: np.float64(0.7),
    "an array without axes": lambda: np.array(0.7),
    "an empty array": lambda: [array(0, 2), array(2)],
    "a view": lambda: array(3, 4).T[::2],
    "a broadcast array": lambda: np.broadcast_to(array(3), (2, 3)),
    "a read-only array": read_only,
    "a list": lambda: [array(2), array(3)],
    "a list of numbers": lambda: [0.3, 0.4],
    "a tuple": lambda: (array(2), array(1, 2)),
    "a dict": lambda: {"b": array(2), "a": array(3)},
    "a nested one": lambda: {"l": [array(2), (array(1), {"w": 0.2})], "m": {"w": array(2, 1)}},
    "an ordered dict": lambda: OrderedDict(b=array(2), a=array(1)),
    "a default dict": lambda: defaultdict(list, b=array(2), a=array(1)),
    "a named tuple": lambda: Layer(array(2, 2), array(2)),
    "with None": lambda: {"w": array(2), "bias": None},
    "with empty containers": lambda: {"w": array(2), "rest": [(), {}]},
    "one array twice": lambda: [ONE, ONE],
    "a parameter": lambda: tracer.parameter(array(3), name="p"),
    "a frozen parameter": frozen,
    "parameters of a model": lambda: dict(nn.Linear(2, 3).double().named_parameters()),
    "a batch": lambda: tracer.batch(array(4, 2)),
    "a batch in a dict": lambda: {"x": tracer.batch(array(2, 2), axis=1), "w": array(2)},
    "a detached tensor": lambda: tracer.parameter(array(3)).detach(),
    "a tensor of a closed tape": lambda: closed(array(3)),
}
ONE = array(2)
KINDS = pytest.mark.parametrize("kind", ARGUMENTS)


def closed(x):
    with tracer.Tape():
        return tracer.parameter(x) * 2


def values(tree):
    """The leaves in one vector."""
    leaves = [x.data if isinstance(x, tracer.Tensor) else x for x in flatten(tree)[0]]
    return np.concatenate([np.ravel(x) for x in leaves]) if leaves else np.zeros(0)


def sums(tree):
    """Numbers, one for each leaf, that depend on every element in a way of its own."""
    return [
        np.sum(np.sin(x * np.reshape(np.arange(1.0, np.size(x) + 1), np.shape(x)) + i)) / (i + 1)
        for i, x in enumerate(flatten(tree)[0])
    ]


def scalar(tree):
    found = sums(tree)
    return sum(a * b + a**3 for a, b in zip(found, found[::-1], strict=True))


def outputs(tree):
    found = sums(tree)
    return {"sums": np.stack(found), "product": (found[0] * found[-1], [found[0] ** 2])}


def on_vector(function, tree):
    """The function of one vector in place of the tree's leaves."""
    leaves, structure = flatten(tree)
    splits = np.cumsum([np.size(x) for x in leaves])[:-1]

    def call(z):
        parts = np.split(z, splits)
        return function(
            structure.build(
                [p.reshape(np.shape(x)) for p, x in zip(parts, leaves, strict=True)],
            )
        )

    return call


def differences(function, z, step=1e-5):
    """`[*output, Z]` by central differences."""
    unit = np.eye(z.size) * step
    columns = [(function(z + e) - function(z - e)) / (2 * step) for e in unit]
    return np.stack(columns, -1)


def direction(tree):
    """A tree of the same structure, dicts in the opposite order, and its values in this one's."""
    leaves, structure = flatten(tree)
    chosen = structure.build([RNG.standard_normal(np.shape(x)) for x in leaves])
    return turned(chosen), values(chosen)


def turned(tree):
    if isinstance(tree, dict):
        return {key: turned(tree[key]) for key in reversed(tree)}
    if isinstance(tree, Layer):
        return Layer(*map(turned, tree))
    return type(tree)(map(turned, tree)) if isinstance(tree, list | tuple) else tree


def like(result, tree):
    """The values of a result that has the tree's structure, kinds of containers and shapes."""
    (given, want), (leaves, structure) = flatten(result), flatten(tree)
    assert want.paths == structure.paths
    assert type(result) is type(tree) or structure.is_leaf
    for value, leaf in zip(given, leaves, strict=True):
        assert type(value) is np.ndarray
        assert value.shape == np.shape(leaf)
    return values(result)


def as_rows(derivative, of):
    """`[*of.shape, *by.shape]` as a matrix."""
    size = np.size(of)
    return derivative.reshape(size, derivative.size // size)


def close(value, expected, tolerance=1e-6):
    np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)


@KINDS
def test_gradients(kind):
    tree = ARGUMENTS[kind]()
    z = values(tree)
    expected = differences(on_vector(scalar, tree), z)
    value, gradient = value_and_grad(scalar)(tree)
    close(value, on_vector(scalar, tree)(z))
    close(like(gradient, tree), expected)
    close(like(grad(scalar)(tree), tree), expected)
    close(like(vjp(scalar, tree)[1](1.0)[0], tree), expected)


@KINDS
def test_jacobians(kind):
    tree = ARGUMENTS[kind]()
    flat = on_vector(lambda t: values(outputs(t)), tree)
    expected = differences(flat, values(tree))
    blocks, structure = flatten(outputs(tree))
    rows = jacobian(outputs)(tree)
    row = 0
    for block, path in zip(blocks, structure.paths, strict=True):
        found = eval(f"rows{path}", {"rows": rows})
        leaves, inner = flatten(tree)
        assert flatten(found)[1].paths == inner.paths
        flattened = []
        for leaf, by in zip(leaves, flatten(found)[0], strict=True):
            assert by.shape == (*np.shape(block), *np.shape(leaf))
            flattened.append(as_rows(by, block))
        close(np.concatenate(flattened, 1), expected[row : row + np.size(block)])
        row += np.size(block)


@KINDS
def test_products_with_the_jacobian(kind):
    tree = ARGUMENTS[kind]()
    flat = on_vector(lambda t: values(outputs(t)), tree)
    expected = differences(flat, values(tree))
    v, vector = direction(tree)
    output, moved = jvp(outputs, (tree,), (v,))
    close(values(output), flat(values(tree)))
    close(like(moved, output), expected @ vector)
    output, pullback = vjp(outputs, tree)
    u, covector = direction(output)
    close(like(pullback(u)[0], tree), covector @ expected)


@KINDS
def test_hessians(kind):
    tree = ARGUMENTS[kind]()
    flat = on_vector(lambda t: values(grad(scalar)(t)), tree)
    expected = differences(flat, values(tree))
    v, vector = direction(tree)
    close(like(hvp(scalar)(tree, v), tree), expected @ vector, 1e-5)
    blocks = hessian(scalar)(tree)
    rows = []
    for path, leaf in zip(flatten(tree)[1].paths, flatten(tree)[0], strict=True):
        block = eval(f"blocks{path}", {"blocks": blocks})
        assert flatten(block)[1].paths == flatten(tree)[1].paths
        if np.size(leaf):
            rows.append(np.concatenate([as_rows(b, leaf) for b in flatten(block)[0]], 1))
    close(np.concatenate(rows), expected, 1e-5)


def judged(out):
    return np.sum(np.exp(0.3 * out["sums"])) * out["product"][0] + out["product"][1][0] ** 2


@KINDS
def test_products_with_the_gauss_newton_matrix(kind):
    tree = ARGUMENTS[kind]()
    j = differences(on_vector(lambda t: values(outputs(t)), tree), values(tree))
    out = outputs(tree)
    at = flatten(out)[1].build([x.data if isinstance(x, tracer.Tensor) else x
                                for x in flatten(out)[0]])  # fmt: skip
    h = differences(on_vector(lambda t: values(grad(judged)(t)), at), values(at))
    v, vector = direction(tree)
    close(like(ggn_vp(outputs, judged)(tree, v), tree), j.T @ h @ j @ vector, 1e-5)


TREES = st.recursive(
    st.integers(0, 2).map(lambda n: np.linspace(0.1, 0.5, n + 1)[: n or None]),
    lambda trees: st.one_of(
        st.lists(trees, min_size=1, max_size=3),
        st.tuples(trees, trees),
        st.dictionaries(st.sampled_from("abcd"), trees, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=25)
@given(TREES)
def test_nested_arguments_of_any_structure_with_shuffled_keys(tree):
    v, vector = direction(tree)
    g = like(grad(scalar)(tree), tree)
    close(jvp(scalar, (tree,), (v,))[1], g @ vector)
    step = 1e-5
    flat = on_vector(lambda t: values(grad(scalar)(t)), tree)
    z = values(tree)
    expected = (flat(z + step * vector) - flat(z - step * vector)) / (2 * step)
    close(like(hvp(scalar)(tree, v), tree), expected, 1e-5)
    output, pullback = vjp(lambda t: t, tree)
    close(like(pullback(v)[0], tree), vector)
    close(like(output, tree), z)


# -- which arguments ---------------------------------------------------------------------------


def three(a, b, c):
    return a * b**2 * c**3


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (1, 2 * 3 * 2.0),
        (-2, 2 * 3 * 2.0),
        (np.int64(1), 2 * 3 * 2.0),
        (np.array(1), 2 * 3 * 2.0),
        ((1,), (2 * 3 * 2.0,)),
        ([2, 0], (3 * 2 * 9.0, 9.0)),
        (range(2), (9.0, 2 * 3 * 2.0)),
        (np.array([-1, 0]), (3 * 2 * 9.0, 9.0)),
        ((), ()),
    ],
)
def test_argnums(argnums, expected):
    result = grad(three, argnums)(2.0, 3.0, 1.0)
    assert isinstance(result, tuple) is isinstance(expected, tuple)
    close(np.array(result), expected)
    second = hessian(three, argnums)(2.0, 3.0, 1.0)
    assert isinstance(second, tuple) is isinstance(expected, tuple)


@pytest.mark.parametrize("argnums", [True, np.True_, 1.0, "0", None, (0, False), [[0]], {0: 1}])
@pytest.mark.parametrize("transform", [grad, value_and_grad, jacobian, hessian])
def test_argnums_that_are_no_integers(transform, argnums):
    with pytest.raises(tracer.TracingError, match="argnums is an integer or a sequence"):
        transform(three, argnums)(2.0, 3.0, 1.0)


@pytest.mark.parametrize("argnums", [3, -4, (0, 3)])
def test_argnums_out_of_range(argnums):
    with pytest.raises(tracer.TracingError, match=r"argnums names argument -?[34], of 3 given"):
        grad(three, argnums)(2.0, 3.0, 1.0)


@pytest.mark.parametrize("argnums", [(0, 0), (0, -3), [np.int64(1), 1]])
def test_argnums_twice(argnums):
    with pytest.raises(tracer.TracingError, match="twice"):
        grad(three, argnums)(2.0, 3.0, 1.0)


def test_hessian_by_several_arguments_has_all_blocks():
    a, b = array(2), np.array(0.5)
    blocks = hessian(lambda a, b: np.sum(a**3) * b**2, (1, 0))(a, b)
    close(blocks[0][0], 2 * np.sum(a**3))
    close(blocks[0][1], 6 * b * a**2)
    close(blocks[1][0], 6 * b * a**2)
    close(blocks[1][1], np.diag(6 * a * b**2))


def test_keywords_are_passed_on():
    def power(x, *, k=1, scale=None):
        return np.sum(x**k) * (scale or 1)

    x = array(3) ** 2
    close(grad(power)(x, k=3), 3 * x**2)
    close(value_and_grad(power)(x, k=2)[0], np.sum(x**2))
    close(jacobian(power)(x, k=2, scale=2), 4 * x)
    close(hessian(power)(x, k=2, scale=2), 4 * np.eye(3))
    close(hvp(power)(x, x, k=3), 6 * x * x)
    close(grad(power)(x=x, k=3), 3 * x**2)


def scaled(p, x, *, decay=0.5, name=None, **others):
    penalty = decay * np.sum(p["w"] ** 2)
    return np.sum((x @ p["w"]) ** 2) * others.get("scale", 1.0) + penalty


WEIGHTS, INPUTS = {"w": np.linspace(-1, 1, 3)}, np.linspace(-1, 2, 12).reshape(4, 3) ** 2
#: argnums -> the gradient by each argument that is asked for
BY_W, BY_X = (
    2 * INPUTS.T @ INPUTS @ WEIGHTS["w"] + WEIGHTS["w"],
    2 * np.outer(INPUTS @ WEIGHTS["w"], WEIGHTS["w"]),
)
BY_DECAY, BY_SCALE = np.sum(WEIGHTS["w"] ** 2), np.sum((INPUTS @ WEIGHTS["w"]) ** 2)


@pytest.mark.parametrize(
    ("argnums", "call", "expected"),
    [
        ("decay", lambda f: f(WEIGHTS, INPUTS, decay=0.5), BY_DECAY),
        ("decay", lambda f: f(WEIGHTS, INPUTS), BY_DECAY),
        ("x", lambda f: f(WEIGHTS, INPUTS), BY_X),
        ("x", lambda f: f(WEIGHTS, x=INPUTS), BY_X),
        (1, lambda f: f(WEIGHTS, x=INPUTS), BY_X),
        ("scale", lambda f: f(WEIGHTS, INPUTS, scale=1.0), BY_SCALE),
        (("x", "decay"), lambda f: f(WEIGHTS, INPUTS), (BY_X, BY_DECAY)),
        (["decay", 1], lambda f: f(p=WEIGHTS, x=INPUTS, decay=0.5), (BY_DECAY, BY_X)),
        (["p"], lambda f: f(WEIGHTS, INPUTS), ({"w": BY_W},)),
    ],
)
def test_arguments_by_name(argnums, call, expected):
    found = call(grad(scaled, argnums))
    close(like(found, expected), values(expected))
    value, again = call(value_and_grad(scaled, argnums))
    close(like(again, expected), values(expected))
    close(value, scaled(WEIGHTS, INPUTS))
    rows = call(jacobian(scaled, argnums))
    close(like(rows, expected), values(expected))
    assert isinstance(call(hessian(scaled, argnums)), tuple) is isinstance(expected, tuple)


def test_a_hessian_by_a_keyword():
    function = lambda x, k=2.0: np.sum(x) * k**3  # noqa: E731
    x = array(3)
    close(hessian(function, "k")(x, k=1.5), 6 * 1.5 * np.sum(x))
    blocks = hessian(function, ("x", "k"))(x)
    close(blocks[0][1], np.full(3, 12.0))
    close(blocks[1][0], np.full(3, 12.0))


@pytest.mark.parametrize(
    ("argnums", "message"),
    [
        ("name", "names of arguments, got 'name', which is not given"),
        ("lr", "got 'lr', and the arguments are p, x, decay, name, others"),
        (("x", 1), "twice"),
        (2, "argument 2, of 2 given"),
    ],
)
def test_names_that_are_no_arguments(argnums, message):
    with pytest.raises(tracer.TracingError, match=message):
        grad(scaled, argnums)(WEIGHTS, INPUTS)


def test_transforms_have_the_signature_of_their_function():
    assert list(inspect.signature(grad(scaled)).parameters)[:3] == ["p", "x", "decay"]
    assert grad(scaled).__name__ == "grad_of_scaled"


def test_values_and_jacobians_of_one_call():
    calls = []

    def function(x, k=2.0):
        calls.append(1)
        return {"y": np.sin(k * x)}, "aux"

    x = array(3)
    (value, aux), matrix = tracer.value_and_jacobian(function, has_aux=True)(x)
    close(value["y"], np.sin(2 * x))
    close(matrix["y"], np.diag(2 * np.cos(2 * x)))
    assert aux == "aux"
    assert len(calls) == 1
    value, matrix = tracer.value_and_jacobian(lambda x, k: k * x, ("k", 0))(x, k=3.0)
    close(value, 3 * x)
    close(matrix[0], x)
    close(matrix[1], 3 * np.eye(3))


@pytest.mark.parametrize("three", [3, np.int32(3), np.array(3)])
def test_integers_that_stand_alone_are_floats_and_say_so(three):
    with pytest.warns(UserWarning, match="argument 0 is the integer 3, .* write 3.0") as caught:
        slope = grad(lambda x: x**2)(three)
    assert caught[0].filename == __file__
    assert slope == 6.0
    assert slope.dtype == np.float64
    with pytest.warns(UserWarning, match="argument k is the integer 3"):
        assert grad(lambda x, k: x * k, "k")(2.0, k=three) == 2.0
    with pytest.warns(UserWarning, match="argument 0"):
        assert jvp(lambda x: x**2, (three,), (1,))[1] == 6.0


# -- auxiliary values --------------------------------------------------------------------------


def with_aux(x):
    return np.sum(np.sin(x)), {"double": 2 * x, "name": "sin", "none": None, "count": (3, [x.size])}


def check_aux(aux, x):
    assert type(aux["double"]) is np.ndarray
    close(aux["double"], 2 * x)
    assert aux["name"] == "sin"
    assert aux["none"] is None
    assert aux["count"] == (3, [x.size])


def test_auxiliary_values_come_beside():
    x = array(3)
    gradient, aux = grad(with_aux, has_aux=True)(x)
    close(gradient, np.cos(x))
    check_aux(aux, x)
    (value, aux), gradient = value_and_grad(with_aux, has_aux=True)(x)
    close(value, np.sum(np.sin(x)))
    close(gradient, np.cos(x))
    check_aux(aux, x)
    output, pullback, aux = vjp(with_aux, x, has_aux=True)
    close(output, value)
    close(pullback(2.0)[0], 2 * np.cos(x))
    check_aux(aux, x)
    output, tangent, aux = jvp(with_aux, (x,), (x,), has_aux=True)
    close(output, value)
    close(tangent, np.cos(x) @ x)
    check_aux(aux, x)
    rows, aux = jacobian(with_aux, has_aux=True)(x)
    close(rows, np.cos(x))
    check_aux(aux, x)
    matrix, aux = hessian(with_aux, has_aux=True)(x)
    close(matrix, np.diag(-np.sin(x)))
    check_aux(aux, x)


def test_auxiliary_tensors_are_differentiated_by_the_trace_around():
    def outer(x):
        gradient, aux = grad(lambda y: (np.sum(y**2 * x), y * x), has_aux=True)(2 * x)
        return np.sum(gradient) + np.sum(aux)  # sum of 4 x^2 + 2 x^2

    x = array(3)
    close(grad(outer)(x), 12 * x)


@pytest.mark.parametrize("result", [1.0, (1.0,), [1.0, 2.0], (1.0, 2.0, 3.0), None])
def test_without_a_pair_there_is_no_auxiliary_value(result):
    with pytest.raises(tracer.TracingError, match=r"has_aux=True.*pair \(output, aux\)"):
        grad(lambda x: result, has_aux=True)(1.0)


# -- outputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("constant", [3, 2.5, np.float32(2), np.int64(3), np.array(3), np.ones(1)])
def test_constants_have_zero_derivatives(constant):
    x = {"a": array(2)}
    value, gradient = value_and_grad(lambda p: constant)(x)
    close(value, constant)
    close(gradient["a"], np.zeros(2))
    close(jacobian(lambda p: constant)(x)["a"], np.zeros((*np.shape(constant), 2)))
    close(hessian(lambda p: constant)(x)["a"]["a"], np.zeros((2, 2)))
    close(jvp(lambda p: constant, (x,), (x,))[1], np.zeros(np.shape(constant)))
    close(vjp(lambda p: constant, x)[1](np.ones_like(constant))[0]["a"], np.zeros(2))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: None, "returned None"),
        (lambda x: "loss", "output is a str"),
        (lambda x: (v for v in [x]), "output is a generator"),
        (lambda x: {"a": {1.0}}, r"output\['a'\] is a set"),
    ],
)
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: grad(f)(1.0),
        lambda f: jacobian(f)(1.0),
        lambda f: hessian(f)(1.0),
        lambda f: vjp(f, 1.0),
        lambda f: jvp(f, (1.0,), (1.0,)),
        lambda f: hvp(f)(1.0, 1.0),
    ],
    ids=["grad", "jacobian", "hessian", "vjp", "jvp", "hvp"],
)
def test_outputs_that_have_no_derivative(transform, output, message):
    with pytest.raises(tracer.TracingError, match=message):
        transform(output)


@pytest.mark.parametrize("function", [lambda x: True, lambda x: x > 2, lambda x: np.bool_(True)])
@pytest.mark.parametrize("transform", [grad, value_and_grad, jacobian, hessian])
def test_booleans_have_no_derivative(transform, function):
    with pytest.raises(tracer.TracingError, match=r"boolean.*return the value that was compared"):
        transform(function)(1.0)


@pytest.mark.parametrize("output", [(1.0, 2.0), [1.0], {"loss": 1.0}])
def test_the_gradient_is_of_one_number(output):
    with pytest.raises(tracer.ShapeError, match=r"one number.*has_aux=True.*jacobian"):
        grad(lambda x: output)(1.0)


def test_outputs_of_other_dtypes_beside():
    """Integers and booleans may come with what is differentiated."""
    x = array(3)

    def function(x):
        return np.sin(x), x > 0, 3, np.argmax(x)

    _, pullback = vjp(function, x)
    close(pullback((x, np.zeros(3), 0, 0))[0], x * np.cos(x))
    close(jvp(function, (x,), (x,))[1][0], x * np.cos(x))


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"a": [1.0, 3]}, r"argument 0\['a'\]\[1\] is of a float dtype.*int.*astype"),
        (tracer.batch(np.ones((2, 2), int)), r"argument 0 is of a float dtype.*int64\[2, 2\]"),
        ({"a": "text"}, r"argument 0\['a'\] is a str: give an array"),
        ([{1.0}], r"argument 0\[0\] is a set"),
        (nn.Linear(1, 1), r"argument 0 is a Linear.*dict\(model.named_parameters\(\)\)"),
        (MappingProxyType({"a": 1.0}), r"argument 0 is a mappingproxy: give dict\(value\)"),
        (slice(2), "argument 0 is a slice"),
    ],
)
def test_arguments_that_are_no_arrays_of_floats(argument, message):
    for transform in (grad, jacobian, hessian):
        with pytest.raises(tracer.TracingError, match=message):
            transform(lambda p: 0.0)(argument)
    with pytest.raises(tracer.TracingError, match=message):
        vjp(lambda p: 0.0, argument)


def test_a_dataclass_is_refused():
    import dataclasses

    @dataclasses.dataclass
    class Parameters:
        w: np.ndarray

    with pytest.raises(tracer.TracingError, match=r"is a Parameters: .*vars\(value\)"):
        grad(lambda p: np.sum(p.w))(Parameters(array(2)))


P = {"layer": {"w": np.ones((2, 3)), "b": np.ones(2)}}
WRONG = [
    ({"layer": {"w": P["layer"]["w"]}}, r"\['layer'\]\['b'\]"),
    ({"layer": {**P["layer"], "c": 1.0}}, r"\['layer'\]\['c'\]"),
    ({"layer": {**P["layer"], "w": np.ones((3, 2))}}, r"\[2, 3\].*\[3, 2\].*\['layer'\]\['w'\]"),
    ({"layer": [np.ones((2, 3)), np.ones(2)]}, r"\['layer'\] is a dict of 2.*a list of 2"),
    ({"layer": {**P["layer"], "b": None}}, r"\['layer'\]\['b'\] is an array, got None"),
    ({"layer": {**P["layer"], "b": [1.0, 1.0]}}, r"\['layer'\]\['b'\] is an array, got a list"),
    ({"layer": {**P["layer"], "b": np.ones(2) * 1j}}, r"real numbers.*complex.*\['b'\].*np.real"),
    ({"layer": {**P["layer"], "b": "b"}}, r"array of numbers.*a str.*\['b'\]"),
    (1.0, "a dict of 1"),
]


@pytest.mark.parametrize(("other", "message"), WRONG)
def test_what_goes_with_a_tree_has_its_structure(other, message):
    def total(p):
        return np.sum(p["layer"]["w"]) * np.sum(p["layer"]["b"])

    for call in (
        lambda: jvp(total, (P,), (other,)),
        lambda: hvp(total)(P, other),
        lambda: ggn_vp(total, lambda f: f)(P, other),
        lambda: vjp(lambda p: p, P)[1](other),
    ):
        with pytest.raises((tracer.ShapeError, tracer.TracingError), match=message):
            call()


@pytest.mark.parametrize("given", [np.ones(2), 1.0, {"x": 1.0}, None])
def test_jvp_takes_tuples(given):
    with pytest.raises(tracer.TracingError, match=r"tuple of primals.*jvp\(f, \(x,\), \(v,\)\)"):
        jvp(lambda *x: x[0], given, given)
    with pytest.raises(tracer.TracingError, match="tuple of tangents"):
        jvp(lambda *x: x[0], (1.0,), given)


def test_gradients_by_name_go_with_parameters_by_name():
    """What `Tape.backward` gives is a dict like that of a model's parameters."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    x = array(4, 2)

    def loss(p):
        hidden = np.tanh(x @ p["0.weight"].T + p["0.bias"])
        return np.sum((hidden @ p["2.weight"].T + p["2.bias"]) ** 2)

    with tracer.Tape() as tape:
        value = np.sum(model(x) ** 2)
    found = tape.backward(value)["grad"]
    parameters = dict(reversed(list(model.named_parameters())))
    for name, each in grad(loss)(parameters).items():
        close(each, found[name])
    product = hvp(loss)(parameters, found)
    arrays = {name: p.data for name, p in model.named_parameters()}
    assert list(product) == list(parameters)
    for name, each in hvp(loss)(arrays, dict(found)).items():
        close(each, product[name])
    assert type(grad(lambda p: np.sum(p["0.bias"]))(found)) is type(found)


@pytest.mark.parametrize("transform", ["jvp", "hvp", "ggn_vp"])
def test_a_direction_that_the_function_writes_into_counts_as_it_was_given(transform):
    x, v = np.array([1.0, 2.0]), np.ones(2)

    def f(t):
        out = np.sum(t**3)
        v[...] = 9
        return out

    found = {
        "jvp": lambda: tracer.jvp(f, (x,), (v,))[1],
        "hvp": lambda: np.sum(tracer.hvp(f)(x, v)),
        "ggn_vp": lambda: np.sum(tracer.ggn_vp(f, lambda y: y**2)(x, v)),
    }[transform]()
    assert found == {"jvp": 15.0, "hvp": 18.0, "ggn_vp": 450.0}[transform]
