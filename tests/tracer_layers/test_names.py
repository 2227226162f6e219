"""Names of parameters and scopes: of parts called apart, of several models, in plain lists."""

import copy
import gc
import itertools
import pickle
import warnings
import weakref
from functools import partial

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tests.tracer_layers.layer_zoo import LAYERS, network

X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


class Net(nn.Module):
    """Parts of all kinds, in modules of all kinds."""

    def __init__(self, listed=nn.ModuleList, named=nn.ModuleDict):
        self.enc = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.layers = listed([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))])
        self.heads = named({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})
        self.shift = tracer.parameter(np.zeros(2, np.float32))

    def forward(self, x):
        return apart(self, x)


def apart(net, x):
    """The same as calling the model, its own forward being left out."""
    x = net.enc(x)
    for layer in net.layers:
        x = np.tanh(layer(x))
    return net.heads["a"](x) + net.heads["b"](x) + net.shift


def gradients(*functions):
    """The gradient of the sum of what these give."""
    with tracer.Tape() as tape:
        loss = sum(np.sum(function()) for function in functions)
    return tape.backward(loss)["grad"]


def scopes(function):
    with tracer.Tape() as tape:
        function()
    return [node.place.scope for node in tape.recorded()]


def names(module):
    return [name for name, _ in module.named_parameters()]


# -- parts of a model ------------------------------------------------------------------------------


def test_parts_called_apart_have_the_names_and_places_of_the_model():
    net = Net()
    whole, parts = gradients(lambda: net(X)), gradients(lambda: apart(net, X))
    assert sorted(parts) == sorted(whole) == sorted(names(net))
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value)
    assert scopes(lambda: net(X)) == scopes(lambda: apart(net, X))
    assert {"enc.0", "layers.0", "layers.1.0", "heads.a", ""} <= set(scopes(lambda: net(X)))


@pytest.mark.parametrize("name", LAYERS)
def test_items_of_a_sequence_called_by_hand(name):
    model, x = network(*LAYERS[name])

    def by_hand():
        value = tracer.batch(x)
        for layer in model:
            value = layer(value)
        return value

    expected, got = gradients(lambda: model(x)), gradients(by_hand)
    assert set(got) == set(expected) == set(names(model))
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value)
    with tracer.scope("around"):
        assert scopes(by_hand) == scopes(lambda: model(tracer.batch(x)))


def test_a_part_has_results_of_its_own_parameters_alone():
    net = Net()
    assert list(gradients(lambda: net.enc(X))) == ["enc.0.weight", "enc.0.bias"]
    with tracer.Tape() as tape:
        loss = nn.mse_loss(net.heads["b"](net.enc(X)), np.zeros((5, 2), np.float32))
    assert tape.backward(loss, ("hessian",))["hessian"].shape == (3 * 4 + 4 + 4 * 2 + 2,) * 2


def test_parameters_are_named_by_models_that_are_never_called():
    net = Net()
    assert list(gradients(lambda: net.shift * 2.0)) == ["shift"]
    weights = gradients(lambda: X @ net.enc[0].weight.T, lambda: net.heads["a"].bias)
    assert sorted(weights) == ["enc.0.weight", "heads.a.bias"]


def test_a_model_is_named_by_the_one_that_holds_it_while_it_does():
    net = nn.Linear(3, 2)
    around = nn.Sequential(net)
    assert list(gradients(lambda: net(X))) == ["0.weight", "0.bias"]
    around.append(nn.ReLU())
    del around[0]
    assert list(gradients(lambda: net(X))) == ["weight", "bias"]
    around[0] = net
    assert list(gradients(lambda: net(X))) == ["0.weight", "0.bias"]
    around[0] = nn.Linear(3, 2)
    assert list(gradients(lambda: net(X))) == ["weight", "bias"]
    nn.Sequential(net)  # which nobody keeps
    assert list(gradients(lambda: net(X))) == ["weight", "bias"]


