"""Optimisers on curvature: each rule against dense matrices and plain loops, in float64."""

import warnings

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer import registry
from tracer.errors import TracerError, UndefinedWarning
from tracer.extend import Kronecker
from tracer_training.curvature import conjugate_gradients, hessian_free
from tracer_training.curvature.levenberg_marquardt import adapted, reduction_ratio

KRONECKER = ["kfac", "kflr", "kfra"]
DIAGONAL = ["diag_ggn_exact", "diag_ggn_mc", "diag_h"]


# -- a problem, swept with the same draws whoever asks ---------------------------------------------


class Problem:
    """A small network in float64, and batches that differ from step to step."""

    def __init__(self, seed=0, kind=nn.cross_entropy, features=5):
        rng = np.random.default_rng(seed)
        tracer.seed(seed)
        self.kind = kind
        self.model = nn.Sequential(nn.Linear(features, 4), nn.Tanh(), nn.Linear(4, 3))
        self.model.double()
        self.x = rng.standard_normal((60, features))
        self.y = (self.x[:, :3] + 0.3 * rng.standard_normal((60, 3))).argmax(1)
        self.targets = rng.standard_normal((60, 3))

    def named(self):
        return dict(self.model.named_parameters())

    def parameters(self):
        return list(self.model.parameters())

    def sweep(self, quantities, step=0):
        rows = slice(10 * (step % 6), 10 * (step % 6) + 10)
        target = self.y[rows] if self.kind is nn.cross_entropy else self.targets[rows]
        with tracer.Tape() as tape:
            loss = self.kind(self.model(self.x[rows]), target)
        return tape.backward(loss, quantities, rng=np.random.default_rng(step))

    def take(self, optimizer, step=0):
        def closure():
            return self.sweep(optimizer.quantities, step)

        optimizer.step(closure(), closure)

    def values(self):
        return {name: p.data.copy() for name, p in self.named().items()}


def dense(value, damping):
    """The damped matrix `[P, P]` that a step is to solve with."""
    if not isinstance(value, Kronecker):
        return np.diag(abs(value).reshape(-1) + damping)
    if len(value.factors) == 1:
        return value.factors[0] + damping * np.eye(len(value.factors[0]))
    b, a = value.factors
    pi = np.sqrt(np.trace(a) / len(a) / (np.trace(b) / len(b)))
    root = np.sqrt(damping)
    return np.kron(b + root / pi * np.eye(len(b)), a + pi * root * np.eye(len(a)))


def mean_of(values, most):
    """Running means, one for each of the values."""
    found = []
    for t, value in enumerate(values, 1):
        arrays = list(value.factors) if isinstance(value, Kronecker) else [value]
        old = min(1 - 1 / t, most)
        before = found[-1] if found else arrays
        found.append([old * b + (1 - old) * a for b, a in zip(before, arrays, strict=True)])
    last = values[-1]
    return Kronecker(tuple(found[-1]), last.shape) if isinstance(last, Kronecker) else found[-1][0]


def solved(matrix, gradient):
    return np.linalg.solve(matrix, gradient.reshape(-1)).reshape(gradient.shape)


def assert_values(problem, expected, rtol=1e-9):
    for name, value in problem.values().items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, atol=1e-12, err_msg=name)


# -- damped Newton ---------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [None, 0.6, 1])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("curvature", [*KRONECKER, *DIAGONAL])
def test_a_damped_newton_step_solves_with_the_damped_curvature(curvature, every, average):
    problem = Problem()
    named = problem.named()
    options = {"lr": 0.3, "damping": 0.02, "weight_decay": 0.1}
    optimizer = training.DampedNewton(
        problem.parameters(), curvature, **options, update_every=every, average=average
    )
    seen = {name: [] for name in named}
    for step in range(5):
        results = problem.sweep(("grad", curvature), step)
        if step % every == 0:
            for name in named:
                seen[name].append(results[curvature][name])
        expected = {}
        for name, p in named.items():
            kept = mean_of(seen[name], average) if average else seen[name][-1]
            gradient = results["grad"][name] + 0.1 * p.data
            expected[name] = p.data - 0.3 * solved(dense(kept, 0.12), gradient)
        problem.take(optimizer, step)
        assert_values(problem, expected)


def test_the_curvature_is_that_of_brute_force():
    problem = Problem()
    matrices = problem.sweep(("grad", "ggn", "hessian"))
    optimizers = {
        "diag_ggn_exact": matrices["ggn"] @ np.eye(matrices["ggn"].shape[0]),
        "diag_h": matrices["hessian"] @ np.eye(matrices["hessian"].shape[0]),
    }
    start = problem.values()
    for curvature, matrix in optimizers.items():
        for name, p in problem.named().items():
            p.data = start[name]
        optimizer = training.DampedNewton(problem.parameters(), curvature, lr=1, damping=0.1)
        problem.take(optimizer)
        for name, place in matrices["ggn"].parameters.items():
            gradient = matrices["grad"][name].reshape(-1)
            step = gradient / (abs(np.diag(matrix)[place]) + 0.1)
            expected = start[name] - step.reshape(start[name].shape)
            np.testing.assert_allclose(problem.values()[name], expected, rtol=1e-9)


def test_a_negative_curvature_counts_by_magnitude():
    w = tracer.parameter(np.array([1.0, 2.0]), "w")
    optimizer = training.DampedNewton([("w", w)], "diag_h", lr=1, damping=0.5)
    optimizer.step({"grad": {"w": np.array([1.0, 1.0])}, "diag_h": {"w": np.array([-3.0, 0.5])}})
    np.testing.assert_allclose(w.data, [1 - 1 / 3.5, 2 - 1])


