"""Marks of batches survive whatever has no derivative, and whatever chooses or reorders samples."""

import gc
import weakref

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
from zoo import MODELS, N, draw

import tracer
import tracer_layers as nn
from tracer_layers.functional import cross_entropy, mse_loss

rng = np.random.default_rng(0)
X, W, V = rng.standard_normal((N, 3)), rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
Y = np.array([0, 1, 1, 0])

#: models whose output of one sample is `[D]`, which is what heads here read
FLAT = [name for name in MODELS if name not in ("outputs_at_positions",)]


def paused(function):
    """The function, computed beside the record."""

    def call(h):
        with tracer.pause():
            return function(h)

    return call


def written(h):
    mask = h > 0
    mask &= h < 5
    mask = mask * 1.0
    mask[:, 0] = 3.0
    mask += h < 0.3
    return mask


def shared(h):
    """What is argmax of one is used as a mask of the other."""
    return np.where(np.argmax(h, axis=1)[:, None] == np.arange(h.shape[1]), 1.0, -1.0)


#: functions `[N, D]` to `[N, D]` without a derivative
FUNCTIONS = {
    "detach": lambda h: h.detach() if isinstance(h, tracer.Tensor) else h,
    "compared": lambda h: (h > 0.1) * 1.0,
    "compared as a method": lambda h: (h <= 0.1).astype(np.float64),
    "booleans": lambda h: np.where((h > 0) & ~(h > 0.5), 1.0, 2.0),
    "written into": written,
    "sign": np.sign,
    "round": lambda h: np.round(3 * h),
    "integers": lambda h: (5 * h).astype(int) * 0.2,
    "argmax": shared,
    "argsort": lambda h: np.argsort(h, axis=1) * 0.3,
    "shapes": lambda h: (h > 0).T.reshape(h.shape[1], -1, 1)[..., 0].T * 0.5,
    "joined": lambda h: np.concatenate([h > 0, h < 0.2], axis=1)[:, : h.shape[1]] * 0.5,
    "counted": lambda h: np.count_nonzero(h > 0, axis=1, keepdims=True) * np.ones(h.shape[1]),
    "like": lambda h: np.ones_like(h) * 0.5,
    "computed in a pause": paused(lambda h: np.tanh(h) * np.mean(h, axis=1, keepdims=True)),
    "compared in a pause": paused(lambda h: (np.tanh(h) > 0.1) * 1.0),
}


def with_head(function, flat):
    """A model with a second output: a linear map of a flat function of the first."""

    def model(p, given):
        *rest, head = p.values()
        out = function(dict(zip(p, rest, strict=False)), given)
        return np.concatenate([out, flat(out) @ head], axis=1)

    return model


@pytest.mark.slow
@pytest.mark.parametrize("flat", FUNCTIONS)
@pytest.mark.parametrize("name", FLAT)
def test_a_head_on_what_has_no_derivative(name, flat):
    generator = np.random.default_rng(1)
    function, parameters, inputs, axes = draw(name, generator)
    width = function(parameters, inputs).shape[1]
    parameters["head"] = generator.standard_normal((width, 2))
    problem = Problem(with_head(function, FUNCTIONS[flat]), parameters, inputs, axes)
    results = problem.backward((*FIRST_ORDER, *CURVATURE))
    assert_first_order(results, problem)
    assert_curvature(results, problem)


@pytest.mark.parametrize("flat", FUNCTIONS)
def test_an_input_that_is_read_through_flat_functions_alone(flat):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(3, 2)

        def forward(self, x):
            return self.map(FUNCTIONS[flat](x))

    model = Model().double()

    def swept(x, y, names):
        with tracer.Tape() as tape:
            loss = cross_entropy(model(x), y, reduction="sum")
        return tape.backward(loss, names)

    results = swept(X, Y, ("grad_batch", "kflr"))
    for name, value in results["grad_batch"].items():
        rows = [swept(X[n : n + 1], Y[n : n + 1], ("grad",))["grad"][name] for n in range(N)]
        assert_close(value, np.stack(rows), name)
    assert results["kflr"]["map.weight"].factors[1].shape == (3, 3)


