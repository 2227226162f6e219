"""What a command of a plugin is given of a TARGET."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tracer.api.tape import Tape
from tracer.arrays.types import Tree
from tracer.record.tensor import Tensor


class Target(Protocol):
    """What a TARGET of the command line is, loaded: a command's parameter annotated so is given it.

    `inputs` and `keywords` are what the `model` is called with, `targets` what the `loss` is given
    besides its output; `loss` is None where the file has none. `text` is what was typed, and
    `arguments` what a factory in it was called with by name. A command with a parameter `seed` is
    given a model whose initial values are of that seed.
    """

    text: str
    arguments: Mapping[str, object]
    model: Callable[..., Tree]
    inputs: tuple[Tree, ...]
    keywords: Mapping[str, Tree]
    targets: tuple[Tree, ...]
    loss: Callable[..., Tensor] | None

    def defined(self, name: str) -> object:
        """What the TARGET's file defines besides under a name, as `datasets`; None if nothing."""

    def with_arguments(self, arguments: Mapping[str, object]) -> str:
        """The text of the TARGET whose factory is called with these, too.

        Raises `UsageError` where no function makes the model, or it does not take them.
        """

    def record(self) -> tuple[Tape, Tensor]:
        """The record of the model and its loss, to be swept: `tape.backward(loss)`.

        An error in the user's code ends the command, as it ends those of trace-net itself. A model
        without parameters is recorded so that its inputs want a gradient.
        """
