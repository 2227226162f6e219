"""Kernels for these tests: built once, in the user's cache; skipped where no compiler is."""

import contextlib
from functools import cache

import pytest

from tracer.arrays import compiled as seam
from tracer_native import cache as libraries
from tracer_native import loading
from tracer_native.compilers import CompilerError
from tracer_native.kernels import Kernels
from tracer_native.library import Library


@cache
def library():
    try:
        built = [path for path in libraries.built() if libraries.is_whole(path)]
        return Library(built[0] if built else loading.build())
    except (CompilerError, OSError) as error:
        return str(error)


@pytest.fixture(scope="session")
def kernels():
    """The kernels, which take arrays of all sizes here."""
    found = library()
    if isinstance(found, str):
        pytest.skip(found)
    return Kernels(found)


@contextlib.contextmanager
def running(chosen):
    """In it, these kernels run, whatever plugins registered."""
    before, seam._current = seam._current, chosen
    try:
        yield
    finally:
        seam._current = before


@pytest.fixture
def numpy_alone():
    with running(seam.NONE):
        yield