def test_a_table_is_read_at_indices_that_have_no_derivative():
    tables = {"t": rng.standard_normal((4, 2)), "u": rng.standard_normal((4, 3, 2)), "w": W}

    def model(p, given):
        (x,) = given
        best, worst = np.argmax(x @ p["w"], axis=1), np.argmin(x, axis=1)
        parts = [p["t"][best], p["u"][best, worst], np.take(p["t"], best, axis=0)]
        parts += [p["u"][best, 1], p["u"][:, worst].sum(0), x @ p["w"]]
        return np.concatenate(parts, axis=1)

    problem = Problem(model, tables, [X])
    assert_first_order(problem.backward(FIRST_ORDER), problem)


# -- samples that are chosen, repeated or reordered ------------------------------------------------

CHOICES = {
    "mask": np.array([True, False, True, True]),
    "mask of none": np.zeros(N, bool),
    "mask of one": np.array([False, True, False, False]),
    "as many as there are": np.array([2, 2, 0, 1]),
    "permuted": np.array([3, 1, 0, 2]),
    "slice": np.s_[1:3],
    "backward": np.s_[::-1],
    "repeated": np.array([0, 0, 3, 3, 3, 1]),
}
QUANTITIES = (*FIRST_ORDER, *CURVATURE, "diag_h", "diag_h_batch", "ggn", "hessian")


def chosen_problem(name, choice):
    function, parameters, inputs, axes = draw(name, np.random.default_rng(2))
    return Problem(function, parameters, inputs, axes, reduction="sum"), np.arange(N)[choice]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["mlp", "sequence", "table", "samples_in_the_middle", "attention"])
def test_chosen_samples_keep_their_numbers(name, choice):
    problem, numbers = chosen_problem(name, CHOICES[choice])
    counts = np.bincount(numbers, minlength=N)
    with tracer.Tape() as tape:
        leaves = {k: tracer.parameter(v, name=k) for k, v in problem.parameters.items()}
        given = [tracer.batch(x, a) for x, a in zip(problem.inputs, problem.axes, strict=True)]
        output = problem.model(leaves, given)[CHOICES[choice]]
        loss = mse_loss(output, problem.target[numbers], reduction="sum")
    results = tape.backward(loss, QUANTITIES)
    for key, g in problem.grad_batch().items():
        rows = counts.reshape(-1, *(1,) * (g.ndim - 1)) * g
        for quantity, value in expected_first_order(rows).items():
            assert_close(results[quantity][key], value, f"{quantity} of {key}")
    for key, blocks in problem.ggn_batch().items():
        diagonals = np.diagonal(counts[:, None, None] * blocks, axis1=1, axis2=2)
        diagonals = diagonals.reshape(N, *problem.parameters[key].shape)
        assert_close(results["diag_ggn_exact"][key], diagonals.sum(0), f"diag_ggn of {key}")
        assert_close(results["diag_ggn_exact_batch"][key], diagonals, f"diag_ggn_batch of {key}")
        roots = np.sum(results["sqrt_ggn_exact"][key] ** 2, axis=0)
        assert_close(roots, diagonals, f"sqrt_ggn of {key}")
        assert_close(
            results["diag_h_batch"][key].sum(0), results["diag_h"][key], f"diag_h of {key}", 1e-7
        )
    for operator, diagonal in (("ggn", "diag_ggn_exact"), ("hessian", "diag_h")):
        matrix = results[operator] @ np.eye(results[operator].shape[0])
        flat = np.concatenate([value.reshape(-1) for value in results[diagonal].values()])
        assert_close(np.diagonal(matrix), flat, operator, 1e-7)


