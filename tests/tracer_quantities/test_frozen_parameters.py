"""Frozen parameters: constants to every quantity, parameters everywhere else, and free of cost."""

import numpy as np
import pytest
import zoo
from brute_force import CURVATURE, FIRST_ORDER, Problem, assert_curvature, assert_first_order
from explicit import Curvature, assert_close, ordered

import tracer
import tracer_layers as nn
from tests.tracer_layers.layer_zoo import LAYERS, network

X = np.random.default_rng(0).standard_normal((5, 3))
Y = np.array([0, 1, 1, 0, 1])
WITH_SEVERAL = [name for name in zoo.MODELS if len(zoo.draw(name, np.random.default_rng(0))[1]) > 1]


class Partly(Problem):
    """A problem in some of a model's parameters; those that are `frozen` are parameters, too."""

    def __init__(self, name, frozen):
        model, parameters, inputs, axes = zoo.draw(name, np.random.default_rng(3))
        self.order, self.frozen = list(parameters), {frozen: parameters.pop(frozen)}
        self.whole = model
        super().__init__(self.call, parameters, inputs, axes)

    def call(self, parameters, inputs):
        values = {**self.frozen, **parameters}
        return self.whole({name: values[name] for name in self.order}, inputs)

    def backward(self, quantities):
        arrays = self.frozen
        self.frozen = {
            name: tracer.parameter(value, name=name).requires_grad_(False)
            for name, value in arrays.items()
        }
        try:
            return super().backward(quantities)
        finally:
            self.frozen = arrays


@pytest.mark.parametrize("name", WITH_SEVERAL)
def test_quantities_of_the_others_are_those_of_a_model_with_constants(name):
    for frozen in zoo.draw(name, np.random.default_rng(3))[1]:
        problem = Partly(name, frozen)
        results = problem.backward((*FIRST_ORDER, *CURVATURE, "ggn", "hessian"))
        assert_first_order(results, problem)
        assert_curvature(results, problem)
        explicit = Curvature(problem)
        for quantity, blocks in {"ggn": explicit.ggns, "hessian": explicit.hessians}.items():
            matrix = ordered(blocks.sum(0), problem.parameters, results[quantity])
            assert_close(results[quantity] @ np.eye(len(matrix)), matrix, quantity)
        with pytest.raises(tracer.ParameterError, match=rf"'{frozen}' is frozen"):
            results["grad"][frozen]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_above_and_below_frozen_ones(name):
    def swept(model, x):
        with tracer.Tape() as tape:
            loss = nn.mse_loss(model(x) ** 2, np.zeros(np.shape(model(x))))
        return tape, tape.backward(loss, ("grad", "grad_batch", "diag_ggn_exact"))

    model, x = network(*LAYERS[name])
    _, whole = swept(model, x)
    for frozen in (model[0], model[1]):
        frozen.requires_grad_(False)
        names = {n for n, p in model.named_parameters() if p.requires_grad}
        if names:
            tape, some = swept(model, x)
            for quantity, values in some.items():
                assert set(values) == names
                for key, value in values.items():
                    np.testing.assert_allclose(value, whole[quantity][key], rtol=1e-10, atol=1e-12)
            held = dict(tape.graph().nodes(data=True)).values()
            assert {d["label"] for d in held if d["kind"] == "parameter"} == {
                n for n, _ in model.named_parameters()
            }
        frozen.requires_grad_(True)


def mlp():
    tracer.seed(0)
    layers = [nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)]
    return nn.Sequential(*layers).double()


def test_nothing_below_a_frozen_part_is_swept_or_saved():
    model = mlp()
    model[:4].requires_grad_(False)
    with tracer.Tape(watch=True) as tape:
        loss = nn.cross_entropy(model(X), Y)
    below = [node for node in tape.recorded() if node.place.scope in {"0", "1", "2", "3"}]
    assert len(below) == 4
    for node in below:
        assert not node.wants
        assert node.output is None
        pairs = zip(node.inputs, node.parents, strict=True)
        assert all(x is None for x, parent in pairs if parent is not None and parent.parents)
    for quantities in (("grad",), ("grad", "diag_h", "ggn")):
        assert list(tape.backward(loss, quantities)["grad"]) == ["4.weight", "4.bias"]
        assert all(node.output is None for node in below)
    backward = tape.graph("backward")
    assert {d["scope"] for _, d in backward.nodes(data=True)} == {"4", ""}


