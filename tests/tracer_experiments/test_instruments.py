"""Each instrument against its formula, from the gradients of single samples one by one."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training
from tracer import extend, registry
from tracer.errors import TracerError, UndefinedWarning
from tracer_experiments import Histogram, Late
from tracer_experiments.instruments import INSTRUMENTS, instruments, observation, steps, travel
from tracer_experiments.instruments.binning import Bins
from tracer_experiments.instruments.presets import ECONOMY
from tracer_experiments.instruments.steps import position


class LastOfSequence(nn.Module):
    """A recurrent network whose last state is read out."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.recurrent = nn.RNN(inputs, hidden, batch_first=True)
        self.read_out = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.read_out(self.recurrent(x)[0][:, -1])


def mlp(a, b):
    return nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, 3)), (a,)


def convolutions(a, b):
    layers = nn.Conv2d(a, b, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * b, 3)
    return nn.Sequential(*layers), (a, 3, 3)


def recurrent(a, b):
    return LastOfSequence(a, b, 3), (4, a)


def tied(a, b):
    square = nn.Linear(b, b)
    return nn.Sequential(nn.Linear(a, b), square, nn.Tanh(), square, nn.Linear(b, 3)), (a,)


def embedding(a, b):
    return nn.Sequential(nn.Linear(a, 4), nn.LayerNorm(4), nn.Linear(4, 3, bias=False)), (a,)


MODELS = {f.__name__: f for f in (mlp, convolutions, recurrent, tied, embedding)}
LOSSES = {
    "mean": nn.cross_entropy,
    "sum": lambda z, y: nn.cross_entropy(z, y, reduction="sum"),
    "squares": lambda z, y: nn.mse_loss(z, np.eye(3)[y]),
    "terms": lambda z, y: 0.5 * nn.cross_entropy(z, y) + 2 * nn.mse_loss(z, np.eye(3)[y]),
    "plain": lambda z, y: np.mean(np.sum((z - np.eye(3)[y]) ** 2, 1)),
}


def by_one(model, loss, x, y):
    """`[N, P]` gradients of the samples' losses and `[N]` these losses, one sample at a time."""
    gradients, losses = [], []
    for n in range(len(x)):
        with tracer.Tape() as tape:
            value = loss(model(x[n : n + 1]), y[n : n + 1])
        found = tape.backward(value)["grad"]
        gradients.append(np.concatenate([g.reshape(-1) for g in found.values()]))
        losses.append(float(value.data))
    return np.array(gradients), np.array(losses)


def flat(model):
    return np.concatenate([p.data.reshape(-1) for _, p in model.named_parameters()])


class Stepped:
    """A training of a few steps, with what instruments say and what they are made of."""

    def __init__(self, model, loss, batches, which, optimizer, **options):
        self.model, self.points, self.values = model, [], {}
        self.instruments = experiments.Instruments(which, **options)
        for step, (x, y) in enumerate(batches):
            with tracer.Tape() as tape:
                value = loss(model(x), y)
            asked = (*optimizer.quantities, *self.instruments.quantities(step))
            results = tape.backward(value, asked)
            self.points.append((flat(model), *by_one(model, loss, x, y), float(value.data)))
            measured = self.instruments.measure(
                step, results, loss=value, model=model, optimizer=optimizer
            )
            for name, number in measured.items():
                self.values.setdefault(name, {})[getattr(number, "step", step)] = number
            optimizer.step(results)


def batches_of(rng, shape, samples, steps):
    for _ in range(steps):
        yield rng.standard_normal((samples, *shape)), rng.integers(0, 3, samples)


def trained(name, loss, a, b, samples, seed, which, steps=3, momentum=0.0, **options):
    tracer.seed(seed)
    model, shape = MODELS[name](a, b)
    model.double()
    optimizer = training.SGD(model.named_parameters(), lr=0.05, momentum=momentum)
    batches = batches_of(np.random.default_rng(seed), shape, samples, steps)
    return Stepped(model, LOSSES[loss], batches, which, optimizer, **options)


def close(found, expected):
    assert np.isclose(found, expected, rtol=1e-8, atol=1e-11), (found, expected)


SIZES = {
    "a": st.integers(1, 4),
    "b": st.integers(1, 5),
    "samples": st.integers(2, 5),
    "seed": st.integers(0, 2**20),
}