MOVES = {
    "roll": lambda h: (np.roll(h, 1, 0), [3, 0, 1, 2]),
    "flip": lambda h: (np.flip(h, 0), [3, 2, 1, 0]),
    "repeat": lambda h: (np.repeat(h, [2, 0, 1, 1], 0), [0, 0, 2, 3]),
    "concatenate": lambda h: (np.concatenate([h[2:], h[:2]]), [2, 3, 0, 1]),
    "twice": lambda h: (np.concatenate([h, np.sin(h)]), None),
    "compress": lambda h: (np.compress([True, False, True], h, axis=0), [0, 2]),
    "its own mask": lambda h: (h[h[:, 0] > np.median(h.data[:, 0])], None),
    "stack": lambda h: (np.stack([h[n] for n in (2, 0, 1, 3)]), [2, 0, 1, 3]),
    "sort": lambda h: (np.take_along_axis(h, np.argsort(h.data[:, :1], axis=0), axis=0), None),
}


@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed through getitem")
@pytest.mark.parametrize("move", MOVES)
def test_moved_samples_add_up_and_agree_with_single_ones(move):
    def terms(w, v, x):
        moved, numbers = MOVES[move](np.tanh(x @ w))
        return np.square(moved @ v - 0.5), numbers

    with tracer.Tape() as tape:
        w, v = tracer.parameter(W, "w"), tracer.parameter(V, "v")
        losses, numbers = terms(w, v, tracer.batch(X))
        loss = np.sum(losses)
    results = tape.backward(loss, ("grad", "grad_batch", "batch_l2"))
    for name in ("w", "v"):
        rows = results["grad_batch"][name]
        assert rows.shape[0] == N
        assert_close(rows.sum(0), results["grad"][name], "sum")
        assert_close(np.square(rows).reshape(N, -1).sum(1), results["batch_l2"][name], "norms")
    if numbers is not None:
        each = [
            tracer.grad(lambda w, v, n=n: np.sum(np.square(np.tanh(X[n] @ w) @ v - 0.5)), (0, 1))
            for n in range(N)
        ]
        counts = np.bincount(numbers, minlength=N)
        for k, name in enumerate(("w", "v")):
            expected = np.stack([c * f(W, V)[k] for c, f in zip(counts, each, strict=True)])
            assert_close(results["grad_batch"][name], expected, name)


# -- what mixes samples ----------------------------------------------------------------------------


@tracer.operation("test_untracked_flip")
class UntrackedFlip(tracer.Operation):
    """A third party's operation that says nothing of samples, and reorders them."""

    saves = ()

    def forward(x):
        return x[::-1].copy()

    def vjp(node, g):
        return (g[:, ::-1],)


MIXING = {
    "neighbours": lambda h, v: np.sum(np.tanh(h * np.roll(h, 1, 0)) @ v),
    "pairs": lambda h, v: np.sum((h[:, None] - h[None]) ** 2) + np.sum(v),
    "a Gram matrix": lambda h, v: np.sum((h @ h.T) ** 2) + np.sum(v),
    "a target of another sample": lambda h, v: mse_loss(h[[1, 0, 3, 2]] @ v, h @ v),
    "a graph": lambda h, v: cross_entropy(np.ones((N, N)) @ (h @ v), Y),
    "a graph below": lambda h, v: cross_entropy(np.tanh(np.ones((N, N)) @ h) @ v, Y),
    "untracked": lambda h, v: cross_entropy(UntrackedFlip(h) @ v, Y),
}


@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed")
@pytest.mark.parametrize("case", MIXING)
def test_samples_that_meet_have_no_gradients_of_their_own(case):
    with tracer.Tape() as tape:
        w, v = tracer.parameter(W, "w"), tracer.parameter(V, "v")
        loss = MIXING[case](tracer.batch(X) @ w, v)
    with pytest.raises(tracer.BatchError, match=r"test_batch_marks.py:\d+"):
        tape.backward(loss, ("grad_batch",))
    with tracer.Tape() as tape:
        w, v = tracer.parameter(W, "w"), tracer.parameter(V, "v")
        loss = MIXING[case](tracer.batch(X) @ w, v)
    assert set(tape.backward(loss)["grad"]) == {"w", "v"}


