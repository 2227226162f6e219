"""What a record keeps of arrays that the program writes into, and what it refuses."""

import gc
import warnings
import weakref

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import ChangedArrayError, ShapeError, TracingError
from tracer.record.snapshots import LARGE, SMALL

SIZES = {"small": 3, "medium": SMALL // 2, "large": LARGE}


def gradient_of_refilled(rows, refilled):
    """By w, of a function in a loop; constants are new arrays, or one that is filled again."""
    buffer = np.zeros_like(rows[0])
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones_like(rows[0]), name="w")
        total = 0.0
        for row in rows:
            buffer[...] = row
            total = total + np.sum(np.tanh(w * (buffer if refilled else row)))
    return tape.backward(total)["grad"]["w"]


@pytest.mark.parametrize("size", ["small", "medium"])
def test_a_buffer_that_is_filled_again_while_recording(size):
    rows = np.random.default_rng(0).standard_normal((4, SIZES[size]))
    rows[3] = rows[0]  # as it was at first
    expected = gradient_of_refilled(rows, refilled=False)
    np.testing.assert_array_equal(gradient_of_refilled(rows, refilled=True), expected)


def test_a_large_buffer_that_is_filled_again_is_refused():
    rows = np.random.default_rng(0).standard_normal((2, SIZES["large"]))
    with pytest.raises(ChangedArrayError, match=r"an array \(float64\[262144\]\) was written into"):
        gradient_of_refilled(rows, refilled=True)


@pytest.mark.parametrize("size", SIZES)
def test_a_parameter_stepped_in_place_before_the_sweep(size):
    w = tracer.parameter(np.linspace(0, 1, SIZES[size]), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(np.exp(w))
    expected = np.exp(w.data)
    w.data -= 0.5
    if size == "large":
        with pytest.raises(ChangedArrayError, match=r"the parameter 'w'.*p\.data = p\.data - step"):
            tape.backward(loss, ("hessian",))
    else:
        np.testing.assert_array_equal(tape.backward(loss)["grad"]["w"], expected)


def test_what_no_rule_reads_may_change():
    """A sum reads no value, so that its first sweep is right, and the second one as well."""
    b = tracer.parameter(np.ones(SIZES["large"]), name="b")
    with tracer.Tape() as tape:
        loss = np.sum(b + 1)
    b.data *= 2
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["b"], 1)


@pytest.mark.parametrize("size", SIZES)
def test_a_view_of_a_parameter_is_the_record_s_own(size):
    w = tracer.parameter(np.linspace(0, 1, SIZES[size] // 3 * 3).reshape(3, -1), name="w")
    x = np.ones((2, w.shape[1]))
    with tracer.Tape() as tape:
        loss = np.sum(np.square(tracer.batch(x) @ w.T))
    expected = 2 * np.tile((x @ w.data.T).sum(0)[:, None], (1, w.shape[1]))
    w.data[...] = 0
    if size == "large":
        assert w.nbytes > LARGE
        with pytest.raises(ChangedArrayError):
            tape.backward(loss, ("hessian",))["hessian"] @ np.ones(w.size)
    else:
        np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], expected)


def test_rebinding_is_safe_for_arrays_of_any_size():
    w = tracer.parameter(np.linspace(0, 1, SIZES["large"]), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(np.exp(w))
    expected = np.exp(w.data)
    operator = tape.backward(loss, ("hessian",))["hessian"]
    w.data = w.data - 0.5
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["w"], expected)
    np.testing.assert_allclose(operator @ np.ones(w.size), expected)


def test_a_parameter_that_is_changed_between_two_uses():
    w = tracer.parameter(np.array([1.0, 2.0]), name="w")
    with tracer.Tape() as tape:
        first = np.sum(w * w)
        w.data *= 10
        total = first + np.sum(w * w * w)
    np.testing.assert_array_equal(tape.backward(total)["grad"]["w"], [302.0, 1204.0])


def indices(change):
    x, rows = tracer.parameter(np.arange(4.0)), np.array([0, 2])
    mask, low = np.array([True, False, True, False]), np.full(4, 0.5)
    with tracer.Tape() as tape:
        chosen = np.sum(x[rows] ** 2) + np.sum(x[mask] ** 3) + np.sum(np.where(mask, x, 0) ** 2)
        total = chosen + np.sum(np.take(x, rows, axis=0) ** 2) + np.sum(np.clip(x, low, None) ** 2)
        total = total + np.sum(tracer.index_add(x, rows, 1.0) ** 2)
    if change:
        rows[...], mask[...], low[...] = 3, True, 2.5
    return tape.backward(total)["grad"][x]


