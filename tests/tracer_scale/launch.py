"""Programs that mpirun starts, where mpi4py and MPI are installed."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
needs_mpi = pytest.mark.skipif(
    MPIRUN is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and mpirun"
)


def run(ranks, program, *arguments):
    """What came of a program of this folder on so many ranks."""
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    path = str(Path(__file__).with_name(program))
    command = [MPIRUN, *root, "--oversubscribe", "-n", str(ranks), sys.executable, path]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
