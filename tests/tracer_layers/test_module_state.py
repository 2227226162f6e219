"""The state of a module: taken over whole or not at all, and shared with no array of the caller."""

import sys

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tests.tracer_layers.layer_zoo import COUPLING, LAYERS, network
from tracer.errors import ShapeError, TracerError


def model():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def equal(state, other):
    assert list(state) == list(other)
    return all(
        np.array_equal(state[key], other[key]) and state[key].dtype == other[key].dtype
        for key in state
    )


def interrupted_at_each_line(act, file, check):
    """Call `act()` again and again, interrupted one line of `file` later each time."""
    line = 0
    while True:
        line += 1
        left = line

        def watch(frame, event, argument):
            nonlocal left
            if not frame.f_code.co_filename.endswith(file):
                return watch if event == "call" else None
            if event == "line":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return watch

        before = sys.gettrace()
        sys.settrace(watch)
        try:
            act()
        except KeyboardInterrupt:
            sys.settrace(before)
            check()
        else:
            return line
        finally:
            sys.settrace(before)


# -- load_state_dict ----------------------------------------------------------------------------


def test_everything_that_does_not_fit_is_named_and_nothing_is_loaded():
    net = model()
    before = net.state_dict()
    state = {key: value + 1 for key, value in before.items()}
    state["0.weight"] = np.ones((2, 3))
    state["0.bias"] = ["a", "b", "c"]
    state["1.running_mean"] = np.ones(3) * 1j
    state["1.running_var"] = [[1.0], [1.0, 2.0]]
    state["1.num_batches_tracked"] = np.array(1.5)
    state["2.weight"] = np.full((1, 3), 1e300)
    del state["2.bias"]
    state["extra"] = np.ones(4)
    with pytest.raises(ShapeError) as error:
        net.load_state_dict(state)
    for part in (
        r"missing: 2.bias [1]",
        r"unexpected: extra [4]",
        r"0.weight is of shape [3, 2], got [2, 3]",
        r"0.bias is of dtype float32, got <U1",
        r"1.running_mean is of dtype float32, got complex128",
        r"1.running_var is no array of numbers",
        r"1.num_batches_tracked is of dtype int64, got other values of float64",
        r"2.weight is of dtype float32, too small",
    ):
        assert part in str(error.value)
    assert equal(net.state_dict(), before)


@pytest.mark.parametrize("wrong", range(7))
def test_one_that_does_not_fit_leaves_the_others_alone(wrong):
    net = model()
    before = net.state_dict()
    state = {key: value + 1 for key, value in before.items()}
    key = list(state)[wrong]
    state[key] = np.ones((7, 7))
    for strict in (True, False):
        with pytest.raises(ShapeError, match=f"{key} is of shape"):
            net.load_state_dict(state, strict=strict)
        assert equal(net.state_dict(), before)


def test_without_strict_names_may_differ_and_what_fits_is_loaded():
    net = model()
    before = net.state_dict()
    result = net.load_state_dict({"0.bias": np.full(3, 5.0), "x": np.ones(2)}, strict=False)
    assert result.missing_keys == [key for key in before if key != "0.bias"]
    assert result.unexpected_keys == ["x"]
    assert equal(net.state_dict(), before | {"0.bias": np.full(3, 5.0, np.float32)})


def test_values_for_one_parameter_under_two_names_agree():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    before = net.state_dict()
    with pytest.raises(ShapeError, match=r"0.weight and 1.weight are one parameter here"):
        net.load_state_dict({"0.weight": np.ones((2, 2)), "1.weight": np.zeros((2, 2))})
    assert equal(net.state_dict(), before)
    values = np.array([[1.0, np.nan], [0.0, 2.0]], np.float32)
    net.load_state_dict({"0.weight": values, "1.weight": values.copy()})
    np.testing.assert_array_equal(net[1].weight.data, values)


@pytest.mark.parametrize("state", [None, [np.ones(2)], nn.Linear(2, 2), "file.npz"])
def test_a_state_is_a_mapping(state):
    with pytest.raises(TracerError, match="expects a mapping of names to arrays"):
        nn.Linear(2, 2).load_state_dict(state)
    with pytest.raises(TracerError, match="which are copied, got assign=True"):
        nn.Linear(2, 2).load_state_dict({}, assign=True)


