"""Which samples: none marked, coupled ones, axes that cannot be followed, some of them only."""

import warnings

import numpy as np
import pytest
from brute_force import (
    CURVATURE,
    FIRST_ORDER,
    Problem,
    assert_close,
    assert_curvature,
    assert_first_order,
    expected_first_order,
)

import tracer
import tracer_layers as nn
from tracer import registry
from tracer_layers.functional import cross_entropy, l2_penalty, mse_loss

rng = np.random.default_rng(0)
X, Y, W = rng.standard_normal((4, 3)), rng.standard_normal((4, 2)), rng.standard_normal((3, 2))

PER_SAMPLE = [name for name, q in registry.quantities.items() if q.per_sample]


@tracer.operation("test_untracked_sine")
class UntrackedSine(tracer.Operation):
    """A third party's operation that does not say where samples go."""

    saves = ("inputs",)

    def forward(x):
        return np.sin(x)

    def vjp(node, g):
        return (g * np.cos(node.inputs[0]),)


# -- no batch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_a_trace_without_a_batch_shows_how_to_mark_one(name):
    with tracer.Tape() as tape:
        loss = mse_loss(X @ tracer.parameter(W), Y)
    with pytest.raises(tracer.BatchError, match=rf"{name}.*tracer\.batch\(x\)"):
        tape.backward(loss, (name,))


def test_curvature_without_a_batch_takes_the_first_axis_of_the_prediction():
    def results(mark):
        with tracer.Tape() as tape:
            w = tracer.parameter(W, name="w")
            loss = mse_loss(np.tanh(mark(X) @ w), Y)
        return tape.backward(loss, ("grad", "diag_ggn_exact"))

    for quantity, values in results(tracer.batch).items():
        assert_close(results(lambda x: x)[quantity]["w"], values["w"], quantity)


def test_batches_of_different_sizes_are_refused():
    with tracer.Tape() as tape:
        w = tracer.parameter(W)
        loss = np.sum(tracer.batch(X) @ w) + np.sum(tracer.batch(X[:3]) @ w)
    with pytest.raises(tracer.BatchError, match=r"4 samples.* 3"):
        tape.backward(loss, ("grad_batch",))


# -- coupled samples -------------------------------------------------------------------------------


def batch_normalised(w, v, x):
    h = x @ w
    return np.tanh((h - h.mean(0)) / np.sqrt(h.var(0) + 0.1)) @ v


def coupled_problem(kind="squared"):
    generator = np.random.default_rng(1)
    return Problem(
        lambda p, given: batch_normalised(*p.values(), *given),
        {"w": generator.standard_normal((3, 4)), "v": generator.standard_normal((4, 2))},
        [X],
        kind=kind,
    )


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_coupled_samples_have_no_gradients_of_their_own(name):
    with pytest.raises(tracer.BatchError, match=rf"{name}.*(subtract|multiply|divide).*\.py:\d+"):
        coupled_problem().backward((name,))


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("budget", [None, 1])
def test_curvature_of_coupled_samples_is_exact(kind, budget):
    problem = coupled_problem(kind)
    results = problem.backward(("diag_ggn_exact", "grad", "sqrt_ggn_exact"), memory_budget=budget)
    assert_curvature(results, problem)
    with tracer.Tape() as tape:
        leaves = {k: tracer.parameter(v, name=k) for k, v in problem.parameters.items()}
        output = problem.model(leaves, [X])
        loss = problem.weight * plain_sum(problem, output)
    for name, value in tape.backward(loss)["grad"].items():
        assert_close(results["grad"][name], value, name)


def plain_sum(problem, output):
    from brute_force import plain_loss

    return plain_loss(problem.kind, output, problem.target)


def test_statistics_of_constants_couple_nothing():
    """What depends on several samples but on no parameter is a constant."""

    def model(p, given):
        (x,) = given
        return (x - X.mean(0)) / X.std(0) @ p["w"]

    def marked(p, given):
        (x,) = given
        return (x - x.mean(0)) @ p["w"]

    problem = Problem(model, {"w": W}, [X])
    assert_first_order(problem.backward(FIRST_ORDER), problem)
    value = Problem(marked, {"w": W}, [X]).backward(("grad", "grad_batch"))
    assert_close(value["grad_batch"]["w"].sum(0), value["grad"]["w"], "sum of rows")