# -- tests of the batch, and of its noise --------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=4, deadline=None)
@given(**SIZES)
def test_instruments_of_gradients(name, loss, a, b, samples, seed):
    which = ["NormTest", "InnerTest", "OrthoTest", "MeanGSNR", "EarlyStopping", "CABS", "GradNorm"]
    found = trained(name, loss, a, b, samples, seed, which, steps=1)
    _, g_n, losses, _ = found.points[0]
    count, g = len(g_n), g_n.mean(0)
    norm, dots = (g * g).sum(), g_n @ g
    variance = g_n.var(0, ddof=1)
    lr = 0.05 * (count if loss == "sum" else 1)
    expected = {
        "NormTest": np.sqrt(variance.sum() / (count * norm)),
        "InnerTest": np.sqrt(dots.var(ddof=1) / (count * norm**2)),
        "MeanGSNR": (g**2 / (g_n.var(0) + 1e-5)).mean(),
        "EarlyStopping": 1 - count * (g**2 / (variance + 1e-5)).mean(),
        "CABS": lr * g_n.var(0).sum() / losses.mean(),
        "GradNorm": np.sqrt(norm) * (count if loss == "sum" else 1),
    }
    for kind, number in expected.items():
        close(found.values[kind][0], number)
    # its square is a difference, and rounds as the sum that it is a part of
    across = ((g_n - np.outer(dots / norm, g)) ** 2).sum()
    square = found.values["OrthoTest"][0] ** 2 * (count - 1) * count * norm
    np.testing.assert_allclose(square, across, rtol=1e-8, atol=1e-13 * (g_n * g_n).sum())


# -- steps ---------------------------------------------------------------------------------------


def alpha(before, after):
    """By Cockpit's formula, of two points."""
    (p, g_p, l_p, _), (q, g_q, l_q, _) = before, after
    s = q - p
    t = np.sqrt(s @ s)
    slopes = g_p @ s / t, g_q @ s / t
    values = [l_p.mean(), l_q.mean(), slopes[0].mean(), slopes[1].mean()]
    variances = [l_p.var(ddof=1), l_q.var(ddof=1), *(each.var(ddof=1) for each in slopes)]
    weights = np.diag(1 / np.where(np.array(variances) == 0, 1e-10, variances))
    phi = np.array([[1, 0, 0], [1, t, t**2], [0, 1, 0], [0, 1, 2 * t]])
    w = np.linalg.solve(phi.T @ weights @ phi, phi.T @ weights @ values)
    return -1.0 if w[2] < 0 else t / (-w[1] / (2 * w[2])) - 1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=3, deadline=None)
@given(**SIZES)
def test_instruments_of_steps(name, loss, momentum, a, b, samples, seed):
    which = ["Alpha", "Distance", "UpdateSize", "UpdateRatio"]
    found = trained(name, loss, a, b, samples, seed, which, momentum=momentum)
    points = found.points
    for step in range(2):
        length = np.linalg.norm(points[step + 1][0] - points[step][0])
        close(found.values["UpdateSize"][step], length)
        close(found.values["UpdateRatio"][step], length / np.linalg.norm(points[step][0]))
        expected = alpha(points[step], points[step + 1])
        assert found.values["Alpha"][step] == pytest.approx(expected, rel=1e-6, abs=1e-8)
        assert type(found.values["Alpha"][step]) is Late
    for step, point in enumerate(points):
        close(found.values["Distance"][step], np.linalg.norm(point[0] - points[0][0]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 0, -2, 0), 0),  # the minimum of (1 - t)^2
        ((1, 1, -4, 4), 1),  # opposite, of (1 - 2 t)^2
        ((4, 1, -4, -2), -0.5),  # half way, of (2 - t)^2
        ((0, -1, 0, -2), -1),  # downward
        ((1, 0, -1, -1), -1),  # straight
    ],
)
def test_a_position_on_a_parabola(values, expected):
    assert position(np.array(values, float), np.ones(4)) == pytest.approx(expected, abs=1e-12)
    assert position(np.array([np.nan, 0, 0, 0]), np.ones(4)) is None


@given(
    st.lists(st.floats(-10, 10), min_size=4, max_size=4),
    st.lists(st.floats(1e-6, 1e3), min_size=4, max_size=4),
)
def test_a_position_is_that_of_weighed_least_squares(values, variances):
    matrix = np.array([[1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 1, 2]], float)
    root = 1 / np.sqrt(variances)
    q, r = np.linalg.qr(root[:, None] * matrix)
    _, slope, bend = np.linalg.solve(r, q.T @ (root * values))
    if min(abs(slope), abs(bend)) > 1e-3:
        expected = -1.0 if bend < 0 else -2 * bend / slope - 1
        assert position(values, variances) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def wide(dtype):
    """A network with weights that Gram matrices are the cheaper for, and without."""
    tracer.seed(0)
    layers = nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 3)
    return nn.Sequential(*layers).to(dtype)


