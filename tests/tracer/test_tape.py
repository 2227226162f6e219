"""Tapes: what records, names of parameters, states after errors."""

import numpy as np
import pytest

import tracer
from tracer.extend import input_leaf


class Model:
    """Stands for a model whose parameters have dotted names."""

    def __init__(self, **parameters):
        self.parameters = parameters

    def named_parameters(self):
        return self.parameters.items()


def test_nothing_is_recorded_outside_of_a_tape():
    w = tracer.parameter(np.ones(2))
    assert (w * 2.0).node is None
    assert tracer.current_tape() is None


def test_a_tape_records_its_own_block():
    with tracer.Tape() as outer:
        w = tracer.parameter(np.ones(2))
        w * 2.0
        with tracer.Tape() as inner:
            np.sin(w)
        w + 1.0
    assert [node.op.name for node in inner.recorded()] == ["sin"]
    assert [node.op.name for node in outer.recorded()] == ["multiply", "sin", "add"]


def test_the_current_tape_is_the_innermost():
    with tracer.Tape() as outer:
        with tracer.Tape() as inner:
            assert tracer.current_tape() is inner
        assert tracer.current_tape() is outer
        assert outer.is_open
    assert not outer.is_open


def test_a_tape_is_used_once():
    with tracer.Tape() as tape, pytest.raises(tracer.TracingError, match="new Tape"), tape:
        pass
    with pytest.raises(tracer.TracingError, match="new Tape"), tape:
        pass


def test_an_exception_inside_leaves_nothing_open():
    def fail():
        with tracer.Tape(), tracer.scope("layer"), tracer.Tape():
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert tracer.current_tape() is None
    with tracer.Tape() as tape:
        tracer.parameter(np.ones(1)) * 2.0
    assert tape.recorded()[0].place.scope == ""


def test_scopes_and_steps_are_restored_after_errors():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(1))
        with pytest.raises(RuntimeError), tracer.scope("outer"), tracer.scope("inner"):
            raise RuntimeError
        w * 1.0
        for t in tracer.steps(3):
            w * 2.0
            if t == 1:
                break
        w * 3.0
    places = [(node.place.scope, node.place.time) for node in tape.recorded()]
    assert places == [("", None), ("", 0), ("", 1), ("", None)]


def test_a_sweep_that_raises_leaves_no_tape_open():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones((2, 2)), name="w")
        loss = np.sum(tracer.batch(np.ones((3, 2))) @ w)

    def fail(name, value):
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        tape.backward(loss, reduce={"grad": fail})
    assert tracer.current_tape() is None
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["w"], np.full((2, 2), 3.0))


def test_recording_on_a_closed_tape_is_nothing():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2), name="w")
        h = w * 2.0
    after = h * 3.0
    assert after.node is None
    with pytest.raises(tracer.TracingError, match=r"not recorded.*block had ended.*inside"):
        tape.backward(np.sum(after))


# -- names -----------------------------------------------------------------------------------------


def gradients(*parameters, roots=()):
    with tracer.Tape() as tape:
        loss = sum(np.sum(p * p) for p in parameters)
        tape.roots.extend(roots)
    return tape.backward(loss)["grad"]


def test_parameters_are_named_by_their_owner_then_by_themselves_then_by_number():
    a, b = tracer.parameter(np.ones(1)), tracer.parameter(np.ones(1), name="own")
    c, d = tracer.parameter(np.ones(1)), tracer.parameter(np.ones(1))
    model = Model(**{"0.weight": a})
    values = gradients(d, c, b, a, roots=[model])
    assert list(values) == ["0.weight", "parameter_1", "parameter_0", "own"]
    assert values[c] is values["parameter_0"]  # it was made before


def test_a_parameter_is_a_key_of_the_results():
    w = tracer.parameter(np.array(3.0), name="w")
    values = gradients(w)
    assert values[w] == values["w"] == 6.0


def test_an_unknown_parameter_is_suggested():
    values = gradients(tracer.parameter(np.ones(1), name="weight"))
    with pytest.raises(KeyError, match="Did you mean 'weight'"):
        values["wieght"]
    with pytest.raises(KeyError, match="Parameters: weight"):
        values[tracer.parameter(np.ones(1), name="other")]


def test_parameters_of_one_name_are_numbered_in_the_order_in_which_they_were_made():
    a, b = (tracer.parameter(np.full(1, float(n)), name="w") for n in (1, 2))
    given = tracer.parameter(np.full(1, 3.0), name="w_1")
    for values in (gradients(a, b, given), gradients(given, b, a)):
        assert {name: value.item() for name, value in values.items()} == {
            "w_0": 2.0, "w_2": 4.0, "w_1": 6.0,
        }  # fmt: skip


