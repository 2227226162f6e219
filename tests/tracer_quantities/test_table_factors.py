"""Kronecker factors of what is added or multiplied, against their definition.

The rows `b` at each use come from a model in which each use has a copy of its own: a function that
takes a parameter takes it broadcast to all of its uses, too, and its Jacobian then has them apart.
"""

import numpy as np
import pytest
from brute_force import Problem, assert_close, plain_loss

import tracer
import tracer_layers as nn
from tracer_quantities import KFLR

N, T, D = 3, 4, 2


class Case:
    """`model(p, x)`, the shape of `p`, that of `p` at all uses, and which rows those look up.

    `uses(full)` takes an array like that at all uses `[N, *]` to `[N, T, D]`, rows to look up.
    """

    def __init__(self, model, shape, full, uses, rows=None, x=(T, D)):
        self.model, self.shape, self.full, self.uses, self.rows = model, shape, full, uses, rows
        self.x = x


def features(full):
    """Uses `[N, T, D]` of rows on the last axis."""
    return full.reshape(len(full), -1, full.shape[-1])


def channels(full):
    """Uses of features on the first axis after the samples'."""
    return features(np.moveaxis(full, 1, -1))


def head(h):
    """Something that bends, to which every place contributes differently."""
    flat = np.tanh(h).reshape(len(h), -1)
    return np.sin(flat @ np.arange(1.0, 1 + 3 * flat.shape[1]).reshape(-1, 3))


def added(p, x):
    return head(x + p)


def scaled(p, x):
    return head(x * p)


def token_first(p, x):
    """A class token `[1, 1, D]`, or one for each sample."""
    token = p if len(p) == len(x) else np.broadcast_to(p, (len(x), 1, D))
    return head(np.concatenate([token, x], axis=1))


def repeated_token(p, x):
    token = p if len(p) == len(x) else np.repeat(p, len(x), axis=0)
    return head(np.concatenate([x, token], axis=1))


def mask_token(p, x):
    return head(np.where(np.arange(T)[:, None] % 2 == 0, p, x))


def half_of(p, x):
    return head(x - 0.5 * p)


def relative(p, x):
    """A bias `[H, T, T]` of scores, `[N, H, T, T]` at all uses."""
    bias = p if p.ndim == 4 else np.transpose(p[INDEX.reshape(-1)].reshape(T, T, 2), (2, 0, 1))
    scores = (x @ np.swapaxes(x, 1, 2))[:, None] + bias
    return head(np.exp(scores - tracer.logsumexp(scores, axis=-1, keepdims=True)) @ x[:, None])


INDEX = np.arange(T)[:, None] - np.arange(T) + T - 1
FULL = (N, T, D)
TABLE = np.arange(T)

CASES = {
    "[D] added": Case(added, (D,), FULL, features),
    "[1, D] added": Case(added, (1, D), FULL, features),
    "[1, 1, D] added": Case(added, (1, 1, D), FULL, features),
    "[1, D] multiplied": Case(scaled, (1, D), FULL, features),
    "[1, D], half of it subtracted": Case(half_of, (1, D), FULL, features),
    "[C, 1, 1] multiplied": Case(scaled, (2, 1, 1), (N, 2, 3, 2), channels, x=(2, 3, 2)),
    "[T, 1] added": Case(added, (T, 1), FULL, channels),
    "a class token": Case(token_first, (1, 1, D), (N, 1, D), features),
    "a class token, repeated": Case(repeated_token, (1, 1, D), (N, 1, D), features),
    "a mask token": Case(mask_token, (1, D), FULL, features),
    "[T, D] added": Case(added, (T, D), FULL, features, TABLE),
    "[1, T, D] added": Case(added, (1, T, D), FULL, features, TABLE),
    "[T, D] multiplied": Case(scaled, (T, D), FULL, features, TABLE),
    "[T, D], half of it subtracted": Case(half_of, (T, D), FULL, features, TABLE),
    "[T, D] in two windows": Case(
        added, (T, D), (N, 2, T, D), features, np.tile(TABLE, 2), x=(2, T, D)
    ),
    "a slice of a longer table": Case(
        lambda p, x: added(p if p.shape[1] == T else p[0, 1 : T + 1], x),
        (1, T + 2, D), FULL, features, TABLE + 1,
    ),
    "a table looked up": Case(
        lambda p, x: added(p if p.ndim == 3 else p[np.array([[2, 0, 2, 1]])], x),
        (3, D), FULL, features, np.array([2, 0, 2, 1]),
    ),
    "relative positions": Case(relative, (2 * T - 1, 2), (N, 2, T, T), channels, INDEX.reshape(-1)),
}  # fmt: skip


