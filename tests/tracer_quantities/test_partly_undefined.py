"""A quantity that is undefined for one parameter does not refuse the others; sweeps of some."""

import gc
import re
import sys
import warnings

import numpy as np
import pytest
from architectures import MODELS
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer import QuantityError, registry
from tracer.cotangents import Cotangent
from tracer.errors import UndefinedError, UndefinedWarning
from tracer_quantities import KFLR


class Net(nn.Module):
    """A scale `[3, 4]` through an exponential, a tied table, and parameters with factors."""

    def __init__(self):
        self.table = nn.Embedding(5, 4)
        self.log_scale = tracer.parameter(np.full((3, 4), 0.1))
        self.linear = nn.Linear(4, 4)

    def forward(self, codes):
        h = self.table(codes) * np.exp(self.log_scale)
        return np.tanh(self.linear(h)).mean(1) @ self.table.weight.T


UNDEFINED = {"table.weight", "log_scale"}
DEFINED = {"linear.weight", "linear.bias"}


def recorded(model=Net):
    tracer.seed(0)
    rng = np.random.default_rng(0)
    model = model().double()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(rng.integers(0, 5, (6, 3))), rng.integers(0, 5, 6))
    return model, tape, loss


def quietly(tape, loss, quantities, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tape.backward(loss, quantities, **options)


class OfVectors(tracer.Quantity):
    """One of a third party, defined for vectors alone."""

    name = "of_vectors"

    def extract(self, cotangent, context):
        if len(context.shape) > 1:
            raise QuantityError("matrices have no such thing")
        return cotangent.total()[0]


class AtTheEnd(OfVectors):
    """The same, which finds out when it makes the value."""

    name = "at_the_end"

    def extract(self, cotangent, context):
        return cotangent.total()[0]

    def finish(self, state, context):
        if len(context.shape) > 1:
            raise QuantityError("matrices have no such thing")
        return state


# -- undefined= ---------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [None, 20_000])
@pytest.mark.parametrize("quantity", ["kflr", "kfac", KFLR(sharing="reduce")])
def test_what_is_undefined_is_left_out_with_one_warning_at_the_users_line(quantity, budget):
    _, tape, loss = recorded()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = tape.backward(loss, ("grad", quantity), memory_budget=budget)
        line = sys._getframe().f_lineno - 1
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert warning.category is UndefinedWarning
    name = getattr(quantity, "name", quantity)
    said = str(warning.message)
    assert said.startswith(f"{name} is undefined for 2 of 4 parameters")
    assert (
        "'log_scale' (has no Kronecker factors, since it is used through exp (test_partly_" in said
    )
    assert "'table.weight' (has no Kronecker factors, since it is used in several different" in said
    assert results[name].keys() == DEFINED
    assert results["grad"].keys() == DEFINED | UNDEFINED


def test_one_warning_for_several_quantities():
    _, tape, loss = recorded()
    with pytest.warns(UserWarning, match="kflr, kfac and kfra are undefined for 2 of 4") as caught:
        tape.backward(loss, ("kflr", "kfac", "kfra"))
    assert len(caught) == 1


def test_a_warning_of_many_parameters_is_short():
    class Many(nn.Module):
        def __init__(self):
            for i in range(40):
                self.register_parameter(f"scale_{i}", tracer.parameter(np.ones((3, 4))))
            self.table, self.out = nn.Embedding(5, 4), nn.Linear(4, 5)

        def forward(self, codes):
            h = self.table(codes)
            for i in range(40):
                h = h * np.exp(getattr(self, f"scale_{i}"))
            return self.out(h.mean(1))

    _, tape, loss = recorded(Many)
    with pytest.warns(UserWarning, match="for 40 of 43 parameters") as caught:
        tape.backward(loss, "kflr")
    said = str(caught[0].message)
    assert "'scale_0', 'scale_1', 'scale_2', 'scale_3' and 36 more" in said
    assert len(said) < 400


def test_on_request_the_first_one_raises_and_is_named():
    _, tape, loss = recorded()
    with pytest.raises(QuantityError, match=r"kflr is undefined for '(log_scale|table.weight)'"):
        tape.backward(loss, "kflr", undefined="raise")
    assert_close(  # and the tape is what it was
        quietly(tape, loss, "kflr")["kflr"]["linear.bias"].factors[0],
        quietly(*recorded()[1:], "kflr")["kflr"]["linear.bias"].factors[0],
        "factor",
    )


def test_a_warning_that_is_made_an_error_is_one_of_quantities():
    _, tape, loss = recorded()
    with pytest.raises(QuantityError, match="for 2 of 4 parameters"):
        tape.backward(loss, "kflr")  # as these tests make all warnings
    assert tape.backward(loss)["grad"].keys() == DEFINED | UNDEFINED


@pytest.mark.parametrize("undefined", ["ignore", None, True])
def test_other_policies_are_refused(undefined):
    _, tape, loss = recorded()
    with pytest.raises(QuantityError, match='undefined is "warn" or "raise"'):
        tape.backward(loss, undefined=undefined)


def test_a_quantity_that_no_parameter_has_raises():
    _, tape, loss = recorded()
    with pytest.raises(QuantityError, match="'log_scale'"):
        tape.backward(loss, ("grad", "kflr"), parameters="log_scale")


def test_nothing_is_said_where_all_is_defined():
    _, tape, loss = recorded()
    assert tape.backward(loss, "kflr", parameters=DEFINED)["kflr"].keys() == DEFINED


def test_an_absent_value_says_why():
    model, tape, loss = recorded()
    factors = quietly(tape, loss, "kflr")["kflr"]
    with pytest.raises(UndefinedError, match=r"^kflr is undefined for 'log_scale'.*through exp"):
        factors["log_scale"]
    with pytest.raises(KeyError, match=r"used by embedding \(.* and transpose \("):
        factors[model.table.weight]
    assert "log_scale" not in factors
    assert factors.get("log_scale") is None


@pytest.mark.parametrize("quantity", [OfVectors, AtTheEnd])
def test_quantities_of_third_parties_may_be_undefined(quantity):
    _, tape, loss = recorded()
    with pytest.warns(UserWarning, match="3 of 4 parameters.*matrices have no such thing"):
        found = tape.backward(loss, ("grad", quantity()))
    assert_close(found[quantity.name]["linear.bias"], found["grad"]["linear.bias"], "value")
    assert found[quantity.name].keys() == {"linear.bias"}
    _, tape, loss = recorded()
    with pytest.raises(QuantityError, match=f"{quantity.name} is undefined for '"):
        tape.backward(loss, quantity(), undefined="raise")


def test_products_that_are_undefined_for_one_parameter_are_given_for_the_others():
    rng = np.random.default_rng(0)
    w, v = (tracer.parameter(rng.standard_normal((3, 3)), name=n) for n in "wv")
    with tracer.Tape() as tape:
        x = tracer.batch(rng.standard_normal((4, 3)))
        loss = nn.mse_loss(np.tanh(x @ np.tanh(w)) @ v, np.zeros((4, 3)))
    with pytest.warns(UserWarning, match="pchmp is undefined for 1 of 2 parameters, 'w'"):
        found = tape.backward(loss, ("pchmp", "ggn", "hessian"))
    assert found["pchmp"].keys() == {"v"}
    assert found["ggn"].shape == found["hessian"].shape == (18, 18)


def test_states_of_what_is_left_out_are_freed_at_once():
    """The second chunk of rows finds a parameter undefined that the first took in."""
    taken, alive = [], []

    class Late(tracer.Quantity):
        name, rows = "late", tracer.ggn_exact

        def extract(self, cotangent, context):
            if "table" in context.name and context.name in taken:
                gc.collect()
                alive.append(sum(isinstance(o, State) for o in gc.get_objects()))
                raise QuantityError("not this one")
            taken.append(context.name)
            return State()

        def join(self, first, second):
            return first

    class State:
        pass

    _, tape, loss = recorded()
    with pytest.warns(UserWarning, match="not this one"):
        found = tape.backward(loss, Late(), memory_budget=3000)
    assert taken.count("linear.bias") > 2
    assert taken.count("table.weight") == 1
    assert found["late"].keys() == {"linear.weight", "linear.bias", "log_scale"}
    found.clear()
    assert not any(isinstance(o, State) for o in gc.get_objects())


def test_reduce_is_not_called_for_what_is_left_out():
    seen = []
    _, tape, loss = recorded()
    quietly(tape, loss, "kflr", reduce={"kflr": lambda name, value: seen.append(name)})
    assert set(seen) == DEFINED


# -- parameters= --------------------------------------------------------------------------------

ARRAYS = (
    *("grad", "grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "variance"),
    *("sqrt_ggn_exact", "diag_ggn_exact", "diag_ggn_exact_batch", "diag_h", "diag_h_batch"),
    *("sqrt_ggn_mc", "diag_ggn_mc", "diag_ggn_mc_batch"),
)
BLOCKS = ("kflr", "kfac", "kfra")
FUNCTIONS = ("ggnmp", "hmp", "pchmp")
OPERATORS = ("ggn", "hessian", "fisher_mc", "fisher_empirical")


def test_these_are_all_quantities():
    assert {*ARRAYS, *BLOCKS, *FUNCTIONS, *OPERATORS} == set(registry.quantities)


def middle(name):
    """Of a model, the parameters of a part that is neither the first nor the last."""
    _, tape, loss = architecture(name)
    names = list(quietly(tape, loss, "grad")["grad"])
    return names[len(names) // 2 : len(names) // 2 + 3]


def architecture(name):
    model, x, y = MODELS[name]()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y)
    return model, tape, loss


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, 200_000])
@pytest.mark.parametrize("name", ["ViT", "ConvNeXt", "GPT, tied"])
def test_quantities_of_some_parameters_are_those_of_all(name, budget):
    chosen = middle(name)
    asked = (*ARRAYS, *BLOCKS, "ggnmp", "hmp", "ggn", "hessian")
    options = {"memory_budget": budget}

    def swept(**more):
        _, tape, loss = architecture(name)
        rng = np.random.default_rng(1)
        return quietly(tape, loss, asked, rng=rng, **options, **more)

    every, some = swept(), swept(parameters=chosen)
    for quantity in ARRAYS:
        assert list(some[quantity]) == chosen
        for key in chosen:
            expected = every[quantity][key]
            if quantity in ("sqrt_ggn_exact", "sqrt_ggn_mc"):
                assert some[quantity][key].shape == expected.shape
            assert_close(some[quantity][key], expected, f"{quantity} of {key}")
    for quantity in BLOCKS:
        for key in chosen:
            assert_close(some[quantity][key].dense(), every[quantity][key].dense(), quantity)
    vectors = np.random.default_rng(0)
    for quantity in ("ggnmp", "hmp"):
        for key in chosen:
            v = vectors.standard_normal((2, *every[quantity][key].shape))
            assert_close(some[quantity][key](v), every[quantity][key](v), quantity)
    for quantity in ("ggn", "hessian"):
        whole, part = every[quantity], some[quantity]
        assert list(part.parameters) == chosen
        places = [np.arange(whole.shape[0])[whole.parameters[key]] for key in chosen]
        place = np.concatenate(places)
        columns = whole @ np.eye(whole.shape[0])[:, place]
        assert_close(part @ np.eye(len(place)), columns[place], quantity)


