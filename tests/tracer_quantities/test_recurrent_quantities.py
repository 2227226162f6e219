"""Every quantity of recurrent models against its definition, one sequence at a time."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from brute_force import CURVATURE, FIRST_ORDER, expected_first_order, plain_loss
from explicit import assert_close, flat, ordered, placed, spans
from recurrent_models import HIDDEN, INPUTS, MODELS, SAMPLES, linear

import tracer
import tracer_layers as nn
from tracer import QuantityError
from tracer_layers.functional import cross_entropy, mse_loss
from tracer_quantities import KFAC, KFLR, PCHMP, DiagGGNMC

DIAGONALS = ("diag_h", "diag_h_batch")
BLOCKS = {"ggnmp": "ggns", "hmp": "hessians", "ggn": "ggns", "hessian": "hessians"}


# -- losses: of the library on a batch, and of one sequence ------------------------------------


class Loss:
    """Terms of an objective: `batch(output [T, N, D], states)`, and `single(n, steps, states)`.

    `single` gives `(kind, prediction [1, ...], target, weight)` for every term that judges sample
    n: `steps` are the outputs `[D]` of its own steps, `states` its last states `[D]`.
    """

    def __init__(self, output, states, lengths):
        rng = np.random.default_rng(5)
        self.steps, self.samples, self.width = output.shape
        self.lengths = lengths
        self.target = rng.standard_normal(output.shape)
        self.classes = rng.integers(0, self.width, (self.samples, self.steps))
        self.ends = [rng.standard_normal(state.shape) for state in states]


class LastStep(Loss):
    """Squared error of the last output, a mean over samples and elements."""

    def batch(self, output, states):
        return mse_loss(output[-1], self.target[-1])

    def single(self, n, steps, states):
        return [("squared", steps[-1][None], self.target[-1, n][None], 1 / self.target[-1].size)]


class EveryStep(Loss):
    """Squared error of all outputs, samples on axis 1; where a sequence has ended, of zeros."""

    def batch(self, output, states):
        return mse_loss(output, self.target, reduction="sum")

    def single(self, n, steps, states):
        return [("squared", np.stack(steps)[None], self.target[: len(steps), n][None], 1.0)]


class EveryClass(Loss):
    """Cross-entropy of the classes of all steps, `[N, C, T]`; steps after the end do not count."""

    def __init__(self, *given):
        super().__init__(*given)
        there = np.arange(self.steps) < np.array(self.lengths)[:, None]
        self.classes = np.where(there, self.classes, -100)
        self.count = there.sum()

    def batch(self, output, states):
        return cross_entropy(np.transpose(output, (1, 2, 0)), self.classes)

    def single(self, n, steps, states):
        logits, classes = np.stack(steps, axis=1)[None], self.classes[n, : len(steps)][None]
        return [("cross_entropy", logits, classes, 1 / self.count)]


class LastState(Loss):
    """Squared error of the last states, samples on axis 1, summed over layers and directions."""

    def batch(self, output, states):
        return sum(
            mse_loss(state, end, reduction="sum")
            for state, end in zip(states, self.ends, strict=True)
        )

    def single(self, n, steps, states):
        return [
            ("squared", np.stack(state)[None], end[:, n][None], 1.0)
            for state, end in zip(states, self.ends, strict=True)
        ]


class Several(Loss):
    """Three at once, with weights of their own."""

    def __init__(self, *given):
        super().__init__(*given)
        self.parts = [(0.5, EveryClass(*given)), (2.0, LastState(*given)), (0.3, EveryStep(*given))]

    def batch(self, output, states):
        return sum(factor * part.batch(output, states) for factor, part in self.parts)

    def single(self, n, steps, states):
        return [
            (kind, prediction, target, factor * weight)
            for factor, part in self.parts
            for kind, prediction, target, weight in part.single(n, steps, states)
        ]


LOSSES = {
    "last step": LastStep,
    "every step": EveryStep,
    "every step's class": EveryClass,
    "last state": LastState,
    "several": Several,
}


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


class Problem:
    """A model on sequences `[T, N, I]` with a loss, in the library and by definition."""

    def __init__(self, name, loss="several", steps=3, lengths=None, padding=0.0):
        self.model, self.steps = MODELS[name], steps
        self.lengths = lengths
        self.own = lengths or [steps] * SAMPLES
        self.x = np.random.default_rng(steps).standard_normal((steps, SAMPLES, INPUTS))
        for n, length in enumerate(self.own):
            self.x[length:, n] = padding
        self.parameters = self.model.parameters
        output, states = self.model.run(self.x, lengths)
        shapes = [np.empty(state.shape) for state in as_tuple(states)]
        self.loss = LOSSES[loss](np.empty(output.shape), shapes, self.own)

    def backward(self, quantities, **options):
        with tracer.Tape() as tape:
            output, states = self.model.run(self.x, self.lengths)
            loss = self.loss.batch(output, as_tuple(states))
        return tape.backward(loss, quantities, **options)

    # -- by definition ------------------------------------------------------------------------

    def judged(self, p, n, apply=linear):
        """The terms of sample n at these parameters."""
        steps, states = self.model.reference(apply, p, self.x[: self.own[n], n], n)
        return self.loss.single(n, steps, states)

    def objective(self, p, n):
        """What sample n adds to the objective."""
        return sum(weight * plain_loss(kind, f, y) for kind, f, y, weight in self.judged(p, n))

    def of_samples(self, derive):
        """`[N, ...]` of a derivative of each sample's share by the vector of all parameters."""
        vector = flat(self.parameters)
        return np.stack([
            derive(lambda v, n=n: self.objective(placed(self.parameters, v), n))(vector)
            for n in range(SAMPLES)
        ])  # fmt: skip

    @property
    def gradients(self):
        return self.of_samples(tracer.grad)

    @property
    def hessians(self):
        return self.of_samples(tracer.hessian)

    @property
    def ggns(self):
        vector = flat(self.parameters)
        return np.stack([
            sum(j.T @ h @ j for j, h in self.pulled(
                lambda v, n=n: self.judged(placed(self.parameters, v), n), vector, n))
            for n in range(SAMPLES)
        ])  # fmt: skip

    def pulled(self, terms, vector, n):
        """`(jacobian [D, P], hessian [D, D])` of each of the terms of sample n."""
        for i, (kind, f, target, weight) in enumerate(self.judged(self.parameters, n)):
            jacobian = tracer.jacobian(lambda v, i=i: terms(v)[i][1])(vector)
            hessian = tracer.hessian(lambda f, k=kind, y=target: plain_loss(k, f, y))(f)
            yield jacobian.reshape(f.size, -1), weight * hessian.reshape(f.size, f.size)

    def factors(self, sharing):
        """name -> Kronecker factors, from every use of every map (QUANTITIES)."""
        samples = [self.uses(n) for n in range(SAMPLES)]
        count = {name: sum(len(uses[name][0]) for uses in samples) for name in samples[0]}
        found = {}
        for name, (weight, bias) in self.maps.items():
            inputs, outputs = 0.0, 0.0
            for uses in samples:
                a, b = (np.stack(each) for each in uses[name])  # [T, I], [T, D, O]
                if sharing == "expand":
                    inputs = inputs + a.T @ a / count[name]
                    outputs = outputs + np.einsum("tdo,tdp->op", b, b)
                else:
                    mean, total = a.mean(0), b.sum(0)
                    inputs = inputs + np.outer(mean, mean) / SAMPLES
                    outputs = outputs + total.T @ total
            found[weight] = (outputs, inputs)
            if bias is not None:
                found[bias] = (outputs,)
        return found

    def uses(self, n):
        """name -> (inputs a, roots b `[D, O]` of the Gauss-Newton matrix at the outputs), a use
        after the other; it fills `maps`, the weights and biases by name."""
        seen = []

        def listing(p, weight, bias, x):
            seen.append((weight, bias, x))
            return linear(p, weight, bias, x)

        self.judged(self.parameters, n, listing)
        self.maps = {weight: (weight, bias) for weight, bias, _ in seen}
        sizes = np.cumsum([0, *(len(self.parameters[weight]) for weight, *_ in seen)])

        def disturbed(e):
            places = pairwise(sizes)

            def apply(p, weight, bias, x):
                start, stop = next(places)
                return linear(p, weight, bias, x) + e[start:stop]

            return self.judged(self.parameters, n, apply)

        roots = [root_of(h) @ j for j, h in self.pulled(disturbed, np.zeros(sizes[-1]), n)]
        rows = np.concatenate(roots)
        found = {weight: ([], []) for weight in self.maps}
        for (weight, _, x), (start, stop) in zip(seen, pairwise(sizes), strict=True):
            found[weight][0].append(x)
            found[weight][1].append(rows[:, start:stop])
        return found