def test_a_parameter_that_meets_a_pooled_tensor_has_no_share_per_sample():
    with tracer.Tape() as tape:
        x, w, v = tracer.batch(X), tracer.parameter(W, name="w"), tracer.parameter(Y[:2], name="v")
        pooled = np.mean(np.tanh(x @ w), axis=0)
        loss = np.sum(np.square(pooled @ v))
    with pytest.raises(tracer.BatchError, match=r"grad_batch.*(matmul|getitem)"):
        tape.backward(loss, ("grad_batch",))


def test_curvature_of_a_pooled_prediction_is_exact():
    """A model of a whole set: one prediction from all samples."""
    target = Y[:1]

    def model(p):
        return np.mean(np.tanh(X @ p["w"]), axis=0, keepdims=True) @ p["v"]

    parameters = {"w": W, "v": Y[:2]}
    jacobians = tracer.jacobian(model)(parameters)
    with tracer.Tape() as tape:
        w, v = (tracer.parameter(value, name=k) for k, value in parameters.items())
        output = np.mean(np.tanh(tracer.batch(X) @ w), axis=0, keepdims=True) @ v
        registered = mse_loss(output, target)
        plain = np.mean((output - target) ** 2)
    for result in (
        tape.backward(registered, ("diag_ggn_exact",)),
        tape.backward(plain, ("diag_ggn_exact",), outputs=output),
        tape.backward(plain, ("diag_ggn_exact",), outputs=output, memory_budget=1),
    ):
        for name, jacobian in jacobians.items():
            expected = np.sum(jacobian**2, axis=(0, 1))  # the Hessian is 2 w I with w = 1/2
            assert_close(result["diag_ggn_exact"][name], expected, name)


def test_a_loss_that_couples_the_samples_of_its_outputs_is_refused():
    with tracer.Tape() as tape:
        output = tracer.batch(X) @ tracer.parameter(W, name="w")
        loss = np.sum((output - output.mean(0)) ** 2)
    with pytest.raises(tracer.QuantityError, match=r"subtract.*mixes"):
        tape.backward(loss, ("diag_ggn_exact",), outputs=output)


# -- axes that cannot be followed ------------------------------------------------------------------

UNTRACKED = {
    "inside the model": lambda w, v, x: UntrackedSine(x @ w) @ v,
    "on data that is marked again": lambda w, v, x: np.tanh(tracer.batch(UntrackedSine(x)) @ w) @ v,
    "at the output": lambda w, v, x: UntrackedSine(np.tanh(x @ w) @ v),
}


@pytest.mark.parametrize("budget", [None, 1])
@pytest.mark.parametrize("where", UNTRACKED)
def test_an_axis_that_is_lost_costs_time_and_a_warning_but_no_exactness(where, budget):
    generator = np.random.default_rng(2)
    problem = Problem(
        lambda p, given: UNTRACKED[where](*p.values(), *given),
        {"w": generator.standard_normal((3, 4)), "v": generator.standard_normal((4, 2))},
        [X],
    )
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        results = problem.backward((*FIRST_ORDER, *CURVATURE), memory_budget=budget)
    lost = [] if where == "on data that is marked again" else ["test_untracked_sine (test_samples"]
    assert len(found) == len(lost)
    assert all(text in str(w.message) for text, w in zip(lost, found, strict=True))
    assert_first_order(results, problem)
    assert_curvature(results, problem)