def test_a_frozen_parameter_is_one_in_the_graph_inside_of_its_module():
    model = mlp()
    model[2].weight.requires_grad_(False)
    with tracer.Tape() as tape:
        nn.cross_entropy(model(X), Y)
    drawn = {d["label"]: d for _, d in tape.graph().nodes(data=True) if d["kind"] == "parameter"}
    assert list(drawn) == [name for name, _ in model.named_parameters()]
    assert drawn["2.weight"]["scope"] == "2"
    assert [label for label, d in drawn.items() if d.get("frozen")] == ["2.weight"]


def test_freezing_holds_for_what_is_recorded_afterwards():
    """A sweep is of the record, whatever is frozen or thawed between the two."""
    model = mlp()

    def recorded():
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(X), Y)
        return lambda: tape.backward(loss, ("grad", "diag_ggn_exact"))

    before = recorded()
    expected = before()
    model.requires_grad_(False)
    head = model[4].requires_grad_(True)
    frozen = recorded()
    model.requires_grad_(True)
    head.bias.requires_grad_(False)
    for name, value in before()["grad"].items():
        np.testing.assert_array_equal(value, expected["grad"][name])
    values = frozen()["grad"]
    assert list(values) == ["4.weight", "4.bias"]
    np.testing.assert_array_equal(values[head.bias], expected["grad"]["4.bias"])
    with pytest.raises(tracer.ParameterError, match="frozen"):
        values[model[0].weight]


def test_a_network_is_frozen_for_one_of_two_losses_on_a_tape():
    generator, judge = nn.Linear(3, 3).double(), nn.Linear(3, 2).double()

    def gradients(freeze):
        with tracer.Tape() as tape:
            made = generator(X)
            judge.requires_grad_(not freeze)
            first = nn.cross_entropy(judge(made), Y)
            judge.requires_grad_(True)
            both = first + nn.cross_entropy(judge(made.detach()), 1 - Y)
        return tape.backward(both)["grad"], tape.backward(first)["grad"]

    (both, _), (plain, first) = gradients(freeze=True), gradients(freeze=False)
    for p in generator.parameters():
        np.testing.assert_allclose(both[p], plain[p])
    for p in judge.parameters():
        np.testing.assert_allclose(both[p], plain[p] - first[p], atol=1e-15)


def test_one_parameter_is_frozen_and_says_so():
    p = tracer.parameter(np.ones(2), name="p")
    assert p.requires_grad
    assert p.requires_grad_(False) is p
    assert (p.is_parameter, p.requires_grad, p.name) == (True, False, "p")
    p.requires_grad = True
    assert p.requires_grad
    with tracer.Tape():
        computed = p * 2.0
        assert computed.requires_grad
        for refused in (computed, computed.detach(), tracer.batch(np.ones((2, 2)))):
            with pytest.raises(tracer.TracingError, match=r"of parameters.*tracer.parameter"):
                refused.requires_grad_(False)
    with pytest.raises(tracer.TracingError, match="True or False"):
        p.requires_grad_("no")


def test_a_loss_of_frozen_parameters_alone_says_so():
    model = mlp().requires_grad_(False)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(X), Y)
    with pytest.raises(tracer.TracingError, match=r"all 6 that were used are frozen"):
        tape.backward(loss)


def test_a_frozen_parameter_converted_and_thawed_is_trained_in_its_new_dtype():
    model = nn.Sequential(nn.Linear(3, 2)).requires_grad_(False).double().requires_grad_(True)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(X), Y)
    assert tape.backward(loss)["grad"]["0.weight"].dtype == np.float64
