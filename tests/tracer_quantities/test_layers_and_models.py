"""Quantities whose values are of layers, or of the whole model, beside those of parameters."""

import copy
import pickle

import numpy as np
import pytest
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer.errors import ParameterError, PluginError, UndefinedError, UndefinedWarning
from tracer.extend import Quantity, ggn_exact, jacobian
from tracer.testing import check_quantity

X, Y = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])


class GradNorm(Quantity):
    """`[N]`: the norms of the samples' whole gradients, of a layer's, or of the model's."""

    name = "grad_norm"
    per_sample = True

    def __init__(self, per="model"):
        self.per = per

    def elements(self, context):
        return context.samples or 1

    def extract(self, cotangent, context):
        return cotangent.squared_norms()[0]

    def combine(self, values):
        return np.sqrt(sum(values.values()))

    def merge(self, first, second, shards):
        return np.concatenate([shards[0].weight ** 2 * first, shards[1].weight ** 2 * second])

    def reference(self, brute):
        return np.linalg.norm(brute.gradients.reshape(len(brute.gradients), -1), axis=1)


class TangentKernel(Quantity):
    """`[C, N, C, N]`: the empirical neural tangent kernel of the model."""

    name = "tangent_kernel"
    rows = jacobian
    lists_samples = True
    per = "model"

    def extract(self, cotangent, context):
        return cotangent.gram()

    merge = None

    def reference(self, brute):
        rows = np.moveaxis(brute.jacobians, 1, 0)
        return np.einsum("cnp,dmp->cndm", rows, rows)


class Trace(Quantity):
    """A number: the trace of a layer's Gauss-Newton block."""

    name = "trace"
    rows = ggn_exact
    per = "layer"
    lists_samples = False

    def extract(self, cotangent, context):
        return cotangent.squared_norms().sum()

    def reference(self, brute):
        return np.square(brute.roots).sum()


def network(dtype="double"):
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return getattr(model, dtype)()


def recorded(model=None):
    model = network() if model is None else model
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(X), Y)
    return tape, loss, model


def norms(gradients, names):
    return np.sqrt(sum(np.square(gradients[n]).reshape(5, -1).sum(1) for n in names))


@pytest.mark.parametrize("quantity", [GradNorm, lambda: GradNorm("layer"), TangentKernel, Trace])
def test_against_brute_force_in_chunks_and_merged(quantity):
    report = check_quantity(quantity())
    assert "reference" in report
    assert "chunks" in report


def test_the_check_finds_a_wrong_combination():
    class Largest(Trace):
        def combine(self, values):
            return max(values.values())

    with pytest.raises(AssertionError, match="'trace', sum of losses: first is"):
        check_quantity(Largest())


def test_layers_and_the_model_beside_parameters():
    tape, loss, _ = recorded()
    results = tape.backward(loss, ("grad", "grad_batch", GradNorm("layer"), "batch_l2"))
    of_parameters, of_layers = results["grad_batch"], results["grad_norm"]
    assert list(of_layers) == ["0", "2"]
    for layer, value in of_layers.items():
        expected = norms(of_parameters, [f"{layer}.weight", f"{layer}.bias"])
        assert_close(value, expected, layer)
    whole = tape.backward(loss, GradNorm())["grad_norm"]
    assert_close(whole, norms(of_parameters, of_parameters), "the model")


def test_a_module_by_itself_and_parameters_of_nobody_are_the_outermost_layer():
    layer, scale = nn.Linear(3, 2).double(), tracer.parameter(np.ones(2), name="scale")
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(layer(X) * scale, Y)
    results = tape.backward(loss, ("grad_batch", GradNorm("layer")))
    assert list(results["grad_norm"]) == [""]
    gradients = results["grad_batch"]
    assert_close(results["grad_norm"][""], norms(gradients, gradients), "all")


def test_some_samples_some_parameters_and_what_is_reduced():
    tape, loss, model = recorded()
    gradients = tape.backward(loss, "grad_batch")["grad_batch"]
    found = tape.backward(loss, GradNorm(), samples=[3, 1], parameters=model[0])["grad_norm"]
    assert_close(found, norms(gradients, ["0.weight", "0.bias"])[[3, 1]], "some")
    seen = []

    def largest(name, value):
        seen.append(name)
        return value.max()

    of_model = tape.backward(loss, GradNorm(), reduce={"grad_norm": largest})["grad_norm"]
    assert_close(of_model, norms(gradients, gradients).max(), "reduced")
    of_layers = tape.backward(loss, GradNorm("layer"), reduce={"grad_norm": largest})["grad_norm"]
    assert seen == ["", "0", "2"]
    assert_close(of_layers["2"], norms(gradients, ["2.weight", "2.bias"]).max(), "reduced")


