"""The GPU's kernels: their arithmetic on the host, and that NVIDIA's compiler takes them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer import registry
from tracer.arrays import backend, backend_cupy
from tracer.arrays.kernel_source import SOURCE, TYPES
from tracer_layers.convolution.windows import windows
from tracer_layers.pooling.winners import winners_of

sys.path.append(str(Path(__file__).parents[1]))
import host_kernels

pytestmark = pytest.mark.skipif(host_kernels.COMPILER is None, reason="no C++ compiler here")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return host_kernels.host_kernels(tmp_path_factory.mktemp("kernels"))


@st.composite
def geometries(draw):
    """Windows over one to three axes, with leading sizes of the arrays that they lie in."""
    rank = draw(st.integers(1, 3))
    per_axis = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))  # noqa: E731
    kernel, stride, dilation = per_axis(1, 3), per_axis(1, 3), per_axis(1, 2)
    padding = tuple(zip(per_axis(0, 2), per_axis(0, 2), strict=True))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(r + draw(st.integers(0, 3)) for r in reach)
    lead = draw(st.sampled_from([(1,), (3,), (2, 3), (0, 2)]))
    return windows(size, kernel, stride, padding, dilation, draw(st.booleans())), lead


def values(*shape, dtype=np.float64):
    """Numbers with many equal ones, so that maxima are shared."""
    return np.random.default_rng(0).integers(-3, 4, shape).astype(dtype) / 4


def same(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def operation(name):
    return registry.operations[name].forward


@pytest.mark.parametrize("dtype", TYPES)
@settings(max_examples=60)
@given(geometry=geometries())
def test_windows(kernels, dtype, geometry):
    """Sums of multiples of 1/4 are exact, so that the order of adding does not matter."""
    w, lead = geometry
    x, y = values(*lead, *w.size, dtype=dtype), values(*lead, *w.output, dtype=dtype)
    held = values(*lead, *w.kernel, *w.output, dtype=dtype)
    same(kernels.unfold(x, w), operation("unfold")(x, windows=w))
    same(kernels.fold(held, w), operation("fold")(held, windows=w))
    ones = {"divisor_override": 1}
    p = {"kernel": w.kernel, "stride": w.stride, "ceil_mode": w.ceil_mode}
    if all(before == after for before, after in w.padding):
        p["padding"] = tuple(before for before, _ in w.padding)
        most = operation("max_pool")(x, dilation=w.dilation, **p)
        same(kernels.maximum(x, w), most)
        winner = kernels.winners(x, most, w)
        same(winner, winners_of(x, most, w).astype(np.int32))
        picked = operation("pick_winners")(x, winner, windows=w)
        inside = np.isfinite(most)  # a window in the padding alone has no winner in the input
        np.testing.assert_array_equal(picked[inside], most[inside])
        if set(w.dilation) == {1}:
            same(kernels.sum_of_windows(x, w), operation("avg_pool")(x, **p, **ones))
            spread = operation("spread_over_windows")(y, windows=w, **ones)
            same(kernels.spread_over_windows(y, w), spread)
    winner = np.random.default_rng(1).integers(0, np.prod(w.kernel), (*lead, *w.output))
    for chosen in (winner, winner[0] if lead and lead[0] else winner):
        same(kernels.pick_winners(x, chosen, w), operation("pick_winners")(x, chosen, windows=w))
        spread = operation("spread_to_winners")(y, chosen, windows=w)
        same(kernels.spread_to_winners(y, chosen, w), spread)


def test_the_first_of_equals_wins(kernels):
    w = windows((4,), (2,), (2,), ((0, 0),), (1,))
    x = np.array([1.0, 1.0, 2.0, 3.0])
    same(kernels.winners(x, kernels.maximum(x, w), w), np.array([0, 1], np.int32))


def test_a_window_with_nan_has_no_maximum(kernels):
    w = windows((4,), (2,), (2,), ((0, 0),), (1,))
    same(kernels.maximum(np.array([np.nan, 1.0, 2.0, 3.0]), w), np.array([np.nan, 3.0]))


def test_arrays_that_are_not_contiguous(kernels):
    w = windows((3, 4), (2, 2), (1, 1), ((0, 0),) * 2, (1, 1))
    x = values(2, 4, 3).swapaxes(-1, -2)
    same(kernels.unfold(x, w), operation("unfold")(x, windows=w))


@pytest.mark.parametrize("dtype", TYPES)
def test_rows(kernels, dtype):
    table, index = values(5, 3, dtype=dtype), np.array([[0, 4], [5, -1]])
    same(kernels.take_rows(table, index), backend.NUMPY.take_rows(table, index).astype(dtype))
    added, positions = values(2, 6, dtype=dtype), np.array([3, 0, 3, 3, 1, 0])
    expected = backend.NUMPY.scatter_add(added, positions, 5)
    same(kernels.scatter_add(added, positions, 5), expected)
    positions[0] = 7  # outside: left out, not written
    added[:, 0] = 0
    same(kernels.scatter_add(added + (positions == 7), positions, 5),
         backend.NUMPY.scatter_add(added, positions % 5, 5))  # fmt: skip


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize(("kinds", "of"), [("ssts", 4), ("ss", 3), ("t", 1), ("sts", 3)])
def test_gates(kernels, dtype, rtol, kinds, of):
    rng, gates = np.random.default_rng(0), registry.operations["gates"]
    x, u = rng.standard_normal((2, 3, 5, of * 4)).astype(dtype)
    y = gates.forward(x, u, kinds=kinds, of=of)
    np.testing.assert_allclose(kernels.gates(x, u, kinds, of), y, rtol=rtol, atol=rtol)

    class Node:
        output, params, inputs = y, {"kinds": kinds, "of": len(kinds)}, (x, u)

    g = rng.standard_normal((2, *y.shape)).astype(dtype)
    expected = gates.vjp(Node, g)[0]
    np.testing.assert_allclose(kernels.gates_vjp(g, y, kinds), expected, rtol=rtol, atol=rtol)


#: operation -> the cotangents that its kernel gives, of those that its rule does
TRANSPOSES = {
    "lstm_memory": lambda kernels, g, out, y, c: (kernels.lstm_memory_vjp(g, y, c),),
    "lstm_output": lambda kernels, g, out, y, c: kernels.lstm_output_vjp(g, y, c),
    "gru_candidate": lambda kernels, g, out, x, u, y: kernels.gru_candidate_vjp(g, u, y, out),
    "gru_blend": lambda kernels, g, out, n, y, h: kernels.gru_blend_vjp(g, n, y, h),
}


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("name", TRANSPOSES)
def test_steps(kernels, dtype, rtol, name):
    """Forward and transpose are those of the operation, by array functions."""
    rng, op = np.random.default_rng(0), registry.operations[name]
    given = [rng.standard_normal((2, 3, 5 * n)).astype(dtype) for n in op.blocks(None)]
    out = op.forward(*given)
    found = getattr(kernels, name)(*given)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, out, rtol=rtol, atol=rtol)

    class Node:
        inputs, output, params = given, out, {}

    g = rng.standard_normal((4, *out.shape)).astype(dtype)
    of_kernel = TRANSPOSES[name](kernels, g, out, *given)
    for value, entry in zip(of_kernel, op.vjp(Node, g), strict=name != "lstm_memory"):
        expected = entry()
        expected = getattr(expected, "values", expected)
        assert value.dtype == dtype
        np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol)


# -- NVIDIA's compiler --------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["sm_75", "sm_90"])
def test_nvidias_compiler_takes_the_kernels(architecture):
    """It needs no GPU, only the toolkit: `pip install cupy-cuda12x nvidia-cuda-nvrtc-cu12`."""
    pytest.importorskip("cupy", reason="CuPy, which holds the compiler's interface, is missing")
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no NVRTC here: {error}")
    program = nvrtc.createProgram(SOURCE, "kernels.cu", [], [])
    names = [expression for expression, *_ in host_kernels.expressions()]
    for name in names:
        nvrtc.addNameExpression(program, name)
    try:
        nvrtc.compileProgram(program, [f"--gpu-architecture={architecture}", "--std=c++17"])
    except nvrtc.NVRTCError:
        raise AssertionError(nvrtc.getProgramLog(program)) from None
    assert not nvrtc.getProgramLog(program).strip("\0\n ")
    compiled = nvrtc.getCUBIN(program)
    assert all(nvrtc.getLoweredName(program, name).encode() in compiled for name in names)


# -- launching ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "blocks"), [(1, 1), (256, 1), (257, 2), (1 << 30, 1 << 16)])
def test_a_launch_covers_all_elements_with_typed_numbers(monkeypatch, count, blocks):
    """Of a thread for each of 256 elements of a block; threads go on where blocks are few."""
    launches = []
    monkeypatch.setattr(backend_cupy, "_kernel", lambda name: lambda *of: launches.append(of))
    x = np.ones(2)
    backend_cupy._launch("unfold<float, 2>", count, (x, 3, -np.inf, count))
    ((grid, block, arguments),) = launches
    assert (grid, block) == ((blocks,), (256,))
    assert [type(argument) for argument in arguments[1:]] == [np.int64, np.float64, np.int64]
    assert arguments[0] is x