def test_indices_masks_and_bounds():
    np.testing.assert_array_equal(indices(change=True), indices(change=False))


def test_present_samples():
    def factors(change):
        tracer.seed(0)
        x, mask = np.ones((3, 2)), np.array([True, False, True])
        layer = nn.Linear(2, 2).double()
        with tracer.Tape() as tape, tracer.present(mask):
            loss = nn.mse_loss(layer(x), np.zeros((3, 2)))
        if change:
            mask[...] = True
        return tape.backward(loss, ("kflr",))["kflr"]["weight"].factors

    for a, b in zip(factors(True), factors(False), strict=True):
        np.testing.assert_array_equal(a, b)


# -- what is set ---------------------------------------------------------------------------------


def test_a_parameter_keeps_its_dtype_and_shape():
    w = tracer.parameter(np.ones(3, np.float32), name="w")
    w.data = np.arange(3)
    assert w.data.dtype == np.float32
    w.data = [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(w.data, [1, 2, 3])
    with pytest.raises(ShapeError, match=r"keeps the shape \[3\], got \[2\] \(w\)"):
        w.data = np.ones(2)
    with pytest.raises(TracingError, match="keeps the dtype float32, got complex128"):
        w.data = np.ones(3) * 1j
    w.data -= 1
    np.testing.assert_array_equal(w.data, [0, 1, 2])


def test_what_was_computed_is_read_only():
    w = tracer.parameter(np.ones(3))
    with tracer.Tape() as tape:
        y = np.exp(w)
        loss = np.sum(y)
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 0
    with pytest.raises(TracingError, match="were computed on a tape"):
        y.data = np.zeros(3)
    value = loss.data
    value += 1  # its own
    np.testing.assert_allclose(tape.backward(loss)["grad"][w], np.e)


def test_the_caller_s_array_and_a_parameter_are_two():
    array = np.ones(3)
    w = tracer.parameter(array)
    array[...] = 5
    np.testing.assert_array_equal(w.data, 1)


# -- memory --------------------------------------------------------------------------------------


def test_a_constant_that_is_used_often_is_kept_once():
    x, w = np.ones((64, 64)), tracer.parameter(np.ones((64, 64)))
    with tracer.Tape() as tape:
        for _ in range(5):
            w = w * x
    kept = {id(node.inputs[1]) for node in tape.nodes}
    assert len(kept) == 1
    assert tape.nodes[0].inputs[1] is not x


def test_what_is_broadcast_stays_small():
    x = np.broadcast_to(np.ones((1, 64)), (1000, 64))
    with tracer.Tape() as tape:
        np.sum(tracer.parameter(np.ones(64)) * x)
    kept = tape.nodes[0].inputs[1]
    assert kept.strides[0] == 0
    assert not np.shares_memory(kept, x)


def test_a_record_lets_go_of_all_arrays():
    gc.disable()
    try:
        x, big = np.ones(3), np.ones(SIZES["large"])
        with tracer.Tape() as tape:
            w = tracer.parameter(np.ones(3))
            loss = np.sum(w * x) + np.sum(tracer.parameter(np.ones(SIZES["large"])) * big)
        found = [weakref.ref(x), weakref.ref(big)]
        del tape, loss, x, big, w
        assert [ref() for ref in found] == [None, None]
    finally:
        gc.enable()


# -- inputs of layers, marked batches, memory maps -----------------------------------------------


def of_layer(model):
    return lambda buffer: model(buffer)


def of_marked_anew(model):
    return lambda buffer: model(tracer.batch(buffer))


def of_mark(model):
    marked = []

    def call(buffer):
        marked.append(tracer.batch(buffer) if not marked else marked[0])
        return model(marked[0])

    return call


@pytest.mark.parametrize("given", [of_layer, of_marked_anew, of_mark])
@pytest.mark.parametrize("features", [3, SMALL])
def test_an_input_that_is_filled_again_for_a_second_call(given, features):
    rng = np.random.default_rng(0)
    model = nn.Linear(features, 2).double()
    batches = rng.standard_normal((3, 4, features))
    with tracer.Tape() as tape:
        loss = sum(nn.mse_loss(model(x), np.zeros((4, 2))) for x in batches)
    value, expected = float(loss), tape.backward(loss)["grad"]["weight"]
    buffer = np.empty((4, features))
    with tracer.Tape() as tape:
        loss, call = 0.0, given(model)
        for x in batches:
            buffer[...] = x
            loss = loss + nn.mse_loss(call(buffer), np.zeros((4, 2)))
    assert float(loss) == value
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["weight"], expected)


