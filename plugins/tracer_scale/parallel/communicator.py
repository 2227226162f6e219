"""What is asked of a communicator of mpi4py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

Sent = TypeVar("Sent")


class Request(Protocol):
    """Something that is waited for."""

    def Test(self) -> bool: ...


class Communicator(Protocol):
    """The ranks, and what they exchange: whatever has a pickle. All of them call alike."""

    def Get_rank(self) -> int: ...

    def Get_size(self) -> int: ...

    def bcast(self, value: Sent, root: int = 0) -> Sent:
        """What the rank `root` has."""

    def allgather(self, value: Sent) -> list[Sent]:
        """What each rank has."""

    def alltoall(self, values: Sequence[Sent]) -> list[Sent]:
        """What each rank has for this one."""


class World(Communicator, Protocol):
    """Those of a whole program, which may be ended."""

    def Dup(self) -> World: ...

    def Ibarrier(self) -> Request: ...

    def Abort(self, errorcode: int) -> None: ...
