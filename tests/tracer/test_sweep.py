"""The sweep: long records, memory, reference counts, replays, and what cannot be swept."""

import gc
import itertools
import tracemalloc
import weakref

import numpy as np
import pytest

import tracer
from tracer.record.replay import replay, saved_values

LONG = 100_000


def chain(count, x):
    for _ in range(count):
        x = x + 1.0
    return x


@pytest.fixture
def no_collector():
    """Only reference counting frees anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def cube():
    """`x ** 3` that keeps its slope, and what rules found kept each time that they were asked."""
    found = []

    def vjp(node, g):
        found.append(node.kept)
        slope = 3 * node.inputs[0] ** 2 if node.kept is None else node.kept
        return (g * slope,)

    rules = {"saves": ("inputs",), "vjp": vjp}
    rules["forward_keeping"] = lambda x: (x**3, 3 * x**2)
    op = tracer.operation("keeping_cube")(type("Cube", (tracer.Elementwise,), rules))
    op.found = found
    return op


# -- what operations keep for their rules ----------------------------------------------------------


def test_rules_find_what_was_kept_until_a_sweep_has_passed(cube):
    assert cube(np.array(2.0)) == 8.0
    with tracer.Tape() as tape:
        x = tracer.parameter(np.array(2.0), name="x")
        loss = cube(x)
    assert loss.data == 8.0
    assert tape.backward(loss)["grad"]["x"] == 12.0
    assert tape.backward(loss)["grad"]["x"] == 12.0
    assert cube.found == [12.0, None]


def test_a_replay_for_another_loss_keeps_nothing_stale(cube):
    with tracer.Tape() as tape:
        x = tracer.parameter(np.array(2.0), name="x")
        first, second = cube(x), cube(x)
    tape.backward(first)
    x.data[...] = 3.0
    assert tape.backward(second)["grad"]["x"] == 12.0
    assert cube.found == [12.0, None]


def test_a_recorded_sweep_finds_nothing_kept(cube):
    assert tracer.grad(tracer.grad(cube))(np.array(2.0)) == 12.0
    assert cube.found[0] is None


# -- long records ----------------------------------------------------------------------------------


def test_a_long_chain_is_swept_without_recursion():
    with tracer.Tape() as tape:
        x = tracer.parameter(np.array(2.0), name="x")
        loss = chain(LONG, x)
    assert tape.backward(loss)["grad"]["x"] == 1.0


def test_a_long_chain_is_freed_without_recursion(no_collector):
    with tracer.Tape() as tape:
        x = tracer.parameter(np.array(2.0))
        loss = chain(LONG, x)
    died = weakref.ref(tape)
    del tape
    assert died() is None
    del loss, x


def test_a_long_chain_per_sample():
    """Batched and unbatched parts are both carried without recursion."""
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2), name="w")
        loss = np.sum(chain(2000, tracer.batch(np.ones((3, 2))) * chain(2000, w)))
    value = tape.backward(loss, ("grad_batch",))["grad_batch"]["w"]
    np.testing.assert_array_equal(value, np.ones((3, 2)))


# -- memory ----------------------------------------------------------------------------------------


def deep(count, size, x):
    for _ in range(count):
        x = np.sin(x)
    return np.sum(x)


def test_memory_is_freed_as_the_sweep_passes():
    """A hundred saved arrays are 80 MB; cotangents add a few, and the sweep leaves none."""
    array = np.ones(100_000)
    tracemalloc.start()
    try:
        with tracer.Tape() as tape:
            loss = deep(100, len(array), tracer.parameter(array, name="x"))
        recorded, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        results = tape.backward(loss)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert results
    assert recorded > 75e6
    assert peak - recorded < 6 * array.nbytes
    assert left < 5 * array.nbytes


def test_a_tape_is_freed_by_reference_counting_alone(no_collector):
    arrays = [np.ones(10) for _ in range(3)]
    with tracer.Tape() as tape:
        w = tracer.parameter(arrays[0])
        hidden = np.tanh(w * arrays[1])
        loss = np.sum(hidden)
    died = [weakref.ref(hidden), weakref.ref(loss), weakref.ref(hidden.data)]
    del hidden, loss, tape
    assert [ref() for ref in died] == [None, None, None]
    del w
    assert gc.collect() == 0


@pytest.mark.parametrize("quantities", [("grad",), ("grad", "grad_batch", "batch_dot")])
def test_a_sweep_makes_no_reference_cycles(no_collector, quantities):
    def run():
        with tracer.Tape() as tape:
            w = tracer.parameter(np.ones((3, 2)), name="w")
            v = tracer.parameter(np.ones((2, 2)), name="v")
            h = np.tanh(tracer.batch(np.ones((4, 3))) @ w) @ v.T
            loss = np.mean(h[:, ::2] * np.exp(h.sum(1, keepdims=True)))
        tape.backward(loss, quantities)

    run()
    gc.collect()
    run()
    assert gc.collect() == 0


def test_functions_of_functions_make_no_reference_cycles(no_collector):
    def run():
        x = np.ones(3)
        tracer.grad(lambda x: np.sum(np.tanh(x) ** 2))(x)
        tracer.hessian(lambda x: np.sum(np.tanh(x) ** 2))(x)
        tracer.hvp(lambda x: np.sum(np.tanh(x) ** 2))(x, x)

    run()
    gc.collect()
    run()
    assert gc.collect() == 0


def test_an_exception_in_the_forward_pass_keeps_no_arrays(no_collector):
    died = []

    def run():
        with tracer.Tape():
            x = np.tanh(tracer.parameter(np.ones(10)))
            died.append(weakref.ref(x.data))
            np.reshape(x, (3, 3))

    with pytest.raises(tracer.ShapeError):
        run()
    gc.collect()
    assert died[0]() is None


# -- replays ---------------------------------------------------------------------------------------


def network():
    rng = np.random.default_rng(0)
    with tracer.Tape() as tape:
        w = tracer.parameter(rng.standard_normal((3, 4)), name="w")
        v = tracer.parameter(rng.standard_normal((4, 2)), name="v")
        h = np.tanh(tracer.batch(rng.standard_normal((5, 3))) @ w)
        first = np.mean(np.exp(h @ v))
        second = np.sum(np.square(h))
    return tape, first, second


def test_a_second_sweep_gives_the_same_results():
    tape, first, _ = network()
    asked = ("grad", "grad_batch", "batch_l2")
    results = [tape.backward(first, asked) for _ in range(3)]
    for again in results[1:]:
        for quantity in asked:
            for name, value in results[0][quantity].items():
                np.testing.assert_array_equal(again[quantity][name], value)


def test_a_replay_computes_what_is_not_known():
    calls = []

    @tracer.operation("counted")
    class Counted(tracer.Elementwise):
        saves = ()
        linear = True

        def forward(x):
            calls.append(x)
            return 2 * x

        def vjp(node, g):
            return (2 * g,)

    x = tracer.parameter(np.array([1.0, 2.0]))
    with tracer.Tape() as tape:
        kept, dropped = Counted(x), Counted(x)
        np.sum(np.square(kept) + np.tanh(dropped))
    calls.clear()
    replay(tape.nodes, saved_values(tape.nodes), keep_inputs=set(tape.nodes))
    assert len(calls) == 1
    for node in tape.nodes:
        for value, parent in zip(node.inputs, node.parents, strict=True):
            assert value.shape == parent.shape
    tanh = next(node for node in tape.nodes if node.op.name == "tanh")
    np.testing.assert_array_equal(tanh.inputs[0], [2.0, 4.0])


def test_a_second_sweep_is_of_what_was_recorded_though_a_parameter_was_changed_in_place():
    """As where two models train against each other, with a loss for each on one tape."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 3)), tracer.parameter(rng.standard_normal((3, 4)), name="w")
    with tracer.Tape() as tape:
        hidden = np.tanh(x @ w)
        first, second = np.sum(np.exp(hidden)), np.sum(np.square(hidden))
    y = np.tanh(x @ w.data)
    tape.backward(first)
    w.data *= 0.5
    expected = x.T @ (2 * y * (1 - y * y))
    np.testing.assert_allclose(tape.backward(second)["grad"]["w"], expected, rtol=1e-12)