MAPPED = {
    "operator": lambda w, m: w * m,
    "reflected": lambda w, m: m - w * w,
    "ufunc": lambda w, m: np.multiply(m, w),
    "slice": lambda w, m: w[1:] * m[1:],
    "branch": lambda w, m: np.where(np.arange(len(w)) > 1, w * w, m * w),
    "matmul": lambda w, m: w @ m,
}


@pytest.mark.parametrize("use", MAPPED)
@pytest.mark.parametrize("size", SIZES)
def test_a_memory_map_that_is_written_into(use, size, tmp_path):
    count = SIZES[size]
    mapped = np.memmap(tmp_path / "data", float, "w+", shape=count)
    mapped[:] = np.random.default_rng(0).standard_normal(count)
    w = tracer.parameter(np.full(count, 0.5), name="w")
    expected = tracer.grad(lambda w: np.sum(MAPPED[use](w, np.array(mapped)) ** 2))(w.data)
    with tracer.Tape() as tape:
        loss = np.sum(MAPPED[use](w, mapped) ** 2)
    mapped[:] = 0
    if size == "large" and use != "reflected":  # a difference does not read its operands again
        with pytest.raises(ChangedArrayError):
            tape.backward(loss)
    else:
        np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], expected)


@pytest.mark.parametrize("layout", ["C", "F", "strided", "column"])
def test_every_layout_of_a_large_array_is_watched(layout):
    array = {
        "C": lambda: np.ones((400, 500)),
        "F": lambda: np.ones((400, 500), order="F"),
        "strided": lambda: np.ones((800, 500))[::2],
        "column": lambda: np.ones((200_000, 1)),
    }[layout]()
    w = tracer.parameter(np.ones(array.shape))
    with tracer.Tape() as tape:
        loss = np.sum(w * array)
    array[...] = 2.0
    with pytest.raises(ChangedArrayError):
        tape.backward(loss)


# -- what is written into between two uses --------------------------------------------------------


def twice(use, change):
    """The gradient by w of the sum of two uses of it, with a change in between."""
    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        total = np.sum(use(w))
        change()
        total = total + np.sum(use(w))
    return tape.backward(total)["grad"]["w"]


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("marked", ["once", "anew"])
def test_a_batch_that_is_filled_again(size, marked):
    buffer = np.ones((SIZES[size], 3))
    x = tracer.batch(buffer)
    mark = tracer.batch if marked == "anew" else lambda array: x
    gradient = twice(lambda w: mark(buffer) @ w, lambda: np.multiply(buffer, 10, out=buffer))
    np.testing.assert_array_equal(gradient, 11.0 * SIZES[size])


def test_the_input_of_a_layer_that_is_filled_again():
    layer, buffer = nn.Linear(3, 1, bias=False).double(), np.ones((2, 3))
    layer.weight.data[:] = 1
    with tracer.Tape() as tape:
        loss = np.sum(layer(buffer))
        buffer *= 10
        loss = loss + np.sum(layer(buffer))
    assert loss.item() == 66
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["weight"], [[22, 22, 22]])


def test_a_parameter_s_array_that_was_read_on_the_tape():
    w = tracer.parameter(np.ones(3), name="w")
    with tracer.Tape() as tape:
        array, total = w.data, np.sum(w * w)
        array *= 2
        total = total + np.sum(w * w)
    np.testing.assert_array_equal(tape.backward(total)["grad"]["w"], 6)


