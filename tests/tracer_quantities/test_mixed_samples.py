"""Models that mix samples anywhere: what is right of all parameters is so of some of them."""

import warnings

import numpy as np
import pytest
from explicit import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.curvature.rows import ggn_exact

N, D = 4, 2
PERMUTATION = [2, 3, 0, 1]
ADJACENCY = np.full((N, N), 0.2) + 0.3 * np.eye(N)


def normalised(h):
    return (h - h.mean(0)) / np.sqrt(h.var(0) + 0.3)


#: steps of no parameter in which samples meet, or not
MIXES = {
    "none": lambda h: h,
    "mixup": lambda h: 0.3 * h + 0.7 * h[PERMUTATION[: len(h)]] if len(h) == N else h,
    "rolled": lambda h: h + np.roll(h, 1, 0),
    "reversed": lambda h: h * h[::-1],
    "shifted": lambda h: h + np.concatenate([h[1:], h[:1]]),
    "even and odd": lambda h: h[::2] + h[1::2] if len(h) == N else h,
    "halves": lambda h: h[:2] * h[2:] if len(h) == N else h,
    "normalised": normalised,
    "centred": lambda h: h - 0.5 * np.tanh(h).mean(0),
    "graph": lambda h: ADJACENCY[: len(h), : len(h)] @ h,
    "set": lambda h: np.tanh(h).mean(0, keepdims=True),
    "segments": lambda h: tracer.index_add(np.zeros((2, D)), np.arange(len(h)) % 2, h),
    "reduced": lambda h: np.add.reduceat(h, [0, len(h) // 2], 0) if len(h) > 1 else h,
    "summed up": lambda h: np.cumsum(h, 0),
    "pairs": lambda h: h.reshape(2, 2, D).mean(1) if len(h) == N else h,
}


class Mixing(nn.Module):
    """A linear layer, what mixes its samples, and so on, as long as there are mixes."""

    def __init__(self, mixes):
        self.layers = nn.ModuleList([nn.Linear(D, D) for _ in range(len(mixes) + 1)])
        self.mixes = mixes

    def forward(self, x):
        for layer, mix in zip(self.layers[:-1], self.mixes, strict=True):
            x = np.tanh(MIXES[mix](layer(x)))
        return self.layers[-1](x)


def recorded(mixes, frozen=False):
    tracer.seed(len(mixes))
    model = Mixing(mixes).double()
    if frozen:
        model.layers[0].requires_grad_(False)
    x = np.random.default_rng(0).standard_normal((N, D))
    with tracer.Tape() as tape:
        output = model(x)
        loss = nn.cross_entropy(output, np.arange(len(output)) % D)
    return tape, loss


def outcome(tape, loss, quantity, parameters=None, **options):
    """name -> value, an array each; None where it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            given_rng = np.random.default_rng(1)
            found = tape.backward(loss, quantity, parameters=parameters, rng=given_rng, **options)[
                quantity
            ]
        except tracer.TracerError:
            return None
        if hasattr(found, "matmat"):
            matrix = found @ np.eye(found.shape[0])
            return {name: matrix[span, span] for name, span in found.parameters.items()}
        return {name: array_of(value) for name, value in found.items()}


def array_of(value):
    if hasattr(value, "dense"):
        return value.dense()
    if callable(value):
        size = int(np.prod(value.shape))
        return value(np.eye(size).reshape(size, *value.shape))
    return value


SUBSETS = (["layers.0.bias"], ["layers.1.bias"], ["layers.1.weight", "layers.0.weight"])


def assert_alike(mixes, quantities, frozen=False):
    tape, loss = recorded(mixes, frozen)
    names = list(tape.backward(loss)["grad"])
    last = f"layers.{len(mixes)}"
    subsets = [s for s in SUBSETS if set(s) <= set(names)]
    subsets.append([f"{last}.weight", f"{last}.bias"])
    for quantity in quantities:
        every = outcome(tape, loss, quantity)
        for some in subsets:
            part = outcome(tape, loss, quantity, some)
            where = f"{quantity} of {some}, {mixes}"
            if every is None:  # it may be undefined for the others alone
                if part is not None:
                    assert_of_samples(mixes, tape, loss, quantity, part, where)
                continue
            assert (part or {}).keys() == {name for name in some if name in every}, where
            for name, value in (part or {}).items():
                assert_close(value, every[name], where)


def assert_of_samples(mixes, tape, loss, quantity, part, where):
    """Above statistics of the batch, samples are apart: each has the share of its own loss."""
    assert {"none", "normalised", "centred"}.issuperset(mixes), f"{where}: samples are not apart"
    values, model = by_definition(mixes)

    def losses(p):
        output = model(p)
        return (tracer.logsumexp(output, axis=1) - output[np.arange(N), np.arange(N) % D]) / N

    jacobians = tracer.jacobian(losses)(values)
    for name, value in part.items():
        rows = jacobians[name]
        if quantity == "grad_batch":
            assert_close(value, rows, where)
        if quantity == "sum_grad_squared":
            assert_close(value, (rows**2).sum(0), where)
        if quantity == "diag_ggn_exact_batch":
            whole = outcome(tape, loss, "diag_ggn_exact", list(part))
            assert_close(value.sum(0), whole[name], where)


def by_definition(mixes):
    """The parameters of `recorded`, by name, and its model as a function of them."""
    tracer.seed(len(mixes))
    values = {name: p.data for name, p in Mixing(mixes).double().named_parameters()}
    x = np.random.default_rng(0).standard_normal((N, D))

    def model(p):
        h = x
        for i, mix in enumerate(mixes):
            h = np.tanh(MIXES[mix](h @ p[f"layers.{i}.weight"].T + p[f"layers.{i}.bias"]))
        return h @ p[f"layers.{len(mixes)}.weight"].T + p[f"layers.{len(mixes)}.bias"]

    return values, model


@pytest.mark.slow
@pytest.mark.parametrize("mix", sorted(MIXES))
def test_of_some_parameters_as_of_all_where_samples_are_mixed(mix):
    assert_alike((mix,), registry.quantities)


@settings(max_examples=8)
@given(
    mixes=st.lists(st.sampled_from(sorted(MIXES)), min_size=2, max_size=3).map(tuple),
    quantities=st.lists(
        st.sampled_from(sorted(registry.quantities)), min_size=3, max_size=5, unique=True
    ),
    frozen=st.booleans(),
)
def test_of_some_parameters_as_of_all_where_samples_are_mixed_anywhere(mixes, quantities, frozen):
    assert_alike(mixes, quantities, frozen)


def test_channels_of_a_normalised_batch_have_the_same_factors_alone():
    tracer.seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ).double()
    x = np.random.default_rng(0).standard_normal((N, 1, 4, 4))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), np.array([0, 2, 1, 0]))
    for quantity in ("kflr", "kfac"):
        every = outcome(tape, loss, quantity)
        for name, value in every.items():
            assert_close(outcome(tape, loss, quantity, name)[name], value, f"{quantity} of {name}")


# -- outputs whose samples are not those of the input -------------------------------------------


def ggn_blocks(mixes):
    """name -> `[P, P]`, by definition, of the parameters that `recorded` had."""
    values, model = by_definition(mixes)
    odds = np.exp(model(values))
    share = odds / odds.sum(1, keepdims=True)
    inner = (share[:, :, None] * np.eye(D) - share[:, :, None] * share[:, None]) / len(share)
    blocks = {}
    for name, jacobian in tracer.jacobian(model)(values).items():
        j = jacobian.reshape(len(share), D, -1)
        blocks[name] = np.einsum("ncp,ncd,ndq->pq", j, inner, j)
    return blocks


#: where outputs are rows of as many samples as there are
ROWS = {"none", "mixup", "rolled", "reversed", "shifted", "normalised", "centred"}


@pytest.mark.parametrize("mixes", [(mix,) for mix in sorted(MIXES)] + [("none", "graph")])
def test_roots_and_factors_are_of_the_whole_matrix_or_refused(mixes):
    tape, loss = recorded(mixes)
    blocks = ggn_blocks(mixes)
    diagonal = outcome(tape, loss, "diag_ggn_exact")
    for name, block in blocks.items():
        assert_close(diagonal[name].ravel(), np.diag(block), f"diagonal of {name}, {mixes}")
    for quantity in ("sqrt_ggn_exact", "sqrt_ggn_mc", "kflr", "kfac", "diag_ggn_mc_batch"):
        found = outcome(tape, loss, quantity)
        if found is None:
            assert quantity == "diag_ggn_mc_batch" or not ROWS.issuperset(mixes), mixes
            continue
        assert ROWS.union({"summed up"}).issuperset(mixes), f"{quantity}, {mixes}"
        for name, value in found.items():
            if quantity == "sqrt_ggn_exact":
                rows = value.reshape(-1, blocks[name].shape[0])
                assert_close(rows.T @ rows, blocks[name], f"{quantity} of {name}, {mixes}")
            elif quantity == "kflr" and name == f"layers.{len(mixes)}.bias":  # used once a row
                assert_close(value, blocks[name], f"{quantity} of {name}, {mixes}")
            else:
                assert value.any(), f"{quantity} of {name}, {mixes}"


def test_outputs_of_other_samples_say_so_and_warn_of_nothing():
    for mix, why in {"graph": "matmul", "set": "mean", "segments": "scatter_add"}.items():
        tape, loss = recorded((mix,))
        for quantity in ("sqrt_ggn_exact", "kflr", "kfac", "kfra"):
            says = rf"{quantity} is undefined here: the samples of the model's output.*{why}"
            with pytest.raises(tracer.BatchError, match=says):
                tape.backward(loss, quantity)


class Silent(tracer.Quantity):
    """A quantity of a plugin that does not say what it reads."""

    name = "silent"
    rows = ggn_exact

    def extract(self, cotangent, context):
        return cotangent.total_of_squares()


class SumOverSamples(Silent):
    name = "sum_over_samples"
    lists_samples = False


def test_quantities_of_plugins_say_what_they_read_where_outputs_are_of_other_samples():
    tape, loss = recorded(("set",))
    says = r"silent does not say.*mean.*lists_samples = False"
    with pytest.raises(tracer.BatchError, match=says):
        tape.backward(loss, Silent())
    expected = tape.backward(loss, "diag_ggn_exact")["diag_ggn_exact"]
    for name, value in tape.backward(loss, SumOverSamples())["sum_over_samples"].items():
        np.testing.assert_array_equal(value, expected[name])
    tape, loss = recorded(())
    assert tape.backward(loss, Silent())


def test_outputs_of_other_samples_may_be_marked():
    tracer.seed(1)
    model, x = Mixing(("graph",)).double(), np.random.default_rng(0).standard_normal((N, D))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(tracer.batch(model(x)), np.arange(N) % D)
    for name, block in ggn_blocks(("graph",)).items():
        rows = outcome(tape, loss, "sqrt_ggn_exact")[name].reshape(-1, len(block))
        assert_close(rows.T @ rows, block, name)
    with pytest.raises(tracer.BatchError, match="grad_batch is undefined here"):
        tape.backward(loss, "grad_batch")


def test_one_vector_is_no_batch_of_its_elements():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(np.array([1.0, -1.0, 2.0]))[None], np.array([1]))
    for quantity in ("sqrt_ggn_exact", "kflr", "kfac"):
        with pytest.raises(tracer.BatchError, match="not those of its input"):
            tape.backward(loss, quantity)


class Joined(Mixing):
    """A layer of the batch's mean, beside one of its samples."""

    def forward(self, x):
        h = self.layers[0](x)
        return np.tanh(h + self.layers[1](h.mean(0)))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Mixing(("rolled",)), "is used after add .*, from where on no axis of samples is known"),
        (Joined(("none",)), "is used on what mean .* makes of several samples"),
    ],
)
def test_a_layer_without_factors_is_told_where_samples_are_not_followed(model, says):
    x = np.random.default_rng(0).standard_normal((N, D))
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model.double()(x), np.arange(N) % D)
    with pytest.warns(UserWarning, match=rf"'layers.1.weight' \(has no Kronecker.*{says}\)"):
        found = tape.backward(loss, "kflr")["kflr"]
    assert found.keys() == {"layers.0.weight", "layers.0.bias", "layers.1.bias"}
