"""A program that mpirun starts: the command line, with the double of a device on each rank."""

import sys
from pathlib import Path

from mpi4py import MPI

from trace_net.main import main
from tracer import registry

sys.path.append(str(Path(__file__).parents[1]))
import links

if __name__ == "__main__":
    registry.backends.add(links.Standing(4), "tests")
    sys.modules |= links.install(lambda rank: MPI.COMM_WORLD)
    sys.exit(main())