def wide_batches(dtype, steps):
    for x, y in batches_of(np.random.default_rng(0), (40,), 6, steps):
        yield x.astype(dtype), y


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-10)])
@pytest.mark.parametrize("loss", ["mean", "sum"])
def test_slopes_along_a_step_of_plain_sgd_are_those_along_any_step(
    monkeypatch, loss, dtype, tolerance
):
    found = {}
    for way in ("options", "gradient", "general"):
        model, slopes, factors = wide(dtype), [], []

        def recorded(alpha, o, slopes=slopes, factors=factors, measure=steps.Alpha.measure):
            if o.before is not None:
                slopes += sum(o.slopes_before.values()), sum(o.slopes.values())
                factors.append([c for c in o.along_gradient.values() if c is not None])
            return measure(alpha, o)

        with monkeypatch.context() as monkeypatch:
            monkeypatch.setattr(steps.Alpha, "measure", recorded)
            if way != "options":
                monkeypatch.setattr(instruments, "rates_of", lambda optimizer: {})
            if way == "general":
                monkeypatch.setattr(observation, "factor_of_gradient", lambda *_: None)
            optimizer = training.SGD(model.named_parameters(), lr=0.5 if loss == "mean" else 0.1)
            Stepped(model, LOSSES[loss], wide_batches(dtype, 4), ["Alpha"], optimizer)
        assert [len(each) for each in factors] == [0 if way == "general" else 6] * 3
        found[way] = np.array(slopes)
    assert len(found["general"]) == 6
    for way in ("options", "gradient"):
        error = np.abs(found[way] - found["general"]).max(1)
        assert (error <= tolerance * np.abs(found["general"]).max(1)).all()


def clipped(model, results, optimizer):
    optimizer.step(results)
    weight = model[0].weight
    weight.data = np.clip(weight.data, -0.1, 0.1)


def one_weight_put_back(model, results, optimizer):
    weight = model[2].weight
    kept = weight.data[-1, -1].copy()
    optimizer.step(results)
    weight.data = weight.data.copy()
    weight.data[-1, -1] = kept


def signs_turned(model, results, optimizer):
    for g in results["grad"].values():
        g *= -1
    optimizer.step(results)


def scaled(model, results, optimizer):
    for g in results["grad"].values():
        g *= 0.25
    optimizer.step(results)


def at_another_rate(model, results, optimizer):
    optimizer.param_groups[0]["lr"] *= 0.9
    optimizer.step(results)


def shuffled(model, results, optimizer):
    for g in results["grad"].values():
        g[...] = g[::-1].copy()
    optimizer.step(results)


STEPPED_OTHERWISE = (clipped, one_weight_put_back, signs_turned, scaled, at_another_rate, shuffled)


@pytest.mark.parametrize("spots", [4, 1 << 12], ids="{} elements".format)
@pytest.mark.parametrize("step_of", STEPPED_OTHERWISE, ids=lambda f: f.__name__)
def test_what_is_done_besides_the_step_of_plain_sgd_is_seen(monkeypatch, step_of, spots):
    monkeypatch.setattr(travel, "SPOTS", spots)
    model = wide("float64")
    optimizer = training.SGD(model.named_parameters(), lr=0.1)
    measuring = experiments.Instruments(["Alpha", "UpdateSize"])
    points, found = [], []
    for step, (x, y) in enumerate(wide_batches("float64", 4)):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        points.append((flat(model), *by_one(model, nn.cross_entropy, x, y), 0))
        results = tape.backward(loss, ("grad", *measuring.quantities(step)))
        found.append(measuring.measure(step, results, loss=loss, model=model, optimizer=optimizer))
        step_of(model, results, optimizer)
    for step in range(3):
        close(found[step + 1]["UpdateSize"], np.linalg.norm(points[step + 1][0] - points[step][0]))
        expected = alpha(points[step], points[step + 1])
        assert found[step + 1]["Alpha"] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    "options",
    [{"momentum": 0.9}, {"weight_decay": 0.1}, {"maximize": True}, {"nesterov": True}],
    ids=str,
)
def test_the_rate_of_another_rule_is_not_that_of_plain_sgd(options):
    parameters = [nn.Parameter(np.ones(2))], [nn.Parameter(np.ones(2))]
    optimizer = training.SGD([{"params": parameters[0]}, {"params": parameters[1]}], lr=0.1)
    optimizer.param_groups[1] |= options
    assert steps.rates_of(optimizer) == {id(parameters[0][0]): 0.1}
    assert steps.rates_of(training.Adam(parameters[0])) == {}


# -- histograms ----------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([-3.0, -2.0, -0.04, -0.0, 0.0, 0.04, 1.96, 2.0, 5.0, 0.3])))
def test_values_at_edges_are_counted_as_numpy_counts_them(values):
    values = np.array(values, float)
    bins = Bins(-2, 2, 100)
    counts, _ = np.histogram(np.clip(values, -2, 2), bins.edges)
    assert np.array_equal(bins.counted(values), counts)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=5, deadline=None)