def test_the_positive_curvature_hessian_of_some_parameters():
    class Deep(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(9, 4), nn.Tanh(),
                             nn.Linear(4, 5))  # fmt: skip

    results = []
    for some in (None, ["2.weight", "4.bias"]):
        _, tape, loss = recorded(Deep)
        results.append(tape.backward(loss, FUNCTIONS[2], parameters=some)["pchmp"])
    for key, product in results[1].items():
        v = np.random.default_rng(0).standard_normal(product.shape)
        assert_close(product(v), results[0][key](v), key)


@pytest.mark.parametrize("quantity", ["fisher_mc", "fisher_empirical"])
def test_fisher_matrices_are_over_some_parameters(quantity):
    def swept(**options):
        _, tape, loss = recorded()
        return tape.backward(loss, quantity, rng=np.random.default_rng(0), **options)[quantity]

    whole, part = swept(), swept(parameters="linear.weight")
    place = np.arange(whole.shape[0])[whole.parameters["linear.weight"]]
    columns = whole @ np.eye(whole.shape[0])
    assert_close(part @ np.eye(16), columns[np.ix_(place, place)], quantity)


def test_names_tensors_modules_and_collections_of_them():
    model, tape, loss = recorded()

    def chosen(parameters):
        return set(tape.backward(loss, parameters=parameters)["grad"])

    assert chosen("log_scale") == {"log_scale"}
    assert chosen(model.log_scale) == {"log_scale"}
    assert chosen(model.linear) == DEFINED
    assert chosen(model.linear.parameters()) == DEFINED
    assert chosen([model.linear, "log_scale"]) == DEFINED | {"log_scale"}
    assert chosen({"log_scale", "linear.bias"}) == {"log_scale", "linear.bias"}
    assert chosen(dict(model.named_parameters())) == DEFINED | UNDEFINED
    assert chosen(model) == chosen(None) == DEFINED | UNDEFINED


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("linear.wight", "no parameter is called 'linear.wight'. Did you mean 'linear.weight'?"),
        (["log_scale", "bias"], "no parameter is called 'bias'"),
        ([], "got none"),
        (3, "got 3"),
        ([3], "got 3 in it"),
        (tracer.parameter(np.ones(2)), "no parameter of this trace"),
        (nn.Linear(2, 2), "a Linear that has no parameter in this trace"),
    ],
)
def test_what_is_no_parameter_is_refused(parameters, says):
    _, tape, loss = recorded()
    with pytest.raises(QuantityError, match=re.escape(says)):
        tape.backward(loss, parameters=parameters)