@pytest.mark.parametrize("name", [*PER_SAMPLE, "sqrt_ggn_exact", "sqrt_ggn_mc"])
def test_an_axis_that_is_lost_on_data_is_not_taken_from_a_size(name):
    """No row comes back to where samples are known: the outputs may be of anything."""
    generator = np.random.default_rng(2)
    problem = Problem(
        lambda p, given: np.tanh(UntrackedSine(*given) @ p["w"]) @ p["v"],
        {"w": generator.standard_normal((3, 4)), "v": generator.standard_normal((4, 2))},
        [X],
    )
    with pytest.raises(tracer.BatchError, match=rf"{name} is not known.*test_untracked_sine"):
        problem.backward(name)
    with pytest.warns(UserWarning, match="test_untracked_sine"):
        results = problem.backward(("grad", "diag_ggn_exact"))
    for key, blocks in problem.ggn_batch().items():
        expected = np.diagonal(blocks.sum(0)).reshape(problem.parameters[key].shape)
        assert_close(results["diag_ggn_exact"][key], expected, key)


@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed")
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("steps", [3, 4])
def test_steps_are_not_taken_for_samples_where_there_are_as_many(steps, frozen):
    """Sums over the samples of each step, `[T, 2]`, which are then judged."""
    tracer.seed(0)
    trunk, head = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    trunk.requires_grad_(not frozen)
    x = np.random.default_rng(0).standard_normal((4, steps, 2))
    with tracer.Tape() as tape:
        h = np.tanh(trunk(tracer.batch(x))).reshape(-1, 2)
        z = head(tracer.index_add(np.zeros((steps, 2)), np.tile(np.arange(steps), 4), h))
        loss = cross_entropy(z, np.zeros(steps, int))
    for name in (*PER_SAMPLE, "sqrt_ggn_exact", "sqrt_ggn_mc"):
        for parameters in (None, head):
            with pytest.raises(tracer.BatchError, match="scatter_add"):
                tape.backward(loss, name, parameters=parameters)


@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed")
def test_rows_of_single_samples_are_seen_to_come_to_these():
    """Put together, and then by what no rule follows: in their order, or in another."""

    def recorded(order):
        with tracer.Tape() as tape:
            x, w, v = tracer.batch(X[:2]), tracer.parameter(W, "w"), tracer.parameter(W[:2], "v")
            rows = [np.tanh(x[n] @ w)[None] for n in order]
            loss = mse_loss(UntrackedSine(np.concatenate(rows)) @ v, Y[:2])
        return tape, loss

    for name in (*PER_SAMPLE, "sqrt_ggn_exact"):
        for parameters in (None, "v"):
            tape, loss = recorded([0, 1])
            assert tape.backward(loss, name, parameters=parameters)[name]["v"].any()
            tape, loss = recorded([1, 0])
            with pytest.raises(tracer.BatchError, match=rf"{name} is undefined.*untracked.*reor"):
                tape.backward(loss, name, parameters=parameters)


def test_a_loss_that_wants_no_gradient_has_no_share_whatever_it_is_of():
    with tracer.Tape() as tape:
        w = tracer.parameter(W, name="w")
        mixed = tracer.batch(Y) + np.roll(tracer.batch(Y), 1, 0)
        loss = cross_entropy(mixed, np.array([0, 1, 1, 0])) + l2_penalty(w)
    found = tape.backward(loss, ("grad", "grad_batch", "batch_l2"))
    assert found["grad"]["w"].any()
    assert not found["grad_batch"]["w"].any()
    assert not found["batch_l2"]["w"].any()


@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed")
def test_samples_of_some_parameters_above_an_axis_that_is_lost():
    generator = np.random.default_rng(2)
    problem = Problem(
        lambda p, given: UNTRACKED["inside the model"](*p.values(), *given),
        {"w": generator.standard_normal((3, 4)), "v": generator.standard_normal((4, 2))},
        [X],
    )
    for name in (*PER_SAMPLE, "sqrt_ggn_exact"):
        every, some = (
            problem.backward(name, parameters=p, rng=np.random.default_rng(1))[name]["v"]
            for p in (None, "v")
        )
        assert_close(some, every, name)


def test_the_gradient_alone_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tracer.Tape() as tape:
            loss = np.sum(UntrackedSine(tracer.batch(X) @ tracer.parameter(W)))
        tape.backward(loss)