def test_a_file_of_numpy_is_a_state(tmp_path):
    net, other = model(), model()
    net(np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32))
    np.savez(tmp_path / "state.npz", **net.state_dict())
    with np.load(tmp_path / "state.npz") as state:
        other.load_state_dict(state)
    assert equal(other.state_dict(), net.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        lambda net, state: net.load_state_dict(state),
        lambda net, state: net.double(),
        lambda net, state: net.half(),
        lambda net, state: net.to("cpu", np.float64),
    ],
)
def test_a_change_of_all_arrays_is_whole_or_not_at_all(change):
    """Interrupted at every line in turn, all arrays are the old ones or all are the new ones."""
    state = {key: value + 1 for key, value in model().state_dict().items()}
    old = model().state_dict()
    changed = model()
    change(changed, state)
    new = changed.state_dict()
    net = model()

    def check():
        nonlocal net
        found = net.state_dict()
        assert equal(found, old) or equal(found, new)
        for parameter in net.parameters():
            assert parameter.node.dtype == parameter.data.dtype
        net = model()

    assert interrupted_at_each_line(lambda: change(net, state), "module.py", check) > 50


# -- nothing is shared --------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS | COUPLING)
def test_states_share_nothing_with_the_model(name):
    """What is done to a state that was given or taken changes no output, in any layer."""
    net, x = network(*(LAYERS | COUPLING)[name])
    net.eval()
    expected = net(x).data.copy()
    given = net.state_dict()
    for value in given.values():
        value[...] = 77
    np.testing.assert_array_equal(net(x).data, expected)
    state = net.state_dict()
    net.load_state_dict(state)
    for value in state.values():
        value[...] = 77
    np.testing.assert_array_equal(net(x).data, expected)


def test_what_a_module_is_made_of_is_copied():
    rng = np.random.default_rng(0)
    weights, table = rng.uniform(1, 2, 3), rng.standard_normal((4, 3))
    x, target = rng.standard_normal((5, 3)), rng.integers(0, 3, 5)
    binary = rng.integers(0, 2, (5, 3)).astype(float)

    class Scaled(nn.Module):
        def __init__(self, scale, shift):
            self.scale = tracer.parameter(scale)
            self.register_buffer("shift", shift)
            self.register_buffer("later", None)
            self.later = shift

        def forward(self, x):
            return x * self.scale + self.shift + self.later

    class Tied(nn.Module):
        def __init__(self, weight):
            self.register_parameter("weight", tracer.parameter(weight))

        def forward(self, x):
            return x * self.weight

    cases = [
        (lambda w, t: nn.CrossEntropyLoss(w), (x, target)),
        (lambda w, t: nn.NLLLoss(w), (x, target)),
        (lambda w, t: nn.BCEWithLogitsLoss(w, pos_weight=w), (x, binary)),
        (lambda w, t: nn.Embedding.from_pretrained(t), (target,)),
        (lambda w, t: nn.Embedding(4, 3, _weight=t), (target,)),
        (lambda w, t: nn.EmbeddingBag(4, 3, _weight=t), (target[None],)),
        (lambda w, t: Scaled(w, w), (x,)),
        (lambda w, t: Tied(w), (x,)),
    ]
    for make, inputs in cases:
        w, t = weights.copy(), table.copy()
        made = make(w, t)
        expected = np.array(made(*inputs).data)
        w[...] = t[...] = 55
        np.testing.assert_array_equal(made(*inputs).data, expected)


def test_buffers_are_arrays():
    layer = nn.Linear(2, 2)
    for value in (0.5, [1.0, 2.0], "text", np.ones):
        with pytest.raises(TracerError, match=r"Linear.b is a buffer: give an array or None"):
            layer.register_buffer("b", value)
    assert list(layer.named_buffers()) == []
    with tracer.Tape():
        out = layer(np.ones((1, 2), np.float32))
        with pytest.raises(TracerError, match=r"Linear.b is a buffer.*give its value, tensor.data"):
            layer.register_buffer("b", out)
        layer.register_buffer("b", out.data)
        with pytest.raises(TracerError, match="nothing of a trace"):
            layer.b = out
    layer.b = np.float32(2)
    assert layer.b.shape == ()
    layer.b = None
    assert layer.get_parameter("weight") is layer.weight


