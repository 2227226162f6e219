"""Kernels for these tests, which are skipped where no compiler is."""

import contextlib

import pytest

from tracer import registry
from tracer.arrays import compiled as seam
from tracer_native import cache as libraries
from tracer_native import compilers, loading
from tracer_native.kernels import Kernels
from tracer_native.library import Library


@pytest.fixture(scope="session")
def kernels(pytestconfig, tmp_path_factory):
    """The kernels, from a cache of the tests' own."""
    kept = getattr(pytestconfig, "cache", None)  # which may be turned off
    home = tmp_path_factory.mktemp("kernels") if kept is None else kept.mkdir("tracer_native")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        if not any(compilers.found()):
            pytest.skip("there is no C++ compiler here")
        built = [path for path in libraries.built() if libraries.is_whole(path)]
        return Kernels(Library(built[0] if built else loading.build()))


#: sizes from which a call pays
LIMITS = {"base.MANY": 0, "pooling.POOLED": 0, "windows.WIDE": 0, "rows.FEW": 1}


@pytest.fixture
def all_sizes(monkeypatch):
    """Sizes for which a call does not pay are tried, too."""
    for name, least in LIMITS.items():
        monkeypatch.setattr(f"tracer_native.kernels.{name}", least)


@contextlib.contextmanager
def running(chosen):
    """In it, these kernels run, whatever plugins registered."""
    registry.load_plugins()  # which may bring kernels of their own
    before, seam._current = seam._current, chosen
    try:
        yield
    finally:
        seam._current = before