def test_first_order_quantities_of_a_plain_loss_with_a_penalty_where_the_axis_is_lost():
    """The penalty is of no sample: it counts in the gradient alone."""
    with tracer.Tape() as tape:
        x, w, u = tracer.batch(X), tracer.parameter(W, name="w"), tracer.parameter(Y, name="u")
        terms = np.sum(np.square(UntrackedSine(x @ w)), axis=1)
        loss = np.mean(tracer.batch(terms)) + np.sum(w * w) + np.sum(u * u)
    with pytest.warns(UserWarning, match="test_untracked_sine"):
        results = tape.backward(loss, ("grad", "grad_batch"))

    def one(w, n):
        return np.sum(np.square(np.sin(X[n] @ w))) / 4

    rows = np.stack([tracer.grad(one)(W, n) for n in range(4)])
    assert_close(results["grad_batch"]["w"], rows, "grad_batch")
    assert_close(results["grad"]["w"], rows.sum(0) + 2 * W, "grad")
    assert_close(results["grad"]["u"], 2 * Y, "grad of the penalty alone")
    assert_close(results["grad_batch"]["u"], np.zeros((4, 4, 2)), "no sample")


# -- some samples only -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recurrent():
    from zoo import draw

    function, parameters, inputs, axes = draw("recurrent", np.random.default_rng(3))
    return Problem(function, parameters, inputs, axes)


@pytest.mark.parametrize("chosen", [[2, 0], [-1], [1, 1, 3]])
def test_chosen_samples(recurrent, chosen):
    results = recurrent.backward(
        (*FIRST_ORDER, "diag_ggn_exact_batch", "diag_ggn_exact"), samples=chosen
    )
    for name, g in recurrent.grad_batch().items():
        assert_close(results["grad"][name], g.sum(0), "the gradient is of all samples")
        expected = expected_first_order(g[chosen])
        for quantity in FIRST_ORDER[1:]:
            assert_close(results[quantity][name], expected[quantity], quantity)
    for name, blocks in recurrent.ggn_batch().items():
        shape = recurrent.parameters[name].shape
        diagonals = np.diagonal(blocks, axis1=1, axis2=2).reshape(-1, *shape)
        assert_close(results["diag_ggn_exact_batch"][name], diagonals[chosen], name)
        assert_close(results["diag_ggn_exact"][name], diagonals.sum(0), name)


