"""Programs read from archives: values, gradients, quantities, names, scopes, modes and sizes.

`make_archives.py` wrote them, with PyTorch's results beside them.
"""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError

FOLDER = Path(__file__).parent / "archives"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


def opened(name):
    return tracer_import.load(FOLDER / f"{name}.pt2")


def results(name):
    return dict(np.load(FOLDER / f"{name}.npz"))


def called(name, inputs):
    """The arguments and keywords of a network with these inputs."""
    return (((inputs[0], inputs[1]),), {"mask": inputs[2]}) if name == "nested" else (inputs, {})


def inputs_of(name):
    found = results(name)
    return tuple(found[key] for key in sorted(k for k in found if k.startswith("input ")))


def leaves(value):
    if isinstance(value, tuple | list):
        return [leaf for each in value for leaf in leaves(each)]
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    return [value]


def plain(value):
    """Raw arrays, in a list."""
    return [
        getattr(leaf, "data", leaf) if hasattr(leaf, "node") else leaf for leaf in leaves(value)
    ]


def total(outputs):
    """The sum of all that is differentiated."""
    sums = [np.sum(each) for each in leaves(outputs)]
    return sum(sums[1:], sums[0])


def recorded(model, name, inputs=None):
    """The tape, the outputs and their sum."""
    args, kwargs = called(name, inputs or inputs_of(name))
    with tracer.Tape() as tape:
        outputs = model(*args, **kwargs)
        loss = total(outputs)
    return tape, outputs, loss


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_pytorchs(name):
    wanted, model = results(name), opened(name)
    tape, outputs, loss = recorded(model, name)
    for i, output in enumerate(leaves(outputs)):
        np.testing.assert_allclose(
            getattr(output, "data", output), wanted[f"output {i}"], rtol=1e-12, atol=1e-13
        )
    gradients = tape.backward(loss)["grad"]
    named = {key.removeprefix("grad "): g for key, g in wanted.items() if key.startswith("grad ")}
    scale = max(np.abs(g).max() for g in named.values())
    for path, gradient in named.items():
        np.testing.assert_allclose(gradients[path], gradient, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_tape_values_are_the_same_and_nothing_stays(name):
    model = opened(name).eval()
    args, kwargs = called(name, inputs_of(name))
    before = dict(vars(model))
    untaped = plain(model(*args, **kwargs))
    _, taped, _ = recorded(model, name)
    for one, other in zip(untaped, plain(taped), strict=True):
        np.testing.assert_array_equal(one, other)
    assert vars(model).keys() == before.keys()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("training", "nested")])