def test_groups_have_damping_of_their_own():
    problem = Problem()
    named = problem.named()
    first, *rest = named.values()
    groups = [{"params": [first]}, {"params": rest, "damping": 2.0, "lr": 0.1, "weight_decay": 1.0}]
    optimizer = training.DampedNewton(groups, "kflr", lr=0.5, damping=0.1)
    results = problem.sweep(("grad", "kflr"))
    expected = {}
    for name, p in named.items():
        lr, damping, decay = (0.5, 0.1, 0) if p is first else (0.1, 2.0, 1.0)
        gradient = results["grad"][name] + decay * p.data
        matrix = dense(results["kflr"][name], damping + decay)
        expected[name] = p.data - lr * solved(matrix, gradient)
    problem.take(optimizer)
    assert_values(problem, expected)


def test_a_group_that_is_added_gets_its_curvature_at_once():
    problem = Problem()
    first, *rest = problem.parameters()
    optimizer = training.DampedNewton([first], "kflr", damping=0.1, update_every=100)
    problem.take(optimizer)
    assert optimizer.quantities == ("grad",)
    optimizer.add_param_group({"params": rest})
    assert len(optimizer.quantities) == 2
    problem.take(optimizer)
    assert optimizer.quantities == ("grad",)


def test_a_configured_curvature_is_taken():
    kfac = registry.quantities["kfac"]
    problem, other = Problem(), Problem()
    for each, given in ((problem, kfac(mc_samples=50)), (other, kfac(mc_samples=50))):
        each.take(training.DampedNewton(each.parameters(), given, lr=0.3))
    single = Problem()
    single.take(training.DampedNewton(single.parameters(), kfac, lr=0.3))
    assert_values(problem, other.values())
    with pytest.raises(AssertionError):
        assert_values(problem, single.values())


# -- where the step is Newton's --------------------------------------------------------------------


def least_squares(curvature, x, y, shape, bias=False):
    """A step without damping from a random start: the parameters, and those of least squares."""
    rng = np.random.default_rng(5)
    w = tracer.parameter(rng.standard_normal(shape), "w")
    b = tracer.parameter(rng.standard_normal(shape[:1]), "b")
    held = [w, b] if bias else [w]
    optimizer = training.DampedNewton(held, curvature, lr=1, damping=0)
    with tracer.Tape() as tape:
        inputs = tracer.batch(x)
        outputs = (inputs @ w if len(shape) == 1 else inputs @ w.T) + (b if bias else 0)
        loss = nn.mse_loss(outputs, y)
    optimizer.step(tape.backward(loss, optimizer.quantities))
    whole = np.column_stack([x, np.ones(len(x))]) if bias else x
    solution = np.linalg.lstsq(whole, y, rcond=None)[0]
    found = np.vstack([w.data.T, b.data]) if bias else w.data.T
    return found, solution


def design(orthogonal=False, centred=False):
    x = np.random.default_rng(1).standard_normal((12, 4))
    if centred:
        x = x - x.mean(0)
    return np.linalg.qr(x)[0] * [1, 2, 3, 4] if orthogonal else x


TARGETS = np.random.default_rng(2).standard_normal((12, 3))


@pytest.mark.parametrize("curvature", ["kflr", "kfra"])
def test_exact_factors_of_a_linear_map_give_newtons_step(curvature):
    """A vector's factor is its whole Gauss-Newton matrix, and `2 w I (x) X^T X` that of a layer."""
    for targets, shape in ((TARGETS, (3, 4)), (TARGETS[:, 0], (4,))):
        found, solution = least_squares(curvature, design(), targets, shape)
        np.testing.assert_allclose(found, solution, rtol=1e-9)


@pytest.mark.parametrize("curvature", ["kflr", "kfra"])
def test_so_they_do_with_a_bias_where_inputs_are_centred(curvature):
    """Only there is the matrix of weight and bias block-diagonal."""
    found, solution = least_squares(curvature, design(centred=True), TARGETS, (3, 4), bias=True)
    np.testing.assert_allclose(found, solution, rtol=1e-9, atol=1e-12)
    found, solution = least_squares(curvature, design(), TARGETS, (3, 4), bias=True)
    assert not np.allclose(found, solution, rtol=1e-3)


@pytest.mark.parametrize("curvature", ["diag_ggn_exact", "diag_h"])
def test_a_diagonal_gives_newtons_step_where_features_are_orthogonal(curvature):
    found, solution = least_squares(curvature, design(orthogonal=True), TARGETS, (3, 4))
    np.testing.assert_allclose(found, solution, rtol=1e-9)
    found, solution = least_squares(curvature, design(), TARGETS, (3, 4))
    assert not np.allclose(found, solution, rtol=1e-3)


# -- parameters without factors --------------------------------------------------------------------


def with_temperature():
    """A problem with a parameter that has no Kronecker factors: it goes through an exponential."""
    problem = Problem()
    temperature = tracer.parameter(np.full((2, 3), 0.1), "temperature")
    inner = problem.model
    problem.model = lambda x: inner(x) * np.exp(temperature).sum(0)
    problem.named = lambda: {**dict(inner.named_parameters()), "temperature": temperature}
    problem.parameters = lambda: list(problem.named().values())
    return problem


@pytest.mark.filterwarnings("ignore::tracer.errors.UndefinedWarning")
@pytest.mark.parametrize(
    ("curvature", "diagonal"),
    [("kfac", "diag_ggn_mc"), ("kflr", "diag_ggn_exact"), ("kfra", "diag_ggn_exact")],
)
def test_parameters_without_factors_take_the_diagonal_of_the_same_rows(curvature, diagonal):
    problem = with_temperature()
    optimizer = training.DampedNewton(problem.parameters(), curvature, lr=0.3, damping=0.1)
    results = problem.sweep(("grad", curvature, diagonal))
    expected = {}
    for name, p in problem.named().items():
        value = results[curvature].get(name)
        value = results[diagonal][name] if value is None else value
        expected[name] = p.data - 0.3 * solved(dense(value, 0.1), results["grad"][name])
    assert "temperature" not in results[curvature]
    problem.take(optimizer)
    assert_values(problem, expected)


