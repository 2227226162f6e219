"""Elements by where they lie in memory: against NumPy's views of the same memory."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import tracer
from tracer_import import ProgramError
from tracer_import.inplace import functional
from tracer_import.memory import with_orders
from tracer_import.module import imported
from tracer_import.program import Input, Meta, Node, Program, Source, Value
from tracer_import.sizes import Expression

N = Expression("n")
DOUBLE = np.dtype(np.float64)


def node(target, *arguments, out):
    values = tuple(Value(a) if isinstance(a, str) else a for a in arguments)
    return Node(f"aten.{target}", values, {}, (out,), (), Source("net.py", 3))


def program(*nodes, outputs=("y",), **metas):
    """A program of one input `x`, with what is known of sizes and strides."""
    known = {name: Meta(DOUBLE, *each) for name, each in metas.items()}
    made = Program(
        inputs=(Input("x", "x", known.get("x")),),
        held=(),
        nodes=with_orders(nodes, known),
        outputs=tuple(map(Value, outputs)),
        arguments=(None,),
        argument_names=("x",),
        results=(None,) * len(outputs),
    )
    return imported(functional(made))


@pytest.mark.parametrize(
    ("order", "size", "stride", "offset"),
    [
        ((0, 1, 2), (3, 4, 2), (8, 2, 1), 0),
        ((0, 1, 2), (4, 3), (1, 5), 2),
        ((0, 1, 2), (3, 2, 3), (8, 1, 2), 1),
        ((0, 1, 2), (5, 5), (3, 2), None),
        ((2, 0, 1), (6, 4), (2, 3), 1),
        ((2, 1, 0), (3, 4, 2), (1, 3, 12), 0),
        ((1, 0, 2), (2, 0, 3), (1, 1, 1), 0),
        ((0, 2, 1), (3, 2, 2), (8, 4, 2), 1),
        ((0, 1, 2), (), (), 7),
    ],
)
def test_elements_are_those_of_memory(order, size, stride, offset):
    """Of an array `[3, 4, 2]` whose axes lie in any order, samples first among them."""
    rng = np.random.default_rng(0)
    shape = (3, 4, 2)
    memory = rng.standard_normal([shape[axis] for axis in order])
    x = memory.transpose(np.argsort(order))
    strides = tuple(step // 8 for step in x.strides)
    flat = memory.reshape(-1)[offset or 0 :]
    wanted = as_strided(flat, size, [8 * step for step in stride])
    model = program(
        node("as_strided.default", "x", size, stride, offset, out="y"), x=(shape, strides)
    )
    (found,) = model(x)
    np.testing.assert_array_equal(raw(found), wanted)
    weights = rng.standard_normal(size)
    gradient = tracer.grad(lambda x: np.sum(model(x)[0] * weights))(np.ascontiguousarray(x))
    places = as_strided(np.arange(24)[offset or 0 :], size, [8 * step for step in stride])
    counted = np.bincount(places.reshape(-1), weights.reshape(-1), 24)
    counted = counted.reshape(memory.shape).transpose(np.argsort(order))
    np.testing.assert_allclose(gradient, counted, atol=1e-12)


def raw(value):
    return value.data if isinstance(value, tracer.Tensor) else value


def test_samples_stay_samples():
    """Where the first axis stays what it is, of whatever size, there are gradients of samples."""
    size = (Value("n"), 2, 3)
    model = program(
        node("sym_size.int", "x", 0, out="n"),
        node("as_strided.default", "x", size, (8, 1, 2), 1, out="v"),
        node("mul.Tensor", "v", "v", out="y"),
        x=((N, 4, 2), (8, 2, 1)),
    )
    x = np.random.default_rng(0).standard_normal((5, 4, 2))
    weight = tracer.parameter(np.ones(8).reshape(4, 2), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(model(tracer.batch(x) * weight)[0])
    found = tape.backward(loss, ("grad_batch",))["grad_batch"]["w"]
    places = 1 + as_strided(np.arange(7), (2, 3), (8, 16))
    counts = np.bincount(places.reshape(-1), minlength=8).reshape(4, 2)
    np.testing.assert_allclose(found, 2 * counts * x**2)


def test_a_write_by_memory_is_seen_by_the_array():
    (found,) = program(
        node("mul.Tensor", "x", 1.0, out="a"),
        node("as_strided.default", "a", (2, 2), (1, 3), 1, out="v"),
        node("fill_.Scalar", "v", 7.0, out="w"),
        outputs=("a",),
        a=((2, 3), (1, 2)),
    )(np.arange(6.0).reshape(2, 3))
    memory = np.arange(6.0).reshape(2, 3).T.reshape(-1)
    as_strided(memory[1:], (2, 2), (8, 24))[:] = 7.0
    np.testing.assert_array_equal(raw(found), memory.reshape(3, 2).T)


def test_a_write_where_an_element_is_shown_twice_is_refused():
    with pytest.raises(tracer.TracerError, match="shows an element twice"):
        program(
            node("mul.Tensor", "x", 1.0, out="a"),
            node("as_strided.default", "a", (2, 2), (1, 1), 0, out="v"),
            node("fill_.Scalar", "v", 7.0, out="w"),
            outputs=("a",),
            a=((2, 3), (3, 1)),
        )(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("before", "meta"),
    [
        (node("slice.Tensor", "x", 0, 1, 3, out="a"), ((2, 3), (3, 1))),
        (node("expand.default", "x", (4, 3), out="a"), ((4, 3), (0, 1))),
        (node("mul.Tensor", "x", 2.0, out="a"), ((4, 3), (4, 1))),
        (node("mul.Tensor", "x", 2.0, out="a"), ((4, 3), ())),
        (node("mul.Tensor", "x", 2.0, out="a"), ((4, 3), (Expression("?"), 1))),
    ],
)
def test_a_part_or_an_array_with_gaps_is_refused_with_its_line(before, meta):
    use = node("as_strided.default", "a", (2,), (1,), 0, out="y")
    with pytest.raises(ProgramError, match=r"as_strided\.default \(net\.py:3\) takes elements"):
        program(before, use, a=meta)


@pytest.mark.parametrize(
    "view", [("view.default", (3, 1)), ("unsqueeze_.default", 1), ("relu_.default",)]
)
def test_a_view_of_a_part_is_one(view):
    name, *options = view
    nodes = (
        node("select.int", "x", 0, 1, out="a"),
        node(name, "a", *options, out="b"),
        node("as_strided.default", "b", (2,), (1,), 0, out="y"),
    )
    with pytest.raises(ProgramError, match="part of another one"):
        program(*nodes, b=((3, 1), (1, 1)))


def test_what_lies_beyond_the_array_is_refused():
    model = program(node("as_strided.default", "x", (4, 4), (3, 1), 1, out="y"), x=((4, 3), (3, 1)))
    with pytest.raises(tracer.TracerError, match="reaches beyond an array of 12 elements"):
        model(np.ones((4, 3)))