def test_names_and_scopes_follow_a_change_of_the_model():
    net = Net()
    net(X)
    assert "heads.a" in scopes(lambda: net(X))
    net.heads["a"], net.heads["c"] = nn.Linear(4, 2), net.heads["a"]
    assert scopes(lambda: net.heads["c"](np.ones((1, 4), np.float32))) == ["heads.c"]
    assert "heads.c.weight" in gradients(lambda: net.heads["c"](np.ones((1, 4), np.float32)))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_own_their_parts(way):
    net = Net()
    apart(net, X)
    other = way(net)
    assert sorted(gradients(lambda: apart(other, X))) == sorted(names(net))
    assert list(gradients(lambda: other.shift * 2.0)) == ["shift"]
    part = way(net.enc)
    assert list(gradients(lambda: part(X))) == ["0.weight", "0.bias"]
    both = gradients(lambda: apart(net, X), lambda: apart(other, X))
    assert sorted(both) == sorted(f"net_{i}.{name}" for i in (0, 1) for name in names(net))
    assert both[other.shift] is both["net_1.shift"]


def test_a_shallow_copy_leaves_the_parts_to_the_model():
    net = Net()
    other = copy.copy(net)
    other.renamed = other.enc
    assert sorted(gradients(lambda: apart(net, X))) == sorted(names(net))
    assert list(gradients(lambda: other.enc(X))) == ["enc.0.weight", "enc.0.bias"]


def test_modules_of_one_model_are_freed_by_reference_counting_alone():
    net = Net(listed=list, named=dict)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gradients(partial(net, X))
        gradients(partial(apart, net, X))
    parts = [weakref.ref(module) for module in (net, net.enc, net.layers[0])]
    gc.disable()
    try:
        del net
        assert [part() for part in parts] == [None] * 3
    finally:
        gc.enable()


def test_a_tape_keeps_the_model_whose_parts_it_recorded():
    def recorded():
        net = Net()
        with tracer.Tape() as tape:
            loss = np.sum(apart(net, X))
        return tape, loss

    tape, loss = recorded()
    assert "layers.1.0.weight" in tape.backward(loss)["grad"]


# -- shared parts ----------------------------------------------------------------------------------


class Shared(nn.Module):
    def __init__(self):
        self.a = self.b = nn.Linear(3, 3)

    def forward(self, x):
        return self.b(self.a(x))


def test_a_module_under_two_names_has_the_first():
    model = Shared()
    assert list(gradients(lambda: model(X))) == ["a.weight", "a.bias"]
    assert list(gradients(lambda: model.b(X))) == ["a.weight", "a.bias"]
    assert set(scopes(lambda: model(X))) == {"a"}
    assert list(model.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]  # as PyTorch's
    del model.a
    assert list(gradients(lambda: model.b(X))) == ["b.weight", "b.bias"]


def test_tied_parameters_have_the_first_name_in_the_model():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert list(gradients(lambda: model[1](X))) == ["0.weight"]


def test_a_part_of_two_models_is_named_alike_in_any_order():
    part = nn.Linear(3, 3)
    one, two = nn.Sequential(part, nn.Linear(3, 2)), nn.Sequential(part, nn.Linear(3, 4))
    sets = [
        {name: values[name].shape for name in values}
        for order in itertools.permutations([lambda: one(X), lambda: two(X)])
        for values in [gradients(*order)]
    ]
    assert sets[0] == sets[1]
    assert len(sets[0]) == 6


# -- several models --------------------------------------------------------------------------------


class Judge(nn.Module):
    def __init__(self):
        self.weight = tracer.parameter(np.ones(3, np.float32))

    def forward(self, x):
        return x * self.weight