@given(**SIZES)
def test_histograms_count_what_numpy_counts(name, a, b, samples, seed):
    found = trained(name, "mean", a, b, samples, seed, ["GradHist1d", "GradHist2d"], steps=1)
    p, g_n, _, _ = found.points[0]
    one, two = found.values["GradHist1d"][0], found.values["GradHist2d"][0]
    assert type(one) is type(two) is Histogram
    counts, edges = np.histogram(np.clip(g_n, -2, 2), 100, (-2, 2))
    assert np.array_equal(one, counts)
    assert np.array_equal(one.edges, edges)
    rows = np.broadcast_to(np.clip(p, -2, 2), g_n.shape).reshape(-1)
    columns = np.clip(g_n, -1, 1).reshape(-1)
    counts, *edges = np.histogram2d(rows, columns, (50, 40), ((-2, 2), (-1, 1)))
    assert np.array_equal(two, counts)
    assert all(np.array_equal(x, y) for x, y in zip(two.edges, edges, strict=True))


@pytest.mark.parametrize("size", [1e-3, 0.3, 5.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_histograms_of_small_and_large_gradients(size, dtype):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)).to(dtype)
    x, y = (size * 10 * rng.standard_normal((40, 30))).astype(dtype), rng.integers(0, 3, 40)
    instruments = experiments.Instruments(["GradHist1d"])
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y)
    results = tape.backward(loss, ("grad", "grad_batch", *instruments.quantities(0)))
    (found,) = instruments.measure(0, results, loss=loss, model=model).values()
    g_n = np.concatenate([40 * g.reshape(-1) for g in results["grad_batch"].values()])
    counts, _ = np.histogram(np.clip(g_n.astype(float), -2, 2), 100, (-2, 2))
    assert np.abs(found - counts).sum() <= (0 if dtype == "float64" else 1e-4 * g_n.size)
    assert found.sum() == g_n.size


def test_values_that_are_not_finite_are_counted_apart():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)).double()
    x = np.array([[1.0, 2.0], [np.nan, 1.0], [0.5, 0.1]])
    instruments = experiments.Instruments(["GradHist1d", "GradHist2d", "GradNorm"])
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), np.array([0, 1, 2]))
    results = tape.backward(loss, ("grad", *instruments.quantities(0)))
    found = instruments.measure(0, results, loss=loss, model=model)
    assert found["GradHist1d"].nan == 21
    assert found["GradHist1d"].sum() == found["GradHist2d"].sum() == 42
    assert np.isnan(found["GradNorm"])


# -- curvature -----------------------------------------------------------------------------------


@pytest.mark.parametrize("curvature", ["diag_h", "diag_ggn_exact"])
@pytest.mark.parametrize("loss", ["mean", "sum", "squares"])
@pytest.mark.parametrize("name", ["mlp", "convolutions"])
def test_instruments_of_curvature(name, loss, curvature):
    which = ["HessTrace", "TICDiag", "TICTrace", "HessMaxEV", "HessMaxAbsEV"]
    found = trained(name, loss, 3, 4, 5, 0, which, steps=2, curvature=curvature, layers=True)
    for step in range(2):
        p, g_n, _, _ = found.points[step]
        model, shape = MODELS[name](3, 4)
        model.double()
        begin = 0
        for _, parameter in model.named_parameters():
            size = parameter.data.size
            parameter.data = p[begin : begin + size].reshape(parameter.shape)
            begin += size
        batches = list(batches_of(np.random.default_rng(0), shape, 5, 2))
        with tracer.Tape() as tape:
            value = LOSSES[loss](model(batches[step][0]), batches[step][1])
        results = tape.backward(value, (curvature, "hessian"))
        diagonal = np.concatenate([h.reshape(-1) for h in results[curvature].values()])
        mean = diagonal / (5 if loss == "sum" else 1)
        squares = (g_n**2).mean(0)
        close(found.values["HessTrace"][step], diagonal.sum())
        for key, h in results[curvature].items():
            close(found.values[f"HessTrace/{key}"][step], h.sum())
        close(found.values["TICDiag"][step], (squares / (mean + 1e-7)).sum())
        close(found.values["TICTrace"][step], squares.sum() / (mean.sum() + 1e-7))
        eigenvalues = np.linalg.eigvalsh(results["hessian"] @ np.eye(len(p)))
        largest = max(eigenvalues[0], eigenvalues[-1], key=abs)
        assert found.values["HessMaxEV"][step] == pytest.approx(eigenvalues[-1], rel=1e-3)
        assert found.values["HessMaxAbsEV"][step] == pytest.approx(largest, rel=1e-3)


def test_the_density_of_eigenvalues_and_the_effective_dimension():
    which = ["GGNDensity", "EffectiveDimension", "KroneckerCondition"]
    found = trained("mlp", "mean", 3, 4, 6, 0, which, steps=1)
    tracer.seed(0)
    model, shape = mlp(3, 4)
    model.double()
    x, y = next(batches_of(np.random.default_rng(0), shape, 6, 1))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y)
    matrix = tape.backward(loss, "ggn")["ggn"] @ np.eye(31)
    eigenvalues = np.maximum(np.linalg.eigvalsh(matrix), 0)
    density = found.values["GGNDensity"][0]
    assert density.sum() == pytest.approx(31)
    occupied = set(np.searchsorted(density.edges, eigenvalues, side="right") - 1)
    assert set(np.flatnonzero(density > 1e-9)) <= occupied | {0}
    # a random vector sees each eigenvalue with its own weight
    expected = (eigenvalues / (eigenvalues + 1e-2)).sum()
    assert found.values["EffectiveDimension"][0] == pytest.approx(expected, rel=0.6)
    assert found.values["KroneckerCondition"][0] >= 1


