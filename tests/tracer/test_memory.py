"""Freed memory stays with the process, unless the user says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from tracer.arrays.allocator import VARIABLE

GLIBC = platform.libc_ver()[0] == "glibc"

#: page faults of making and freeing ten arrays of 64 MB, after some rounds to warm up
PROGRAM = """
import resource
import numpy as np
import tracer
tracer.plugins.load()
def rounds(count):
    for _ in range(count):
        np.ones(1 << 23)
rounds(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
rounds(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc, which this is for")
def test_freed_arrays_are_used_again():
    assert page_faults() < 100


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc, which this is for")
@pytest.mark.parametrize("variables", [{VARIABLE: "system"}, {"MALLOC_MMAP_THRESHOLD_": "65536"}])
def test_the_user_may_leave_the_allocator_alone(variables):
    assert page_faults(**variables) > 100