MODELS = {
    "twins": (lambda: [nn.Linear(3, 2), nn.Linear(3, 3)], ["linear_0.weight", "linear_1.weight"]),
    "two classes": (lambda: [nn.Linear(3, 2), Judge()], ["linear.weight", "judge.weight"]),
    "no clash": (lambda: [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))], ["weight", "0.weight"]),
    "users": (lambda: [Net(), Net()], ["net_0.layers.0.weight", "net_1.layers.0.weight"]),
    "three": (
        lambda: [nn.Linear(3, 2), Judge(), nn.Linear(3, 1)],
        ["linear_0.weight", "judge.weight", "linear_1.weight"],
    ),
    "a prefix that another model has": (
        lambda: [nn.Linear(3, 2), nn.Linear(3, 2), nn.Sequential({"linear_0": nn.Linear(3, 2)})],
        ["linear_1.weight", "sequential.linear_0.weight"],
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_several_models_are_told_apart_whatever_the_order_of_calls(case):
    make, expected = MODELS[case]
    models = make()
    parameters = [p for model in models for p in model.parameters()]
    for freeze in (False, True):
        models[0].requires_grad_(not freeze)
        known = set()
        for order in itertools.permutations(models):
            values = gradients(*(lambda model=model: model(X) ** 2 for model in order))
            known.add(tuple(sorted(values)))
            wanted = [p for p in parameters if p.requires_grad]
            assert len({id(values[p]) for p in wanted}) == len(values) == len(wanted)
        (found,) = known
        if not freeze:
            every = found
        assert set(expected) <= set(every)
        assert set(found) <= set(every)  # no other changes its name


def test_models_and_parameters_of_nobody():
    one, two = nn.Linear(3, 2), tracer.parameter(np.ones(3, np.float32), name="weight")
    values = gradients(lambda: one(X * two))
    assert sorted(values) == ["bias", "weight", "weight_0"]
    assert values[one.weight] is values["weight"]
    assert values[two] is values["weight_0"]


def test_a_module_around_two_models_chooses_their_names_though_it_is_never_called():
    one, two = nn.Linear(3, 3), nn.Linear(3, 2)
    named = nn.ModuleDict({"gen": one, "disc": two})
    assert sorted(gradients(lambda: two(one(X)))) == sorted(names(named))


# -- plain lists -----------------------------------------------------------------------------------

PLAIN = {
    "whole": lambda net: net(X),
    "apart": lambda net: apart(net, X),
}


class Listed(nn.Module):
    """Parameters of its own, in a list that grows, and in a dictionary."""

    def __init__(self):
        self.own, self.listed = tracer.parameter(np.ones(3)), []
        self.listed += [tracer.parameter(np.ones(3)) for _ in range(2)]
        self.keyed = {"a": tracer.parameter(np.ones(3)), "own": self.own}

    def forward(self, x):
        return (x * self.own + self.listed[0]) * self.listed[1] + self.keyed["a"]


def test_parameters_in_plain_lists_have_names_and_a_warning():
    inside = nn.Sequential(Listed())
    for model, prefix in ((Listed(), ""), (inside, "0.")):
        with pytest.warns(UserWarning, match="is a plain") as caught:
            values = gradients(lambda model=model: model(X))
        said = [str(warning.message) for warning in caught]
        own = ("own", "listed.0", "listed.1", "keyed.a")
        assert list(values) == [prefix + name for name in own]
        assert "Listed.listed is a plain list" in said[0]
        assert "Listed.keyed is a plain dict" in said[1]
        assert {warning.filename for warning in caught} == {__file__}
        assert list(gradients(lambda model=model: model(X))) == list(values)  # without a warning


@pytest.mark.parametrize("how", PLAIN)
def test_layers_in_plain_lists_have_names_and_one_warning(how):
    net = Net(listed=list, named=dict)
    with pytest.warns(UserWarning, match="is a plain") as caught:
        values = gradients(lambda: PLAIN[how](net))
    assert sorted(values) == sorted(names(Net()))
    layers, heads = (str(warning.message) for warning in caught)
    assert "Net.layers is a plain list" in layers
    assert "nn.ModuleList" in layers
    assert "Net.heads is a plain dict" in heads
    assert "nn.ModuleDict" in heads
    assert {warning.filename for warning in caught} == {__file__}
    assert sorted(gradients(lambda: PLAIN[how](net))) == sorted(values)  # without a warning
    assert set(scopes(lambda: PLAIN[how](net))) >= {"layers.0", "layers.1.0", "heads.a"}


def test_layers_appended_to_a_plain_list_and_nested_ones():
    class Grown(nn.Module):
        def __init__(self):
            self.blocks = []
            for _ in range(2):
                self.blocks.append({"map": nn.Linear(3, 3), "act": [nn.Tanh()]})

        def forward(self, x):
            for block in self.blocks:
                x = block["act"][0](block["map"](x))
            return x

    net = Grown()
    with pytest.warns(UserWarning, match=r"Grown.blocks is a plain list.*ModuleList") as caught:
        values = gradients(lambda: net(X))
    assert len(caught) == 1
    assert list(values)[::2] == ["blocks.0.map.weight", "blocks.1.map.weight"]
    assert "blocks.0.act.0" in scopes(lambda: net(X))


def test_a_plain_list_that_changes_between_calls():
    net, layer = Net(listed=list), nn.Linear(4, 4).requires_grad_(False)
    net.requires_grad_(False).enc.requires_grad_(True)
    for module in net.layers:
        module.requires_grad_(False)
    net(X)
    net.layers.append(layer)
    assert set(scopes(lambda: layer(np.ones((1, 4), np.float32)))) == {"layers.2"}
    net.layers.remove(layer)
    assert scopes(lambda: net(X))
    assert len(scopes(lambda: layer(np.ones((1, 4), np.float32)))) == 1


def test_a_part_that_is_replaced_before_the_sweep():
    net = Net()
    with tracer.Tape() as tape:
        loss = np.sum(net.enc(X))
    net.enc = nn.Sequential()
    assert len(tape.backward(loss)["grad"]) == 2


def test_lists_that_need_no_warning():
    class Fine(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.order = [self.second, self.first]  # registered, too
            self.bends = [nn.Tanh(), nn.ReLU()]  # no state
            self.teacher = [nn.Linear(3, 3).requires_grad_(False)]  # not trained
            self.unused = [nn.Linear(3, 3)]

        def forward(self, x):
            for layer, bend in zip(self.order, self.bends, strict=True):
                x = bend(layer(x))
            return x + self.teacher[0](x)

    net = Fine()
    assert sorted(gradients(lambda: net(X))) == sorted(names(net))


def test_dropout_in_a_plain_list_is_warned_of():
    class Dropping(nn.Module):
        def __init__(self):
            self.map, self.others = nn.Linear(3, 3), [nn.Dropout(0.5)]

        def forward(self, x):
            return self.others[0](self.map(x))

    with pytest.warns(UserWarning, match=r"Dropping.others.*train\(\)"):
        gradients(partial(Dropping(), X))


def test_a_module_that_keeps_the_one_around_it_in_a_list_is_a_part_of_it():
    class Child(nn.Module):
        def __init__(self, parent):
            self.parent, self.map = [parent], nn.Linear(3, 3)

        def forward(self, x):
            return self.map(x)

    class Parent(nn.Module):
        def __init__(self):
            self.child = Child(self)

        def forward(self, x):
            return self.child(x)

    model = Parent()
    for function in (lambda: model(X), lambda: model.child(X)):
        assert list(gradients(function)) == ["child.map.weight", "child.map.bias"]


# -- scopes ----------------------------------------------------------------------------------------


def test_scopes_of_the_user_stand_between_those_of_modules():
    class Scoped(nn.Module):
        def __init__(self):
            self.heads = nn.ModuleList([nn.Linear(3, 3)])

        def forward(self, x):
            with tracer.scope("attention"):
                return self.heads[0](x)

    model = nn.Sequential(Scoped())
    assert scopes(lambda: model(X)) == ["0.attention.heads.0"]

    def around():
        with tracer.scope("outside"):
            model(X)
            model[0].heads[0](X)

    assert scopes(around) == ["outside.0.attention.heads.0", "outside.0.heads.0"]


def test_a_model_called_inside_of_another_is_placed_there():
    other = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3)))

    class Outer(nn.Module):
        def __init__(self):
            self.own = nn.Linear(3, 3)

        def forward(self, x):
            with tracer.scope("there"):
                return other(self.own(x))

    model = Outer()
    assert scopes(lambda: model(X)) == ["there.own", "there.0", "there.1.0"]
    assert sorted(gradients(lambda: model(X))) == sorted([*names(model), *names(other)])


def test_a_module_shared_by_two_has_one_place():
    class User(nn.Module):
        def __init__(self, shared):
            self.shared = shared

        def forward(self, x):
            return self.shared(x)

    class Both(nn.Module):
        def __init__(self):
            shared = nn.Linear(3, 3)
            self.one, self.two = User(shared), User(shared)

        def forward(self, x):
            return self.two(self.one(x))

    model = Both()
    assert list(gradients(lambda: model(X))) == ["one.shared.weight", "one.shared.bias"]
    assert scopes(lambda: model(X)) == ["one.shared", "one.shared"]
    with tracer.Tape() as tape, tracer.scope("outside"):
        model(X)
    assert {(n.place.scope, n.place.scopes) for n in tape.recorded()} == {
        ("outside.one.shared", ("outside", "User", "Linear"))
    }