# -- activations ---------------------------------------------------------------------------------


def test_instruments_of_activations():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    model.double()
    bias = model[0].bias
    bias.data = np.array([0.0, -1e3, 0.0, -1e3])
    model[2].weight.data = model[2].weight.data * 20
    instruments = experiments.Instruments(["DeadUnits", "Saturation", "ActivationNorm"])
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 2)), rng.integers(0, 3, 6)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y)
    results = tape.backward(loss, ("grad", *instruments.quantities(0)))
    found = instruments.measure(0, results, loss=loss, model=model)
    hidden = np.maximum(x @ model[0].weight.data.T + bias.data, 0)
    output = np.tanh(hidden @ model[2].weight.data.T + model[2].bias.data)
    assert found["DeadUnits"] == found["DeadUnits/1"] == (hidden == 0).all(0).mean() >= 0.5
    assert found["Saturation"] == found["Saturation/3"] == (1 - output**2 < 0.05).mean() > 0
    close(found["ActivationNorm/1"], np.sqrt((hidden**2).mean()))
    close(found["ActivationNorm/3"], np.sqrt((output**2).mean()))
    both = np.concatenate([hidden.reshape(-1), output.reshape(-1)])
    close(found["ActivationNorm"], np.sqrt((both**2).mean()))


# -- when, and what of it ------------------------------------------------------------------------


def test_at_every_kth_step_values_are_those_of_every_step():
    each = trained("mlp", "mean", 3, 4, 5, 0, "economy", steps=8)
    some = trained("mlp", "mean", 3, 4, 5, 0, "economy", steps=8, every=3)
    for name, by_step in some.values.items():
        assert sorted(by_step) == [0, 3, 6], name
        for step, value in by_step.items():
            if name == "Distance":
                continue
            assert np.allclose(value, each.values[name][step], rtol=1e-12), name


@pytest.mark.parametrize("name", ECONOMY)
def test_an_instrument_alone_needs_no_other_to_measure_every_kth_step(name):
    each = trained("mlp", "mean", 3, 4, 5, 0, [name], steps=8).values[name]
    some = trained("mlp", "mean", 3, 4, 5, 0, [name], steps=8, every=3).values[name]
    assert sorted(some) == [0, 3, 6]
    if name != "Distance":  # of the way since the first step that was seen
        assert all(np.allclose(some[step], each[step], rtol=1e-12) for step in some)


def test_layers_have_values_that_make_up_the_whole():
    found = trained("mlp", "mean", 3, 4, 5, 0, "economy", steps=2, layers=True).values
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    for kind in ("GradNorm", "Distance"):
        close(found[kind][1] ** 2, sum(found[f"{kind}/{name}"][1] ** 2 for name in names))
    total = sum(found[f"GradHist1d/{name}"][0] for name in names)
    assert np.array_equal(total, found["GradHist1d"][0])


def test_any_quantity_is_an_instrument():
    found = trained("mlp", "mean", 3, 4, 5, 0, ["batch_l2", "diag_ggn_exact"], steps=1).values
    assert found.keys() == {
        *("batch_l2", "batch_l2/values", "diag_ggn_exact", "diag_ggn_exact/values")
    }
    assert found["diag_ggn_exact/values"][0].sum() == 31
    described = {}

    class Run:
        def describe(self, name, chart):
            described[name] = chart.kind

    instruments = experiments.Instruments(["batch_l2"])
    instruments.describe(Run())
    model, shape = mlp(3, 4)
    x, y = next(batches_of(np.random.default_rng(0), shape, 5, 1))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x.astype("float32")), y)
    instruments.measure(0, tape.backward(loss, instruments.quantities(0)), loss=loss, model=model)
    assert described == {"batch_l2": "line", "batch_l2/values": "histogram"}


@pytest.mark.parametrize("name", ["grad_norm", "flops", "bytes"])
def test_any_overlay_is_an_instrument(name):
    model, shape = mlp(3, 4)
    model.double()
    instruments = experiments.Instruments([name, "GradNorm"], layers=True)
    x, y = next(batches_of(np.random.default_rng(0), shape, 5, 1))
    with tracer.Tape(watch=name == "grad_norm") as tape:
        loss = nn.cross_entropy(model(x), y)
    results = tape.backward(loss, ("grad", *instruments.quantities(0)))
    found = instruments.measure(0, results, loss=loss, model=model)
    together = max if name == "grad_norm" else sum
    scopes = [value for key, value in found.items() if key.startswith(f"{name}/0")]
    assert found[name] >= together(scopes) > 0
    assert found[f"{name}/values"].sum() > 1


