"""What devices of several processes exchange arrays by."""

from __future__ import annotations

from typing import Protocol

from tracer.arrays.types import Array


class Links(Protocol):
    """Those of one process's device to the others', as of `cupyx.distributed.NCCLBackend`.

    Arrays are contiguous ones of the library whose links these are; a process is named by its rank.
    The calls of all processes fit together, and what one waits for, another sends.
    """

    def broadcast(self, in_out_array: Array, root: int = 0) -> None:
        """Write what the process `root` has into the arrays of all."""

    def send(self, array: Array, peer: int) -> None:
        """To a process that calls `recv`."""

    def recv(self, out_array: Array, peer: int) -> None:
        """From a process that calls `send`, with as many bytes."""

    def send_recv(self, in_array: Array, out_array: Array, peer: int) -> None:
        """Both, with a process that calls this, too."""

    def stop(self) -> None:
        """End what processes meet by; what they are linked by stays until nothing refers to it."""