@pytest.mark.filterwarnings("ignore:the samples' axis could not be followed")
@pytest.mark.parametrize("case", ["a graph", "a graph below", "untracked"])
def test_curvature_of_what_mixes_samples_is_exact(case):
    def output(p, x=X):
        graph, h = np.ones((N, N)), x @ p["w"]
        return {
            "a graph": lambda: graph @ (h @ p["v"]),
            "a graph below": lambda: np.tanh(graph @ h) @ p["v"],
            "untracked": lambda: UntrackedFlip(h) @ p["v"],
        }[case]()

    with tracer.Tape() as tape:
        leaves = {"w": tracer.parameter(W, "w"), "v": tracer.parameter(V, "v")}
        loss = mse_loss(output(leaves, tracer.batch(X)), np.zeros((N, 2)), reduction="sum")
    results = tape.backward(loss, ("diag_ggn_exact", "ggn"))
    jacobians = tracer.jacobian(output)({"w": W, "v": V})
    for name, jacobian in jacobians.items():
        assert_close(results["diag_ggn_exact"][name], 2 * np.sum(jacobian**2, (0, 1)), name)


def test_a_graph_is_blamed_and_not_what_comes_after_it():
    adjacency = np.eye(N)
    with tracer.Tape() as tape:
        h = adjacency @ (tracer.batch(X) @ tracer.parameter(W, "w"))
        loss = cross_entropy(np.tanh(h) @ tracer.parameter(V, "v"), Y)
    line = test_a_graph_is_blamed_and_not_what_comes_after_it.__code__.co_firstlineno + 3
    with pytest.raises(tracer.BatchError, match=rf"matmul \(test_batch_marks.py:{line}\).*graph"):
        tape.backward(loss, ("batch_l2",))


LEFT = {
    "an index into a plain array": lambda h: np.eye(4)[np.argmax(h, axis=1)],
    "data": lambda h: np.sign(h.data),
    "asarray": lambda h: np.asarray(h > 0) * 1.0,
}


@pytest.mark.parametrize("case", LEFT)
def test_values_that_became_plain_arrays_are_not_taken_for_constants(case):
    with tracer.Tape() as tape:
        h = tracer.batch(X) @ tracer.parameter(W, "w")
        loss = np.sum(h * h) + cross_entropy(LEFT[case](h) @ tracer.parameter(V, "v"), Y)
    with pytest.raises(tracer.BatchError, match=r"cross_entropy \(.*:\d+\).*tracer\.batch\(x\)"):
        tape.backward(loss, ("grad_batch",))
    with tracer.Tape() as tape:
        h = tracer.batch(X) @ tracer.parameter(W, "w")
        features = tracer.batch(LEFT[case](h))
        loss = np.sum(h * h) + cross_entropy(features @ tracer.parameter(V, "v"), Y)
    results = tape.backward(loss, ("grad", "grad_batch"))
    assert_close(results["grad_batch"]["v"].sum(0), results["grad"]["v"], "v")


# -- from tape to tape -----------------------------------------------------------------------------


def test_a_detached_state_is_a_batch_on_the_next_tape():
    with tracer.Tape():
        state = np.tanh(tracer.batch(X) @ tracer.parameter(W, "w")).detach()
    with tracer.Tape() as tape:
        loss = cross_entropy(state @ tracer.parameter(V, "v"), Y, reduction="sum")
    results = tape.backward(loss, ("grad_batch",))["grad_batch"]["v"]
    for n in range(N):
        one = tracer.grad(lambda v, n=n: cross_entropy(state.data[n : n + 1] @ v, Y[n : n + 1]))
        assert_close(results[n], one(V), "v")


def test_what_is_kept_of_a_tape_does_not_keep_the_tape():
    gc.disable()
    try:
        state, tapes = tracer.batch(X @ W), []
        for _ in range(3):
            with tracer.Tape() as tape:
                h = np.tanh(state @ tracer.parameter(np.eye(4), "w"))
                state, mask = h.detach(), h > 0
                with tracer.pause():
                    beside = np.exp(h)
            tapes.append(weakref.ref(tape))
            assert (mask.shape, beside.shape) == (h.shape, h.shape)
            del tape, h
        assert [ref() for ref in tapes] == [None] * 3
    finally:
        gc.enable()


def test_without_a_tape_values_are_plain():
    h = tracer.batch(X) @ tracer.parameter(W, "w")
    for value in (h > 0, np.argmax(h, axis=1), np.isfinite(h)):
        assert type(value) is np.ndarray
    assert h.detach().node is None


