"""How a command fails: an exit code, one line that says what happened, and one that helps."""

from __future__ import annotations


class CommandError(Exception):
    """Ends the command with `code`. `details` are lines printed between message and hint."""

    code = 1

    def __init__(self, message: str, hint: str = "", details: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class ModelError(CommandError):
    """The user's model or file failed, or a check found something (exit code 1)."""


class UsageError(CommandError):
    """The command line asks for something that does not exist or cannot be done (2)."""

    code = 2


class DrawingError(CommandError):
    """No engine can draw the format here, or it timed out (3)."""

    code = 3


class PluginFailure(CommandError):
    """A plugin raised an error while doing its part (4)."""

    code = 4


INTERRUPTED = 130