def test_names_are_the_same_for_each_loss_of_a_tape():
    a, b = (tracer.parameter(np.ones(1), name="w") for _ in range(2))
    with tracer.Tape() as tape:
        first = np.sum(a * a)
        both = np.sum(a * b)
    assert list(tape.backward(first)["grad"]) == ["w_0"]
    assert list(tape.backward(both)["grad"]) == ["w_0", "w_1"]


def test_a_number_never_collides_with_a_given_name():
    given = tracer.parameter(np.ones(1), name="parameter_0")
    unnamed = tracer.parameter(np.ones(1))
    assert len(gradients(given, unnamed)) == 2


def test_two_models_with_equal_names_are_told_apart_by_their_classes():
    a, b = tracer.parameter(np.ones(1)), tracer.parameter(np.ones(2))

    class TwoLayerNet(Model):
        pass

    one, two = Model(**{"0.weight": a}), Model(**{"0.weight": b})
    assert list(gradients(a, b, roots=[one, two])) == ["model_0.0.weight", "model_1.0.weight"]
    other = TwoLayerNet(**{"0.weight": b})
    assert list(gradients(a, b, roots=[one, other])) == ["model.0.weight", "two_layer_net.0.weight"]


def test_a_model_that_gives_two_parameters_one_name_is_refused():
    class Twins:
        def named_parameters(self):
            return [("w", a), ("w", b)]

    a, b = (tracer.parameter(np.ones(n)) for n in (1, 2))
    with pytest.raises(tracer.TracingError, match=r"\[1\] and \[2\].*'w'.*different names"):
        gradients(a, b, roots=[Twins()])


# -- tracing a callable ----------------------------------------------------------------------------


def test_trace_marks_the_inputs_as_batches():
    w = tracer.parameter(np.ones((3, 2)), name="w")
    tape, output = tracer.trace(lambda x: np.sum(x @ w), np.ones((4, 3)))
    assert tape.backward(output, ("grad_batch",))["grad_batch"]["w"].shape == (4, 3, 2)


# -- hooks -----------------------------------------------------------------------------------------


def test_hooks_at_the_ends_of_traces_and_sweeps():
    from tracer import plugins

    seen = []

    class Watcher:
        @tracer.hookimpl
        def begin_trace(self, tape):
            seen.append("begin_trace")

        @tracer.hookimpl
        def end_trace(self, tape):
            seen.append("end_trace")

        @tracer.hookimpl
        def begin_sweep(self, tape, loss):
            seen.append(("begin_sweep", loss.shape))

        @tracer.hookimpl
        def end_sweep(self, tape, results):
            seen.append(("end_sweep", sorted(results)))

    manager = plugins.load().manager
    watcher = Watcher()
    manager.register(watcher)
    try:
        with tracer.Tape() as tape:
            loss = np.sum(tracer.parameter(np.ones(2)) * 2.0)
        tape.backward(loss)
        with pytest.raises(RuntimeError), tracer.Tape():
            raise RuntimeError
    finally:
        manager.unregister(watcher)
    assert seen == [
        "begin_trace", "end_trace", ("begin_sweep", ()), ("end_sweep", ["grad"]),
        "begin_trace", "end_trace",
    ]  # fmt: skip


def test_an_input_that_wants_a_gradient_is_no_parameter():
    with tracer.Tape() as tape:
        x = input_leaf(np.arange(3.0), axis=0, name="x", wants=True)
        c = input_leaf(2.0, name="c")
        loss = np.sum(c * x**2)
    assert not x.is_parameter
    assert x.node.params["axis"] == 0
    np.testing.assert_array_equal(tape.backward(loss)["grad"][x], [0, 4, 8])
    kinds = {data["label"]: data["kind"] for _, data in tape.graph().nodes(data=True)}
    assert (kinds["x"], kinds["c"]) == ("input", "input")
    with pytest.raises(tracer.TracingError, match="float dtype, got int64"):
        input_leaf(np.arange(3), wants=True)


@tracer.operation("test_scaled_by_an_option")
class ScaledByAnOption(tracer.Elementwise):
    def forward(x, beta=1.0, offset=0.0):
        return beta * x + offset

    def vjp(node, g):
        return (g * node.params.get("beta", 1.0),)


def test_params_are_the_options_of_a_call_and_what_leaves_are_called():
    w, x = tracer.parameter(np.ones(3), name="w"), tracer.batch(np.ones((2, 3)))
    offset = np.ones(3)
    with tracer.Tape() as tape:
        plain, scaled = ScaledByAnOption(w), ScaledByAnOption(w, beta=2.0, offset=offset)
        loss = np.sum(x * plain * scaled)
    first, second, *_, total = tape.recorded()
    assert first.params == {}
    assert second.params["beta"] == 2.0
    offset[:] = 5
    np.testing.assert_array_equal(second.params["offset"], 1)
    assert total.params["axis"] == (-2, -1)
    assert w.node.params["name"] == "w"
    assert x.node.params["axis"] == 0
    np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], 2 * (3 + 2))