def problem_of(case, samples=N, kind="squared"):
    rng = np.random.default_rng(0)
    parameters = {"p": rng.standard_normal(case.shape)}
    model = lambda p, given: case.model(p["p"], given[0])  # noqa: E731
    return Problem(model, parameters, [rng.standard_normal((samples, *case.x))], kind=kind)


def rows_of_uses(case, problem):
    """`[N, C, T, D]` and `[N, C, C]`: the Jacobian by each use, and the Hessian of the loss."""
    p, (x,) = problem.parameters["p"], problem.inputs
    if case.rows is not None and case.model is not relative:
        p = p.reshape(-1, D)[case.rows].reshape(case.full[1:])
    if case.model is relative:
        p = np.moveaxis(p[INDEX], -1, 0)
    full = np.array(np.broadcast_to(p, (problem.samples, *case.full[1:])))
    jacobian = tracer.jacobian(lambda p: case.model(p, x))(full)  # [N, C, N, *]
    jacobian = np.stack([jacobian[n, :, n] for n in range(problem.samples)])
    uses = np.stack([case.uses(j) for j in jacobian])
    hessians = [
        tracer.hessian(lambda f, n=n: plain_loss(problem.kind, f, problem.target[n : n + 1]))(
            problem.output[n : n + 1]
        ).reshape(problem.output.shape[1], -1)
        for n in range(problem.samples)
    ]
    return uses, problem.weight * np.stack(hessians)


def factors_by_definition(case, problem, sharing):
    """`(output factor, input factor)`, the latter None for a vector."""
    uses, hessians = rows_of_uses(case, problem)
    if sharing == "reduce":
        output = np.einsum("nctd,nce,nesf->df", uses, hessians, uses)
    else:
        output = np.einsum("nctd,nce,netf->df", uses, hessians, uses)
    if case.rows is None:
        return output, None
    one_hot = np.eye(np.prod(case.shape) // D)[case.rows]
    if sharing == "reduce":
        return output, np.outer(one_hot.mean(0), one_hot.mean(0))
    return output, one_hot.T @ one_hot / len(one_hot)


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("samples", [1, N, T])
@pytest.mark.parametrize("name", CASES)
def test_factors_equal_their_definition(name, samples, sharing, kind):
    case = CASES[name]
    if samples == 1 and case.model in (token_first, repeated_token):
        case = Case(case.model, case.shape, (1, *case.full[1:]), case.uses)
    problem = problem_of(case, samples, kind)
    found = problem.backward((KFLR(sharing=sharing),))["kflr"]["p"]
    output, inputs = factors_by_definition(case, problem, sharing)
    assert_close(found.factors[0], output, "output factor")
    assert len(found.factors) == (1 if inputs is None else 2)
    block = output
    if inputs is not None:
        assert_close(found.factors[1], inputs, "input factor")
        block = np.kron(inputs, output)  # of row-major order: positions, then features
    assert_close(found.dense(), block, "block")
    vector = np.random.default_rng(1).standard_normal(case.shape)
    assert_close(found.matvec(vector).ravel(), block @ vector.ravel(), "product")


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.rows is None])
def test_one_use_per_sample_is_the_block_itself(name):
    """All of "reduce", which sums uses first, and of "expand" where there is one."""
    problem = problem_of(CASES[name])
    blocks = problem.ggn_batch()["p"].sum(0)
    reduced = problem.backward((KFLR(sharing="reduce"),))["kflr"]["p"]
    assert_close(reduced.dense(), blocks, "reduce")
    if "token" in name and "mask" not in name:
        assert_close(problem.backward("kflr")["kflr"]["p"].dense(), blocks, "expand")