def root_of(h):
    """Rows `r` with `h = r^T r`."""
    values, vectors = np.linalg.eigh(h)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


# -- every quantity ------------------------------------------------------------------------------


def assert_quantities(problem):
    quantities = (*FIRST_ORDER, *CURVATURE, *DIAGONALS, *BLOCKS)
    results = problem.backward(quantities)
    gradients, ggns, hessians = problem.gradients, problem.ggns, problem.hessians
    whole = {"ggns": ggns.sum(0), "hessians": hessians.sum(0)}
    for name, span in spans(problem.parameters).items():
        shape = problem.parameters[name].shape
        g = gradients[:, span].reshape(SAMPLES, *shape)
        for quantity, value in expected_first_order(g).items():
            assert_close(results[quantity][name], value, f"{quantity} of {name}")
        root = results["sqrt_ggn_exact"][name]
        root = root.reshape(*root.shape[:2], -1)
        gram = np.einsum("cnp,cnq->npq", root, root)
        assert_close(gram, ggns[:, span, span], f"sqrt_ggn_exact of {name}")
        for quantity, blocks in (("diag_ggn_exact", ggns), ("diag_h", hessians)):
            shares = np.diagonal(blocks, axis1=1, axis2=2)[:, span].reshape(SAMPLES, *shape)
            assert_close(results[f"{quantity}_batch"][name], shares, f"{quantity}_batch of {name}")
            assert_close(results[quantity][name], shares.sum(0), f"{quantity} of {name}")
        for quantity in ("ggnmp", "hmp"):
            eye = np.eye(span.stop - span.start)
            product = results[quantity][name](eye.reshape(-1, *shape)).reshape(eye.shape)
            assert_close(product, whole[BLOCKS[quantity]][span, span], f"{quantity} of {name}")
    for quantity in ("ggn", "hessian"):
        operator = results[quantity]
        expected = ordered(whole[BLOCKS[quantity]], problem.parameters, operator)
        assert_close(operator.matmat(np.eye(len(expected))), expected, quantity)