def test_averaged_rows_ask_for_the_diagonal_besides_while_it_may_be_needed():
    whole, lacking = Problem(), with_temperature()
    asked = {}
    for problem in (whole, lacking):
        optimizer = training.DampedNewton(problem.parameters(), "kfra", damping=0.1)
        asked[problem] = []
        for step in range(3):
            asked[problem].append(len(optimizer.quantities))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UndefinedWarning)
                problem.take(optimizer, step)
    assert asked == {whole: [3, 2, 2], lacking: [3, 3, 3]}


def test_one_warning_tells_of_them():
    problem = with_temperature()
    optimizer = training.DampedNewton(problem.parameters(), "kflr", damping=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(3):
            problem.take(optimizer, step)
    assert [each.category for each in caught] == [UndefinedWarning]
    assert "'temperature' (has no Kronecker factors" in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("ignore::tracer.errors.UndefinedWarning")
def test_chunks_of_rows_give_the_same_curvature():
    results = []
    for budget in (None, 3000):
        problem = with_temperature()
        optimizer = training.DampedNewton(problem.parameters(), "kflr", damping=0.1)
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(problem.model(problem.x[:10]), problem.y[:10])
        results.append(tape.backward(loss, optimizer.quantities, memory_budget=budget))
    for name, value in results[0]["kflr"].items():
        other = results[1]["kflr"][name]
        pairs = zip(
            *(getattr(each, "factors", None) or [each.values] for each in (value, other)),
            strict=True,
        )
        for one, two in pairs:
            np.testing.assert_allclose(one, two, rtol=1e-9)


def test_factors_in_another_order_than_the_parameter_are_solved_with():
    """Tables have their rows first, transposed convolutions their axes exchanged, slices a rest."""
    rng = np.random.default_rng(0)
    tracer.seed(0)
    table = tracer.parameter(rng.standard_normal((6, 4)), "table")
    kernel = nn.ConvTranspose1d(4, 2, 3, bias=False).double()
    sliced = tracer.parameter(rng.standard_normal((5, 6)), "sliced")
    words, targets = rng.integers(0, 6, (8, 2)), rng.standard_normal((8, 5, 4))

    def sweep(quantities):
        with tracer.Tape() as tape:
            looked_up = np.swapaxes(np.take(table, tracer.batch(words), axis=0), 1, 2)
            hidden = kernel(looked_up)
            outputs = np.swapaxes(hidden.reshape(8, 2, 4), 1, 2) @ sliced[1:3, :5]
            loss = nn.mse_loss(np.swapaxes(outputs, 1, 2), targets)
        return tape.backward(loss, quantities)

    named = {"table": table, "weight": kernel.weight, "sliced": sliced}
    optimizer = training.DampedNewton(named.items(), "kflr", lr=1, damping=0.1)
    results = sweep(("grad", "kflr"))
    expected = {}
    for name, p in named.items():
        value, gradient = results["kflr"][p], results["grad"][p]
        expected[name] = p.data - value.inverse(0.1).matvec(gradient)
        assert not value.is_natural
    optimizer.step(sweep(optimizer.quantities))
    for name, p in named.items():
        np.testing.assert_allclose(p.data, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


# -- K-FAC -----------------------------------------------------------------------------------------


class SlowKFAC:
    """The rule in plain loops and dense matrices, of one curvature per parameter."""

    def __init__(self, problem, lr, damping, weight_decay, momentum, norm, decay, every, adapt):
        self.problem, self.lr, self.damping, self.decay_rate = problem, lr, damping, weight_decay
        self.momentum, self.norm, self.decay = momentum, norm, decay
        self.factor_every, self.inverse_every = every
        self.adapt = adapt
        self.seen, self.matrices, self.moves = {}, {}, {}
        self.dampings = []

    def objective(self, step):
        loss = float(self.problem.sweep((training.Loss(),), step)["loss"])
        squares = sum((v**2).sum() for v in self.problem.values().values())
        return loss + self.decay_rate / 2 * squares

    def take(self, step):
        problem = self.problem
        results = problem.sweep(("grad", "kfac", "ggn"), step)
        directions, gradients = {}, {}
        for name, p in problem.named().items():
            if step % self.factor_every == 0:
                self.seen.setdefault(name, []).append(results["kfac"][name])
            if step % self.inverse_every == 0:
                mean = mean_of(self.seen[name], self.decay)
                self.matrices[name] = dense(mean, self.damping + self.decay_rate)
            gradients[name] = results["grad"][name] + self.decay_rate * p.data
            directions[name] = solved(self.matrices[name], gradients[name])
        norm = self.lr**2 * sum((directions[n] * gradients[n]).sum() for n in directions)
        scale = 1 if self.norm is None else min(1, np.sqrt(self.norm / norm))
        for name, v in directions.items():
            self.moves[name] = self.momentum * self.moves.get(name, 0) - self.lr * scale * v
        d = np.concatenate([self.moves[n].reshape(-1) for n in results["ggn"].parameters])
        g = np.concatenate([gradients[n].reshape(-1) for n in results["ggn"].parameters])
        matrix = results["ggn"] @ np.eye(len(d)) + self.decay_rate * np.eye(len(d))
        predicted = g @ d + d @ matrix @ d / 2
        before = self.objective(step)
        for name, p in problem.named().items():
            p.data = p.data + self.moves[name]
        if self.adapt and step % self.adapt == self.adapt - 1:
            ratio = (self.objective(step) - before) / predicted
            if ratio > 3 / 4 and predicted < 0:
                self.damping *= (19 / 20) ** self.adapt
            elif ratio < 1 / 4 or predicted >= 0:
                self.damping /= (19 / 20) ** self.adapt
        self.dampings.append(self.damping)


KFAC_CASES = [
    {"norm": None, "decay": 0.95, "every": (1, 1), "adapt": 0, "momentum": 0.0},
    {"norm": None, "decay": 0.5, "every": (2, 4), "adapt": 0, "momentum": 0.9},
    {"norm": 1e-4, "decay": 0.95, "every": (1, 3), "adapt": 0, "momentum": 0.9},
    {"norm": None, "decay": 0.95, "every": (1, 5), "adapt": 2, "momentum": 0.5, "lr": 0.01},
    {"norm": None, "decay": 0.95, "every": (1, 5), "adapt": 3, "momentum": 0.9, "lr": 1.5},
    {"norm": 1e-2, "decay": 0.9, "every": (3, 5), "adapt": 5, "momentum": 0.9, "weight_decay": 0.1},
]


@pytest.mark.parametrize("case", KFAC_CASES)
def test_kfac_is_that_of_plain_loops(case):
    case = {"lr": 0.1, "damping": 0.02, "weight_decay": 0.0, **case}
    problem, slow = Problem(), SlowKFAC(Problem(), **case)
    optimizer = training.KFAC(
        problem.parameters(),
        case["lr"],
        case["damping"],
        case["weight_decay"],
        factor_decay=case["decay"],
        factor_every=case["every"][0],
        inverse_every=case["every"][1],
        momentum=case["momentum"],
        norm_constraint=case["norm"],
        adapt_damping=bool(case["adapt"]),
        adapt_every=case["adapt"] or 5,
    )
    for step in range(12):
        slow.take(step)
        problem.take(optimizer, step)
        assert_values(problem, slow.problem.values(), rtol=1e-8)
        assert optimizer.param_groups[0]["damping"] == pytest.approx(slow.dampings[-1])
    if case["adapt"]:
        assert len(set(slow.dampings)) > 1


def test_damping_falls_after_good_steps_and_rises_after_poor_ones():
    found = {}
    for lr in (0.01, 30.0):
        problem = Problem()
        optimizer = training.KFAC(problem.parameters(), lr, 0.1, momentum=0.0, adapt_every=1)
        problem.take(optimizer)
        found[lr] = optimizer.param_groups[0]["damping"]
    assert found[0.01] == pytest.approx(0.1 * 0.95)
    assert found[30.0] == pytest.approx(0.1 / 0.95)


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.76, 0.5), (0.75, 1), (0.25, 1), (0.24, 2), (-1, 2), (-np.inf, 2)]
)
def test_the_rule_of_levenberg_and_marquardt(ratio, expected):
    assert adapted(1.0, ratio, 0.5, 0, 10) == expected
    assert adapted(1.0, ratio, 0.5, 0.8, 1.5) == min(max(expected, 0.8), 1.5)


