"""Sweeps within the memory that there is: chunks by themselves, errors beforehand, progress."""

import tracemalloc

import numpy as np
import pytest
from brute_force import assert_close

import tracer
import tracer_layers as nn
from tracer.arrays import available
from tracer.cotangents import Dense
from tracer.curvature import plan, progress
from tracer.curvature.rows import ggn_exact

MB = 1 << 20


def recorded(model, shape, classes=10, samples=8, dtype=float):
    tracer.seed(0)
    rng = np.random.default_rng(0)
    x, labels = rng.random((samples, *shape)).astype(dtype), rng.integers(0, classes, samples)
    model = model()
    if dtype is float:
        model.double()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), labels)
    return tape, loss


def measured(function):
    """What a function returns, and the most bytes in use beyond what it returns, and these."""
    tracemalloc.start()
    try:
        out = function()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return out, peak - kept, kept


def arrays_of(values):
    if not hasattr(values, "items"):
        return {}
    return {
        name: value.factors if isinstance(value, tracer.Kronecker) else (value,)
        for name, value in values.items()
        if not callable(value)
    }


def assert_same(values, expected, title, rtol=1e-10):
    assert values.keys() == expected.keys()
    for name, parts in values.items():
        for mine, other in zip(parts, expected[name], strict=True):
            assert_close(mine, other, f"{title} of {name}", rtol=rtol)


@pytest.fixture
def free(monkeypatch):
    """Says how much memory is free; little is looked at, too."""

    def give(count):
        monkeypatch.setattr(available, "host_memory", lambda: count)
        monkeypatch.setattr(plan, "SMALL", 0)
        monkeypatch.setattr(plan, "LEAST", 0)

    return give


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 6, 3, padding=1), nn.Tanh(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 4 * 4, 40),
    )  # fmt: skip


def perceptron():
    return nn.Sequential(nn.Linear(8, 128), nn.Sigmoid(), nn.Linear(128, 64), nn.Linear(64, 40))


MODELS = {"conv": (convolutional, (2, 8, 8)), "mlp": (perceptron, (8,))}
PLANNED = [
    "diag_ggn_exact",
    "diag_ggn_exact_batch",
    "kflr",
    "sqrt_ggn_exact",
    "diag_h",
    "batch_dot",
]


# -- half of what is free --------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", PLANNED)
def test_a_sweep_stays_within_half_of_the_free_memory(free, model, name):
    make, shape = MODELS[model]
    tape, loss = recorded(make, shape, classes=40)
    results, whole, _ = measured(lambda: tape.backward(loss, (name,)))
    expected = arrays_of(results[name])
    sizes = [sum(part.nbytes for part in parts) for parts in expected.values()]
    kept, largest = sum(sizes), max(sizes)
    # what there is beside the values is enough for some rows and not for all
    half = kept + largest + max(whole // 3, 600_000)
    free(2 * half)
    tape, loss = recorded(make, shape, classes=40)
    results, peak, _ = measured(lambda: tape.backward(loss, (name,)))
    assert peak + kept <= half + largest
    assert_same(arrays_of(results[name]), expected, name)


def test_what_fits_is_done_at_once_and_in_chunks_elsewhere(free):
    calls = []

    @tracer.operation("planned_tanh")
    class Counted(tracer.Elementwise):
        saves = ("output",)

        def forward(x):
            return np.tanh(x)

        def vjp(node, g):
            calls.append(len(g))
            return (g * (1 - node.output**2),)

    def chunks(count):
        calls.clear()
        free(count)
        rng = np.random.default_rng(0)
        with tracer.Tape() as tape:
            w = tracer.parameter(rng.standard_normal((20, 300)), name="w")
            v = tracer.parameter(rng.standard_normal((300, 12)), name="v")
            x = tracer.batch(rng.standard_normal((64, 20)))
            loss = nn.mse_loss(Counted(x @ w) @ v, np.zeros((64, 12)))
        tape.backward(loss, ("diag_ggn_exact",))
        return list(calls)

    row = 4 * 64 * 300 * 8
    assert chunks(1 << 40) == [12]
    several = chunks(10 * row)
    assert 1 < len(several) < 12
    assert sum(several) == 12
    assert chunks(None) == [12]  # where the system does not say


def test_gradients_and_small_sweeps_ask_nobody(monkeypatch):
    monkeypatch.setattr(available, "host_memory", lambda: pytest.fail("asked"))
    tape, loss = recorded(perceptron, (8,), classes=40)
    tape.backward(loss)
    tape.backward(loss, ("grad", "batch_l2", "diag_ggn_exact", "kflr", "diag_h", "ggnmp"))


def test_signed_rows_come_in_blocks_however_much_is_free(monkeypatch):
    make, shape = MODELS["conv"]
    tape, loss = recorded(make, shape)
    expected = arrays_of(tape.backward(loss, ("diag_h",))["diag_h"])
    monkeypatch.setattr(plan, "AT_ONCE", 2 * MB)
    monkeypatch.setattr(plan, "SMALL", 0)
    tape, loss = recorded(make, shape)
    results, peak, _ = measured(lambda: tape.backward(loss, ("diag_h",)))
    assert peak < 2 * MB
    assert_same(arrays_of(results["diag_h"]), expected, "diag_h")


# -- errors beforehand -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cheaper"),
    [
        ("grad_batch", "batch_l2"),
        ("sqrt_ggn_exact", "diag_ggn_exact or ggnmp"),
        ("diag_ggn_exact_batch", "diag_ggn_exact"),
        ("diag_h_batch", "diag_ggn_mc_batch"),
        ("kflr", "kfac or diag_ggn_mc"),
    ],
)
def test_values_that_are_too_large_are_refused_by_name(free, name, cheaper):
    tape, loss = recorded(perceptron, (8,), classes=40)
    free(200_000)
    with pytest.raises(tracer.QuantityError, match=f"^{name} takes .* bytes.* use {cheaper}, or"):
        tape.backward(loss, (name,))
    free(1 << 40)
    assert tape.backward(loss, (name,))[name].keys()