def test_what_was_not_asked_for_says_so():
    _, tape, loss = recorded()
    found = tape.backward(loss, parameters="log_scale")["grad"]
    with pytest.raises(KeyError, match=r"grad of 'linear.bias' was not asked for: parameters="):
        found["linear.bias"]


@pytest.mark.parametrize("quantity", ["grad", "grad_batch", "kflr", "diag_ggn_exact", "diag_h"])
def test_what_is_not_needed_is_not_swept(quantity, monkeypatch):
    """Of ten layers, a sweep of the last one's parameters goes through that one alone."""
    tracer.seed(0)
    layers = [layer for _ in range(10) for layer in (nn.Linear(3, 3), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(3, 2)).double()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(np.ones((4, 3))), np.array([0, 1, 1, 0]))
    ran = []
    for op in {type(node.op): node.op for node in tape.nodes}.values():
        rule = op.vjp
        monkeypatch.setattr(op, "vjp", lambda n, g, rule=rule: ran.append(n) or rule(n, g))
    some = tape.backward(loss, quantity, parameters=model[-1])[quantity]
    assert len(ran) <= 4
    ran.clear()
    every = tape.backward(loss, quantity)[quantity]
    assert len(ran) > 20
    for key, value in some.items():
        dense = (lambda v: v.dense()) if quantity == "kflr" else np.asarray
        assert_close(dense(value), dense(every[key]), key)


