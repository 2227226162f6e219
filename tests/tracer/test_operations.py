"""Every registered operation and quantity through the kit, and what the kit finds wrong."""

import re

import numpy as np
import pytest
from scipy.special import xlogy

import tracer
from tracer import Elementwise, Operation, Outer, Quantity, operation, registry
from tracer.testing import (
    DEFINITIONS,
    SquaredError,
    check_cotangent,
    check_operation,
    check_quantity,
)


@pytest.mark.parametrize("name", list(registry.operations))
def test_operation(name):
    check_operation(registry.operations[name])


@pytest.mark.parametrize("name", list(registry.quantities))
def test_quantity(name):
    quantity = registry.quantities[name]
    applied = check_quantity(name)
    assert ("merge" in applied) == (quantity.merge is not None and quantity.rows is not None)
    assert ("reference" in applied) == (name in DEFINITIONS)


def test_a_mark_moves_the_samples_axis():
    x = np.arange(6.0).reshape(2, 3)
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones((2, 1)), name="w")
        loss = np.sum(tracer.batch(x * w, axis=1))
    found = tape.backward(loss, quantities=("grad", "grad_batch"))
    np.testing.assert_array_equal(found["grad"]["w"][:, 0], x.sum(1))
    np.testing.assert_array_equal(found["grad_batch"]["w"][:, :, 0], x.T)


def test_the_loss_of_the_kit():
    check_operation(SquaredError)


# -- the kit finds what is wrong ----------------------------------------------------------------


def cube(**rules):
    """`x ** 3` as an operation, with these rules in place of the right ones."""
    right = {
        "forward": lambda x: x * x * x,
        "vjp": lambda node, g: (3 * g * node.inputs[0] ** 2,),
        "examples": lambda rng: [((rng.uniform(0.5, 1, (2, 3)),), {})],
    }
    return operation("cube")(type("Cube", (Elementwise,), {**right, **rules}))


def writing(x):
    x *= 1.000001
    return x * x * x


def keeping(x):
    return x * x * x, 3 * x * x


def unkept(node, g):
    slope = node.kept if node.kept is not None else 2 * node.inputs[0] ** 2
    return (g * slope,)


def unrecorded(node, g):
    x = node.inputs[0]
    return (3 * g * (x.data if isinstance(x, tracer.Tensor) else x) ** 2,)


