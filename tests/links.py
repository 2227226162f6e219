"""A stand-in for `cupyx.distributed`, whose NCCLBackend moves arrays of the double by MPI.

It has NCCLBackend's signatures and what it refuses; `install` puts it in the place of the module.
"""

import types

import device
import numpy as np
from device import DeviceArray

from tracer.arrays.backend_cupy import CUPY

#: the dtypes that NCCL knows, by their letters
DTYPES = "bBiIlLqQefdFD"


class Standing(device.DeviceBackend):
    """The double, with so many devices and links as CuPy's arrays have them."""

    count = 0
    taken = None
    links_problem = CUPY.links_problem
    links = CUPY.links

    def __init__(self, count=0, name=lambda number: f"0000:{number}"):
        self.count, self.names = count, name

    def device_count(self):
        return self.count

    def use_device(self, number):
        assert self.taken is None, "a device is taken once"
        assert 0 <= number < self.count
        self.taken = number
        return self.names(number)


class NCCLBackend:
    """`world(rank)` gives the communicator of mpi4py's kind that arrays go by."""

    world = None
    #: (name of the call, bytes) of each
    calls: list[tuple[str, int]] = []
    #: what came of each link: the numbers it was made with, and whether it was stopped
    made: list["NCCLBackend"] = []

    def __init__(self, n_devices, rank, host="127.0.0.1", port=13333, use_mpi=False):
        assert 0 <= rank < n_devices
        assert 0 < port < 65536
        assert not use_mpi  # which takes all ranks of the program, whatever the communicator
        self.n_devices, self.rank, self.address = n_devices, rank, (host, port)
        self.comm, self.stopped = type(self).world(rank), False
        self.made.append(self)

    def broadcast(self, in_out_array, root=0, stream=None):
        self.comm.Bcast(self._memory("broadcast", in_out_array), root=root)

    def send(self, array, peer, stream=None):
        self.comm.Send(self._memory("send", array), dest=peer)

    def recv(self, out_array, peer, stream=None):
        self.comm.Recv(self._memory("recv", out_array), source=peer)

    def send_recv(self, in_array, out_array, peer, stream=None):
        sent, received = (self._memory("send_recv", a) for a in (in_array, out_array))
        self.comm.Sendrecv(sent, dest=peer, recvbuf=received, source=peer)

    def stop(self):
        self.stopped = True

    def _memory(self, name, array):
        """The memory of an array on the device, which has to be in one piece."""
        if not isinstance(array, DeviceArray):
            raise AttributeError(f"{type(array).__name__!r} object has no attribute 'data.ptr'")
        values = array._values
        if not values.flags.c_contiguous and not values.flags.f_contiguous:
            raise RuntimeError("NCCL requires arrays to be either c- or f-contiguous")
        if values.dtype.char not in DTYPES:
            raise TypeError(f"Unknown dtype {values.dtype} for NCCL")
        assert values.size, "an exchange of nothing"
        self.calls.append((name, values.nbytes))
        return values.reshape(-1).view(np.uint8)


def install(world, available=True):
    """Put the stand-in where CuPy's modules are found; `world` gives a rank's communicator."""
    NCCLBackend.world = staticmethod(world)
    NCCLBackend.calls, NCCLBackend.made = [], []
    distributed = types.ModuleType("cupyx.distributed")
    distributed.NCCLBackend = NCCLBackend
    nccl = types.ModuleType("cupy.cuda.nccl")
    nccl.available = available
    return {"cupyx.distributed": distributed, "cupy.cuda.nccl": nccl}
