"""That CuPy has the functions that trace-net calls on arrays, with the arguments that it gives.

It needs CuPy and no GPU: NumPy dispatches to CuPy by name, so names and signatures tell.
"""

import functools
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

from tracer import registry
from tracer.testing import check_operation

sys.path.append(str(Path(__file__).parents[1]))
import device

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

#: ufunc methods that CuPy has for these alone
METHODS = {
    "reduce": {"add", "multiply"},
    "accumulate": {"add"},
    "at": {"add", "subtract", "maximum", "minimum"},
}
registry.load_plugins()


def is_ours(frame):
    """Whether a call comes from tracer or a plugin, behind NumPy's and the double's frames."""
    while any(part in frame.f_code.co_filename for part in ("/numpy/", "device.py", __file__)):
        frame = frame.f_back
    path = frame.f_code.co_filename
    return "/testing/" not in path and ("/tracer/" in path or "/plugins/" in path)


@pytest.fixture
def calls(monkeypatch):
    """What is called on arrays of the double by code of ours: functions and ufuncs."""
    found = []
    dispatch, ufuncs = device.DeviceArray.__array_function__, device.DeviceArray.__array_ufunc__

    def function(self, called, types, args, kwargs):
        if is_ours(sys._getframe(1)):
            found.append((called, "", len(args), set(kwargs)))
        return dispatch(self, called, types, args, kwargs)

    def ufunc(self, called, method, *inputs, **kwargs):
        if is_ours(sys._getframe(1)):
            found.append((called, method, len(inputs), set(kwargs)))
        return ufuncs(self, called, method, *inputs, **kwargs)

    monkeypatch.setattr(device.DeviceArray, "__array_function__", function)
    monkeypatch.setattr(device.DeviceArray, "__array_ufunc__", ufunc)
    registry.backends.add(device.DeviceBackend(), "tests")
    yield found
    registry.backends.remove("device")


def problem(called, method, count, keywords):
    """Why CuPy cannot make this call; None if it can."""
    if isinstance(called, np.ufunc):
        from cupyx.scipy import special

        if not (hasattr(cupy, called.__name__) or hasattr(special, called.__name__)):
            return "there is none"
        known = method == "__call__" or called.__name__ in METHODS.get(method, ())
        return None if known else f"it has no {method}"
    try:
        place = functools.reduce(getattr, called.__module__.split(".")[1:], cupy)
        found = inspect.signature(getattr(place, called.__name__))
    except AttributeError:
        return "there is none"
    except ValueError:  # a function of C, whose signature is not known
        return None
    try:
        found.bind(*range(count), **dict.fromkeys(keywords))
    except TypeError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", list(registry.operations))
def test_cupy_has_the_functions_of_an_operation(name, calls):
    check_operation(registry.operations[name], backend=device.asarray)
    found = {called.__name__: problem(called, *how) for called, *how in calls}
    assert not {name: why for name, why in found.items() if why}