def test_an_overlay_without_numbers_says_so():
    with pytest.warns(UndefinedWarning, match=r"grad_norm is .* tracer.Tape.watch=True"):
        found = trained("mlp", "mean", 3, 4, 5, 0, ["grad_norm", "GradNorm"], steps=1)
    assert found.values.keys() == {"GradNorm"}


def test_a_plugin_adds_one():
    class Largest(extend.Instrument):
        """The largest element of the gradient."""

        name = "Largest"
        chart = experiments.Chart("Largest element", group="gradients")

        def quantities(self, step):
            return ("grad", "variance")

        def measure(self, observation):
            assert observation.by_parameter("variance")
            return max(abs(g).max() for g in observation.gradients.values())

    tracer.register(Largest)
    try:
        found = trained("mlp", "mean", 3, 4, 5, 0, ["Largest", "Loss"], steps=1)
    finally:
        registry.instruments.remove("Largest")
    close(found.values["Largest"][0], abs(found.points[0][1].mean(0)).max())


def test_an_optimiser_may_ask_for_the_same():
    model, shape = mlp(3, 4)
    optimizer = training.DampedNewton(model.named_parameters(), curvature="diag_ggn_mc", lr=0.1)
    batches = batches_of(np.random.default_rng(0), shape, 5, 2)
    batches = ((x.astype("float32"), y) for x, y in batches)
    found = Stepped(model, nn.cross_entropy, batches, "business", optimizer)
    assert found.values["HessTrace"][1] > 0


def test_a_loop_that_does_not_ask_for_the_gradient():
    model, shape = mlp(3, 4)
    model.double()
    instruments = experiments.Instruments(["GradNorm", "NormTest"])
    for step, (x, y) in enumerate(batches_of(np.random.default_rng(0), shape, 5, 2)):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        results = tape.backward(loss, instruments.quantities(step))
        found = instruments.measure(step, results, loss=loss, model=model)
        gradient = by_one(model, nn.cross_entropy, x, y)[0].mean(0)
        close(found["GradNorm"], np.linalg.norm(gradient))


# -- where something is missing ------------------------------------------------------------------


def test_batch_normalisation_leaves_the_rest():
    layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)
    model = nn.Sequential(*layers)
    optimizer = training.SGD(model.named_parameters(), lr=0.1)
    batches = batches_of(np.random.default_rng(0), (3,), 5, 3)
    batches = [(x.astype("float32"), y) for x, y in batches]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = []
        instruments = experiments.Instruments("business")
        for step, (x, y) in enumerate(batches):
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(model(x), y)
            asked = (*optimizer.quantities, *instruments.quantities(step))
            results = tape.backward(loss, asked)
            found.append(
                instruments.measure(step, results, loss=loss, model=model, optimizer=optimizer)
            )
            optimizer.step(results)
    (only,) = told
    assert only.category is UndefinedWarning
    assert "NormTest" in str(only.message)
    assert "the gradient of a sample is undefined here" in str(only.message)
    assert "mixes samples" in str(only.message)
    assert only.filename == __file__
    names = {"Distance", "GradNorm", "Loss", "HessTrace", "UpdateSize"}
    assert found[0].keys() == names - {"UpdateSize"}
    assert found[2].keys() == names


ONE = 4  # samples, so that four times their mean weighs each by 1


@pytest.mark.parametrize("factor", [1, ONE])
def test_a_multiple_of_a_mean_is_a_mean_of_multiples(factor, monkeypatch):
    monkeypatch.setitem(LOSSES, "times", lambda z, y: factor * nn.cross_entropy(z, y))
    made = trained("mlp", "times", 3, 4, ONE, 0, "business", curvature="diag_ggn_exact")
    told = trained("mlp", "times", 3, 4, ONE, 0, "business", curvature="diag_ggn_exact", mean=True)
    assert made.values.keys() == set(experiments.Instruments("business").instruments)
    for name, values in told.values.items():
        for step, value in values.items():
            assert np.array_equal(np.asarray(made.values[name][step]), np.asarray(value)), name


def test_what_is_no_mean_and_no_sum_by_its_record_is_not_measured_and_the_rest_is(monkeypatch):
    monkeypatch.setitem(LOSSES, "half", lambda z, y: 0.5 * LOSSES["sum"](z, y))
    with pytest.warns(UndefinedWarning, match="mean=True or mean=False") as told:
        made = trained("mlp", "half", 3, 4, ONE, 0, "business")
    assert len(told) == 1
    without = {"Alpha", "GradHist1d", "InnerTest", "NormTest", "OrthoTest", "TICDiag"}
    assert made.values.keys() == set(made.instruments.instruments) - without
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = trained("mlp", "half", 3, 4, ONE, 0, "business", mean=False)
    assert said.values.keys() == set(said.instruments.instruments)


