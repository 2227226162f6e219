"""Programs that cannot be read or run: one sentence each."""

from __future__ import annotations

from tracer.errors import TracerError


class ProgramError(TracerError):
    """A program that cannot be read or run; the message says why, and what to do."""
