"""The neutral form: sizes that are parsed, writes that become values, what is freed and when."""

from dataclasses import replace

import numpy as np
import pytest

import tracer
from tracer.errors import PluginError
from tracer.extend import ImportedOperator
from tracer_import import Program, ProgramError
from tracer_import.checks import check_operator
from tracer_import.inplace import functional, written
from tracer_import.module import imported
from tracer_import.plan import planned
from tracer_import.program import Held, Input, Node, Source, Value
from tracer_import.sizes import Expression, known, parsed, symbols_in

# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-3", -3),
        ("s0", 5),
        ("2*s0 + 1", 11),
        ("s0*(s0 - 1)//2", 10),
        ("s0 % 3", 2),
        ("s0**2", 25),
        ("Symbol('s0', positive=True, integer=True)", 5),
        ("Add(Integer(1), Mul(Integer(2), Symbol('s0', integer=True)))", 11),
        ("FloorDiv(s0, 2) + Max(1, s0)", 7),
        ("Mul(Integer(-1), Symbol('s0'))", -5),
    ],
)
def test_sizes_are_parsed(text, value):
    size = parsed(text)
    assert known(size, {"s0": 5}) == value
    assert symbols_in(size) <= {"s0"}
    assert (known(size, {}) is None) == isinstance(size, Expression)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "(1",
        "__import__('os')",
        "s0.real",
        "lambda: 1",
        "f(s0)",
        "9" * 30,
        "(" * 3000,
        "1+" * 3000 + "1",
        "s0*" * 500 + "s0",
        "Symbol('s0'",
        "Integer(s0)",
        "1; 2",
    ],
)
def test_what_is_no_size_is_refused_and_never_evaluated(text):
    with pytest.raises(ValueError, match=r"size|parts|digits|characters"):
        parsed(text)


def test_powers_do_not_grow_without_bound():
    assert known(parsed("s0**8"), {"s0": 2**70}) is None
    assert known(parsed("s0 // s1"), {"s0": 1, "s1": 0}) is None
    assert str(parsed("2*s0 + 1")) == "((2*s0) + 1)"


# -- writes ---------------------------------------------------------------------------------------


def program(*nodes, outputs=("y",), held=()):
    """A program of one input `x`."""
    return Program(
        inputs=(Input("x", "x"),),
        held=held,
        nodes=tuple(nodes),
        outputs=tuple(map(Value, outputs)),
        arguments=(None,),
        argument_names=("x",),
        results=(None,) * len(outputs),
    )


def node(target, *arguments, out, **keywords):
    values = tuple(Value(a) if isinstance(a, str) else a for a in arguments)
    return Node(f"aten.{target}", values, keywords, (out,), (), Source("net.py", 3))


def run(*nodes, outputs=("y",)):
    """What the nodes give for the same input, with and without writes."""
    made = imported(functional(program(*nodes, outputs=outputs)))
    found = made(tracer.batch(np.arange(6.0).reshape(2, 3)))
    return [y.data if isinstance(y, tracer.Tensor) else y for y in found]


def test_names_of_writes():
    assert written("aten.add_.Tensor") == "aten.add.Tensor"
    assert written("aten.bernoulli_.float") == "aten.bernoulli.p"
    assert written("aten.add.Tensor") is None
    assert written("aten.__and__.Tensor") is None
    assert written("mylib.add_.default") is None


def test_what_is_written_into_out_is_a_write():
    """As `torch.mul(x, 2, out=v)`, where `v` is a part of an array."""
    x = np.arange(6.0).reshape(2, 3)
    y, b = run(
        node("zeros.default", (2, 4), out="b"),
        node("slice.Tensor", "b", 1, 1, 4, out="v"),
        replace(node("mul.out", "x", 2.0, out="m"), keywords={"out": Value("v")}),
        node("add.Tensor", "m", "v", out="y"),
        outputs=("y", "b"),
    )
    np.testing.assert_array_equal(y, 4 * x)
    np.testing.assert_array_equal(b, np.pad(2 * x, ((0, 0), (1, 0))))


def test_a_value_is_what_was_written_last():
    (y,) = run(
        node("add.Tensor", "x", 1.0, out="a"),
        node("mul_.Tensor", "a", 2.0, out="b"),
        node("add_.Tensor", "b", 3.0, out="c"),
        node("sub.Tensor", "a", "b", out="y"),
    )
    np.testing.assert_array_equal(y, 0)


def test_a_write_into_a_view_is_seen_by_the_base_and_by_other_views():
    x = np.arange(6.0).reshape(2, 3)
    base, other = run(
        node("mul.Tensor", "x", 1.0, out="a"),
        node("slice.Tensor", "a", 1, 0, 2, out="left"),
        node("select.int", "a", 0, 1, out="row"),
        node("zero_.default", "left", out="z"),
        outputs=("a", "row"),
    )
    x[:, :2] = 0
    np.testing.assert_array_equal(base, x)
    np.testing.assert_array_equal(other, x[1])