@pytest.mark.parametrize("use", [np.multiply, np.hypot, lambda w, c: np.where(w.data > 0, c, w)])
def test_a_constant_whose_shape_or_dtype_is_set(use):
    def shapes(array):
        array.shape = (2, 1)

    def dtypes(array):
        array.dtype = np.int64

    w = tracer.parameter(np.ones(2))
    for change in (shapes, dtypes):
        constant = np.array([1.0, 2.0])
        with tracer.Tape(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            use(w, constant)
            change(constant)
            found = use(w, constant).data
        np.testing.assert_array_equal(found, use(w, constant.copy()).data)


@pytest.mark.parametrize("of", ["parameter", "constant"])
def test_a_large_array_that_is_changed_for_a_while(of):
    w, constant = tracer.parameter(np.full(SIZES["large"], 2.0), name="w"), np.ones(SIZES["large"])
    array = w.data if of == "parameter" else constant
    with tracer.Tape() as tape:
        total = np.sum(w * constant * w)
        array += 1
        total = total + np.sum(w * constant * w)
        array -= 1
    with pytest.raises(ChangedArrayError, match="written into after multiply"):
        tape.backward(total)


# -- arrays of other kinds -----------------------------------------------------------------------

USES = {
    "multiply": lambda w, c: w * c,
    "divide": lambda w, c: np.divide(c, w),
    "power": lambda w, c: w**c,
    "maximum": lambda w, c: np.maximum(w, c) * w,
    "outer": lambda w, c: np.outer(w[:4], c[:4]),
    "where": lambda w, c: np.where(w.data > 0, c, w) * w,
    "matmul": lambda w, c: w @ c,
    "batch": lambda w, c: w * tracer.batch(c),
}


def unlocked_later(array):
    view = array.view()
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["map", "part of a map", "read-only view"])
def test_memory_maps_and_read_only_views(use, size, kind, tmp_path):
    shape = (SIZES[size] + 1,)
    memory = np.memmap(tmp_path / "map", dtype=float, mode="w+", shape=shape)
    memory[:] = 2
    given = {"map": memory, "part of a map": memory[1:]}.get(kind)
    if given is None:
        memory = np.array(memory)
        given = unlocked_later(memory)

    def gradient(change):
        w = tracer.parameter(np.full(given.shape, 1.5), name="w")
        with tracer.Tape() as tape:
            total = np.sum(USES[use](w, given))
        if change:
            memory[:] = 5
        return tape.backward(total)["grad"]["w"]

    expected = gradient(change=False)
    try:
        found = gradient(change=True)
    except ChangedArrayError:
        assert size == "large"
    else:
        np.testing.assert_array_equal(found, expected)


# -- values that are handed out ------------------------------------------------------------------

VIEWS = {
    "slice": lambda y: y[:2].data,
    "transpose": lambda y: y.T.data,
    "reshape": lambda y: y.reshape(-1).data,
    "detach": lambda y: y.detach().data,
    "slice of detached": lambda y: y.detach()[0:2].data,
    "same": lambda y: y.astype(float, copy=False).data,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("when", ["paused", "closed"])
def test_views_of_what_was_computed_are_read_only(view, when):
    w = tracer.parameter(np.ones((3, 2)), name="w")
    with tracer.Tape() as tape:
        y = np.exp(w)
        loss = np.sum(y)
        with tracer.pause():
            found = VIEWS[view](y)
    if when == "closed":
        found = VIEWS[view](y)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        found.flags.writeable = True
    assert not (isinstance(found.base, np.ndarray) and found.base.flags.writeable)
    np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], np.e)


def test_values_on_the_host_are_copies():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(3), name="w")
        y = np.exp(w)
        loss = np.sum(y)
    tracer.asnumpy(y)[:] = 0
    loss.detach().data[...] = 0
    assert loss.item() == pytest.approx(3 * np.e)
    np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], np.e)


def test_the_method_astype_copies_as_the_function_does():
    w = tracer.parameter(np.ones(3))
    assert w.astype(float, copy=False) is w
    assert w.astype(float) is not w


def test_what_is_set_is_copied():
    a, b, array = tracer.parameter(np.ones(2)), tracer.parameter(np.ones(2)), np.zeros(2)
    a.data = b.data
    a.data += 1
    np.testing.assert_array_equal(b.data, 1)
    a.data = array
    array[:] = 8
    np.testing.assert_array_equal(a.data, 0)


def test_a_parameter_that_was_changed_is_named_as_in_results():
    model = nn.Sequential(nn.Linear(300, 300), nn.Tanh())
    with tracer.Tape() as tape:
        loss = np.sum(model(np.ones((4, 300), np.float32)) ** 2)
    tape.backward(loss)
    model[0].weight.data -= 0.01
    for asked in ("grad", ("grad", "batch_l2")):
        with pytest.raises(tracer.errors.ChangedArrayError, match=r"the parameter '0\.weight'"):
            tape.backward(loss, asked)
