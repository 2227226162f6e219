"""How bytes of arrays on devices go from rank to rank: by links between devices, or by the host.

All ranks call alike, and know all sizes before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tracer.extend import Array, Backend, Links
from tracer_scale.parallel.communicator import Communicator


class Transport(Protocol):
    """Moves arrays `[bytes]` of dtype uint8."""

    def broadcast(self, own: Array, size: int, root: int) -> Array:
        """What the rank `root` has; `own` is that in `root`, and is not looked at elsewhere."""

    def exchanged(self, own: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
        """What each rank has for this one, so many bytes; `own` are those for each of them."""


class Linked:
    """Directly from device to device: NCCL's links, for CuPy's arrays."""

    def __init__(self, links: Links, library: Backend, comm: Communicator):
        self.links, self.library = links, library
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    def broadcast(self, own: Array, size: int, root: int) -> Array:
        found = own if self.rank == root else self._empty(size)
        if size:
            self.links.broadcast(found, root)
        return found

    def exchanged(self, own: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
        """In turns of pairs: two ranks meet in the turn that is the sum of their numbers."""
        found = [self._empty(size) for size in sizes]
        for turn in range(self.size):
            peer = (turn - self.rank) % self.size
            if peer == self.rank:
                found[peer] = own[peer]
            else:
                self._swap(own[peer], found[peer], peer)
        return found

    def _swap(self, sent: Array, received: Array, peer: int) -> None:
        """With one rank, which knows both sizes, too; nothing is sent of none."""
        if sent.size and received.size:
            self.links.send_recv(sent, received, peer)
        elif sent.size:
            self.links.send(sent, peer)
        elif received.size:
            self.links.recv(received, peer)

    def _empty(self, size: int) -> Array:
        return self.library.namespace.empty(size, dtype=np.uint8)


class Staged:
    """Through the memory of the host, by MPI."""

    def __init__(self, library: Backend, comm: Communicator):
        self.library, self.comm = library, comm

    def broadcast(self, own: Array, size: int, root: int) -> Array:
        if not size:
            return own
        if self.comm.Get_rank() == root:
            self.comm.bcast(self.library.to_host(own), root)
            return own
        return self.library.from_host(self.comm.bcast(np.empty(0), root))

    def exchanged(self, own: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
        rank = self.comm.Get_rank()
        sent = [None if to == rank else self.library.to_host(each) for to, each in enumerate(own)]
        received = self.comm.alltoall(sent)
        return [own[rank] if a is None else self.library.from_host(a) for a in received]


class Kept:
    """Of one rank alone, to which nothing comes."""

    def broadcast(self, own: Array, size: int, root: int) -> Array:
        return own

    def exchanged(self, own: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
        return list(own)