def test_values_that_are_reduced_as_they_come_count_one_at_a_time(free):
    tape, loss = recorded(perceptron, (8,), classes=40)
    free(2 * 700_000)
    with pytest.raises(tracer.QuantityError, match="reduce="):
        tape.backward(loss, ("grad_batch",))
    reduce = {"grad_batch": lambda name, value: np.linalg.norm(value)}
    assert len(tape.backward(loss, ("grad_batch",), reduce=reduce)["grad_batch"]) == 6


@pytest.mark.parametrize(
    ("name", "cheaper"), [("diag_h", "diag_ggn_mc"), ("diag_ggn_exact", "diag_ggn_mc")]
)
def test_a_row_that_is_too_wide_is_refused_where_it_is(free, name, cheaper):
    tape, loss = recorded(convolutional, (2, 8, 8))
    free(150_000)
    pattern = rf"^{name} takes .* bytes.* at (convolution|tanh) \[.*test_memory_plan.py.*layer '\d'"
    with pytest.raises(tracer.QuantityError, match=pattern) as raised:
        tape.backward(loss, (name,))
    assert f"use {cheaper}, or take fewer samples" in str(raised.value)
    assert "half of the memory that is free is 75,000 bytes" in str(raised.value)
    free(1 << 40)
    tape.backward(loss, (name,))


def test_a_budget_is_refused_in_its_own_words():
    def wide():
        return nn.Sequential(nn.Linear(4, 40_000), nn.Tanh(), nn.Linear(40_000, 3))

    tape, loss = recorded(wide, (4,), classes=3)
    with pytest.raises(tracer.QuantityError, match=r"and memory_budget is 1\.05 MB"):
        tape.backward(loss, ("diag_ggn_exact",), memory_budget=MB)


def test_averages_of_wide_tensors_are_refused(free):
    tape, loss = recorded(perceptron, (8,))
    free(1_600_000)
    with pytest.raises(tracer.QuantityError, match=r"averages of 128 elements .* use kflr"):
        tape.backward(loss, ("kfra",))


def test_rows_that_are_kept_are_refused(free):
    tape, loss = recorded(convolutional, (2, 8, 8))
    free(4 * MB)
    with pytest.raises(tracer.QuantityError, match=r"rows that it keeps.* use hmp or ggnmp"):
        tape.backward(loss, ("pchmp",))


def test_a_dense_hessian_is_refused_where_products_would_do(free):
    free(1_000_000)
    with pytest.raises(tracer.QuantityError, match=r"1,000 outputs and 1,000 inputs.* tracer.hvp"):
        tracer.hessian(lambda x: np.sum(np.sin(x) ** 2))(np.ones(1000))