def test_a_model_that_does_not_fall_tells_nothing_good():
    assert reduction_ratio(-1.0, -2.0) == 0.5
    for change, predicted in ((1.0, 2.0), (0.0, 0.0), (np.nan, -1.0), (np.inf, -1.0)):
        assert reduction_ratio(change, predicted) == -np.inf


def test_kfac_burns_in_without_moving():
    problem, other = Problem(), Problem()
    optimizer = training.KFAC(problem.parameters(), damping=0.1, burn_in=3, adapt_damping=False)
    start = problem.values()
    for step in range(3):
        problem.take(optimizer, step)
        assert_values(problem, start, rtol=0)
    curvatures = [other.sweep(("grad", "kfac"), step)["kfac"] for step in range(4)]
    results = other.sweep(("grad",), 3)
    problem.take(optimizer, 3)
    expected = {
        name: value
        - 0.01
        * solved(dense(mean_of([c[name] for c in curvatures], 0.95), 0.1), results["grad"][name])
        for name, value in start.items()
    }
    assert_values(problem, expected)


def test_the_sweep_is_asked_for_what_is_due():
    problem = Problem()
    optimizer = training.KFAC(problem.parameters(), factor_every=2, inverse_every=4, adapt_every=3)
    asked = []
    for step in range(6):
        names = [q if isinstance(q, str) else q.name for q in optimizer.quantities]
        asked.append(names)
        problem.take(optimizer, step)
    plain = ["grad", "kfac", "loss"]
    assert asked == [
        plain,
        ["grad", "loss"],
        [*plain, "ggn"],
        ["grad", "loss"],
        plain,
        ["grad", "loss", "ggn"],
    ]


def test_while_a_step_asks_its_closure_the_loss_alone_is_wanted():
    for make in (lambda p: training.KFAC(p, adapt_every=1), training.HessianFree):
        problem = Problem()
        optimizer = make(problem.parameters())
        asked = []

        def closure(problem=problem, optimizer=optimizer, asked=asked):
            asked.append([q if isinstance(q, str) else q.name for q in optimizer.quantities])
            return problem.sweep(optimizer.quantities)

        optimizer.step(problem.sweep(optimizer.quantities), closure)
        assert asked
        assert all(names == ["loss"] for names in asked)
        assert "grad" in optimizer.quantities


# -- Sophia ----------------------------------------------------------------------------------------


def test_sophia_is_that_of_plain_loops():
    problem, other = Problem(), Problem()
    options = {"lr": 0.02, "betas": (0.9, 0.8), "rho": 0.5, "weight_decay": 0.3}
    optimizer = training.Sophia(problem.parameters(), **options, update_every=3)
    m = dict.fromkeys(other.named(), 0.0)
    h = dict(m)
    bounded = 0
    for step in range(8):
        results = other.sweep(("grad", "diag_ggn_mc"), step)
        for name, p in other.named().items():
            if step % 3 == 0:
                h[name] = 0.8 * h[name] + 0.2 * results["diag_ggn_mc"][name]
            m[name] = 0.9 * m[name] + 0.1 * results["grad"][name]
            ratio = abs(m[name]) / (0.5 * h[name] + 1e-15)
            bounded += (ratio < 1).sum()
            p.data = p.data * (1 - 0.02 * 0.3) - 0.02 * np.sign(m[name]) * np.minimum(ratio, 1)
        assert len(optimizer.quantities) == (2 if step % 3 == 0 else 1)
        problem.take(optimizer, step)
        assert_values(problem, other.values())
    assert bounded > 20  # both branches are met