# -- what is made of samples stays theirs where a module is called with it -------------------------


CODES = {
    "in another order": (0, lambda h: h[[2, 0, 1]], [2, 0, 1]),
    "samples on the second axis": (1, lambda h: np.swapaxes(h, 0, 1), [0, 1, 2]),
    "sorted": (0, lambda h: h[np.argsort(h[:, 0, 0])], [0, 2, 1]),
}


@pytest.mark.parametrize("mark", [lambda codes, axis: codes, tracer.batch], ids=["", "marked"])
@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("way", CODES)
def test_codes_of_samples_are_theirs_in_a_module_that_is_called_with_them(way, swept, mark):
    axis, place, order = CODES[way]
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((3, 3, 2)), generator.standard_normal((3, 3, 2))
    x[:, 0, 0] = 0.1, 0.3, 0.2
    model = nn.Sequential(nn.Embedding(2, 2), nn.Linear(2, 2)).double()

    def results(quantity, weights):
        with tracer.Tape() as tape:
            codes = mark(np.argmax(place(tracer.batch(x)), axis=-1), axis)
            loss = np.sum(weights * (model(codes) - y) ** 2)
        if swept:
            tape.backward(loss)
        return tape.backward(loss, quantity)[quantity]

    found = results("grad_batch", np.ones((3, 3, 1)))
    for k, n in enumerate(order):
        alone = np.zeros((3, 3, 1))
        alone[(slice(None),) * axis + (k,)] = 1
        for name, value in results("grad", alone).items():
            np.testing.assert_allclose(found[name][n], value, atol=1e-12, err_msg=name)


class OfLengths(nn.Module):
    """Sequences that are sorted by length, read at their ends, and put back in order."""

    def __init__(self, first):
        self.first, self.rnn = first, nn.GRU(3, 3, batch_first=True)
        self.embed, self.head = nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, x, lengths):
        h = np.tanh(self.embed(x)) if self.first else np.repeat(x, 2, axis=-1)[..., 1:]
        order = np.argsort(-lengths)
        outputs, last = self.rnn(h[order])[0], np.take(lengths, order) - 1
        return self.head(outputs[np.arange(len(last)), last][np.argsort(order)])


@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_sequences_that_a_model_sorts_by_their_lengths(first, swept):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((3, 4, 2)), generator.standard_normal((3, 2))
    lengths, model = np.array([2, 4, 3]), OfLengths(first).double()

    def results(quantities, some):
        with tracer.Tape() as tape:
            loss = mse_loss(model(x[some], lengths[some]), y[some], reduction="sum")
        if swept:
            tape.backward(loss)
        return tape.backward(loss, quantities)

    found = results(("grad_batch", "diag_ggn_exact_batch"), slice(None))
    for n in range(3):
        one = results(("grad", "diag_ggn_exact"), slice(n, n + 1))
        for quantity, alone in (("grad_batch", "grad"), ("diag_ggn_exact_batch", "diag_ggn_exact")):
            for name, value in one[alone].items():
                assert_close(found[quantity][name][n], value, f"{quantity} of {name}")


@pytest.mark.parametrize("width", [2, N])
def test_a_vector_given_to_a_linear_layer_has_no_samples(width):
    """A network that makes weights, and a first state, beside a batch of as many or of others."""
    maker, part = nn.Linear(width, 12).double(), nn.Linear(4, 4).double()
    code, state = np.linspace(0.1, 1, width), np.zeros(4)

    def loss_of(x, y):
        h = np.tanh(x @ maker(code).reshape(3, 4) + part(state))
        return mse_loss(h, y, reduction="sum")

    def sweep(quantity, some=slice(None)):
        with tracer.Tape() as tape:
            loss = loss_of(tracer.batch(X[some]), np.ones((len(X[some]), 4)))
        return tape.backward(loss, quantity)[quantity]

    found = sweep("grad_batch")
    for n in range(N):
        for name, value in sweep("grad", slice(n, n + 1)).items():
            assert_close(found[name][n], value, name)
