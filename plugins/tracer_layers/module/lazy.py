"""Layers whose sizes are found out in the first call: `LazyLinear`, `LazyConv2d` and their like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tracer.errors import HintError
from tracer.extend import TensorLike
from tracer_layers.module.loading import Move, convert
from tracer_layers.module.module import Module


class Lazy(Module):
    """A layer of the class `becomes` that finds out the argument `size` in its first call.

    It is of that class from then on. Until then it has no arrays, and asking for them is a
    `HintError`. Dtypes and devices that it is moved to in the meantime are those of its parameters.
    A state that it is given tells the size, too.
    """

    becomes: ClassVar[type[Module]]
    size: ClassVar[str]

    #: the other arguments, by name, and what its arrays are to be moved to
    given: dict[str, Any]
    moves: list[Move]

    def size_of_input(self, input: TensorLike) -> int:
        """The size, from the first input."""
        raise NotImplementedError(f"{type(self).__name__} needs size_of_input(self, input)")

    def size_of_state(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """The size, from the shapes of the arrays of a state; None if they do not tell."""
        raise NotImplementedError(f"{type(self).__name__} needs size_of_state(self, shapes)")

    def make(self, size: int) -> None:
        """Become a layer of this size."""
        lazy = type(self)
        registered = dict(self._registered)
        self._registered.clear()
        self.__class__ = lazy.becomes
        try:
            lazy.becomes.__init__(self, **{lazy.size: size}, **self.given)  # type: ignore[misc]
            for move in self.moves:
                convert(self, *move)
        except BaseException:  # of wrong arguments, or an interruption: it is as it was
            self.__class__ = lazy
            for name in self._registered:
                vars(self).pop(name, None)
            self._registered.clear()
            self._registered.update(registered)
            raise
        del self.given, self.moves

    def forward(self, input: TensorLike, *others: Any, **options: Any) -> Any:
        becomes = self.becomes
        self.make(self.size_of_input(input))
        return becomes.forward(self, input, *others, **options)

    def __getattr__(self, name: str) -> Any:
        if name in vars(self).get("_registered", ()):
            raise HintError(
                f"{type(self).__name__}.{name} is made in the first call, which finds out "
                f"{self.size}: call the model once before, with data as it will be"
            )
        return super().__getattr__(name)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.given.items())


def waiting(becomes: type[Module], size: str, *arrays: str, **defaults: Any) -> Callable[..., None]:
    """The constructor of a lazy layer: that of the layer without the argument `size`.

    `arrays` are the parameters that the layer will have; `defaults` are in place of its own.
    """
    signature = inspect.signature(becomes.__init__)
    others = [
        p.replace(default=defaults.get(name, p.default))
        for name, p in signature.parameters.items()
        if name != size
    ]
    signature = signature.replace(parameters=others)

    def constructor(self: Lazy, *args: Any, **options: Any) -> None:
        given = defaults | signature.bind(self, *args, **options).arguments
        given.pop("self")
        vars(self).update(given=given, moves=[])
        self._registered.update(dict.fromkeys(arrays, "parameter"))

    constructor.__signature__ = signature  # type: ignore[attr-defined]
    constructor.__name__, constructor.__qualname__ = "__init__", f"Lazy{becomes.__name__}.__init__"
    return constructor