def test_what_is_for_plain_sgd_says_so():
    model, shape = mlp(3, 4)
    model.double()
    optimizer = training.Adam(model.named_parameters())
    batches = batches_of(np.random.default_rng(0), shape, 5, 2)
    which = ["CABS", "EarlyStopping", "GradNorm"]
    with pytest.warns(UndefinedWarning, match=r"CABS, EarlyStopping are .* plain SGD, .* Adam"):
        found = Stepped(model, nn.cross_entropy, batches, which, optimizer)
    assert found.values.keys() == {"GradNorm"}


def test_one_sample_has_no_variance():
    with pytest.warns(UndefinedWarning, match="of 2 samples or more, and the batch has 1"):
        found = trained("mlp", "mean", 3, 4, 1, 0, "economy", steps=2)
    assert found.values.keys() == {"Distance", "GradHist1d", "GradNorm", "Loss", "UpdateSize"}


def test_a_gradient_of_zero():
    model = nn.Sequential(nn.Linear(2, 2)).double()
    x, y = np.zeros((3, 2)), np.full((3, 2), 0.5)
    model[0].bias.data = np.full(2, 0.5)
    optimizer = training.SGD(model.named_parameters(), lr=0.1)
    found = Stepped(model, nn.mse_loss, [(x, y)] * 2, "all", optimizer)
    assert found.values["GradNorm"][0] == 0
    assert np.isnan(found.values["NormTest"][0])
    assert found.values["Alpha"][0] == -1


def test_frozen_and_unused_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    model.unused = nn.Linear(2, 2).double()
    model[0].weight.requires_grad_(False)
    optimizer = training.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    rng = np.random.default_rng(0)
    batches = list(batches_of(rng, (3,), 5, 3))

    def loss(z, y):
        return nn.cross_entropy(z, y)

    instruments = experiments.Instruments("all", layers=True)
    for step, (x, y) in enumerate(batches):
        with tracer.Tape() as tape:
            value = loss(model[2](np.tanh(model[0](x))), y)
        results = tape.backward(value, (*optimizer.quantities, *instruments.quantities(step)))
        found = instruments.measure(step, results, loss=value, model=model, optimizer=optimizer)
        optimizer.step(results)
    assert "GradNorm/0.bias" in found
    assert "GradNorm/0.weight" not in found
    assert found["Distance/unused.weight"] == 0


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_other_precisions(dtype):
    values = {}
    for kind in (dtype, "float64"):
        tracer.seed(0)
        model, shape = mlp(5, 6)
        model.double()
        for _, p in model.named_parameters():
            p.data = p.data.astype(dtype).astype(kind)
        optimizer = training.SGD(model.named_parameters(), lr=0.5)
        rng = np.random.default_rng(0)
        batches = [(x.astype(dtype).astype(kind), y) for x, y in batches_of(rng, shape, 6, 1)]
        which = ["GradNorm", "NormTest", "InnerTest", "OrthoTest", "CABS", "MeanGSNR", "TICTrace"]
        found = Stepped(model, nn.cross_entropy, batches, which, optimizer, curvature="diag_h")
        values[kind] = {name: by_step[0] for name, by_step in found.values.items()}
    tolerance = 2e-2 if dtype == "float16" else 1e-4
    for name, value in values["float64"].items():
        assert values[dtype][name] == pytest.approx(value, rel=tolerance), name


def test_a_penalty_counts_in_the_norm_of_the_gradient_alone():
    tracer.seed(0)
    model, shape = mlp(3, 4)
    model.double()
    x, y = next(batches_of(np.random.default_rng(0), shape, 5, 1))
    instruments = experiments.Instruments(["GradNorm", "NormTest", "Alpha"])
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y) + 0.1 * np.sum(model[0].weight ** 2)
    results = tape.backward(loss, ("grad", *instruments.quantities(0)))
    found = instruments.measure(0, results, loss=loss, model=model)
    g_n = by_one(model, nn.cross_entropy, x, y)[0]
    norm = (g_n.mean(0) ** 2).sum()
    close(found["NormTest"], np.sqrt(g_n.var(0, ddof=1).sum() / (5 * norm)))
    close(found["GradNorm"] ** 2, sum((g**2).sum() for g in results["grad"].values()))


def test_an_input_that_is_used_again_does_not_change_alpha():
    tracer.seed(0)
    expected = trained("mlp", "mean", 3, 4, 5, 0, ["Alpha"], momentum=0.9).values["Alpha"]
    tracer.seed(0)
    model, shape = mlp(3, 4)
    model.double()
    optimizer = training.SGD(model.named_parameters(), lr=0.05, momentum=0.9)
    buffer = np.empty((5, 3))

    def again():
        for x, y in batches_of(np.random.default_rng(0), shape, 5, 3):
            buffer[...] = x
            yield buffer, y

    found = Stepped(model, nn.cross_entropy, again(), ["Alpha"], optimizer).values["Alpha"]
    assert found == expected