def test_per_sample_quantities_are_those_of_each_sample_alone(name):
    """The gradient of one sample by itself, of a loss with curvature: brute force."""
    model, inputs = opened(name), inputs_of(name)
    targets = np.arange(len(inputs[0])) % 2

    def swept(inputs, targets, *quantities):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(*inputs), targets, reduction="sum")
        return tape.backward(loss, quantities)

    found = swept(inputs, targets, "grad_batch", "batch_l2", "diag_ggn_exact")
    exact = {}
    for i in range(len(targets)):
        alone = swept([x[i : i + 1] for x in inputs], targets[i : i + 1], "grad", "diag_ggn_exact")
        for path in found["grad_batch"]:
            gradient = alone["grad"][path]
            np.testing.assert_allclose(
                found["grad_batch"][path][i], gradient, rtol=1e-8, atol=1e-11
            )
            np.testing.assert_allclose(
                found["batch_l2"][path][i], np.sum(gradient**2), rtol=1e-8, atol=1e-12
            )
            exact[path] = exact.get(path, 0) + alone["diag_ggn_exact"][path]
    for path, diagonal in exact.items():
        np.testing.assert_allclose(found["diag_ggn_exact"][path], diagonal, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*'tokens.weight'.*several different ways")
def test_all_parameters_but_those_of_two_uses_have_kronecker_factors(name):
    model = opened(name)
    args, kwargs = called(name, inputs_of(name))
    with tracer.Tape() as tape:
        outputs = leaves(model(*args, **kwargs))
        loss = nn.mse_loss(outputs[0], np.zeros(outputs[0].shape))
    factors = tape.backward(loss, ("kfac",), rng=np.random.default_rng(0))["kfac"]
    trained = {path for path, p in model.named_parameters() if p.requires_grad}
    assert set(factors) == trained - {"tokens.weight"}


def test_the_state_is_pytorchs_with_shared_parameters_shared():
    model = opened("perceptron")
    assert model.middle.weight is model.again.weight
    assert [path for path, _ in model.named_parameters()] == [
        *("first.weight", "first.bias", "norm.weight", "norm.bias"),
        *("middle.weight", "last.weight", "last.bias"),
    ]
    state = model.state_dict()
    assert {"again.weight", "middle.weight"} <= state.keys()
    other = opened("perceptron")
    other.load_state_dict({path: 2 * array for path, array in state.items()})
    np.testing.assert_array_equal(other.again.weight.data, 2 * state["again.weight"])


def test_saved_states_are_read_again(tmp_path):
    model = opened("convolutional")
    model.save(tmp_path / "state.safetensors")
    model.head.bias.data = model.head.bias.data + 1
    model.load(tmp_path / "state.safetensors")
    _, outputs, _ = recorded(model, "convolutional")
    np.testing.assert_allclose(outputs.data, results("convolutional")["output 0"], rtol=1e-12)


def test_frozen_parameters_and_buffers_are_what_they_were():
    model = opened("nested")
    assert not model.frozen.requires_grad
    assert model.lin.weight.requires_grad
    assert list(model.state_dict()) == ["frozen", "shift", "lin.weight", "lin.bias"]
    assert {path for path, _ in model.named_buffers()} == {"shift", "hidden"}


def test_running_statistics_move_as_in_pytorch():
    model, wanted = opened("training"), results("training")
    recorded(model, "training")
    for path, buffer in model.named_buffers():
        np.testing.assert_allclose(buffer, wanted[f"buffer {path}"], rtol=1e-12)
    assert model.training


def test_the_mode_is_the_programs_and_may_be_changed():
    training, evaluation = opened("training"), opened("convolutional")
    assert training.training
    assert not evaluation.training
    x = inputs_of("training")[0]
    moved = training(x).data
    statistics = {path: b.copy() for path, b in training.named_buffers()}
    training.eval()
    evaluation.load_state_dict(training.state_dict())
    np.testing.assert_allclose(training(x).data, evaluation(x).data, rtol=1e-12)
    assert all(np.array_equal(statistics[path], b) for path, b in training.named_buffers())
    evaluation.train()
    np.testing.assert_allclose(evaluation(x).data, moved, rtol=1e-12)
    assert not np.array_equal(dict(evaluation.named_buffers())[MEAN], statistics[MEAN])


MEAN = "blocks.0.norm.running_mean"


def test_dropout_is_drawn_by_the_librarys_generator():
    model, x = opened("perceptron"), inputs_of("perceptron")[0]
    still = model(x).data
    model.train()
    tracer.seed(1)
    first, second = model(x).data, model(x).data
    tracer.seed(1)
    np.testing.assert_array_equal(first, model(x).data)
    assert not np.allclose(first, second)
    assert not np.allclose(first, still)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("name", ["convolutional", "transformer", "lstm", "writing"])
def test_a_batch_may_have_any_size(name, size):
    model, inputs = opened(name), inputs_of(name)
    several = tuple(np.concatenate([x] * 2)[:size] for x in inputs)
    outputs, whole = model(*several).data, model(*inputs).data
    np.testing.assert_allclose(outputs[:3], whole[:size], rtol=1e-12, atol=1e-14)


def test_a_copy_and_a_pickle_compute_the_same():
    model, x = opened("convolutional"), inputs_of("convolutional")[0]
    wanted = model(x).data
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x).data, wanted)
        assert other.head.weight is not model.head.weight
        assert repr(other) == repr(model)


