"""A communicator for models on devices: arrays go between these, and all else by MPI."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Sequence
from typing import TypeVar

from tracer.errors import TracerError
from tracer.extend import Backend, backend, rebind
from tracer_scale.parallel.communicator import Communicator
from tracer_scale.parallel.outlines import Outline, filled, outlined
from tracer_scale.parallel.transports import Kept, Linked, Staged, Transport
from tracer_training.kinds import Model

Sent = TypeVar("Sent")


class Devices:
    """Ranks with arrays of one library: what they exchange is as by `comm`, arrays included."""

    def __init__(self, comm: Communicator, library: Backend, transport: Transport):
        self.comm, self.library, self.transport = comm, library, transport

    def Get_rank(self) -> int:
        return self.comm.Get_rank()

    def Get_size(self) -> int:
        return self.comm.Get_size()

    def bcast(self, value: Sent, root: int = 0) -> Sent:
        """What the rank `root` has, in copies."""
        own, buffer = outlined(value if self.Get_rank() == root else None, self.library)
        outline = self.comm.bcast(own, root)
        found = self.transport.broadcast(buffer, outline.size, root)
        return filled(outline, found, self.library)

    def allgather(self, value: Sent) -> list[Sent]:
        """What each rank has, in copies."""
        own, buffer = outlined(value, self.library)
        outlines: list[Outline] = self.comm.allgather(own)
        return [
            filled(outline, self.transport.broadcast(buffer, outline.size, rank), self.library)
            for rank, outline in enumerate(outlines)
        ]

    def alltoall(self, values: Sequence[Sent]) -> list[Sent]:
        """What each rank has for this one, in copies."""
        own = [outlined(value, self.library) for value in values]
        outlines: list[Outline] = self.comm.alltoall([outline for outline, _ in own])
        sizes = [outline.size for outline in outlines]
        received = self.transport.exchanged([buffer for _, buffer in own], sizes)
        return [
            filled(outline, buffer, self.library)
            for outline, buffer in zip(outlines, received, strict=True)
        ]


def library_of(model: Model) -> Backend:
    """That of a model's parameters; NumPy's of a model without any."""
    parameters = model.parameters() if hasattr(model, "parameters") else ()
    return next((backend.of(p.data) for p in parameters), backend.NUMPY)


def exchanging(model: Model, comm: Communicator) -> Communicator:
    """What ranks with this model exchange by: `comm`, or `Devices` where it is on one.

    Each rank takes the device of its place among those of its machine, modulo the number of
    devices, for good, and its model goes there; one rank alone stays where it is. Where there are
    more ranks than devices, or no links between these, arrays go through the host, and the first
    rank warns of it. Raises `TracerError` on every rank where models are not on the same kind of
    device.
    """
    library, machine = library_of(model), socket.gethostname()
    every = comm.allgather({"device": library.device, "machine": machine})
    odd = [rank for rank, theirs in enumerate(every) if theirs["device"] != every[0]["device"]]
    if odd:
        raise TracerError(
            f"rank {odd[0]} has its model on {every[odd[0]]['device']!r}, and rank 0 on "
            f"{every[0]['device']!r}: move it on all ranks alike, as by model.to(...)"
        )
    if library is backend.NUMPY:
        return comm
    if len(every) == 1:
        return Devices(comm, library, Kept())
    machines = [theirs["machine"] for theirs in every]
    place = machines[: comm.Get_rank()].count(machine)
    device = _taken(library, model, place)
    return Devices(comm, library, _transport(library, comm, machines, device))


def _taken(library: Backend, model: Model, place: int) -> str | None:
    """Take a device, with the model; its name, or None where there is no choice."""
    count = library.device_count()
    if not count:
        return None
    name = library.use_device(place % count)
    _move(library, model)
    return name


def _move(library: Backend, model: Model) -> None:
    """Copy a model's arrays to the device that was taken."""
    for parameter in model.parameters():
        rebind(parameter, library.from_host(parameter.data))
    for module in model.modules() if hasattr(model, "modules") else ():
        for name, array in list(module.named_buffers(recurse=False)):
            if library.matches(type(array)):
                setattr(module, name, library.from_host(array))


def _transport(
    library: Backend, comm: Communicator, machines: Sequence[str], device: str | None
) -> Transport:
    said = comm.allgather((device, library.links_problem()))
    taken = [(machine, name) for machine, (name, _) in zip(machines, said, strict=True)]
    why = next((problem for _, problem in said if problem is not None), None)
    if len(set(taken)) < len(taken) and device is not None:
        several = "one device" if len(set(taken)) == 1 else f"{len(set(taken))} devices"
        why = f"{len(taken)} ranks share {several}, between which there are no links"
    if why is not None:
        if comm.Get_rank() == 0:
            warnings.warn(f"ranks exchange arrays through the host's memory: {why}", stacklevel=4)
        return Staged(library, comm)
    is_first = comm.Get_rank() == 0
    host, port = comm.bcast(_address(machines) if is_first else ("", 0), 0)
    links = library.links(comm.Get_size(), comm.Get_rank(), host, port)
    comm.allgather(None)  # all have met
    links.stop()
    return Linked(links, library, comm)


def free_port(host: str) -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind((host, 0))
        return found.getsockname()[1]


def _address(machines: Sequence[str]) -> tuple[str, int]:
    """Where ranks meet the first one, which is the one that is asked."""
    alone = len(set(machines)) == 1
    host = "127.0.0.1" if alone else socket.gethostbyname(machines[0])
    return host, free_port(host)
