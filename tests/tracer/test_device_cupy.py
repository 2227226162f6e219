"""That CuPy has what trace-net calls on arrays, with the arguments that it gives.

It needs CuPy and no GPU: NumPy dispatches to CuPy by name, so names and signatures tell; and arrays
can be passed around, if not computed with, that have no memory on a device.
"""

import functools
import importlib
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.arrays.backend_cupy import CUPY
from tracer.record.leaf_kinds import PARAMETER
from tracer.record.recorder import rerecording
from tracer.record.tensor import new_leaf
from tracer.testing import check_operation

sys.path.append(str(Path(__file__).parents[1]))
import device
import links
from device_suite import CASES, COVERAGE, covered

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

#: ufunc methods that CuPy has for these alone
METHODS = {
    "reduce": {"add", "multiply"},
    "accumulate": {"add"},
    "at": {"add", "subtract", "maximum", "minimum"},
}
#: what a call of a ufunc, and of its methods, takes by name
KEYWORDS = {"__call__": {"out", "dtype"}, "reduce": {"axis", "dtype", "out", "keepdims"}}
#: what operations call for which CuPy has nothing: these say so
LACKS = {
    f"special.{name}"
    for name in ("betaincc dawsn exp1 expi exprel hyp1f1 iv ive jv k0 k1 kv kve stdtr yv").split()
}
registry.load_plugins()


# -- names and signatures -----------------------------------------------------------------------


def test_the_links_of_tests_have_the_signatures_of_nccls():
    real = pytest.importorskip("cupyx.distributed").NCCLBackend
    names = [name for name in vars(links.NCCLBackend) if inspect.isfunction(getattr(real, name, 0))]
    assert {"__init__", "broadcast", "send", "recv", "send_recv", "stop"} <= set(names)
    for name in names:
        ours = inspect.signature(getattr(links.NCCLBackend, name))
        assert ours == inspect.signature(getattr(real, name)), name


def test_a_device_is_chosen_by_what_cupy_has():
    assert hasattr(cupy.cuda.runtime, "getDeviceCount")
    assert {"use", "pci_bus_id", "__enter__"} <= set(dir(cupy.cuda.Device))
    if not importlib.import_module("cupy.cuda.nccl").available:
        assert "CuPy finds no NCCL" in CUPY.links_problem()


def is_ours():
    """Whether a call comes from tracer or a plugin, behind NumPy's and the double's frames."""
    frame = sys._getframe(1)
    while any(part in frame.f_code.co_filename for part in ("/numpy/", "device.py", __file__)):
        frame = frame.f_back
    path = frame.f_code.co_filename
    return "/testing/" not in path and ("/tracer/" in path or "/plugins/" in path)


@pytest.fixture
def missing(monkeypatch):
    """What is called by code of ours for arrays of the double and CuPy cannot do -> why."""
    found, double = {}, device.DeviceArray
    dispatch, ufuncs, attribute = (
        getattr(double, f"__{name}__") for name in ("array_function", "array_ufunc", "getattr")
    )
    named, special, draw = (
        device.__getattr__, device.DeviceBackend.special, device.Generator.__getattr__
    )  # fmt: skip

    def note(what, why):
        if why is not None and is_ours():
            found[what] = why

    def function(self, called, types, args, kwargs):
        note(called.__name__, problem(called, len(args), kwargs))
        return dispatch(self, called, types, args, kwargs)

    def ufunc(self, called, method, *inputs, **kwargs):
        note(f"{called.__name__}.{method}", problem_of_ufunc(called, method, kwargs))
        return ufuncs(self, called, method, *inputs, **kwargs)

    def of_array(self, name):
        note(f"ndarray.{name}", absent(cupy.ndarray, name))
        return attribute(self, name)

    def of_module(name):
        note(f"cupy.{name}", absent(cupy, name))
        return named(name)

    def of_special(self, name):
        from cupyx.scipy import special as there

        note(f"special.{name}", absent(there, name))
        return special(self, name)

    def of_generator(self, name):
        note(f"Generator.{name}", absent(cupy.random.Generator, name))
        return draw(self, name)

    monkeypatch.setattr(double, "__array_function__", function)
    monkeypatch.setattr(double, "__array_ufunc__", ufunc)
    monkeypatch.setattr(double, "__getattr__", of_array)
    monkeypatch.setattr(device, "__getattr__", of_module)
    monkeypatch.setattr(device.DeviceBackend, "special", of_special)
    monkeypatch.setattr(device.Generator, "__getattr__", of_generator)
    registry.backends.add(device.DeviceBackend(), "tests")
    yield found
    registry.backends.remove("device")


def absent(place, name):
    return None if hasattr(place, name) else "there is none"


def problem(called, count, keywords):
    """Why CuPy cannot make this call of a function; None if it can."""
    try:
        place = functools.reduce(getattr, called.__module__.split(".")[1:], cupy)
        found = inspect.signature(getattr(place, called.__name__))
    except AttributeError:
        return "there is none"
    except ValueError:  # a function of C, whose signature is not known
        return None
    try:
        found.bind(*range(count), **keywords)
    except TypeError as error:
        return str(error)
    return None