def test_parameters_that_the_loss_does_not_depend_on_count_as_zero():
    model = network()
    model.unused = tracer.parameter(np.ones(3))
    tape, loss, _ = recorded(model)
    found = tape.backward(loss, (GradNorm("layer"), Trace()))
    assert_close(found["grad_norm"][""], np.zeros(5), "unused")
    assert found["trace"][""] == 0


class OfVectors(Trace):
    def extract(self, cotangent, context):
        if context.name == "2.weight":
            raise tracer.QuantityError("it is not of this one")
        return super().extract(cotangent, context)


def test_a_layer_has_no_value_where_one_of_its_parameters_has_none():
    tape, loss, model = recorded()
    with pytest.warns(UndefinedWarning, match=r"2 of 4 parameters, '2.weight' and '2.bias'"):
        found = tape.backward(loss, OfVectors())["trace"]
    assert list(found) == ["0"]
    with pytest.raises(UndefinedError, match=r"trace is undefined for '2.weight'.*layer '2'"):
        found["2"]
    with pytest.raises(tracer.QuantityError, match=r"undefined for '2\.weight'"):
        tape.backward(loss, OfVectors(), undefined="raise")
    assert list(tape.backward(loss, OfVectors(), parameters=model[0])["trace"]) == ["0"]


def test_the_model_has_no_value_where_a_parameter_has_none():
    class OfModel(OfVectors):
        per = "model"

    class Refusing(Trace):
        per = "model"

        def combine(self, values):
            raise tracer.QuantityError("they do not add")

    tape, loss, model = recorded()
    with pytest.raises(tracer.QuantityError, match=r"'2.weight'.*of all parameters: parameters="):
        tape.backward(loss, ("grad", OfModel()))
    assert tape.backward(loss, OfModel(), parameters=model[0])["trace"] > 0
    with pytest.raises(tracer.QuantityError, match="they do not add"):
        tape.backward(loss, Refusing())


def test_keys_of_layers():
    tape, loss, _ = recorded()
    found = tape.backward(loss, Trace())["trace"]
    with pytest.raises(ParameterError, match=r"none is of '0.weight'.* Layers: '0', '2'"):
        found["0.weight"]
    with pytest.raises(KeyError, match="none is of 3"):
        found[3]
    for other in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
        assert type(other) is type(found)
        assert other == found
        assert other.absent == found.absent


def test_tables_for_notebooks():
    tape, loss, _ = recorded()
    shown = tape.backward(loss, ("grad", Trace(), GradNorm()))._repr_html_()
    assert "<tr><th>0.weight</th>" in shown
    assert "<tr><th>0</th>" in shown
    assert "<tr><th>grad_norm</th><td>5, norm" in shown


def test_half_precision_is_rounded_after_values_are_combined():
    class Squares(Quantity):
        name = "squares"
        per = "model"
        needs_samples = False

        def extract(self, cotangent, context):
            return np.sum(np.square(cotangent.total()[0]))

        def combine(self, values):
            return np.sqrt(sum(values.values()))

    w = tracer.parameter(np.full(4, 1, np.float16), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(w * np.float16(400))
    found = tape.backward(loss, Squares())["squares"]
    assert found.dtype == np.float16
    assert found == 800  # of 640,000, which float16 does not hold


def test_derivatives_of_a_models_value():
    class Square(Quantity):
        name = "square"
        per = "model"

        def extract(self, cotangent, context):
            return np.sum(np.square(cotangent.total()[0]))

    w = tracer.parameter(np.array([1.0, 2.0]), name="w")
    with tracer.Tape() as outer:
        with tracer.Tape() as tape:
            loss = np.sum(tracer.batch(X[:, :2]) * w**2)
        penalty = tape.backward(loss, Square())["square"]
    assert isinstance(penalty, tracer.Tensor)
    slope = 2 * X[:, :2].sum(0)
    assert_close(outer.backward(penalty)["grad"]["w"], 2 * slope**2 * w.data, "outer")


def test_what_is_no_level():
    class Wrong(Trace):
        per = "block"

    tape, loss, _ = recorded()
    with pytest.raises(tracer.QuantityError, match="per = 'block', where one of 'parameter'"):
        tape.backward(loss, Wrong())
    with pytest.raises(PluginError, match="per = 'block'"):
        tracer.register(Wrong)