@pytest.mark.parametrize(
    ("view", "arguments", "index"),
    [
        ("transpose.int", (0, 1), None),
        ("permute.default", ((1, 0),), None),
        ("t.default", (), None),
        ("view.default", ((3, 2),), None),
        ("unsqueeze.default", (0,), None),
        ("slice.Tensor", (0, 1, 2), np.s_[1:2]),
        ("narrow.default", (1, 1, 2), np.s_[:, 1:3]),
        ("select.int", (1, -1), np.s_[:, -1]),
        ("diagonal.default", (), "diagonal"),
        ("alias.default", (), None),
    ],
)
def test_views_of_every_kind_hand_back_what_was_written(view, arguments, index):
    (found,) = run(
        node("mul.Tensor", "x", 1.0, out="a"),
        node(view, "a", *arguments, out="v"),
        node("fill_.Scalar", "v", 7.0, out="w"),
        outputs=("a",),
    )
    x = np.arange(6.0).reshape(2, 3)
    if isinstance(index, str):
        np.fill_diagonal(x, 7.0)
    else:
        x[... if index is None else index] = 7.0
    np.testing.assert_array_equal(found, x)


def test_parts_of_a_split_hand_back_too():
    parts = Node("aten.split.Tensor", (Value("a"), 2, 1), {}, ("p", "q"), several=True)
    (found,) = run(
        node("mul.Tensor", "x", 1.0, out="a"),
        parts,
        node("fill_.Scalar", "q", 7.0, out="w"),
        outputs=("a",),
    )
    np.testing.assert_array_equal(found, [[0, 1, 7], [3, 4, 7]])


def test_a_write_into_what_is_repeated_is_refused_with_its_line():
    with pytest.raises(ProgramError, match=r"aten\.fill_\.Scalar \(net\.py:3\) writes into"):
        run(
            node("mul.Tensor", "x", 1.0, out="a"),
            node("expand.default", "a", (4, 2, 3), out="e"),
            node("fill_.Scalar", "e", 7.0, out="w"),
            outputs=("a",),
        )


def test_a_write_into_a_parameter_is_refused():
    weight = Held("p", "lin.weight", np.ones(3), "parameter")
    with pytest.raises(ProgramError, match=r"writes into the parameter 'lin\.weight'"):
        functional(program(node("mul_.Tensor", "p", 2.0, out="y"), held=(weight,)))


def test_a_buffer_that_is_written_is_a_mutation():
    count = Held("b", "count", np.zeros((), np.int64), "buffer")
    changed = functional(
        program(
            node("add_.Tensor", "b", 1, out="c"),
            node("add.Tensor", "x", "c", out="y"),
            held=(count,),
        )
    )
    model = imported(changed)
    for number in (1, 2):
        np.testing.assert_array_equal(model(np.zeros(2))[0].data, number)
        assert model.count == number


def test_what_nobody_uses_is_left_out():
    kept = functional(
        program(
            node("exp.default", "x", out="unused"),
            node("neg.default", "x", out="y"),
            node("_assert_async.default", "x", out=None),
        )
    )
    assert [each.target for each in kept.nodes] == ["aten.neg.default"]


def test_values_are_let_go_after_their_last_use():
    plan = planned(
        program(
            node("exp.default", "x", out="a"),
            node("neg.default", "a", out="b"),
            node("add.Tensor", "a", "b", out="y"),
        )
    )
    assert [sorted(step.freed) for step in plan.steps] == [["x"], [], ["a", "b"]]


# -- operators of others --------------------------------------------------------------------------


def test_a_registered_operator_runs_and_is_differentiated():
    operator = ImportedOperator("test.gate.default", lambda x, slope: x / (1 + np.exp(-slope * x)))
    gate = Node("test.gate.default", (Value("x"), 2.0), {}, ("y",))
    with pytest.raises(ProgramError, match=r"1 operator that is not there: test\.gate\.default"):
        imported(program(gate))
    tracer.register(operator)
    try:
        x = np.array([0.3, -0.4])
        gradient = tracer.grad(lambda x: np.sum(imported(program(gate))(x)[0]))(x)
        y = 1 / (1 + np.exp(-2 * x))
        np.testing.assert_allclose(gradient, y + 2 * x * y * (1 - y))
    finally:
        tracer.unregister(operator)


def test_an_operator_that_is_there_is_replaced_only_by_who_says_so():
    with pytest.raises(PluginError, match=r"'aten\.relu\.default', which plugin 'import' has"):
        tracer.register(ImportedOperator("aten.relu.default", np.tanh))


def test_examples_of_an_operator_are_checked():
    def examples(rng):
        return [((rng.standard_normal(4), 2.0), {})]

    right = ImportedOperator("a", lambda x, n: np.tanh(x) * n, examples=examples)
    assert "derivatives" in check_operator(right)

    @tracer.operation("test_import_wrong")
    class Wrong(tracer.Elementwise):
        def forward(x):
            return np.tanh(x)

        def vjp(node, g):
            return (g,)

    wrong = ImportedOperator("b", lambda x, n: Wrong(x) * n, examples=examples)
    with pytest.raises(AssertionError, match="central differences"):
        check_operator(wrong)
    with pytest.raises(AssertionError, match="no array of floats"):
        check_operator(ImportedOperator("c", lambda x: x, examples=lambda rng: [((1,), {})]))
    assert not check_operator(ImportedOperator("d", np.tanh))


def test_an_operator_that_is_no_function_is_refused():
    with pytest.raises(PluginError, match="give a function of arrays"):
        tracer.register(ImportedOperator("test.none.default", None))