def test_sweeps_from_several_losses_in_any_order():
    tape, first, second = network()
    a, b = tape.backward(first)["grad"]["w"], tape.backward(second)["grad"]["w"]
    tape, first, second = network()
    np.testing.assert_array_equal(tape.backward(second)["grad"]["w"], b)
    np.testing.assert_array_equal(tape.backward(first)["grad"]["w"], a)
    np.testing.assert_array_equal(tape.backward(second)["grad"]["w"], b)


def test_a_hessian_between_two_sweeps_changes_neither():
    tape, first, second = network()
    before = tape.backward(first)["grad"]
    tape.backward(second, ("diag_h",))
    for name, value in tape.backward(first)["grad"].items():
        np.testing.assert_array_equal(value, before[name])


def test_a_sweep_inside_the_block_and_recording_after_it():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.array([1.0, 2.0]), name="w")
        hidden = np.exp(w)
        first = tape.backward(np.sum(hidden))["grad"]["w"]
        second = tape.backward(np.sum(hidden * w))["grad"]["w"]
    np.testing.assert_allclose(first, np.exp([1.0, 2.0]))
    np.testing.assert_allclose(second, np.exp([1.0, 2.0]) * np.array([2.0, 3.0]))


def test_a_parameter_on_two_tapes():
    w = tracer.parameter(np.array(3.0), name="w")
    with tracer.Tape() as first:
        square = w * w
    with tracer.Tape() as second:
        cube = w * w * w
    assert first.backward(square)["grad"]["w"] == 6.0
    assert second.backward(cube)["grad"]["w"] == 27.0


