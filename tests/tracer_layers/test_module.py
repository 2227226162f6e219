"""`Module`: what it registers, calls, saves, loads and says."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError, TracingError


def small():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Tied(nn.Module):
    """Two layers with one weight, and a state that is not trained."""

    def __init__(self):
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("offset", np.ones(3, np.float32))
        self.register_buffer("scratch", np.zeros(3, np.float32), persistent=False)

    def forward(self, x):
        return self.second(np.tanh(self.first(x))) + self.offset


def names(pairs):
    return [name for name, _ in pairs]


def test_assignment_registers_parameters_and_modules_in_order():
    model = Tied()
    assert names(model.named_parameters()) == ["first.weight", "first.bias"]
    assert names(model.named_parameters(remove_duplicate=False)) == [
        "first.weight",
        "first.bias",
        "second.weight",
    ]
    assert names(model.named_modules()) == ["", "first", "second"]
    assert names(model.named_children()) == ["first", "second"]
    assert names(model.named_buffers()) == ["offset", "scratch"]
    assert list(model.state_dict()) == ["offset", "first.weight", "first.bias", "second.weight"]
    assert model.get_submodule("first") is model.first
    assert model.get_parameter("first.bias") is model.first.bias


def test_modules_at_paths_are_replaced():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)))
    assert model.get_buffer("1.1.running_mean") is model[1][1].running_mean
    tanh = nn.Tanh()
    model.set_submodule("1.0", tanh)
    assert model[1][0] is tanh
    model.set_submodule("1.0", nn.ReLU(), strict=True)
    model.set_submodule("1.more", tanh)
    assert model.get_submodule("1.more") is tanh
    assert model(np.ones((4, 2), np.float32)).shape == (4, 3)
    for wrong in (
        lambda: model.set_submodule("1.other", tanh, strict=True),
        lambda: model.set_submodule("2.more", tanh),
        lambda: model.set_submodule("0.weight", tanh),
        lambda: model.get_submodule("0.weight"),
        lambda: model.get_buffer("0.weight"),
        lambda: model.get_parameter("1.1.running_mean"),
        lambda: model.get_parameter("1.1"),
    ):
        with pytest.raises(
            AttributeError, match=r"has no attribute|is no (module|parameter|buffer)"
        ):
            wrong()
    with pytest.raises(TracerError, match="a path and a Module, got '' and"):
        model.set_submodule("", tanh)


def test_sequences_of_modules_are_added_and_repeated():
    first, second = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Tanh(), nn.ReLU())
    both = first + second
    assert [*both] == [*first, *second]
    assert len(first) == 1
    assert [*(second * 2)] == [*(2 * second)] == [*second, *second]
    second *= 2
    assert len(second) == 4
    first += second
    assert [*first.state_dict()] == ["0.weight", "0.bias"]
    assert len(first) == 5
    assert first.pop(-1) is second[1]
    assert len(first) == 4
    listed = nn.ModuleList([nn.ReLU()]) + nn.ModuleList([nn.Tanh()])
    listed += [nn.ELU()]
    assert [type(m).__name__ for m in listed] == ["ReLU", "Tanh", "ELU"]
    assert type(listed.pop(0)) is nn.ReLU
    with pytest.raises(TracerError, match="x to hold modules, got 3"):
        listed + 3
    with pytest.raises(TracerError, match="an int of at least 1"):
        first * 0


def test_a_buffer_that_takes_the_name_of_a_parameter_replaces_it():
    layer = nn.Linear(3, 4)
    assert names(layer.named_parameters()) == ["weight", "bias"]
    layer.register_buffer("weight", np.zeros((4, 3), np.float32))
    assert names(layer.named_parameters()) == ["bias"]


def test_nested_modules_are_named_depth_first_and_each_once():
    shared = nn.ReLU()
    model = nn.Sequential(nn.Sequential(shared, nn.Linear(2, 2)), shared)
    assert names(model.named_modules()) == ["", "0", "0.0", "0.1"]
    assert len(list(model.modules())) == 4
    assert len(list(model.children())) == 2


def test_parameters_are_those_after_the_last_change():
    inner = nn.Sequential(nn.Linear(2, 2))
    model = nn.Sequential(nn.Linear(2, 2), inner)
    assert names(model.named_parameters()) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    inner.append(nn.Linear(2, 1, bias=False))
    assert names(model.named_parameters())[4:] == ["1.1.weight"]
    model[0].bias = None
    inner[0] = nn.ReLU()
    assert names(model.named_parameters()) == ["0.weight", "1.1.weight"]
    model[0].weight = replaced = tracer.parameter(np.ones((2, 2)))
    assert next(model.parameters()) is replaced
    twin = copy.deepcopy(model)
    twin[0].weight.data[0, 0] = 5.0
    assert next(twin.parameters()) is twin[0].weight is not replaced
    assert names(twin.named_parameters()) == ["0.weight", "1.1.weight"]
    del inner[1]
    assert names(model.named_parameters()) == ["0.weight"]
    assert names(model.named_parameters("net")) == ["net.0.weight"]
    assert names(twin.named_parameters()) == ["0.weight", "1.1.weight"]


def test_a_registered_name_keeps_its_kind():
    layer = nn.Linear(2, 2)
    with pytest.raises(TracerError, match=r"Linear.weight is a parameter: assign a tracer.param"):
        layer.weight = np.ones((2, 2))
    layer.bias = None
    assert names(layer.named_parameters()) == ["weight"]
    layer.bias = tracer.parameter(np.ones(2))
    assert names(layer.named_parameters()) == ["weight", "bias"]
    del layer.bias
    assert names(layer.named_parameters()) == ["weight"]
    model = Tied()
    with pytest.raises(TracerError, match="is a module"):
        model.first = 3
    for call in (
        lambda: layer.register_buffer("forward", np.ones(2)),
        lambda: layer.register_parameter("a.b", None),
        lambda: layer.register_parameter("c", np.ones(2)),
        lambda: layer.add_module("d", np.ones(2)),
    ):
        with pytest.raises(TracerError):
            call()


def test_modules_are_placed_by_their_path_and_the_root_adds_nothing():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    with tracer.Tape() as tape:
        model(np.ones((4, 2), np.float32))
    assert [node.place.scope for node in tape.nodes] == ["0", "1.0", "1.1"]
    assert tape.nodes[-1].place.scopes == ("Sequential", "Linear")
    assert tape.nodes[-1].source.startswith("test_module.py")
    assert tape.roots == [model]
    assert tape.place.scope == ""


def test_a_child_called_alone_is_placed_and_named_as_in_the_model():
    model = small()
    with tracer.Tape() as tape:
        alone = np.sum(model[0](np.ones((4, 3), np.float32)))
        model(np.ones((4, 3), np.float32))
    assert [node.place.scope for node in tape.nodes[::2]][:2] == ["0", "0"]
    assert list(tape.backward(alone)["grad"]) == names(model.named_parameters())


def test_time_steps_and_scopes_around_a_model_are_kept():
    cell = nn.Sequential(nn.Linear(2, 2))
    with tracer.Tape() as tape, tracer.scope("outside"):
        x = tracer.batch(np.ones((3, 2), np.float32))
        for _ in tracer.steps(2):
            x = cell(x)
    assert [(n.place.scope, n.place.time) for n in tape.nodes] == [
        ("outside.0", 0),
        ("outside.0", 1),
    ]


def test_an_exception_leaves_no_root_and_no_scope():
    model = small()
    with tracer.Tape() as tape:
        with pytest.raises(ShapeError):
            model(np.ones((4, 7), np.float32))
        assert tape.place.scope == ""
        model(np.ones((4, 3), np.float32))
    assert [node.place.scope for node in tape.nodes] == ["0", "1", "2"]


def test_raw_inputs_become_batches_and_the_gradient_is_named():
    model = small()
    with tracer.Tape() as tape:
        loss = np.sum(model(np.ones((5, 3), np.float32)))
    gradients = tape.backward(loss)["grad"]
    assert list(gradients) == names(model.named_parameters())
    assert gradients["2.bias"].tolist() == [5, 5]
    assert gradients[model[0].weight].dtype == np.float32


def test_outside_a_tape_a_model_computes_a_tensor_without_history():
    out = small()(np.ones((5, 3), np.float32))
    assert isinstance(out, tracer.Tensor)
    assert out.shape == (5, 2)
    assert out.node is None
    assert isinstance(nn.Flatten()(np.ones((2, 3, 4))), tracer.Tensor)


def test_state_goes_round():
    model, other = Tied(), Tied()
    result = other.load_state_dict(model.state_dict())
    assert result.missing_keys == result.unexpected_keys == []
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(model(x).data, other(x).data)
    assert other.second.weight is other.first.weight
    assert not np.shares_memory(other.first.weight.data, model.first.weight.data)


def test_loading_converts_to_the_dtype_of_the_model():
    model = nn.Linear(2, 1)
    model.load_state_dict({"weight": [[1, 2]], "bias": np.array([3.0])})
    assert model.weight.dtype == np.float32
    assert model(np.ones((1, 2), np.float32)).tolist() == [[6.0]]


def test_states_that_do_not_fit_are_refused_with_keys_and_shapes():
    model = nn.Linear(2, 1)
    before = model.weight.data.copy()
    with pytest.raises(ShapeError, match=r"missing: bias \[1\]; unexpected: b \[1\]"):
        model.load_state_dict({"weight": np.ones((1, 2)), "b": np.ones(1)})
    with pytest.raises(ShapeError, match=r"weight is of shape \[1, 2\], got \[2, 1\]"):
        model.load_state_dict({"weight": np.ones((2, 1)), "bias": np.ones(1)})
    np.testing.assert_array_equal(model.weight.data, before)
    result = model.load_state_dict({"weight": np.ones((1, 2)), "b": np.ones(1)}, strict=False)
    assert result == (["bias"], ["b"])
    assert model.weight.tolist() == [[1, 1]]


def test_a_tape_keeps_the_values_that_it_recorded():
    layer = nn.Linear(1, 1, bias=False)
    layer.load_state_dict({"weight": [[2.0]]})
    with tracer.Tape() as tape:
        loss = np.sum(np.square(layer(np.ones((1, 1), np.float32))))
    layer.load_state_dict({"weight": [[100.0]]})
    assert tape.backward(loss)["grad"]["weight"].tolist() == [[4.0]]


def test_dtypes():
    model = Tied().double()
    assert {v.dtype for v in model.state_dict().values()} == {np.dtype(np.float64)}
    assert model.second.weight is model.first.weight
    assert model.float().first.weight.dtype == np.float32
    assert model.half().first.weight.dtype == np.float16
    assert model.to("cpu").first.weight.dtype == np.float16
    assert model.to(dtype=np.float64).offset.dtype == np.float64
    with tracer.Tape() as tape:
        loss = np.sum(model(np.ones((2, 3))))
    assert tape.backward(loss)["grad"]["first.bias"].dtype == np.float64


def test_modes_and_apply():
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())
    seen = []
    model.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Dropout", "Dropout", "Sequential", "Sequential"]


def test_frozen_parameters_are_constants_and_keep_their_names():
    model = small()
    model[0].requires_grad_(False)
    assert len(list(model.parameters())) == 4
    with tracer.Tape() as tape:
        loss = np.sum(model(np.ones((5, 3), np.float32)))
    assert list(tape.backward(loss)["grad"]) == ["2.weight", "2.bias"]
    model[0].weight = model[0].weight
    model.requires_grad_()
    with tracer.Tape() as tape:
        loss = np.sum(model(np.ones((5, 3), np.float32)))
    assert len(tape.backward(loss)["grad"]) == 4


def test_copies_are_independent():
    model = Tied()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.second.weight is other.first.weight
        other.load_state_dict({k: v * 0 for k, v in other.state_dict().items()})
        assert model.first.weight.data.any()
        with tracer.Tape() as tape:
            loss = np.sum(other(np.ones((2, 3), np.float32)))
        assert list(tape.backward(loss)["grad"]) == ["first.weight", "first.bias"]


def test_text_is_that_of_pytorch():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding="same", bias=False), nn.ModuleList([nn.ELU()]))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=same, bias=False)\n"
        "  (1): ModuleList(\n"
        "    (0): ELU(alpha=1.0)\n"
        "  )\n"
        ")"
    )


def test_sequential_is_a_list():
    model = nn.Sequential({"a": nn.Linear(2, 2), "b": nn.ReLU()})
    assert names(model.named_children()) == ["a", "b"]
    model.append(nn.Tanh())
    assert len(model) == 3
    assert isinstance(model[-1], nn.Tanh)
    assert names(model[1:].named_children()) == ["b", "2"]
    numbered = nn.Sequential(nn.ReLU(), nn.Tanh())
    numbered.insert(1, nn.ELU())
    numbered[0] = nn.Sigmoid()
    assert [type(m).__name__ for m in numbered] == ["Sigmoid", "ELU", "Tanh"]
    del numbered[0]
    assert names(numbered.named_children()) == ["0", "1"]


def test_lists_and_dictionaries_of_modules():
    layers = nn.ModuleList([nn.Linear(2, 2)] * 2).extend([nn.ReLU()])
    assert len(layers) == 3
    assert isinstance(layers[1:], nn.ModuleList)
    assert names(layers.named_parameters()) == ["0.weight", "0.bias"]
    with pytest.raises(TracerError, match="not called"):
        layers(np.ones(2))
    table = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
    assert list(table) == list(table.keys()) == ["a", "b"]
    assert "a" in table
    assert table.pop("a").training
    assert names(table.items()) == ["b"]
    with pytest.raises(TracerError, match="already"):
        table["items"] = nn.ReLU()
    with pytest.raises(KeyError):
        table["c"]
    table.clear()
    assert len(table) == 0


def test_models_in_threads_do_not_see_each_other():
    model, errors = small(), []
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)

    def gradients():
        with tracer.Tape() as tape:
            loss = np.sum(np.square(model(x)))
        assert [node.place.scope for node in tape.nodes[:3]] == ["0", "1", "2"]
        assert tape.roots == [model]
        return tape.backward(loss)["grad"]

    expected = gradients()

    def work():
        try:
            for _ in range(50):
                for name, value in gradients().items():
                    np.testing.assert_array_equal(value, expected[name])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_departures_from_pytorch_say_so():
    layer = nn.Linear(2, 2)
    with pytest.raises(AttributeError, match=r"zero_grad': Tape.backward returns gradients"):
        layer.zero_grad()
    with pytest.raises(AttributeError, match=r"wieght'. Did you mean 'weight'"):
        layer.wieght  # noqa: B018
    with pytest.raises(TracerError, match="a device is one of cpu, cuda, got 'meta'"):
        nn.Linear(2, 2, device="meta")
    with pytest.raises(TracerError, match="float dtype, got int64"):
        nn.Linear(2, 2, dtype=np.int64)
    with pytest.raises(NotImplementedError, match="define forward"):
        nn.Module()(np.ones(2))
    with pytest.raises(TracingError):
        tracer.parameter(np.arange(3))


def samples_axis(model, x):
    """The axis of the samples in the input of a model."""
    with tracer.Tape() as tape:
        model(x)
    (leaf,) = {p for n in tape.nodes for p in n.parents if p is not None and p.label == "input"}
    return leaf.params["axis"]


def test_the_axis_of_samples_is_that_of_the_modules_held_now():
    x = np.ones((5, 2, 3), np.float32)
    model = nn.Sequential(nn.Tanh())
    assert samples_axis(model, x) == 0
    model.append(nn.Sequential(nn.TransformerEncoderLayer(3, 1, 4)))
    assert samples_axis(model, x) == 1
    model[1][0] = nn.TransformerEncoderLayer(3, 1, 4, batch_first=True)
    assert samples_axis(model, x) == 0
    model[1][0] = nn.TransformerEncoderLayer(3, 1, 4)
    assert samples_axis(model, x) == 1
    del model[1]
    assert samples_axis(model, x) == 0


class Lines(nn.Module):
    """Reads the lines of images as sequences, whose layer takes sequences first."""

    def __init__(self):
        super().__init__()
        self.conv, self.rnn = nn.Conv2d(1, 2, 3), nn.LSTM(4, 3)

    def forward(self, x):
        maps = self.conv(x)
        lines = np.transpose(maps, (2, 0, 1, 3)).reshape(maps.shape[2], maps.shape[0], 4)
        return self.rnn(lines)[0][-1]


def test_a_layer_of_sequences_tells_of_its_own_input_alone():
    tracer.seed(0)
    model, images = Lines().double(), np.random.default_rng(0).standard_normal((3, 1, 5, 4))
    with tracer.Tape() as tape:
        loss = np.sum(np.tanh(model(images)))
    results = tape.backward(loss, ("grad_batch",))["grad_batch"]
    for n in range(3):
        with tracer.Tape() as tape:
            loss = np.sum(np.tanh(model(images[n : n + 1])))
        for name, value in tape.backward(loss)["grad"].items():
            np.testing.assert_allclose(results[name][n], value, rtol=1e-9, atol=1e-12)


def test_in_a_pause_a_layer_of_sequences_tells_as_well():
    tracer.seed(0)
    model, images = Lines().double(), np.random.default_rng(0).standard_normal((3, 1, 5, 4))
    head = tracer.parameter(np.ones((3, 2)), name="head")
    with tracer.Tape() as tape:
        with tracer.pause():
            features = model(images)
        loss = np.sum(np.tanh(features @ head))
    results = tape.backward(loss, ("grad", "grad_batch"))
    assert results["grad_batch"]["head"].shape == (3, 3, 2)
    np.testing.assert_allclose(results["grad_batch"]["head"].sum(0), results["grad"]["head"])


def test_where_layers_of_sequences_cannot_tell_the_remedy_is_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 2)

        def forward(self, x):
            return self.rnn(np.reshape(x, (5, 2, 3)))[0]

    model, x = Odd().double(), np.random.default_rng(0).standard_normal((3, 2, 5))
    with tracer.Tape() as tape:
        loss = np.sum(model(x))
    with pytest.raises(tracer.BatchError, match=r"\[3, 2, 5\] of Odd.*`batch_axis = 0`"):
        tape.backward(loss, ("grad_batch",))
    Odd.batch_axis = 1
    with tracer.Tape() as tape:
        loss = np.sum(model(x))
    assert np.isfinite(tape.backward(loss)["grad"]["rnn.weight_ih_l0"]).all()


def test_a_constant_tensor_is_a_batch_for_the_outermost_module():
    layer = nn.Linear(3, 2).double()
    features = np.tanh(tracer.parameter(np.ones((4, 3)))).detach()
    with tracer.Tape() as tape:
        loss = np.sum(np.tanh(layer(features)))
    assert tape.backward(loss, ("grad_batch",))["grad_batch"]["weight"].shape == (4, 2, 3)


def test_a_model_that_was_called_is_freed_by_reference_counting_alone():
    model = small()
    layer = weakref.ref(model[0])
    with tracer.Tape() as tape:
        loss = model(np.ones((2, 3), np.float32)).sum()
    tape.backward(loss)
    gc.disable()
    try:
        del model, tape, loss
        assert layer() is None
    finally:
        gc.enable()


def test_the_first_input_is_a_batch_though_it_is_of_booleans():
    layer = nn.Linear(3, 2).double()
    x = np.array([[True, False, True], [False, False, True]])
    with tracer.Tape() as tape:
        loss = nn.l1_loss(layer(x), np.zeros((2, 2)))
    results = tape.backward(loss, ("grad", "grad_batch"))
    np.testing.assert_allclose(results["grad_batch"]["weight"].sum(0), results["grad"]["weight"])
    assert abs(results["grad"]["weight"]).sum() > 0
