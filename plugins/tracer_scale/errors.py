"""What ends a fold."""

from __future__ import annotations

from tracer.errors import TracerError

__all__ = ["CheckpointError", "ShardError", "WorkerError"]


class ShardError(TracerError):
    """A shard that failed, after all retries: `shard` is its number, from 0."""

    def __init__(self, message: str, shard: int):
        super().__init__(message)
        self.shard = shard

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.shard)


class WorkerError(TracerError):
    """Workers that cannot be started, or that are of other versions than the driver."""


class CheckpointError(TracerError):
    """A checkpoint that is corrupt, or of something else than what is folded."""