@pytest.mark.parametrize("name", CASES)
def test_other_quantities_are_what_they_were(name):
    """The form that factors need serves the others as well."""
    problem = problem_of(CASES[name])
    results = problem.backward(("grad", "grad_batch", "batch_l2", "diag_ggn_exact", "batch_dot"))
    g = problem.grad_batch()["p"]
    assert_close(results["grad_batch"]["p"], g, "grad_batch")
    assert_close(results["grad"]["p"], g.sum(0), "grad")
    assert_close(results["batch_l2"]["p"], (g**2).reshape(N, -1).sum(1), "batch_l2")
    assert_close(results["batch_dot"]["p"], g.reshape(N, -1) @ g.reshape(N, -1).T, "batch_dot")
    diagonal = np.diagonal(problem.ggn_batch()["p"].sum(0)).reshape(g.shape[1:])
    assert_close(results["diag_ggn_exact"]["p"], diagonal, "diag_ggn_exact")


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("name", CASES)
def test_chunks_and_shards_agree_with_the_whole(name, sharing):
    problem, quantity = problem_of(CASES[name]), KFLR(sharing=sharing)
    whole = problem.backward((quantity,))["kflr"]["p"]
    in_chunks = problem.backward((quantity,), memory_budget=1000)["kflr"]["p"]

    def shard(some):
        part = problem_of(CASES[name])
        part.inputs, part.target = [part.inputs[0][some]], part.target[some]
        return part.backward((quantity,))["kflr"]["p"]

    weights = (tracer.Shard(2, 2 / N), tracer.Shard(1, 1 / N))
    merged = quantity.merge(shard(slice(0, 2)), shard(slice(2, N)), weights)
    for other in (in_chunks, merged):
        for mine, theirs in zip(whole.factors, other.factors, strict=True):
            assert_close(theirs, mine, "factor")
        assert_close(other.dense(), whole.dense(), "block")


# -- tables of positions in different dress -----------------------------------------------------


class Positions(nn.Module):
    """A linear map of a sequence with positions added, in one of several ways."""

    def __init__(self, way):
        self.way = way
        rows = np.random.default_rng(0).standard_normal((T + 1, D))
        if way == "embedding":
            self.table = nn.Embedding(T + 1, D, _weight=rows)
        elif way == "layer":
            self.table = nn.LearnedPositions(T + 1, D, batch_first=True)
            self.table.weight = tracer.parameter(rows)
        else:
            self.table = nn.Module()
            self.table.weight = tracer.parameter(rows[None] if way == "[1, T, D]" else rows)
        self.linear = nn.Linear(D, D, rng=np.random.default_rng(0))

    def forward(self, x):
        table, length = self.table, x.shape[1]
        if self.way == "embedding":
            h = x + table(np.arange(length))
        elif self.way == "layer":
            h = table(x)
        elif self.way == "[1, T, D]":
            h = x + table.weight[:, :length]
        elif self.way == "taken":
            h = x + np.take(table.weight, np.arange(length), axis=0)
        elif self.way == "step by step":
            h = np.stack([x[:, t] + table.weight[t] for t in range(length)], axis=1)
        else:
            h = x + table.weight[:length]
        return np.tanh(self.linear(h))


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("lengths", [None, [4, 1, 2]])
@pytest.mark.parametrize("way", ["layer", "[T, D]", "[1, T, D]", "taken", "step by step"])
def test_a_table_of_positions_is_an_embedding_of_them(way, lengths, sharing):
    if lengths and way == "step by step":
        pytest.skip("a mask of all positions is of operations on all of them")

    def factors(way):
        model, rng = Positions(way).double(), np.random.default_rng(1)
        x, y = rng.standard_normal((3, T, D)), rng.standard_normal((3, T, D))
        there = None if lengths is None else np.arange(T) < np.array(lengths)[:, None]
        with tracer.Tape() as tape, tracer.present(there):
            f = model(x)
            loss = nn.mse_loss(f, y) if lengths is None else nn.mse_loss(f * there[..., None], y)
        return tape.backward(loss, (KFLR(sharing=sharing),))["kflr"]["table.weight"]

    expected, found = factors("embedding"), factors(way)
    for mine, theirs in zip(found.factors, expected.factors, strict=True):
        assert_close(mine, theirs, "factor")
    assert found.factors[1].shape == (T + 1, T + 1)
    assert_close(found.dense(), expected.dense(), "block")