def test_samples_that_are_mixed_below_what_is_asked_for_do_not_matter():
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    rng = np.random.default_rng(0)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(rng.standard_normal((5, 3))), np.array([0, 1, 1, 0, 1]))
    with pytest.raises(tracer.BatchError):
        tape.backward(loss, "grad_batch")
    found = tape.backward(loss, ("grad", "grad_batch"), parameters=model[2])
    for key, rows in found["grad_batch"].items():
        assert_close(rows.sum(0), found["grad"][key], key)
    with pytest.raises(tracer.BatchError):
        tape.backward(loss, "grad_batch", parameters=model[0])


def test_a_parameter_that_the_loss_does_not_reach_has_zeros():
    class Spare(Net):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 2)

    model, tape, loss = recorded(Spare)
    found = tape.backward(loss, ("grad", "kflr", "diag_h"), parameters=model.spare)
    assert not found["grad"]["spare.weight"].any()
    assert not found["diag_h"]["spare.bias"].any()
    assert not found["kflr"]["spare.weight"].dense().any()


def test_a_sweep_of_some_leaves_the_tape_for_others():
    _, tape, loss = recorded()
    first = tape.backward(loss, "grad_batch", parameters="linear.bias")["grad_batch"]
    every = tape.backward(loss, "grad_batch")["grad_batch"]
    assert_close(first["linear.bias"], every["linear.bias"], "linear.bias")
    assert every.keys() == DEFINED | UNDEFINED


def test_cotangents_say_how_a_parameter_is_used():
    """A form of a third party's, without words of its own, is refused in a sentence."""

    class Own(Cotangent):
        shape, rows, samples, dtype = (2, 2), 1, 1, np.dtype(float)

    with pytest.raises(QuantityError, match="is used in a way of its own, not by a linear map"):
        Own().kronecker()