def test_a_model_in_single_precision_computes_in_it():
    model = opened("transformer").float()
    tape, outputs, loss = recorded(model, "transformer")
    assert outputs.dtype == np.float32
    assert {g.dtype for g in tape.backward(loss)["grad"].values()} == {np.dtype(np.float32)}
    wanted = results("transformer")["output 0"]
    np.testing.assert_allclose(outputs.data, wanted, rtol=1e-4, atol=1e-5)


def test_bfloat16_becomes_float32_and_this_is_said(capsys):
    model = opened("bfloat16")
    assert "2 arrays of bfloat16 became float32" in capsys.readouterr().err
    assert model.weight.dtype == np.float32
    assert model(np.ones((2, 2))).dtype == np.float32


def test_boxes_have_the_classes_paths_and_options_of_the_model():
    tape, _, _ = recorded(opened("convolutional"), "convolutional")
    graph = tape.graph()
    calls = {call["scope"]: call for call in graph.graph["calls"]}
    assert calls["stem"]["kind"] == "Conv2d"
    assert calls["stem"]["hyperparameters"] == "1, 3, kernel_size=3, stride=2"
    assert calls["blocks.1.act"]["kind"] == "ReLU"
    assert calls["blocks.1"]["kind"] == "Block"
    (node,) = (data for _, data in graph.nodes(data=True) if data["scope"] == "blocks.0.conv"
               and data["kind"] == "operation")  # fmt: skip
    assert node["scopes"] == ["ModuleList", "Block", "Conv2d"]
    assert node["source"].startswith("networks.py:")


def test_a_module_that_is_called_twice_has_two_calls():
    tape, _, _ = recorded(opened("nested"), "nested")
    calls = [c for c in tape.graph().graph["calls"] if c["scope"] == "lin"]
    assert [call["number"] for call in calls] == [0, 1]
    assert len({call["module"] for call in calls}) == 1


def test_an_imported_model_is_part_of_another():
    inner = opened("perceptron")
    model = nn.Sequential(inner, nn.Linear(3, 2).double())
    with tracer.Tape() as tape:
        loss = np.sum(model(inputs_of("perceptron")[0]))
    assert "0.first.weight" in tape.backward(loss)["grad"]
    scopes = {data["scope"] for _, data in tape.graph().nodes(data=True)}
    assert "0.first" in scopes


def test_a_part_is_not_called_by_itself():
    with pytest.raises(TracerError, match="this Linear is a part of an imported program"):
        opened("perceptron").first(np.ones((2, 4)))


@pytest.mark.parametrize(
    ("name", "inputs", "options", "message"),
    [
        ("perceptron", (np.ones((2, 5)),), {}, r"takes x float64\[.*, 4\].*got \[2, 5\]"),
        ("perceptron", (np.ones(4),), {}, r"got \[4\]"),
        ("perceptron", (), {}, "got no 'x'"),
        ("perceptron", (np.ones((2, 4)),) * 2, {}, "got 2 arguments"),
        ("perceptron", (), {"y": np.ones((2, 4))}, "got 'y'"),
        ("perceptron", ("text",), {}, "got 'text' for x"),
        ("transformer", (np.ones((2, 5)),), {}, r"takes ids int64.*got float64: convert it"),
        ("perceptron", (np.ones((2, 4)) * 1j,), {}, r"takes x float64.*got complex128: convert it"),
        ("perceptron", (np.ones((0, 4)),), {}, r"from 1\), got \[0, 4\]"),
        ("transformer", (np.full((2, 5), 2**63, np.uint64),), {}, "int64 does not hold"),
        ("nested", ((np.ones((2, 3)),),), {"mask": np.ones((2, 3), bool)}, "tuple of 2"),
        ("nested", ((np.ones((2, 3)), np.ones((3, 3))),), {"mask": np.ones((2, 3), bool)}, "got"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_taken(name, inputs, options, message):
    with pytest.raises(ShapeError, match=message):
        opened(name)(*inputs, **options)


def test_arguments_are_given_by_name_and_in_other_float_dtypes():
    model, x = opened("perceptron"), inputs_of("perceptron")[0]
    np.testing.assert_array_equal(model(x=x).data, model(x).data)
    assert model(x.astype(np.float32)).dtype == np.float64
