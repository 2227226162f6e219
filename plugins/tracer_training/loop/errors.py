"""What ends a training that has gone wrong."""

from __future__ import annotations

from tracer.errors import TracerError

__all__ = ["NonFiniteError"]


class NonFiniteError(TracerError):
    """A loss that is infinite or no number: at which `epoch`, `batch` and `step`, counted from 0.

    `tensor` says what became so first: a parameter, an input, or the operation that computed it.
    """

    def __init__(self, message: str, epoch: int, batch: int, step: int, tensor: str):
        super().__init__(message)
        self.epoch, self.batch, self.step, self.tensor = epoch, batch, step, tensor