# -- members of the kind ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["diag_ggn_exact", "diag_h", pytest.param("kflr", marks=pytest.mark.slow), "ggnmp"]
)
def test_the_rows_of_many_outputs_are_made_with_their_chunk(name):
    """All of them take 79 MB, of 784 outputs and 32 samples in float32."""

    def run(budget):
        tracer.seed(0)
        rng = np.random.default_rng(0)
        model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 784))
        x, y = rng.random((32, 16), np.float32), rng.random((32, 784), np.float32)
        with tracer.Tape() as tape:
            loss = nn.mse_loss(model(x), y)
        results, peak, kept = measured(lambda: tape.backward(loss, (name,), memory_budget=budget))
        values = results[name]
        if name == "ggnmp":
            direction = np.ones((2, 784, 32), np.float32)
            values = {"product": values["2.weight"](direction)}
        return arrays_of(values), peak, kept

    expected, whole, _ = run(None)
    values, peak, kept = run(8 * MB)
    assert peak <= 8 * MB + 2 * 784 * 784 * 4 * (name == "kflr")
    assert kept < 8 * MB
    assert_same(values, expected, name, rtol=1e-4)
    if name == "diag_ggn_exact":
        assert whole > 150e6


@pytest.mark.parametrize("name", ["diag_ggn_exact", "grad_batch", "batch_l2", "variance"])
def test_rows_of_single_samples_through_a_rule_come_in_blocks(name):
    """Those of a matrix that systems of 64 samples are solved with take 300 MB."""

    def run(budget):
        rng = np.random.default_rng(0)
        with tracer.Tape() as tape:
            a = tracer.parameter(rng.random((24, 24)) + 24 * np.eye(24), name="a")
            solved = np.linalg.solve(a, tracer.batch(rng.random((64, 24, 1))))
            loss = nn.mse_loss(solved[:, :, 0], np.zeros((64, 24)))
        results, peak, _ = measured(lambda: tape.backward(loss, (name,), memory_budget=budget))
        return arrays_of(results[name]), peak

    expected, _ = run(None)
    values, peak = run(MB)
    assert peak <= MB
    assert_same(values, expected, name)


def test_unit_vectors_of_a_large_parameter_are_not_all_made(monkeypatch):
    monkeypatch.setattr("tracer.curvature.objective.AT_ONCE", MB)
    rng = np.random.default_rng(0)
    with tracer.Tape() as tape:
        w = tracer.parameter(rng.standard_normal((20, 60)), name="w")
        loss = np.sum(np.sin(tracer.batch(rng.standard_normal((4, 20))) @ np.exp(w)))
    _, peak, _ = measured(lambda: tape.backward(loss, ("diag_h",)))
    assert peak < 3 * MB  # all take 11 MB


# -- inner products of all pairs -------------------------------------------------------------------


class Kernel(tracer.Quantity):
    """`[C, N, C, N]`: inner products of all rows of the Gauss-Newton matrix."""

    name = "kernel"
    rows = ggn_exact

    def extract(self, cotangent, context):
        return cotangent

    def join(self, first, second):
        return first.stacked(second)

    def finish(self, state, context):
        return state.gram()


class GramKernel(Kernel):
    """The same, of which the sweep keeps the rows of chunks."""

    def extract(self, cotangent, context):
        return cotangent.gram()

    join = tracer.Quantity.join

    def finish(self, state, context):
        return state


KERNELS = {
    "linear": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)), (3,)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 5)),
        (1, 4, 4),
    ),
    "normalised": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 5)),
        (2, 3),
    ),
    "coupled": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)),
        (3,),
    ),
}


@pytest.mark.parametrize("kernel", [Kernel, GramKernel])
@pytest.mark.parametrize("model", KERNELS)
@pytest.mark.parametrize("budget", [1, 2000, None])
def test_products_of_all_pairs_have_those_between_chunks(model, budget, kernel):
    tape, loss = recorded(*KERNELS[model], classes=5, samples=6)
    roots = tape.backward(loss, ("sqrt_ggn_exact",))["sqrt_ggn_exact"]
    kernels = tape.backward(loss, (kernel(),), memory_budget=budget)["kernel"]
    for name, kernel in kernels.items():
        flat = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
        assert_close(flat, flat.T, name)
        # both are roots of one matrix, so that their Gram matrices have its trace and its norm
        root = roots[name].reshape(-1, np.prod(roots[name].shape[2:], dtype=int))
        square = root.T @ root
        assert_close(np.trace(flat), np.trace(square), name)
        assert_close(np.sum(flat * flat), np.sum(square * square), name)