def test_a_gradient_that_is_scaled_in_place_does_not_change_alpha():
    for factor in (0.1, 1.0):
        tracer.seed(0)
        model, shape = mlp(3, 4)
        model.double()
        instruments = experiments.Instruments(["Alpha"])
        points = []
        for step, (x, y) in enumerate(batches_of(np.random.default_rng(0), shape, 5, 2)):
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(model(x), y)
            points.append((flat(model), *by_one(model, nn.cross_entropy, x, y), 0))
            results = tape.backward(loss, ("grad", *instruments.quantities(step)))
            found = instruments.measure(step, results, loss=loss, model=model)
            for name, p in model.named_parameters():
                results["grad"][name] *= factor
                p.data = p.data - results["grad"][name]
        assert found["Alpha"] == pytest.approx(alpha(*points), rel=1e-8)


# -- what is given -------------------------------------------------------------------------------


def test_presets_are_cockpits():
    economy = experiments.Instruments("economy").instruments
    assert economy.keys() == {
        *("Alpha", "Distance", "GradHist1d", "GradNorm", "InnerTest", "Loss", "NormTest"),
        *("OrthoTest", "UpdateSize"),
    }
    business = experiments.Instruments("business").instruments
    assert business.keys() - economy.keys() == {"TICDiag", "HessTrace"}
    full = experiments.Instruments("full").instruments
    assert full.keys() - business.keys() == {"HessMaxEV", "GradHist2d"}
    assert business["HessTrace"].curvature == "diag_ggn_mc"
    assert experiments.Instruments("all").instruments["HessTrace"].curvature == "diag_h"


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("econmy", "preset.*Did you mean 'economy'"),
        (["GradNrm"], "Did you mean 'GradNorm'"),
        (["GradNorm", "GradNorm"], "twice"),
        ([3], "an instrument is a name"),
    ],
)
def test_what_is_no_instrument(which, words):
    with pytest.raises((TracerError, LookupError), match=words):
        experiments.Instruments(which)


@pytest.mark.parametrize("every", [0, -1, True])
def test_what_is_no_number_of_steps(every):
    with pytest.raises(TracerError, match="number of steps from 1"):
        experiments.Instruments("economy", every=every)


def test_results_of_another_sweep():
    model, shape = mlp(3, 4)
    x, y = next(batches_of(np.random.default_rng(0), shape, 5, 1))
    instruments = experiments.Instruments(["NormTest"])
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x.astype("float32")), y)
    with pytest.warns(UndefinedWarning, match=r"ask the sweep for instruments\.quantities"):
        instruments.measure(0, tape.backward(loss), loss=loss, model=model)


@pytest.mark.parametrize("kind", INSTRUMENTS, ids=lambda kind: kind.name)
def test_every_instrument_says_how_it_is_drawn_and_what_it_says(kind):
    assert kind.chart.title
    assert kind.chart.about.endswith(".")
    assert kind.__doc__


def test_a_training_that_diverges_is_measured_without_warnings():
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 4)).astype(np.float32), rng.integers(0, 3, 16)
    optimizer = training.SGD(model.parameters(), lr=1e9)
    instruments = experiments.Instruments(
        [*experiments.Instruments("all").instruments, "DeadUnits"]
    )
    losses = []
    for step in range(8):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(model(x), y)
            results = tape.backward(loss, ("grad", *instruments.quantities(step)))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            values = instruments.measure(step, results, loss=loss, model=model, optimizer=optimizer)
        losses.append(values["Loss"])
        with np.errstate(all="ignore"):
            optimizer.step(results)
    assert float(max(losses[1:])) > 1e6


@pytest.mark.parametrize(
    "bins",
    [Bins(-2.0, 2.0, 50), Bins(1e9, 1e9 + 1, 100), Bins(-3.0, 7.0, 13), Bins(-1e-20, 1e-20, 8)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_are_those_whose_edges_say_so(monkeypatch, bins, dtype):
    """Also of edges themselves and their neighbours, which rounding puts on either side."""
    monkeypatch.setattr("tracer_experiments.instruments.binning.BLOCK", 90)
    edges, width = bins.edges, bins.high - bins.low
    anywhere = np.random.default_rng(0).uniform(bins.low - width, bins.high + width, 500)
    neighbours = (np.nextafter(edges, way) for way in (-np.inf, np.inf))
    values = np.concatenate([anywhere, edges, *neighbours, [0, np.inf, -np.inf]]).astype(dtype)
    expected = np.searchsorted(edges, values.astype(np.float64), side="right") - 1
    found = bins.positions(values.reshape(-1, 1))
    np.testing.assert_array_equal(found[:, 0], np.clip(expected, 0, bins.count - 1))