def test_a_negative_curvature_of_sophia_steps_by_the_sign():
    w = tracer.parameter(np.array([1.0, 1.0]), "w")
    optimizer = training.Sophia([("w", w)], lr=0.1, weight_decay=0, curvature="diag_h")
    optimizer.step({"grad": {"w": np.array([1.0, 1e-3])}, "diag_h": {"w": np.array([-5.0, 5.0])}})
    m, h = (1 - 0.965) * 1e-3, (1 - 0.99) * 5
    np.testing.assert_allclose(w.data, [0.9, 1 - 0.1 * m / (0.04 * h)])


# -- conjugate gradients ---------------------------------------------------------------------------


def spd(size, seed=0, low=1e-2):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((size, size)))
    return q @ np.diag(np.geomspace(low, 1, size)) @ q.T, rng.standard_normal(size)


@pytest.mark.parametrize("start", [False, True])
def test_conjugate_gradients_solve(start):
    a, g = spd(12)
    exact = -np.linalg.solve(a, g)
    found = conjugate_gradients.conjugate_gradients(
        lambda v: a @ v, g, exact + 0.1 if start else None, 200, 0
    )
    last = found.iterates[-1]
    np.testing.assert_allclose(last.solution, exact, rtol=1e-8)
    assert last.value == pytest.approx(g @ exact / 2)
    for each in found.iterates:
        d = each.solution
        assert each.value == pytest.approx(d @ a @ d / 2 + g @ d)
    values = [each.value for each in found.iterates]
    assert (np.diff(values) < 1e-12 * abs(values[-1])).all()