def test_a_tensor_of_another_tape_is_a_constant_also_when_replayed():
    with tracer.Tape():
        w = tracer.parameter(np.array(3.0), name="w")
        hidden = np.exp(w) * 2.0
    with tracer.Tape() as tape:
        v = tracer.parameter(np.array(2.0), name="v")
        loss = hidden * np.sin(hidden * v)
    for _ in range(2):
        gradient = tape.backward(loss)["grad"]
        assert list(gradient) == ["v"]
        h = 2 * np.exp(3.0)
        np.testing.assert_allclose(gradient["v"], h * h * np.cos(h * 2))


@pytest.mark.parametrize("order", ["inner first", "outer first"])
def test_nested_tapes_are_both_swept_after_they_are_closed(order):
    with tracer.Tape() as outer:
        w = tracer.parameter(np.array(2.0), name="w")
        hidden = np.exp(w)
        with tracer.Tape() as inner:
            partial = np.sin(hidden * w)
        loss = partial * hidden

    def sweep_inner():
        return inner.backward(partial)["grad"]["w"]

    def sweep_outer():
        return outer.backward(loss)["grad"]["w"]

    sweeps = [sweep_inner, sweep_outer]
    values = {f.__name__: f() for f in (sweeps if order == "inner first" else sweeps[::-1])}
    e, w0 = np.exp(2.0), 2.0
    np.testing.assert_allclose(values["sweep_inner"], np.cos(e * w0) * e)
    slope = np.cos(e * w0) * (e + e * w0)
    np.testing.assert_allclose(values["sweep_outer"], slope * e + np.sin(e * w0) * e)


def test_an_inner_sweep_is_differentiated_by_the_outer_tape():
    with tracer.Tape() as outer:
        w = tracer.parameter(np.array(2.0), name="w")
        with tracer.Tape() as inner:
            cube = w * w * w
        gradient = inner.backward(cube)["grad"]["w"]
        loss = gradient * gradient
    assert isinstance(gradient, tracer.Tensor)
    np.testing.assert_allclose(outer.backward(loss)["grad"]["w"], 2 * 12 * 12)


