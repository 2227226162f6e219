"""Modules that are made on a device, by an argument `device` of their constructors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any


def takes_device(made: Any) -> bool:
    """Whether a constructor has an argument `device`.

    Every class of modules asks, and to read its code takes a fortieth of the time of a signature.
    """
    if not isinstance(made, FunctionType) or hasattr(made, "__wrapped__"):
        return "device" in inspect.signature(made).parameters
    code = made.__code__
    return "device" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def moved_when_made(made: Callable[..., None]) -> Callable[..., None]:
    """A constructor with an argument `device` that leaves the module there.

    What it draws is drawn on the host, so that a seed gives the same model on every device.
    """

    @functools.cache
    def signature() -> inspect.Signature:
        return inspect.signature(made)

    @functools.wraps(made)
    def made_there(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        device = signature().bind(self, *args, **options).arguments.get("device")
        if device is not None:
            self.to(device=device)

    return made_there