def test_one_table_by_an_index_and_by_a_sum_is_one_table():
    """Uses that are all of rows add up, though some look rows up and others take them in turn."""
    rng = np.random.default_rng(0)
    codes, table = rng.integers(0, T, (N, T)), rng.standard_normal((T, D))
    problem = Problem(lambda p, given: head(p["t"][given[0]] + p["t"]), {"t": table}, [codes])
    twice = Problem(
        lambda p, given: head(p["t"][given[0]] + p["t"][given[1]]),
        {"t": table},
        [codes, np.tile(np.arange(T), (N, 1))],
    )
    found, expected = (each.backward("kflr")["kflr"]["t"] for each in (problem, twice))
    for mine, theirs in zip(found.factors, expected.factors, strict=True):
        assert_close(mine, theirs, "factor")


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 2), (1, 4, 1)])
def test_parts_of_a_parameter_at_different_places(shape):
    """A vector has its whole block; the rows of a table are one table's, wherever they are used."""

    def model(p, given):
        (x,), p = given, p["p"]
        first, second = (p[0], p[1]) if shape == (2, 2) else np.split(p.reshape(4), 2)
        return np.tanh(x + first) * second

    rng = np.random.default_rng(0)
    problem = Problem(model, {"p": rng.standard_normal(shape)}, [rng.standard_normal((N, D))])
    found = problem.backward("kflr")["kflr"]["p"]
    block = problem.ggn_batch()["p"].sum(0)
    if shape == (2, 2):
        rows = block.reshape(2, 2, 2, 2)
        output = rows[0, :, 0] + rows[1, :, 1]
        assert_close(found.factors[0], output, "output factor")
        assert_close(found.factors[1], np.eye(2) / 2, "input factor")
    else:
        assert_close(found.dense(), block, "block")


def test_a_bias_of_attention_scores_has_the_factors_of_a_sum():
    rng = np.random.default_rng(0)
    x, bias = rng.standard_normal((N, 1, T, D)), rng.standard_normal((T, T))

    def by_hand(p, given):
        (x,) = given
        scores = x @ np.swapaxes(x, -1, -2) / np.sqrt(D) + p["b"]
        return head(np.exp(scores - tracer.logsumexp(scores, axis=-1, keepdims=True)) @ x)

    def by_function(p, given):
        (x,) = given
        return head(nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=p["b"]))

    found, expected = (
        Problem(model, {"b": bias}, [x]).backward("kflr")["kflr"]["b"]
        for model in (by_function, by_hand)
    )
    for mine, theirs in zip(found.factors, expected.factors, strict=True):
        assert_close(mine, theirs, "factor")


def test_scales_of_channels_have_factors_where_samples_are_coupled():
    """Below a normalisation by the statistics of the batch, which takes one row per sample."""

    class Scaled(nn.Module):
        def __init__(self):
            self.conv, self.norm = nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2)
            self.scale = tracer.parameter(np.array([0.5, 2.0]).reshape(2, 1, 1))
            self.table = tracer.parameter(np.arange(4.0).reshape(2, 2))

        def forward(self, x):
            x = self.norm(self.conv(x) * self.scale + np.tanh(x[:, :, :2, :2] + self.table))
            return x.sum((2, 3)) * np.array([1.0, 2.0])

    rng = np.random.default_rng(0)
    model, x = Scaled().double(), rng.standard_normal((3, 1, 3, 3))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), np.array([0, 1, 0]))
    found = tape.backward(loss, "kflr")["kflr"]
    assert [len(f) for f in found["scale"].factors] == [2]
    assert [len(f) for f in found["table"].factors] == [2, 2]


def test_what_lies_beside_a_slice_has_a_block_of_zeros():
    rng = np.random.default_rng(0)
    problem = Problem(
        lambda p, given: given[0] @ p["w"][1:],
        {"w": rng.standard_normal((4, 2))},
        [rng.standard_normal((N, 3))],
    )
    found = problem.backward("kflr")["kflr"]["w"]
    block = problem.ggn_batch()["w"].sum(0)
    assert_close(found.dense(), block, "block")
    vector = rng.standard_normal((4, 2))
    assert_close(found.matvec(vector).ravel(), block @ vector.ravel(), "product")
    inverse = found.inverse(0.5)
    assert_close(inverse.matvec(vector)[0], vector[0] / 0.5, "nothing but the damping")
    assert_close(inverse.matvec(vector).ravel(), inverse.dense() @ vector.ravel(), "inverse")
    with pytest.raises(tracer.QuantityError, match="give a damping"):
        found.inverse()