def test_per_sample_gradients_are_differentiated_by_the_outer_tape():
    """The gradient of a gradient penalty: sum of squared norms of the samples' gradients."""
    rng = np.random.default_rng(0)
    x, start = rng.standard_normal((4, 3)), rng.standard_normal((3, 2))

    def penalty(w):
        with tracer.Tape() as inner:
            leaf = tracer.batch(x)
            loss = np.sum(np.square(np.tanh(leaf @ w)))
        return np.sum(inner.backward(loss, ("batch_l2",))["batch_l2"]["w"])

    def by_samples(w):
        return sum(
            np.sum(tracer.grad(lambda w, n=n: np.sum(np.square(np.tanh(x[n] @ w))))(w) ** 2)
            for n in range(4)
        )

    with tracer.Tape() as outer:
        w = tracer.parameter(start, name="w")
        value = penalty(w)
    np.testing.assert_allclose(
        outer.backward(value)["grad"]["w"], tracer.grad(by_samples)(start), rtol=1e-9
    )


# -- what cannot be swept --------------------------------------------------------------------------


@pytest.fixture
def tape():
    with tracer.Tape() as tape:
        yield tape


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda w: w * 2.0, r"one element.*float64\[2\].*sum or average"),
        (lambda w: np.array(1.0), r"tensor, got float64\[\].*Tape\(\)"),
        (lambda w: 1.0, "tensor, got 1.0"),
        (lambda w: None, "tensor, got NoneType"),
        (lambda w: np.sum(tracer.batch(np.ones(2)) * 2.0), "no parameter.*tracer.parameter"),
        (lambda w: np.sum(w.detach() * 2.0), "no parameter"),
        (lambda w: tracer.parameter(np.ones(1)), "not recorded on this tape"),
    ],
    ids=["vector", "array", "number", "None", "constant", "detached", "leaf"],
)
def test_losses_that_are_none(tape, loss, message):
    with pytest.raises(tracer.TracingError, match=message):
        tape.backward(loss(tracer.parameter(np.ones(2))))


def test_a_loss_of_another_tape():
    with tracer.Tape():
        loss = np.sum(tracer.parameter(np.ones(2)) * 2.0)
    with tracer.Tape() as other:
        np.sum(tracer.parameter(np.ones(2)) * 2.0)
    with pytest.raises(tracer.TracingError, match="not recorded on this tape"):
        other.backward(loss)


def test_a_loss_computed_without_a_tape():
    loss = np.sum(tracer.parameter(np.ones(2)) * 2.0)
    with tracer.Tape() as tape:
        pass
    with pytest.raises(tracer.TracingError, match=r"`with tracer\.Tape\(\)` block"):
        tape.backward(loss)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_loss_of_one_element_may_have_axes(shape):
    with tracer.Tape() as tape:
        w = tracer.parameter(np.array([3.0]), name="w")
        loss = np.reshape(w * w, shape)
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["w"], [6.0])


# -- NaN and unreached -----------------------------------------------------------------------------


def test_nan_reaches_what_it_must_and_no_other_sample():
    x = np.ones((3, 2))
    x[1, 0] = np.nan
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones((2, 2)), name="w")
        loss = np.sum(np.tanh(tracer.batch(x) @ w))
    results = tape.backward(loss, ("grad", "grad_batch", "batch_l2"))
    assert np.isnan(results["grad"]["w"]).all()
    np.testing.assert_array_equal(np.isnan(results["batch_l2"]["w"]), [False, True, False])
    assert np.isfinite(results["grad_batch"]["w"][[0, 2]]).all()


def test_an_unreached_parameter_gets_zeros_of_its_own_kind():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2, "f4"), name="w")
        u = tracer.parameter(np.ones((2, 3)), name="u")
        np.sum(u)
        loss = np.sum(w * 2)
    gradient = tape.backward(loss)["grad"]
    assert list(gradient) == ["w"] or not gradient["u"].any()
    with tracer.Tape() as tape:
        unused = np.sum(u * 0.5)
        loss = np.sum(w * 2) + np.floor(unused)
    gradient = tape.backward(loss)["grad"]
    np.testing.assert_array_equal(gradient["u"], np.zeros((2, 3)))
    assert gradient["w"].dtype == np.float32


# -- rules that are wrong ------------------------------------------------------------------------


