"""A program that mpirun starts: a training of a model on the double of a device, on all ranks."""

import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from tracer import registry

sys.path.append(str(Path(__file__).parents[1]))
import links
import test_devices


def main(name, out, count="3"):
    comm = MPI.COMM_WORLD
    registry.backends.add(links.Standing(int(count)), "tests")
    sys.modules |= links.install(lambda rank: comm)
    waits, is_linked = (), 1 < comm.Get_size() <= int(count)
    if name == "fit":
        found = test_devices.fitted("double", 3, comm=comm)
    else:
        found, waits = test_devices.trained(comm, name, "double")
    assert bool(links.NCCLBackend.calls) == is_linked
    if is_linked:
        assert not [wait for wait in waits if wait.startswith("to the host")], waits
        assert all(link.stopped for link in links.NCCLBackend.made)
    if comm.Get_rank() == comm.Get_size() - 1:
        np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