def test_products_of_all_pairs_of_a_chunk_are_refused():
    class OfChunks(Kernel):
        def join(self, first, second):
            return first.gram()

    tape, loss = recorded(*KERNELS["linear"], classes=5)
    assert tape.backward(loss, (OfChunks(),))["kernel"]
    with pytest.raises(tracer.QuantityError, match="chunk of 1 of them: write `all_rows = True`"):
        tape.backward(loss, (OfChunks(),), memory_budget=1)


@pytest.mark.parametrize("model", KERNELS)
def test_products_of_samples_within_a_budget(model):
    if model == "coupled":
        return
    tape, loss = recorded(*KERNELS[model], classes=5, samples=6)
    gradients = tape.backward(loss, ("grad_batch",))["grad_batch"]
    for budget in (1, 500, 5000):
        for name, value in tape.backward(loss, ("batch_dot",), memory_budget=budget)[
            "batch_dot"
        ].items():
            flat = gradients[name].reshape(6, -1)
            assert_close(value, flat @ flat.T, name)


@pytest.mark.parametrize("budget", [None, 1, 300])
def test_gram_of_blocks_is_that_of_all(budget):
    u = np.random.default_rng(0).standard_normal((3, 5, 2, 4))
    flat = u.reshape(15, 8)
    found = Dense(u).within(budget).gram()
    assert_close(found.reshape(15, 15), flat @ flat.T, "gram")


def test_states_that_cannot_be_added_are_no_wrong_number():
    class Norms(tracer.Quantity):
        name = "norms"
        rows = ggn_exact

        def extract(self, cotangent, context):
            return cotangent.squared_norms()

    tape, loss = recorded(perceptron, (8,), classes=6)
    assert tape.backward(loss, (Norms(),))["norms"]["0.bias"].shape == (39, 8)
    for budget in (1, 1 << 18, 1 << 19):
        with pytest.raises(tracer.QuantityError, match=r"norms has an axis of rows.* join"):
            tape.backward(loss, (Norms(),), memory_budget=budget)


# -- progress --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grad", "diag_ggn_exact", "diag_h", "kfra", "diag_h_batch"])
@pytest.mark.parametrize("budget", [None, 100_000])
def test_progress_goes_up_to_its_end(monkeypatch, name, budget):
    monkeypatch.setattr(progress, "AFTER", 0.0)
    monkeypatch.setattr(progress, "BETWEEN", 0.0)
    told = []
    tape, loss = recorded(perceptron, (8,))
    expected = arrays_of(tape.backward(loss, (name,), memory_budget=budget)[name])
    results = tape.backward(
        loss, (name,), memory_budget=budget, progress=lambda *given: told.append(given)
    )
    assert_same(arrays_of(results[name]), expected, name)
    assert len(told) > 3
    assert all(0 <= done <= total for done, total, _ in told)
    assert told[-1][0] == told[-1][1]
    stages = [text for _, _, text in told]
    assert any(name in text for text in stages)
    for text in set(stages):
        done = [d for d, _, t in told if t == text]
        assert done == sorted(done)


def test_short_sweeps_say_nothing(capsys):
    tape, loss = recorded(perceptron, (8,))
    tape.backward(loss, ("diag_h",), progress=lambda *given: pytest.fail("said something"))
    tape.backward(loss, ("diag_h",), progress=True)
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_line_on_stderr(monkeypatch, capsys):
    monkeypatch.setattr(progress, "AFTER", 0.0)
    tape, loss = recorded(perceptron, (8,))
    tape.backward(loss, ("diag_ggn_exact",), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("diag_ggn_exact: one sweep: 100 %\n")


def test_progress_that_is_no_function_is_refused():
    tape, loss = recorded(perceptron, (8,))
    with pytest.raises(tracer.TracingError, match="progress is None, True or a function"):
        tape.backward(loss, progress="yes")
    assert tape.backward(loss)["grad"].keys()


def test_progress_that_raises_leaves_the_tape_usable(monkeypatch):
    monkeypatch.setattr(progress, "AFTER", 0.0)
    tape, loss = recorded(perceptron, (8,))
    expected = tape.backward(loss)["grad"]["0.weight"]
    with pytest.raises(KeyboardInterrupt):
        tape.backward(loss, ("diag_h",), progress=interrupted)
    assert_close(tape.backward(loss)["grad"]["0.weight"], expected, "grad")


def interrupted(done, total, text):
    raise KeyboardInterrupt