@tracer.operation("test_short_vjp")
class ShortVjp(tracer.Operation):
    def forward(x, y):
        return x * y

    def vjp(node, g):
        return (g,)


@tracer.operation("test_raising_vjp")
class RaisingVjp(tracer.Operation):
    def forward(x):
        return x * 1.0

    def vjp(node, g):
        raise RuntimeError("in the rule")


def test_a_rule_that_returns_too_little_is_named():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2))
        loss = np.sum(ShortVjp(w, w))
    with pytest.raises(tracer.ShapeError, match="test_short_vjp returned 1 entries for 2 inputs"):
        tape.backward(loss)


def test_an_error_in_a_rule_has_a_note_with_the_operation():
    with tracer.Tape() as tape:
        loss = np.sum(RaisingVjp(tracer.parameter(np.ones(2))))
    with pytest.raises(RuntimeError, match="in the rule") as caught:
        tape.backward(loss)
    assert "test_raising_vjp" in caught.value.__notes__[0]


def test_an_operation_without_a_rule_is_named():
    @tracer.operation("test_without_vjp")
    class WithoutVjp(tracer.Operation):
        def forward(x):
            return x * 1.0

    with tracer.Tape() as tape:
        loss = np.sum(WithoutVjp(tracer.parameter(np.ones(2))))
    with pytest.raises(tracer.TracingError, match="test_without_vjp has no vjp: define vjp"):
        tape.backward(loss)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_sweep_inside_another_tape_adds_what_arrives_in_any_order(order):
    """There are arrays among the entries (of `w[i]`) and tensors (of `w**3`)."""
    w = tracer.parameter(np.array([1.0, 2.0, 3.0]), "w")
    with tracer.Tape():
        with tracer.Tape() as inner:
            terms = [lambda: w[0], lambda: np.sum(w**3), lambda: w[1] * 2]
            made = [terms[i]() for i in order]
            loss = made[0] + made[1] + made[2]
        value = inner.backward(loss)["grad"]["w"]
    np.testing.assert_allclose(getattr(value, "data", value), [4, 14, 27])


@pytest.mark.parametrize("shape", [(3, 4), (3, 5000)], ids=["few", "many"])
@pytest.mark.parametrize("axis", [None, 0, (0, 1), -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_gradients_of_sums_and_means_of_few_and_of_many_elements(shape, axis, keepdims):
    x = tracer.parameter(np.ones(shape), "x")
    weights = np.random.default_rng(0).standard_normal(np.sum(x.data, axis, keepdims=True).shape)
    count = x.size // weights.size
    fitted = weights if keepdims else weights.reshape(np.sum(x.data, axis).shape)
    for reduction, share in ((np.sum, 1), (np.mean, 1 / count)):
        with tracer.Tape() as tape:
            loss = (reduction(x, axis=axis, keepdims=keepdims) * fitted).sum()
        gradient = tape.backward(loss)["grad"]["x"]
        np.testing.assert_allclose(gradient, np.broadcast_to(weights * share, shape), rtol=1e-15)


def test_gradients_of_two_parameters_share_no_memory():
    a, b = tracer.parameter(np.ones(3), "a"), tracer.parameter(np.ones(3), "b")
    with tracer.Tape() as tape:
        loss = (a + b).mean()
    gradients = tape.backward(loss)["grad"]
    gradients["a"] *= 0
    np.testing.assert_allclose(gradients["b"], np.full(3, 1 / 3), rtol=1e-15)


@pytest.mark.parametrize(
    "entry", [lambda g: g[..., :1] * 2, lambda g: g[:, 0], lambda g: lambda: g[..., :1]]
)
def test_a_rule_whose_entry_would_be_broadcast_is_refused(entry):
    @tracer.operation("narrow")
    class Narrow(tracer.Operation):
        def forward(x):
            return x * 2

        def vjp(node, g):
            return (entry(g),)

    w = tracer.parameter(np.ones(2))
    with tracer.Tape() as tape:
        loss = np.sum(Narrow(w) ** 2)
    with pytest.raises(
        tracer.ShapeError, match=r"the vjp of narrow returned .* input 0 of shape \[2\]"
    ):
        tape.backward(loss)