def assert_factors(problem):
    for sharing in ("expand", "reduce"):
        results = problem.backward((KFLR(sharing=sharing),))["kflr"]
        for name, factors in problem.factors(sharing).items():
            dense = factors[0] if len(factors) == 1 else np.kron(*factors)
            assert_close(results[name].dense(), dense, f"kflr ({sharing}) of {name}")
            if "weight" in name:
                for mine, other in zip(results[name].factors, factors, strict=True):
                    assert_close(mine, other, f"factors ({sharing}) of {name}")


#: matrices with parameters that are no maps of inputs, which have no Kronecker factors
UNMAPPED = {
    "tied embedding",
    "GRU, learned states",
}
MAPPED = [name for name in MODELS if name not in UNMAPPED]
RAGGED = [name for name, model in MODELS.items() if model.ragged]


@pytest.mark.parametrize("name", MODELS)
def test_quantities_equal_their_definitions(name):
    assert_quantities(Problem(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", RAGGED)
def test_quantities_of_sequences_of_different_lengths(name):
    assert_quantities(Problem(name, lengths=[2, 1, 3]))


@pytest.mark.parametrize("loss", ["last step", "every step", "every step's class", "last state"])
@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_quantities_of_one_loss(name, loss):
    assert_quantities(Problem(name, loss, lengths=[2, 3, 1] if loss != "last step" else None))


@pytest.mark.parametrize("steps", range(1, 8))
def test_quantities_after_any_number_of_steps(steps):
    assert_quantities(Problem("RNN", steps=steps))


@pytest.mark.parametrize("lengths", [None, [1, 3, 2]])
@pytest.mark.parametrize("name", MAPPED)
def test_kronecker_factors_equal_their_definitions(name, lengths):
    """Uses are the steps that a sequence has: of ragged ones, the sum of their lengths."""
    if lengths is None or MODELS[name].ragged:
        assert_factors(Problem(name, lengths=lengths))


@pytest.mark.parametrize("name", sorted(UNMAPPED))
def test_parameters_that_no_map_uses_have_no_factors(name):
    with pytest.raises(QuantityError, match="has no Kronecker factors"):
        Problem(name).backward(("kflr",), undefined="raise")


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_a_read_out_counts_the_steps_that_it_is_told_of(sharing):
    """Above a layer, `tracer.present` says which uses of a weight are there."""
    module = nn.GRU(INPUTS, HIDDEN, rng=np.random.default_rng(0)).double()
    weight = tracer.parameter(np.random.default_rng(1).standard_normal((3, HIDDEN)), name="head")
    lengths = [2, 1, 4]
    there = np.arange(4) < np.array(lengths)[:, None]
    classes = np.where(there, 1, -100)
    with tracer.Tape() as tape:
        x = tracer.batch(np.random.default_rng(2).standard_normal((4, SAMPLES, INPUTS)), 1)
        h, _ = module(x, lengths=lengths)
        with tracer.present(there):
            logits = nn.functional.linear(h, weight)
        loss = cross_entropy(np.transpose(logits, (1, 2, 0)), classes, reduction="sum")
    outputs, inputs = tape.backward(loss, (KFLR(sharing=sharing),))["kflr"]["head"].factors
    p = np.exp(logits.data) / np.exp(logits.data).sum(-1, keepdims=True)
    own = [h.data[:length, n] for n, length in enumerate(lengths)]
    softmax = [
        sum(np.diag(q) - np.outer(q, q) for q in p[:length, n]) for n, length in enumerate(lengths)
    ]
    if sharing == "expand":
        every = np.concatenate(own)
        assert_close(inputs, every.T @ every / sum(lengths), "input factor")
    else:
        means = np.stack([h.mean(0) for h in own])
        assert_close(inputs, means.T @ means / SAMPLES, "input factor")
    assert_close(outputs, sum(softmax), "output factor")


def test_sampled_quantities_are_of_the_same_rows():
    problem = Problem("GRU, two layers in two directions", lengths=[2, 1, 3])
    asked = ("sqrt_ggn_mc", "diag_ggn_mc", "diag_ggn_mc_batch", KFAC(sharing="reduce"))
    results = problem.backward((*asked, KFLR(sharing="reduce")), rng=np.random.default_rng(0))
    for name in problem.parameters:
        root = results["sqrt_ggn_mc"][name]
        assert_close(results["diag_ggn_mc_batch"][name], (root**2).sum(0), name)
        assert_close(results["diag_ggn_mc"][name], (root**2).sum((0, 1)), name)
        if name.startswith("bias"):
            rows = root.reshape(-1, root.shape[-1])
            weight = name.replace("bias", "weight")
            for key in (name, weight):
                assert_close(results["kfac"][key].factors[0], rows.T @ rows, f"kfac of {key}")
            inputs = results["kflr"][weight].factors[1]
            assert_close(results["kfac"][weight].factors[1], inputs, f"kfac of {weight}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_sampled_diagonals_approach_the_exact_ones(name):
    """Of 20,000 samples: five standard errors."""
    problem = Problem(name, lengths=[2, 1, 3])
    sampled = problem.backward((DiagGGNMC(20_000),), rng=np.random.default_rng(0))["diag_ggn_mc"]
    for key, exact in problem.backward(("diag_ggn_exact",))["diag_ggn_exact"].items():
        assert abs(sampled[key] - exact).max() < 5 / 20_000**0.5 * 2**0.5 * exact.max(), key


# -- the positive-curvature Hessian --------------------------------------------------------------


@pytest.mark.parametrize("modify", ["abs", "clip"])
def test_positive_curvature_of_one_step(modify):
    """The Gauss-Newton matrix, and what tanh adds to it made positive, unit by unit."""
    problem = Problem("RNN", "last step", steps=1)
    products = problem.backward((PCHMP(modify=modify),))["pchmp"]
    weight, bias = (problem.parameters[key] for key in ("weight_ih_l0", "bias_ih_l0"))
    x = problem.x[0]
    h = np.tanh(x @ weight.T + bias + problem.parameters["bias_hh_l0"])
    slope = 2 / h.size * (h - problem.loss.target[0])
    bends = slope * -2 * h * (1 - h**2)
    bends = abs(bends) if modify == "abs" else np.maximum(bends, 0)
    curvature = bends + 2 / h.size * (1 - h**2) ** 2  # [N, H], of a unit's preactivation
    own = np.eye(HIDDEN)
    expected = {
        "bias_ih_l0": np.diag(curvature.sum(0)),
        "bias_hh_l0": np.diag(curvature.sum(0)),
        "weight_ih_l0": np.einsum("nh,ni,nj,hk->hikj", curvature, x, x, own).reshape(4, 4),
        "weight_hh_l0": np.zeros((4, 4)),  # the first state is zero
    }
    for name, product in products.items():
        eye = np.eye(len(expected[name]))
        found = product(eye.reshape(-1, *problem.parameters[name].shape)).reshape(eye.shape)
        assert_close(found, expected[name], name)


def test_positive_curvature_is_undefined_where_a_state_depends_on_the_weight():
    with pytest.raises(QuantityError, match="positive-curvature Hessian is defined for"):
        Problem("GRU").backward(("pchmp",), undefined="raise")


# -- padding, budgets, chosen samples ------------------------------------------------------------

EVERY = (*FIRST_ORDER, *CURVATURE, *DIAGONALS, "sqrt_ggn_mc", "diag_ggn_mc", "fisher_mc",
         "fisher_empirical", *BLOCKS)  # fmt: skip


def assert_equal(found, expected, message):
    """Bit by bit, of arrays, Kronecker factors, operators and block products."""
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, err_msg=message)
    elif hasattr(expected, "factors"):
        for one, other in zip(found.factors, expected.factors, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=message)
    elif hasattr(expected, "matmat"):
        eye = np.eye(expected.shape[0])
        np.testing.assert_array_equal(found @ eye, expected @ eye, err_msg=message)
    else:
        v = np.random.default_rng(0).standard_normal((2, *expected.shape))
        np.testing.assert_array_equal(found(v), expected(v), err_msg=message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("garbage", "sharing"),
    [(1e3, "expand"), pytest.param(np.nan, "reduce", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", RAGGED)
def test_padding_reaches_no_quantity(name, garbage, sharing):
    """Bit by bit, whatever stands there."""
    quantities = EVERY
    if name in MAPPED:
        quantities = (*quantities, KFLR(sharing=sharing), KFAC(sharing=sharing))
    values = []
    for padding in (0.0, garbage):
        problem = Problem(name, lengths=[2, 1, 3], padding=padding)
        values.append(problem.backward(quantities, rng=np.random.default_rng(0)))
    zeros, others = values
    for quantity, expected in zeros.items():
        if isinstance(expected, dict):
            for key, value in expected.items():
                assert_equal(others[quantity][key], value, f"{quantity} of {key}")
        else:
            assert_equal(others[quantity], expected, quantity)


@pytest.mark.parametrize("name", ["LSTM", "one cell as two layers", "RNN, relu"])
def test_a_memory_budget_changes_nothing(name):
    problem = Problem(name, lengths=[2, 1, 3])
    quantities = (*FIRST_ORDER, *CURVATURE, *DIAGONALS, "kflr")
    whole = problem.backward(quantities)
    parts = problem.backward(quantities, memory_budget=2000)
    for quantity, key in ((q, k) for q in quantities for k in problem.parameters):
        one, other = parts[quantity][key], whole[quantity][key]
        if quantity == "kflr":
            one, other = one.dense(), other.dense()
        assert_close(one, other, f"{quantity} of {key}")


def test_chosen_samples():
    problem = Problem("LSTM", lengths=[2, 1, 3])
    quantities = ("grad_batch", "batch_l2", "diag_ggn_exact_batch")
    whole, chosen = problem.backward(quantities), problem.backward(quantities, samples=[2, 0])
    for key in problem.parameters:
        for quantity in quantities:
            expected = whole[quantity][key][[2, 0]]
            assert_close(chosen[quantity][key], expected, f"{quantity} of {key}")


# -- truncation ------------------------------------------------------------------------------------


def windows_apart(module, x, target, width):
    """Gradients of each window alone, its first states given as plain arrays."""
    state, gradients = None, []
    for start in range(0, len(x), width):
        part = slice(start, start + width)
        with tracer.Tape() as tape:
            output, last = module(x[part], state)
            loss = mse_loss(output, target[part], reduction="sum")
        gradients.append(tape.backward(loss, ("grad", "grad_batch")))
        state = tuple(np.array(s.data) for s in last)
    return gradients


@pytest.fixture
def long():
    """A layer, a sequence of six steps, and targets."""
    module = nn.LSTM(INPUTS, HIDDEN, 2, rng=np.random.default_rng(0)).double()
    rng = np.random.default_rng(1)
    return module, rng.standard_normal((6, 3, INPUTS)), rng.standard_normal((6, 3, HIDDEN))


def test_detached_states_cut_the_gradient_between_windows(long):
    module, x, target = long
    with tracer.Tape() as tape:
        state, loss = None, 0.0
        for start in (0, 2, 4):
            output, state = module(tracer.batch(x[start : start + 2], 1), state)
            state = tuple(s.detach() for s in state)
            loss = loss + mse_loss(output, target[start : start + 2], reduction="sum")
    results = tape.backward(loss, ("grad", "grad_batch"))
    apart = windows_apart(module, x, target, 2)
    for quantity, values in results.items():
        for name, value in values.items():
            assert_close(value, sum(part[quantity][name] for part in apart), name)


def test_a_state_carried_over_from_a_closed_tape_is_a_constant(long):
    module, x, target = long
    state = None
    for start, expected in zip((0, 3), windows_apart(module, x, target, 3), strict=True):
        with tracer.Tape() as tape:
            output, state = module(x[start : start + 3], state)
            loss = mse_loss(output, target[start : start + 3], reduction="sum")
        results = tape.backward(loss, ("grad", "grad_batch"))
        for quantity, values in expected.items():
            for name, value in values.items():
                np.testing.assert_array_equal(results[quantity][name], value, err_msg=name)


def test_a_whole_sequence_has_another_gradient_than_its_windows(long):
    module, x, target = long
    (whole,) = windows_apart(module, x, target, 6)
    apart = windows_apart(module, x, target, 2)
    name = "weight_hh_l0"
    assert abs(whole["grad"][name] - sum(part["grad"][name] for part in apart)).max() > 1e-3


# -- cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["grad", "batch_l2", "diag_ggn_exact"])
@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_loss_on_the_last_step_costs_what_the_sequence_is_long(layer, quantity):
    """Nodes and peak memory of a sweep grow with T, and not with its square."""
    module = layer(4, 8)

    def measured(steps):
        x = np.zeros((steps, 2, 4), dtype=np.float32)
        with tracer.Tape() as tape:
            loss = mse_loss(module(x)[0][-1], np.ones((2, 8), dtype=np.float32))
        nodes = len(tape.nodes)
        tracemalloc.start()
        try:
            tape.backward(loss, (quantity,))
            return nodes, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measured(2)  # what is made once
    (few, least), (more, most) = measured(100), measured(400)
    assert more < 4.1 * few
    assert most < 4.5 * least


# -- every combination -----------------------------------------------------------------------------


def drawn_lengths(steps):
    return np.random.default_rng(steps).integers(1, steps + 1, SAMPLES).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("steps", range(1, 8))
@pytest.mark.parametrize("name", MODELS)
def test_every_model_after_any_number_of_steps(name, steps):
    for lengths in (None, drawn_lengths(steps)) if MODELS[name].ragged else (None,):
        problem = Problem(name, steps=steps, lengths=lengths)
        assert_quantities(problem)
        if name in MAPPED:
            assert_factors(problem)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_with_every_loss(name, loss):
    ragged = MODELS[name].ragged and loss != "last step"
    problem = Problem(name, loss, 4, [4, 2, 3] if ragged else None)
    assert_quantities(problem)
    if name in MAPPED:
        assert_factors(problem)


# -- states are of the samples that the sequences have ---------------------------------------------


PLACES = np.array([2, 0, 1])
ORDERS = {
    "sorted": lambda layer, h: layer(h[PLACES])[0][np.argsort(PLACES), -1],
    "sequences of one sample": lambda layer, h: (
        layer(h.reshape(6, 3, 1).repeat(3, 2))[0][:, -1].reshape(3, 2, 3).mean(1)
    ),
    "one sample at a time": lambda layer, h: np.stack(
        [layer(np.stack([s, s[::-1]]))[0][:, -1].mean(0) for s in h]
    ),
}


@pytest.mark.filterwarnings("ignore:the samples' axis")
@pytest.mark.parametrize("first", ["zeros", "learned"])
@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("order", ORDERS)
def test_states_are_of_the_samples_of_the_sequences(order, layer, first):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((3, 2, 3)), generator.standard_normal((3, 3))
    rnn = layer(3, 3, batch_first=True, dtype=float)
    learned = tracer.parameter(generator.standard_normal((1, 1, 3)), name="first")
    state = {"zeros": None, "learned": learned if layer is nn.GRU else (learned, learned)}[first]

    def results(quantities, some=slice(None)):
        def model(h):
            return ORDERS[order](lambda z: rnn(z, state), h)

        with tracer.Tape() as tape:
            out = model(np.tanh(tracer.batch(x)))
            loss = mse_loss(out[some], y[some], reduction="sum")
        return tape.backward(loss, quantities)

    quantities = ("grad_batch", "diag_ggn_exact", "diag_ggn_exact_batch")
    found = results(quantities)
    for n in range(3):
        for name, value in results(("grad",), slice(n, n + 1))["grad"].items():
            assert_close(found["grad_batch"][name][n], value, f"{name} of sample {n}")
    for name, value in found["diag_ggn_exact"].items():
        assert_close(found["diag_ggn_exact_batch"][name].sum(0), value, name)