def test_they_stop_where_the_model_has_settled():
    a, g = spd(200, low=1e-4)
    few = conjugate_gradients.conjugate_gradients(lambda v: a @ v, g, None, 500, 5e-4)
    many = conjugate_gradients.conjugate_gradients(lambda v: a @ v, g, None, 500, 0)
    assert few.iterations < many.iterations
    history = [
        conjugate_gradients.conjugate_gradients(lambda v: a @ v, g, None, n, 0).iterates[-1].value
        for n in range(1, 120)
    ]
    settled = [
        i
        for i in range(12, 119)
        if (k := max(10, -(-i // 10))) < i
        and (history[i - 1] - history[i - 1 - k]) / history[i - 1] < k * 5e-4
    ]
    assert few.iterations == settled[0]


def test_iterates_are_kept_further_and_further_apart():
    a, g = spd(60, low=1e-3)
    found = conjugate_gradients.conjugate_gradients(lambda v: a @ v, g, None, 50, 0)
    assert found.iterations == 50
    assert 10 < len(found.iterates) < 16


def test_negative_curvature_ends_them():
    g = np.array([1.0, 1.0, 1.0])
    first = conjugate_gradients.conjugate_gradients(lambda v: -v, g, None, 10, 0)
    assert first.negative
    np.testing.assert_array_equal(first.iterates[-1].solution, -g)
    assert first.iterates[-1].value == pytest.approx(-3 - 1.5)
    a = np.diag([3.0, 1.0, -0.5])
    later = conjugate_gradients.conjugate_gradients(lambda v: a @ v, g, None, 10, 0)
    assert later.negative
    assert later.iterations > 0
    assert g @ later.iterates[-1].solution < 0
    from_worse = conjugate_gradients.conjugate_gradients(
        lambda v: a @ v, g, np.array([-1 / 3, -1, 1.5]), 10, 0
    )
    np.testing.assert_array_equal(from_worse.iterates[-1].solution, later.iterates[-1].solution)


# -- Hessian-free ----------------------------------------------------------------------------------


def test_a_quadratic_is_solved_in_one_step():
    for curvature in ("ggn", "hessian"):
        w = tracer.parameter(np.random.default_rng(0).standard_normal((3, 4)), "w")
        optimizer = training.HessianFree([w], curvature, damping=0, cg_tolerance=0)

        def closure(w=w, optimizer=optimizer):
            with tracer.Tape() as tape:
                loss = nn.mse_loss(tracer.batch(design()) @ w.T, TARGETS)
            return tape.backward(loss, optimizer.quantities)

        optimizer.step(closure(), closure)
        solution = np.linalg.lstsq(design(), TARGETS, rcond=None)[0]
        np.testing.assert_allclose(w.data.T, solution, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_hessian_free_steps_are_those_of_dense_solves(curvature, weight_decay, monkeypatch):
    """Where the last iterate alone is tried: an earlier one may be at a lower loss."""

    def last_alone(iterates, line):
        return iterates[-1], line.at(iterates[-1].solution)

    monkeypatch.setattr(hessian_free, "backtracked", last_alone)
    problem, other = Problem(), Problem()
    optimizer = training.HessianFree(
        problem.parameters(), curvature, damping=2.0, weight_decay=weight_decay, cg_tolerance=0
    )
    damping, steps = 2.0, []
    for step in range(4):
        results = other.sweep(("grad", curvature), step)
        places = results[curvature].parameters
        named = other.named()
        values = np.concatenate([named[n].data.reshape(-1) for n in places])
        g = np.concatenate([results["grad"][n].reshape(-1) for n in places]) + weight_decay * values
        matrix = results[curvature] @ np.eye(len(g)) + weight_decay * np.eye(len(g))
        assert np.linalg.eigvalsh(matrix)[0] > -damping  # no step here meets negative curvature
        d = -np.linalg.solve(matrix + damping * np.eye(len(g)), g)

        def objective(vector, step=step, named=named, places=places):
            for n, place in places.items():
                named[n].data = vector[place].reshape(named[n].shape)
            loss = float(other.sweep((training.Loss(),), step)["loss"])
            return loss + weight_decay / 2 * vector @ vector

        before, after = objective(values), objective(values + d)
        ratio = (after - before) / (g @ d + d @ matrix @ d / 2)
        damping *= 2 / 3 if ratio > 3 / 4 else 3 / 2 if ratio < 1 / 4 else 1
        assert after <= before + 1e-2 * g @ d
        problem.take(optimizer, step)
        assert_values(problem, other.values(), rtol=1e-6)
        assert optimizer.param_groups[0]["damping"] == pytest.approx(damping)
        steps.append(damping)
    assert len(set(steps)) > 1


def test_iterates_are_gone_back_over_as_long_as_the_loss_falls():
    class Losses:
        def __init__(self, *losses):
            self.losses, self.tried = losses, []

        def at(self, number):
            self.tried.append(number)
            return self.losses[number]

    for losses, best, tried in (
        ((9.0, 3.0, 1.0, 2.0, 4.0), 2, [4, 3, 2, 1]),
        ((0.0, 3.0, 2.0), 2, [2, 1]),
        ((1.0, 2.0, np.inf), 0, [2, 1, 0]),
    ):
        line = Losses(*losses)
        iterates = [conjugate_gradients.Iterate(i, 0.0) for i in range(len(losses))]
        chosen, value = hessian_free.backtracked(iterates, line)
        assert (chosen.solution, value) == (best, losses[best])
        assert line.tried == tried


def test_a_step_is_shortened_until_the_loss_falls():
    w = tracer.parameter(np.array([3.0]), "w")
    optimizer = training.HessianFree([w], "hessian", lr=1.0, damping=0.0)

    def closure():
        with tracer.Tape() as tape:
            loss = np.sum(np.log(np.cosh(w)))  # flat far away: Newton's step goes much too far
        return tape.backward(loss, optimizer.quantities)

    before = float(closure()["loss"])
    optimizer.step(closure(), closure)
    assert float(np.log(np.cosh(w.data[0]))) < before


def test_saddles_are_left_along_negative_curvature():
    w = tracer.parameter(np.array([0.5, 1e-3]), "w")
    optimizer = training.HessianFree([w], "hessian", damping=1e-3)

    def closure():
        with tracer.Tape() as tape:
            loss = w[0] ** 2 - w[1] ** 2 + w[1] ** 4 / 4  # minima at (0, +-sqrt(2)), of -1
        return tape.backward(loss, optimizer.quantities)

    losses, dampings = [], [1e-3]
    for _ in range(25):
        losses.append(float(closure()["loss"]))
        optimizer.step(closure(), closure)
        dampings.append(optimizer.param_groups[0]["damping"])
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(-1, abs=1e-8)
    assert max(dampings) > 1e-3  # negative curvature raises it


def test_without_a_better_point_no_step_is_taken():
    w = tracer.parameter(np.array([1.0, -2.0]), "w")
    optimizer = training.HessianFree([w], damping=1.0)

    def results_at(shift):
        with tracer.Tape() as tape:
            loss = nn.mse_loss(tracer.batch(design()[:, :2]) @ w, TARGETS[:, 0])
        return {**tape.backward(loss, ("grad", "ggn")), "loss": np.array(shift)}

    start = w.data.copy()
    optimizer.step(results_at(0.0), lambda: {"loss": np.array(1.0)})
    np.testing.assert_array_equal(w.data, start)
    assert optimizer.param_groups[0]["damping"] == pytest.approx(1.5)


def test_a_closure_that_raises_leaves_the_parameters_where_they_were():
    problem = Problem()
    optimizer = training.HessianFree(problem.parameters())
    results, before = problem.sweep(optimizer.quantities), problem.values()

    def closure():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(results, closure)
    assert_values(problem, before, rtol=0)
    problem.take(optimizer)  # and quantities are those of a step again


def test_parameters_that_are_not_stepped_are_left_out_of_the_products():
    problem = Problem()
    some = problem.parameters()[2:]
    results = problem.sweep(("grad", "ggn"))
    places = [results["ggn"].parameters[name] for name in list(problem.named())[2:]]
    index = np.concatenate([np.arange(place.start, place.stop) for place in places])
    matrix = (results["ggn"] @ np.eye(results["ggn"].shape[0]))[np.ix_(index, index)]
    g = np.concatenate([results["grad"][p].reshape(-1) for p in some])
    d = -np.linalg.solve(matrix + 2 * np.eye(len(g)), g)
    start = np.concatenate([p.data.reshape(-1) for p in some])
    fixed = [p.data.copy() for p in problem.parameters()[:2]]
    problem.take(training.HessianFree(some, damping=2.0, cg_tolerance=0))
    moved = np.concatenate([p.data.reshape(-1) for p in some])
    np.testing.assert_allclose(moved - start, d, rtol=1e-7, atol=1e-12)
    for p, before in zip(problem.parameters(), fixed, strict=False):
        np.testing.assert_array_equal(p.data, before)


# -- what all of them keep to ----------------------------------------------------------------------

EVERY = {
    "DampedNewton kfac": lambda p: training.DampedNewton(p, "kfac", lr=0.3),
    "DampedNewton kflr": lambda p: training.DampedNewton(p, "kflr", update_every=3, average=0.9),
    "DampedNewton diag_h": lambda p: training.DampedNewton(p, "diag_h", update_every=2),
    "DampedNewton diag_ggn_mc": lambda p: training.DampedNewton(p, "diag_ggn_mc", average=1),
    "KFAC": lambda p: training.KFAC(p, 0.1, 0.1, factor_every=2, inverse_every=3, adapt_every=2),
    "KFAC bound": lambda p: training.KFAC(
        p, 0.1, 0.1, norm_constraint=1e-3, adapt_damping=False, burn_in=2, weight_decay=0.1
    ),
    "Sophia": lambda p: training.Sophia(p, lr=0.01, update_every=3),
    "HessianFree": lambda p: training.HessianFree(p, weight_decay=0.1),
}


@pytest.mark.parametrize("name", EVERY)
def test_a_saved_state_goes_on_with_the_same_bits(name, tmp_path):
    steps = 7
    whole = Problem()
    optimizer = EVERY[name](whole.parameters())
    for step in range(steps):
        whole.take(optimizer, step)
    for stop in range(1, steps):
        first, second = Problem(), Problem(seed=1)
        second.x, second.y = first.x, first.y
        one, other = EVERY[name](first.parameters()), EVERY[name](second.parameters())
        for step in range(stop):
            first.take(one, step)
        path = tmp_path / "state.safetensors"
        training.save_checkpoint(path, model=first.model, optimizer=one)
        training.load_checkpoint(path, model=second.model, optimizer=other)
        for step in range(stop, steps):
            second.take(other, step)
        assert_values(second, whole.values(), rtol=0)


@pytest.mark.parametrize("name", EVERY)
def test_a_state_dict_is_a_copy(name):
    first, second = Problem(), Problem()
    one, other = EVERY[name](first.parameters()), EVERY[name](second.parameters())
    for step in range(3):
        first.take(one, step)
        second.take(other, step)
    saved = one.state_dict()
    first.take(one, 3)
    second.take(other, 3)
    for p, value in zip(first.parameters(), second.values().values(), strict=True):
        np.testing.assert_array_equal(p.data, value)
    one.load_state_dict(saved)
    assert one.shared == saved.get("shared", {})


@pytest.mark.parametrize("name", EVERY)
def test_what_others_refer_to_stays_as_it_was(name):
    problem = Problem()
    optimizer = EVERY[name](problem.parameters())
    held = [p.data for p in problem.parameters()]
    copies = [array.copy() for array in held]
    problem.take(optimizer)
    results = problem.sweep(optimizer.quantities, 1)
    gradient = {key: value.copy() for key, value in results["grad"].items()}

    optimizer.step(results, lambda: problem.sweep(optimizer.quantities, 1))
    for array, copy in zip(held, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    for key, value in gradient.items():
        np.testing.assert_array_equal(results["grad"][key], value)


@pytest.mark.parametrize("name", EVERY)
def test_they_step_in_single_precision(name):
    problem = Problem()
    problem.model.float()
    other = Problem()
    one, two = EVERY[name](problem.parameters()), EVERY[name](other.parameters())
    problem.x, problem.targets = problem.x.astype(np.float32), problem.targets.astype(np.float32)
    for step in range(3):
        problem.take(one, step)
        other.take(two, step)
    for p, value in zip(problem.parameters(), other.values().values(), strict=True):
        assert p.data.dtype == np.float32
        if "mc" not in name and name not in ("Sophia", "DampedNewton kfac") and "KFAC" not in name:
            np.testing.assert_allclose(p.data, value, rtol=2e-3, atol=2e-4)


def test_they_step_parameters_of_half_precision():
    for name in ("DampedNewton kflr", "DampedNewton diag_h"):
        problem = Problem()
        problem.model.half()
        optimizer = EVERY[name](problem.parameters())
        before = problem.values()
        for step in range(2):
            problem.take(optimizer, step)
        saved = optimizer.state_dict()
        for p, value in zip(problem.parameters(), before.values(), strict=True):
            assert p.data.dtype == np.float16
            assert (p.data != value).any()
            assert np.isfinite(p.data).all()
        again = EVERY[name](problem.parameters())
        again.load_state_dict(saved)
        problem.take(again, 2)


def test_accumulated_batches_step_as_one():
    """The law by which factors of parts merge is that of one batch, diagonals among them."""
    whole, parts = with_temperature(), with_temperature()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedWarning)
        one = training.DampedNewton(whole.parameters(), "kflr", lr=0.3, damping=0.1)
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(whole.model(whole.x[:20]), whole.y[:20])
        one.step(tape.backward(loss, one.quantities))
        other = training.DampedNewton(parts.parameters(), "kflr", lr=0.3, damping=0.1)
        added = training.Accumulated(other.quantities)
        for step in range(2):
            added.add(parts.sweep(added.quantities, step), 10)
        other.step(added.results())
    assert_values(parts, whole.values())


@pytest.mark.parametrize("name", EVERY)
def test_fit_trains_with_them(name):
    problem = Problem()
    optimizer = EVERY[name](problem.parameters())
    loader = training.DataLoader(training.ArrayDataset(problem.x, problem.y), 20, True, rng=0)
    history = training.fit(
        problem.model, nn.cross_entropy, loader, optimizer=optimizer, epochs=3, progress=False
    )
    assert history["loss"][-1] < history["loss"][0]


def test_fit_accumulates_curvature():
    problem = Problem()
    optimizer = training.DampedNewton(problem.parameters(), "kflr", lr=0.3, damping=0.1)
    loader = training.DataLoader(training.ArrayDataset(problem.x, problem.y), 10)
    history = training.fit(
        problem.model,
        nn.cross_entropy,
        loader,
        optimizer=optimizer,
        epochs=2,
        accumulate=2,
        progress=False,
    )
    assert history["loss"][-1] < history["loss"][0]


# -- sentences -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: training.DampedNewton(p, lr=-1), "expects lr as a number of at least 0"),
        (lambda p: training.DampedNewton(p, damping="x"), "expects damping as a number"),
        (lambda p: training.DampedNewton(p, update_every=0), "expects update_every as a number of"),
        (lambda p: training.DampedNewton(p, update_every=1.5), "expects update_every"),
        (lambda p: training.DampedNewton(p, average=2), "expects average as a number from 0 to 1"),
        (
            lambda p: training.DampedNewton(p, average="mean"),
            "expects average as a number from 0 to 1",
        ),
        (lambda p: training.DampedNewton(p, "kfak"), "no quantity is called 'kfak'"),
        (lambda p: training.DampedNewton(p, 3), "expects curvature as the name of a quantity"),
        (lambda p: training.DampedNewton(p, "ggn"), "'ggn' is no such quantity"),
        (lambda p: training.DampedNewton(p, "diag_h_batch"), "is no such quantity"),
        (lambda p: training.KFAC(p, inverse_every=0), "expects inverse_every"),
        (lambda p: training.KFAC(p, momentum=1), "expects momentum as a number from 0 to below 1"),
        (lambda p: training.KFAC(p, factor_decay=-1), "expects factor_decay"),
        (lambda p: training.KFAC(p, norm_constraint=-1), "expects norm_constraint"),
        (lambda p: training.Sophia(p, betas=(1, 0.9)), r"expects betas\[0\]"),
        (lambda p: training.Sophia(p, curvature="kfac"), "expects a diagonal as its curvature"),
        (lambda p: training.HessianFree(p, "kfac"), 'expects curvature as "ggn" or "hessian"'),
        (lambda p: training.HessianFree(p, cg_iterations=0), "expects cg_iterations"),
        (lambda p: training.HessianFree([{"params": [q]} for q in p]), "one group of parameters"),
    ],
)
def test_wrong_arguments_are_told(make, said):
    with pytest.raises(TracerError, match=said):
        make(Problem().parameters())


def test_results_without_what_is_needed_are_told():
    problem = Problem()
    newton = training.DampedNewton(problem.parameters(), "kflr")
    with pytest.raises(TracerError, match=r"DampedNewton\.step needs 'kflr'"):
        newton.step(problem.sweep("grad"))
    results = problem.sweep(newton.quantities)
    del results["kflr"]["0.weight"]
    with pytest.raises(TracerError, match=r"needs 'kflr' of .*weight.*, and the results have none"):
        newton.step(results)
    results = problem.sweep(newton.quantities)
    results["kflr"]["0.weight"] = np.zeros(3)
    with pytest.raises(TracerError, match=r"is an array of shape \[3\]"):
        newton.step(results)
    for optimizer in (
        training.KFAC(problem.parameters()),
        training.HessianFree(problem.parameters()),
    ):
        with pytest.raises(TracerError, match=r"step\(results, closure\)"):
            optimizer.step(problem.sweep(optimizer.quantities))
    with pytest.raises(TracerError, match=r"Sophia\.step needs 'diag_ggn_mc'"):
        training.Sophia(problem.parameters()).step(problem.sweep("grad"))


@pytest.mark.parametrize("name", ["DampedNewton kflr", "DampedNewton diag_h", "KFAC"])
def test_curvature_that_is_not_finite_is_told_and_nothing_changes(name):
    problem = Problem()
    optimizer = EVERY[name](problem.parameters())
    problem.take(optimizer)
    optimizer.shared.update(step=0)
    results = problem.sweep(optimizer.quantities)
    quantity = optimizer.curvature.name
    value = results[quantity]["2.weight"]
    arrays = value.factors if isinstance(value, Kronecker) else [value]
    arrays[0].flat[0] = np.inf
    before = problem.values()
    with pytest.raises(TracerError, match=r"curvature of .*weight.* is not finite"):
        optimizer.step(results, lambda: problem.sweep(optimizer.quantities))
    assert_values(problem, before, rtol=0)


def test_singular_curvature_without_damping_is_told():
    problem = Problem()
    for curvature in ("kflr", "diag_ggn_exact"):
        problem.x[:, 0] = 0
        optimizer = training.DampedNewton(problem.parameters(), curvature, damping=0)
        with pytest.raises(TracerError, match="singular to rounding with a damping of 0"):
            problem.take(optimizer)


def test_a_loss_that_is_not_finite_is_told():
    problem = Problem()
    optimizer = training.HessianFree(problem.parameters())
    results = problem.sweep(optimizer.quantities)
    results["loss"] = np.array(np.nan)
    with pytest.raises(TracerError, match="is not finite, and HessianFree takes no step"):
        optimizer.step(results, lambda: results)


def test_a_state_of_another_optimiser_is_refused():
    problem = Problem()
    saved = training.SGD(problem.parameters()).state_dict()
    optimizer = training.DampedNewton(problem.parameters())
    with pytest.raises(TracerError, match="lacks 'shared'"):
        optimizer.load_state_dict(saved)
    sophia = training.Sophia(problem.parameters()).state_dict()
    with pytest.raises(TracerError, match="keeps since, step: it is of another optimiser"):
        optimizer.load_state_dict(sophia)


# -- training --------------------------------------------------------------------------------------

#: gradient descent with momentum at its best of these rates, and curvature
RATES = (0.03, 0.1, 0.3, 1.0)
DIGITS = {
    **{f"SGD {lr}": lambda p, lr=lr: training.SGD(p, lr=lr, momentum=0.9) for lr in RATES},
    "DampedNewton": lambda p: training.DampedNewton(p, "kfac", lr=0.1, average=0.95),
    "KFAC": lambda p: training.KFAC(p, lr=0.1, norm_constraint=1e-3),
}


def digits_loss(make, steps, seed):
    """The training loss, all of it, after so many steps."""
    train, _ = training.datasets.digits()
    tracer.seed(seed)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 50), nn.Tanh(), nn.Linear(50, 30), nn.Tanh(), nn.Linear(30, 10)
    )
    optimizer = make(model.parameters())
    loader = training.DataLoader(train, 128, True, drop_last=True, rng=seed)
    done = 0
    while done < steps:
        for x, y in loader:

            def closure(x=x, y=y):
                with tracer.Tape() as tape:
                    loss = nn.cross_entropy(model(x), y)
                return tape.backward(loss, optimizer.quantities)

            optimizer.step(closure(), closure)
            done += 1
            if done == steps:
                break
    return training.evaluate(model, nn.cross_entropy, train)["loss"]


@pytest.mark.slow
def test_digits_are_learned_in_fewer_steps_than_by_gradients():
    """Loss after 60 steps, means: SGD 0.97, 0.21, 0.11, 0.72; DampedNewton 0.066, KFAC 0.038."""
    found = {
        name: np.mean([digits_loss(make, 60, seed) for seed in range(3)])
        for name, make in DIGITS.items()
    }
    best = min(found[f"SGD {lr}"] for lr in RATES)
    assert found["KFAC"] < 0.6 * best, found
    assert found["DampedNewton"] < 0.8 * best, found