#: what is wrong -> (the rule, its wrong form, what the message says)
WRONG = {
    "a factor": ("vjp", lambda node, g: (2 * g * node.inputs[0] ** 2,), "the vjp of input 0"),
    "no gradient": ("vjp", lambda node, g: (None,), "the vjp of input 0"),
    "one row": ("vjp", lambda node, g: (3 * g[:1] * node.inputs[0] ** 2,), r"\[V, \*input.shape"),
    "not linear": ("vjp", lambda node, g: (3 * abs(g) * node.inputs[0] ** 2,), "the vjp"),
    "rows mixed": ("vjp", lambda node, g: (3 * g[::-1] * node.inputs[0] ** 2,), "the vjp"),
    "float64": ("vjp", lambda node, g: (g * [3.0] * node.inputs[0] ** 2,), "float64"),
    "a value not saved": ("saves", (), "NoneType"),
    "a rule that is not recorded": ("vjp", unrecorded, "order 2"),
    "its own jvp": ("jvp", lambda node, t: t[0] * node.inputs[0], "<g, jvp"),
    "inputs written into": ("forward", writing, "afterwards|the vjp"),
    "samples elsewhere": ("batch_axis", lambda node, axes: 0, "batch_axis says 0"),
    "samples coupled": ("forward", lambda x: np.cumsum(x, 0) ** 3, "the vjp"),
    "elements in several places": ("reindexes", True, "of parameter 0"),
    "no floats": ("examples", lambda rng: [((np.arange(3),), {})], "needs an array of floats"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_the_kit_finds(what):
    rule, wrong, message = WRONG[what]
    with pytest.raises(AssertionError, match=message):
        check_operation(cube(**{rule: wrong}))


def test_the_kit_finds_a_rule_that_needs_what_is_kept():
    with pytest.raises(AssertionError, match="with nothing kept"):
        check_operation(cube(forward_keeping=keeping, vjp=unkept))


def test_the_kit_asks_for_examples():
    with pytest.raises(AssertionError, match=r"has no examples\(rng\)"):
        check_operation(operation("bare")(type("Bare", (Elementwise,), {"forward": np.tanh})))


def scale(cotangent):
    """`x * w` with x `[N, D]` and w `[D]`, and this rule for w's cotangent."""

    @operation("scale")
    class Scale(Operation):
        saves = ("inputs",)

        def forward(x, w):
            return x * w

        def vjp(node, g):
            x, w = node.inputs
            return g * w, np.sum(g * x, axis=1)

        def batch_axis(node, axes):
            return 0 if axes == [0, None] else tracer.UNKNOWN

        def parameter_cotangent(node, slot, g):
            return cotangent(node, g)

        def examples(rng):
            return [((rng.random((4, 3)), rng.random(3)), {})]

    return Scale


def test_a_cotangent_of_an_operations_own():
    check_operation(scale(lambda node, g: tracer.Dense(g * node.inputs[0])))
    with pytest.raises(AssertionError, match=r"input 1's cotangent, per_sample\(\)"):
        check_operation(scale(lambda node, g: tracer.Dense(g)))


def test_contractions_that_disagree():
    class Wrong(Outer):
        def _gram(self):
            return 2 * super()._gram()

    rng = np.random.default_rng(0)
    left, right = rng.random((4, 1, 1, 3)), rng.random((2, 4, 1, 1, 5))
    dense = np.einsum("ntgi,vntgo->vnoi", left, right)
    check_cotangent(Outer(left, right, (5, 3)), dense)
    with pytest.raises(AssertionError, match=r"gram\(\)"):
        check_cotangent(Wrong(left, right, (5, 3)), dense)


class Cubes(Quantity):
    """Sum over samples of the gradient's third powers."""

    name = "sum_grad_cubed"
    per_sample = True

    def extract(self, cotangent, context):
        return (cotangent.per_sample()[0] ** 3).sum(0)

    def merge(self, first, second, shards):
        return shards[0].weight ** 3 * first + shards[1].weight ** 3 * second


def test_a_quantity_of_ones_own():
    applied = check_quantity(Cubes(), reference=lambda d: (d.gradients**3).sum(0))
    assert sorted(applied) == ["chunks", "merge", "reference"]
    assert applied.is_defined
    undefined = check_quantity(Cubes)
    assert sorted(undefined) == ["chunks", "merge"]
    assert not undefined.is_defined
    assert undefined.missing == {"reference": "it brings no reference(brute)"}
    with pytest.raises(AssertionError, match="sum_grad_cubed"):
        check_quantity(Cubes(), reference=lambda d: (d.gradients**2).sum(0))


def test_a_merge_law_that_is_wrong():
    class Additive(Cubes):
        merge = Quantity.merge

    with pytest.raises(AssertionError, match="mean of losses, merged from two shards"):
        check_quantity(Additive)


def test_rows_that_do_not_join():
    class Last(Quantity):
        name = "last"
        rows = tracer.ggn_exact

        def extract(self, cotangent, context):
            return cotangent.sum_of_squares()

        def join(self, first, second):
            return second

    with pytest.raises(AssertionError, match="memory_budget"):
        check_quantity(Last)


def test_a_rule_may_not_write_into_the_cotangent():
    @tracer.operation("greedy")
    class Greedy(tracer.Elementwise):
        saves = ()

        def forward(x):
            return 3 * x

        def vjp(node, g):
            g *= 3
            return (g,)

    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(Greedy(w) + w)  # both get the same cotangent
    with pytest.raises(tracer.ShapeError, match=r"the vjp of .*greedy.*read-only"):
        tape.backward(loss)


def made(forward, vjp=None, **rules):
    """An operation as a plugin makes it."""
    vjp = vjp or (lambda node, g: (2 * g,))
    namespace = {"forward": forward, "vjp": vjp, "__module__": "a_plugin", **rules}
    return tracer.operation("made")(type("Made", (tracer.Operation,), namespace))


@pytest.mark.parametrize("held", ["inputs", "output"])
def test_a_rule_may_not_write_into_the_record(held):
    def vjp(node, g):
        values = node.output if held == "output" else node.inputs[0]
        values *= 2
        return (g,)

    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(made(lambda x: 3 * x, vjp)(w))
    with pytest.raises(tracer.ShapeError, match=r"the vjp of .*made.*read-only"):
        tape.backward(loss)


@pytest.mark.parametrize("part", [slice(None), slice(2)])
def test_a_forward_may_fill_the_same_buffer_again(part):
    buffer = np.empty(3)

    def forward(x):
        buffer[part] = 2 * x
        return buffer if part == slice(None) else buffer[part]

    double, w = made(forward), np.array([0.5, -1.0, 2.0])[part]
    value, gradient = tracer.value_and_grad(lambda x: np.sum(double(x) * double(3 * x)))(w)
    np.testing.assert_allclose(value, np.sum(12 * w * w))
    np.testing.assert_allclose(gradient, 24 * w)


@pytest.mark.parametrize("nested", [list, dict])
def test_options_that_hold_arrays_may_change_afterwards(nested):
    def forward(x, *, by):
        return x * by[0]

    def vjp(node, g):
        return (g * node.params["by"][0],)

    factor = np.full(2, 3.0)
    by = {0: factor} if nested is dict else [factor]
    w = tracer.parameter(np.ones(2), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(made(forward, vjp)(w, by=by))
    factor *= 2
    by[0] = np.full(2, 9.0)
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["w"], [3.0, 3.0])


@pytest.mark.parametrize(
    "act",
    [
        lambda x: made(lambda a, *, by: a * by)(x, by=x),
        lambda x: made(lambda a, *, by: a * by[0])(x, by=[x]),
        lambda x: made(lambda a: a * x)(x),
        lambda x: made(lambda a, b: a * b * x, lambda node, g: (g, g))(x, x),
    ],
)
def test_a_forward_that_returns_a_tensor_is_refused(act):
    with pytest.raises(tracer.TracingError, match=r"forward of made returned a tensor.*positional"):
        tracer.grad(lambda x: np.sum(act(x)))(np.ones(2))


@pytest.mark.parametrize("moved", [lambda t: None, lambda t: 2 * t[0], lambda t: 2.0])
def test_a_jvp_of_a_wrong_form_is_named(moved):
    act = made(lambda x: 2 * x, jvp=lambda node, tangents: moved(tangents[0]))
    with pytest.raises(tracer.ShapeError, match=r"the jvp of made returned.*\[V, \*output.shape\]"):
        tracer.jvp(act, (np.ones(3),), (np.ones(3),))


@pytest.mark.parametrize(
    "rule", [lambda g: None, lambda g: 2 * g, lambda g: (2 * g[0],), lambda g: (2j * g,)]
)
@pytest.mark.parametrize("shape", [(), (3,), (3, 3)])
def test_a_rule_of_a_wrong_form_is_named(rule, shape):
    @tracer.operation("wrong")
    class Wrong(tracer.Elementwise):
        def forward(x):
            return 2 * x

        def vjp(node, g):
            return rule(g)

    w = tracer.parameter(np.ones(shape), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(Wrong(w * 2.0) ** 2)
    with pytest.raises(tracer.TracerError, match=r"the vjp of .*wrong"):
        tape.backward(loss)
    with pytest.raises(tracer.TracerError, match=r"the vjp of .*wrong"):
        tracer.grad(lambda x: np.sum(Wrong(x)))(np.ones(shape))


@pytest.mark.parametrize(
    ("function", "x", "y", "by_x", "by_y"),
    [
        (xlogy, 0.0, 2.0, np.log(2.0), 0.0),
        (xlogy, 0.0, 0.0, 0.0, np.nan),
        (np.remainder, 1.0, 0.1, 1.0, -9.0),  # 1.0 / 0.1 is rounded up to 10
        (np.fmod, 1.0, 0.1, 1.0, -9.0),
        (np.fmod, -7.0, 2.0, 1.0, 3.0),
        (np.divide, np.float32(1e30), np.float32(1e20), 1e-20, -1e-10),
        (np.divide, np.float32(1e-30), np.float32(1e-25), 1e25, -1e20),
        (np.divide, np.float32(0.0), np.float32(1e-39), np.inf, 0.0),
        (np.divide, np.float16(0.0), np.float16(1e-6), np.inf, 0.0),
    ],
)
def test_derivatives_where_quotients_are_rounded_or_logarithms_have_no_weight(
    function, x, y, by_x, by_y
):
    x, y = np.asarray(x), np.asarray(y)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(tracer.grad(function, 0)(x, y), by_x, rtol=1e-6)
        np.testing.assert_allclose(tracer.grad(function, 1)(x, y), by_y, rtol=1e-6)


def test_the_slope_of_log_expit_does_not_cancel():
    slope = tracer.grad(tracer.log_expit)(np.float32(20.0))
    np.testing.assert_allclose(slope, np.exp(-20.0), rtol=1e-4)


# -- what is not saved, and axes of one sample -----------------------------------------------------


def copying(rule, written, saves):
    """An operation of which one rule is written anew."""

    class Copy(tracer.Elementwise):
        def forward(x):
            return x.copy()

        def vjp(node, g):
            return (g,)

        def jvp(node, tangents):
            return tangents[0]

        def examples(rng):
            return [((rng.random((4, 3)),), {})]

    setattr(Copy, rule, written)
    Copy.saves = saves
    return tracer.operation("test_copy")(Copy)


#: what is read -> by the vjp, and by the jvp
READS = {
    "inputs": (
        lambda node, g: (g * np.cos(node.inputs[0]),),
        lambda node, tangents: tangents[0] * np.cos(node.inputs[0]),
    ),
    "inputs in einsum": (
        lambda node, g: (np.einsum("vij,ij->vij", g, node.inputs[0]),),
        lambda node, tangents: np.einsum("vij,ij->vij", tangents[0], node.inputs[0]),
    ),
    "output": (
        lambda node, g: (g * node.output,),
        lambda node, tangents: tangents[0] * node.output,
    ),
    "output's shape": (
        lambda node, g: (g * np.ones(node.output.shape),),
        lambda node, tangents: tangents[0] * np.ones(node.output.shape),
    ),
}


@pytest.mark.parametrize("number", [0, 1], ids=["vjp", "jvp"])
@pytest.mark.parametrize("what", READS)
def test_a_rule_that_reads_what_was_not_saved_says_what_to_add(number, what):
    read = "output" if "output" in what else "inputs"
    other = {"inputs": "output", "output": "inputs"}[read]
    for saves, wanted in (((), (read,)), ((other,), ("inputs", "output"))):
        op = copying(("vjp", "jvp")[number], READS[what][number], saves)
        remedy = re.escape(f"reads what was not saved: write saves = {wanted} in the operation")
        with pytest.raises(AssertionError, match=remedy):
            check_operation(op)


def test_an_error_of_another_kind_is_not_blamed_on_what_is_saved():
    def wrong(node, g):
        raise ValueError("of another kind")

    with pytest.raises(AssertionError, match="of another kind") as caught:
        check_operation(copying("vjp", wrong, ()))
    assert "saves" not in str(caught.value)


def test_saves_names_what_there_is():
    with pytest.raises(tracer.TracingError, match="'test_copy' saves 'input', which no node has"):
        copying("vjp", lambda node, g: (g,), ("input",))


def summed(shape):
    """A sum over the last axis, which says that samples there stay apart."""

    class Summed(tracer.Operation):
        saves = ()

        def forward(x):
            return np.sum(x, axis=-1, keepdims=True)

        def vjp(node, g):
            return (g * np.ones(node.input_shape(0), g.dtype),)

        def batch_axis(node, axes):
            return axes[0]

        def examples(rng):
            return [((rng.random(shape),), {})]

    return tracer.operation("test_summed")(Summed)


def test_an_axis_of_size_one_is_not_checked():
    report = check_operation(summed((4, 1)))
    assert "axis 1 of input 0 of 2 axes has size 1" in report.missing["batch_axis of every axis"]
    with pytest.raises(AssertionError, match="has not 3 samples"):
        check_operation(summed((4, 3)))
    assert "no samples of more than one" in check_operation(summed((1, 1))).missing["batch_axis"]
    assert not check_operation(registry.operations["tanh"]).missing


@pytest.mark.parametrize(
    "examples", [[], None, ((1.0,), {}), [np.ones(3)], [(np.ones(3), {})], [((np.ones(3),),)]]
)
def test_examples_of_another_form_say_what_to_write(examples):
    op = copying("vjp", lambda node, g: (g,), ())
    op.examples = lambda rng: examples
    with pytest.raises(AssertionError, match=r"write a list of \(inputs, params\)"):
        check_operation(op)


@pytest.mark.parametrize("named", [Elementwise, "", None])
def test_an_operation_without_a_name_says_what_to_write(named):
    with pytest.raises(tracer.TracingError, match=r'write @operation\("\w+"\) above class'):
        tracer.operation(named)