def problem_of_ufunc(called, method, keywords):
    """The same of a ufunc and its methods."""
    from cupyx.scipy import special

    if not (hasattr(cupy, called.__name__) or hasattr(special, called.__name__)):
        return "there is none"
    if method != "__call__" and called.__name__ not in METHODS.get(method, ()):
        return f"it has no {method}"
    unknown = set(keywords) - KEYWORDS.get(method, set())
    return f"it takes no {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("name", list(registry.operations))
def test_cupy_has_what_an_operation_calls(name, missing):
    check_operation(registry.operations[name], backend=device.asarray)
    assert missing.keys() <= LACKS


@pytest.mark.parametrize("name", CASES)
def test_cupy_has_what_the_quantities_of_a_layer_call(name, missing):
    quantities = [q for q, cell in COVERAGE[name].items() if not cell.startswith("undefined")]
    covered(CASES[name], quantities, "double")
    assert not missing


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("argsort", lambda x: np.argsort(x, order=None)),
        ("maximum.accumulate", np.maximum.accumulate),
        ("add.__call__", lambda x: np.add(x, x, where=True)),
        ("ndarray.newbyteorder", lambda x: x.newbyteorder),
    ],
)
def test_what_cupy_lacks_is_noticed(what, call, missing, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "is_ours", lambda: True)
    try:
        call(device.asarray(np.eye(2)))
    except AttributeError:
        assert what.startswith("ndarray")
    assert what in missing


# -- dispatch -----------------------------------------------------------------------------------

WITHOUT = pytest.mark.skipif(
    cupy.cuda.is_available(), reason="a GPU would compute with memory that is not there"
)


def unbacked(*shape, dtype=float):
    """An array of CuPy's that says to lie at an address on a device, where nothing is."""
    memory = cupy.cuda.UnownedMemory(1 << 20, 1 << 20, None, device_id=0)
    return cupy.ndarray(shape, dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


def parameter(array):
    """A parameter of an array that cannot be copied, for a tape that copies none."""
    return tracer.Tensor(array, new_leaf(PARAMETER, array, {"name": None}, wants=True))


#: operation -> calls that lead to it, of an array x [2, 3], a parameter w [3, 2], one t [2, 3]
CALLS = {
    "matmul": [lambda x, w, t: x @ w, lambda x, w, t: w @ x, lambda x, w, t: np.matmul(x, w)],
    "add": [lambda x, w, t: x + t, lambda x, w, t: t + x, lambda x, w, t: np.add(x, t)],
    "subtract": [lambda x, w, t: x - t],
    "multiply": [lambda x, w, t: x * t, lambda x, w, t: 2.0 * t],
    "divide": [lambda x, w, t: x / t],
    "power": [lambda x, w, t: x**t],
    "maximum": [lambda x, w, t: np.maximum(x, t)],
    "tanh": [lambda x, w, t: np.tanh(t)],
    "einsum": [lambda x, w, t: np.einsum("ij,jk->ik", x, w)],
    "concatenate": [lambda x, w, t: np.concatenate([x, t])],
    "where": [lambda x, w, t: np.where(unbacked(2, 3, dtype=bool), x, t)],
    "sum": [lambda x, w, t: np.sum(t), lambda x, w, t: t.sum(axis=0)],
    "linear": [lambda x, w, t: nn.functional.linear(x, t)],
}


@WITHOUT
@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, calls in CALLS.items() for call in calls]
)
def test_an_expression_of_cupys_arrays_reaches_our_operation(name, call):
    """Also where the first operand is CuPy's, which is asked before the tensor.

    It fails for want of a GPU, inside of the operation, which says so.
    """
    arrays = unbacked(2, 3), parameter(unbacked(3, 2)), parameter(unbacked(2, 3))
    with rerecording(), pytest.raises(Exception, match=r"driver|cublas") as failed:
        call(*arrays)
    assert failed.value.__notes__[0].startswith(f"{name} got ")


@WITHOUT
@pytest.mark.parametrize(
    "mix",
    [
        lambda w, host: w @ host,
        lambda w, host: host @ w,
        lambda w, host: np.einsum("ij,jk->ik", w, host),
        lambda w, host: np.take_along_axis(w, np.array([[0], [1]]), 1),
        lambda w, host: w[np.array([0, 1])],
        lambda w, host: w[tracer.batch(np.array([0, 1]))],
        lambda w, host: nn.Linear(2, 2).double()(w),
    ],
)
def test_mixing_names_both(mix):
    """Also where CuPy would move the host's array itself."""
    message = r"cupy\.ndarray and numpy\.ndarray: move one with tracer\.to_device\(x, 'cuda'\)"
    with rerecording(), pytest.raises(tracer.ShapeError, match=message):
        mix(parameter(unbacked(2, 3)), np.ones((3, 2)))


def test_nothing_is_moved_silently():
    with pytest.raises(TypeError, match=r"\.get\(\)"):
        np.asarray(unbacked(2))