# -- running statistics -------------------------------------------------------------------------

TRACKING = {
    "batch": lambda: nn.BatchNorm1d(3),
    "cumulative": lambda: nn.BatchNorm1d(3, momentum=None),
    "instance": lambda: nn.InstanceNorm1d(3, track_running_stats=True),
}


@pytest.mark.parametrize("kind", TRACKING)
def test_running_statistics_are_new_arrays(kind):
    layer = TRACKING[kind]()
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    held = dict(layer.named_buffers())
    seen = {key: value.copy() for key, value in held.items()}
    layer(x)
    for key, value in layer.named_buffers():
        assert type(value) is np.ndarray
        assert (value is held[key]) == (kind == "instance" and key == "num_batches_tracked")
        np.testing.assert_array_equal(held[key], seen[key])
    assert int(layer.num_batches_tracked) == (kind != "instance")
    kept = layer.state_dict()
    layer.eval()(x)
    assert equal(layer.state_dict(), kept)


@pytest.mark.parametrize("kind", TRACKING)
def test_an_interrupted_forward_moves_all_statistics_or_none(kind):
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    layer = TRACKING[kind]()
    old = layer.state_dict()
    layer(x)
    new = layer.state_dict()
    layer = TRACKING[kind]()

    def check():
        nonlocal layer
        assert equal(layer.state_dict(), old) or equal(layer.state_dict(), new)
        layer = TRACKING[kind]()

    assert interrupted_at_each_line(lambda: layer(x), "normalisation/layers.py", check) > 10


def test_a_forward_that_raises_moves_no_statistics():
    layer = nn.BatchNorm1d(3)
    before = layer.state_dict()
    for x in (np.ones((1, 3), np.float32), np.ones((4, 2), np.float32)):
        with pytest.raises(ShapeError):
            layer(x)
    layer.running_var = np.ones(5, np.float32)  # a wrong size shows after the count and the mean
    with pytest.raises(ValueError, match="broadcast"):
        layer(np.ones((4, 3), np.float32))
    layer.running_var = np.ones(3, np.float32)
    assert equal(layer.state_dict(), before)


def test_the_mode_is_a_truth_value():
    assert not nn.Linear(2, 2).train(np.bool_(False)).training
    with pytest.raises(TracerError, match="mode as True or False, got 'eval'"):
        nn.Linear(2, 2).train("eval")


def test_names_of_modules_take_arguments_in_the_order_of_pytorch():
    net = model()
    named = [name for name, _ in net.named_modules(None, "net")]
    assert named == ["net", "net.0", "net.1", "net.2"]
    assert [name for name, _ in net.named_modules({net[0]})] == ["", "1", "2"]
    with pytest.raises(TracerError, match="prefix='net'"):
        net.named_modules("net")
    shared = nn.Linear(2, 2)
    twice = nn.Sequential(shared, shared)
    assert len(list(twice.modules(remove_duplicate=False))) == 3


def test_an_interrupted_call_leaves_the_next_one_alone():
    """Wherever in the layers it is interrupted: the next call is the outermost, at no place."""
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), nn.Linear(3, 1))
    x = np.ones((4, 2), np.float32)
    with tracer.Tape() as tape:
        expected = net(x)

        def check():
            assert tape.place.scope == ""
            with tracer.Tape() as fresh:
                loss = np.sum(net(x))
            assert fresh.roots == [net]
            results = fresh.backward(loss, ("grad", "batch_l2"))
            assert results["batch_l2"]["0.0.weight"].shape == (4,)

        for file in ("containers.py", "linear_maps/layers.py"):
            assert interrupted_at_each_line(lambda: net(x), file, check) > 5
    np.testing.assert_array_equal(net(x).data, expected.data)