CHOOSING = {
    "plain": lambda w, v, x: np.tanh(x @ w) @ v,
    "coupled": batch_normalised,
    "lost": lambda w, v, x: UntrackedSine(x @ w) @ v,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("budget", [None, 300])
@pytest.mark.parametrize("model", CHOOSING)
def test_every_quantity_that_lists_samples_lists_the_chosen(model, budget):
    """Its axes of as many as there are samples, and nothing else is of that length."""
    generator, samples, chosen = np.random.default_rng(2), 5, [3, 0]
    problem = Problem(
        lambda p, given: CHOOSING[model](*p.values(), *given),
        {"w": generator.standard_normal((3, 4)), "v": generator.standard_normal((4, 2))},
        [generator.standard_normal((samples, 3))],
    )
    listing = set()
    for name, quantity in registry.quantities.items():
        options = {"memory_budget": budget}
        try:
            every, some = (
                problem.backward(name, rng=np.random.default_rng(0), **options, **more)[name]
                for more in ({}, {"samples": chosen})
            )
        except tracer.TracerError:  # such as kfra where samples are coupled
            continue
        for key, value in every.items() if quantity.rows is not None else ():
            if not isinstance(value, np.ndarray) or name in ("sum_grad_squared", "variance"):
                continue  # these are checked against their definition
            for axis, size in enumerate(value.shape):
                if size == samples:
                    value = np.take(value, chosen, axis)
                    listing.add(name)
            assert_close(some[key], value, f"{name} of {key}")
    assert {"sqrt_ggn_exact", "sqrt_ggn_mc"} <= listing
    assert listing == {
        name for name, q in registry.quantities.items()
        if (q.lists_samples is not False and q.per_sample and model != "coupled")
        or q.lists_samples
    }  # fmt: skip


def test_chosen_samples_of_what_nothing_marks():
    with tracer.Tape() as tape:
        loss = mse_loss(X @ tracer.parameter(W, name="w"), Y)
    whole = tape.backward(loss, "sqrt_ggn_exact")["sqrt_ggn_exact"]["w"]
    some = tape.backward(loss, "sqrt_ggn_exact", samples=[2, -1])["sqrt_ggn_exact"]["w"]
    assert_close(some, whole[:, [2, 3]], "rows of two samples")
    with pytest.raises(tracer.BatchError, match="samples names one outside the 4"):
        tape.backward(loss, "sqrt_ggn_exact", samples=[4])


@pytest.mark.parametrize("chosen", [[], [4], [-5], [0.5], [[0]], 3, [True, False, True, False]])
def test_samples_that_are_none_are_refused(recurrent, chosen):
    with pytest.raises(tracer.BatchError, match="samples"):
        recurrent.backward(("grad_batch",), samples=chosen)


# -- samples one at a time, in another order, or none ----------------------------------------------


LOSSES_OF_ONE = {
    "of the only one": (1, lambda h: np.sum((h[0] - Y[0]) ** 2)),
    "of the second": (3, lambda h: mse_loss(h[1], Y[1])),
    "of each": (3, lambda h: sum(np.sum((h[n] - Y[n]) ** 2) for n in range(3))),
    "joined to more rows": (1, lambda h: mse_loss(np.concatenate([h, np.sin(h)]), Y[:2])),
}


@pytest.mark.filterwarnings("ignore:the samples' axis")
@pytest.mark.parametrize("penalty", [lambda w: np.sum(w**2), l2_penalty], ids=["plain", "l2"])
@pytest.mark.parametrize("kind", LOSSES_OF_ONE)
def test_penalties_are_of_no_sample_beside_losses_of_one(kind, penalty):
    count, loss_of = LOSSES_OF_ONE[kind]
    quantities = ("grad_batch", "batch_l2", "diag_h_batch")

    def results(weight):
        with tracer.Tape() as tape:
            w, v = tracer.parameter(W, name="w"), tracer.parameter(Y[0], name="v")
            loss = loss_of(np.tanh(tracer.batch(X[:count]) @ w))
            loss = 0.5 * (loss + weight * penalty(w) - weight * penalty(v))
        return tape.backward(loss, quantities)

    without, given = results(0.0), results(0.3)
    for quantity in quantities:
        for name in ("w", "v"):
            assert_close(given[quantity][name], without[quantity][name], f"{quantity} of {name}")


ACROSS = {
    "a running sum": lambda w, v, x: np.cumsum(np.tanh(x @ w), 0) @ v,
    "a mean": lambda w, v, x: np.mean(np.tanh(x @ w), 0, keepdims=True) @ v,
    "a contraction": lambda w, v, x: np.einsum("ni,ij->j", np.tanh(x @ w), v)[None],
    "a statistic": lambda w, v, x: np.tanh(x @ w + np.mean(x @ w, 0)) @ v,
    "a maximum": lambda w, v, x: np.tanh(x @ w / (1 + np.max(x @ w))) @ v,
}


@pytest.mark.parametrize("program", ACROSS)
@pytest.mark.parametrize(
    "objective",
    [
        lambda fit, w, s: fit,
        lambda fit, w, s: (fit + 0.3 * np.sum(w**2)) / 2,
        lambda fit, w, s: np.sum(np.stack([fit, np.sum(w**2)])) / 2,
        lambda fit, w, s: np.exp(-s) * fit + s,
    ],
    ids=["alone", "a penalty", "stacked", "weighed by a parameter"],
)
def test_one_sample_has_all_that_depends_on_it(program, objective):
    """Whatever goes across the samples; what is of parameters alone is in no sample."""
    given = {"w": W, "v": Y[:2], "s": np.array(0.3)}

    def fit(p, x):
        return np.mean((ACROSS[program](p["w"], p["v"], x) - Y[:1]) ** 2)

    with tracer.Tape() as tape:
        p = {name: tracer.parameter(value, name=name) for name, value in given.items()}
        loss = objective(fit(p, tracer.batch(X[:1])), p["w"], p["s"])

    def share(p):  # of a penalty it has none
        return objective(fit(p, X[:1]), p["w"], p["s"]) - objective(0.0, p["w"], p["s"])

    expected = tracer.grad(share)(given)
    for name, value in tape.backward(loss, "grad_batch")["grad_batch"].items():
        assert_close(value[0], expected[name], name)
    for name, value in tape.backward(loss, "batch_l2")["batch_l2"].items():
        assert_close(value, np.sum(expected[name] ** 2)[None], name)


@pytest.mark.parametrize("chosen", [0, 1, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_entries_of_no_sample_that_are_written_over_or_cut_off(count, chosen):
    """Experts that fill an array of zeros, each its samples, and rows beside those of samples."""
    first = np.arange(count) < chosen
    order = np.argsort(np.cos(np.arange(count)))

    def routed(w, v, x):
        out = tracer.index_set(np.zeros((count, 2)), first, np.tanh(x @ w)[first])
        return tracer.index_set(out, ~first, np.sin(x @ v)[~first])

    def cut(w, v, x):
        h = np.tanh(x @ w)
        return np.concatenate([np.ones((3, 2)), h[order], np.ones((1, 2))])[3:-1] * v[0]

    for program in (routed, cut):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with tracer.Tape() as tape:
                w, v = tracer.parameter(W, name="w"), tracer.parameter(W**2, name="v")
                terms = np.sum(program(w, v, tracer.batch(X[:count])) ** 2, axis=1)
                loss = np.sum(terms)
            found = tape.backward(loss, "grad_batch")["grad_batch"]
        for n in range(count):
            row = n if program is routed else int(np.flatnonzero(order == n)[0])
            expected = tracer.grad(
                lambda p, row=row, f=program: np.sum(f(*p.values(), X[:count])[row] ** 2)
            )({"w": W, "v": W**2})
            for name, value in expected.items():
                assert_close(found[name][n], value, f"{program.__name__} {name}")


def test_rows_of_samples_are_joined_whatever_axes_of_length_one_there_are():
    def results(outputs):
        with tracer.Tape() as tape:
            w = tracer.parameter(W[:, :1], name="w")
            h = np.tanh(tracer.batch(X) @ w)  # [N, 1]
            loss = mse_loss(outputs(h), Y[:, :1])
        return tape.backward(loss, ("grad_batch", "diag_ggn_exact_batch", "sqrt_ggn_exact"))

    expected = results(lambda h: h)
    for each in (
        lambda h: np.stack([h[n] for n in range(4)]),
        lambda h: np.concatenate([h[n : n + 1] for n in range(4)]),
        lambda h: np.stack([h[n] for n in (2, 0, 3, 1)])[[1, 3, 0, 2]],
    ):
        for quantity, values in results(each).items():
            assert_close(values["w"], expected[quantity]["w"], quantity)


@pytest.mark.parametrize("budget", [None, 400])
@pytest.mark.parametrize("chosen", [0, 4])
def test_an_expert_that_gets_no_sample(chosen, budget):
    quantities = [*PER_SAMPLE, "diag_h", "diag_ggn_exact", "kflr"]

    def results(x):
        with tracer.Tape() as tape:
            w, v = tracer.parameter(W, name="w"), tracer.parameter(W, name="v")
            x = tracer.batch(x)
            first = np.arange(4) < chosen
            out = np.zeros(Y.shape)
            for parameter, some in ((w, first), (v, ~first)):
                out = tracer.index_set(out, some, np.tanh(x @ parameter)[some])
            loss = mse_loss(out, Y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tape.backward(loss, quantities, memory_budget=budget)

    for quantity, values in results(X).items():
        unused = values["v" if chosen else "w"]
        if quantity != "kflr":
            assert not np.any(unused), quantity


@pytest.mark.parametrize("budget", [None, 200])
def test_no_samples_one_at_a_time(budget):
    with tracer.Tape() as tape:
        w = tracer.parameter(W, name="w")
        h = tracer.batch(X[:0]) @ w
        out = tracer.index_set(np.zeros((0, 2)), np.zeros(0, bool), np.tanh(h)[np.zeros(0, bool)])
        out = out + tracer.jvp(lambda z: np.tanh(z) @ w[:2], (h,), (np.ones((0, 2)),))[1]
        loss = mse_loss(out, Y[:0], reduction="sum")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = tape.backward(loss, [*PER_SAMPLE, "hmp", "diag_h"], memory_budget=budget)
        del results["hmp"]
    assert all(not np.any(values["w"]) for values in results.values())


def test_several_arrays_in_an_index_beside_a_penalty():
    with tracer.Tape() as tape:
        w = tracer.parameter(W, name="w")
        x = tracer.batch(np.stack([X, X], axis=1))
        chosen = np.argmax(x[:, :, 0], axis=1)
        loss = mse_loss(x[np.arange(4), chosen] @ w, Y) + 0.1 * np.sum(w**2)
    with pytest.warns(UserWarning, match="leave out"):
        assert tape.backward(loss, "diag_ggn_exact")["diag_ggn_exact"]["w"].shape == (3, 2)


# -- terms of no sample that are of data ---------------------------------------------------------


class Apart(nn.Module):
    """One part for each of two arrays, which may be of two lengths."""

    def __init__(self):
        super().__init__()
        self.part = nn.Linear(3, 2).double()

    def forward(self, first, second):
        return self.part(first), self.part(second)


class Together(Apart):
    def forward(self, first, second):
        return self.part(first) @ self.part(second).T


@pytest.mark.parametrize(
    "name", ["grad_batch", "batch_l2", "variance", "sum_grad_squared", "kfac", "kflr"]
)
def test_a_second_array_of_another_length_is_no_penalty(name):
    first, second = np.random.default_rng(0).random((5, 3)), np.random.default_rng(0).random((8, 3))
    with tracer.Tape() as tape:
        one, other = Apart()(first, second)
        loss = nn.mse_loss(one, np.zeros((5, 2))) + nn.mse_loss(other, np.zeros((8, 2)))
    with pytest.raises(tracer.BatchError, match=r"given beside its batch.*tracer\.batch\(y\)"):
        tape.backward(loss, (name,))
    assert tape.backward(loss)["grad"]["part.weight"].shape == (2, 3)


def test_a_second_array_of_another_length_may_meet_the_batch():
    first, second = np.random.default_rng(0).random((5, 3)), np.random.default_rng(0).random((8, 3))
    model = Together()
    with tracer.Tape() as tape:
        loss = nn.mse_loss(model(first, second), np.zeros((5, 8)))
    results = tape.backward(loss, ("grad", "grad_batch"))
    total = results["grad_batch"]["part.weight"].sum(0)
    np.testing.assert_allclose(total, results["grad"]["part.weight"])


CONTRACTIONS = {
    "einsum": lambda h, v, u: np.einsum("ni,i->", h, v),
    "einsum of three": lambda h, v, u: np.einsum("ni,ij,nj->", h, np.outer(v, v), h),
    "vdot": lambda h, v, u: np.vdot(h, u),
    "tensordot": lambda h, v, u: np.tensordot(h, u, 2),
    "inner": lambda h, v, u: np.inner(h.ravel(), u.ravel()),
    "matmul": lambda h, v, u: np.sum(h.T @ u),
}


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_samples_that_are_summed_over_in_a_product_with_parameters(name):
    """No sample's share is zero; where they are not apart, that is said."""
    v, u = (
        tracer.parameter(np.random.default_rng(0).random(2), "v"),
        tracer.parameter(np.random.default_rng(0).random((5, 2)), "u"),
    )
    model = nn.Linear(3, 2).double()
    with tracer.Tape() as tape:
        loss = CONTRACTIONS[name](np.tanh(model(np.random.default_rng(0).random((5, 3)))), v, u)
    with pytest.raises(tracer.BatchError, match="sums over the samples in a product"):
        tape.backward(loss, ("grad_batch",))
    restricted = tape.backward(loss, ("grad", "grad_batch"), parameters=["weight", "bias"])
    for key, value in restricted["grad_batch"].items():
        np.testing.assert_allclose(value.sum(0), restricted["grad"][key])
