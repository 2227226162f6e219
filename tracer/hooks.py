"""Hooks of plugins, as the core calls them: `tracer.plugins` provides what loads and calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def load() -> Any:
    """Load all plugins. The first call loads; later ones are a lookup."""


def call(name: str, **arguments: Any) -> None:
    """Call a hook of all plugins. An error in one is raised as `PluginError`, which names it."""


def heard(name: str) -> bool:
    """Whether any plugin implements a hook, so that what it is told has to be made."""
    return False


def provide(
    loader: Callable[[], Any], caller: Callable[..., None], hearing: Callable[..., bool]
) -> None:
    """Put what loads all plugins, once, and what calls a hook by its name in place of the above."""
    global load, call, heard
    load, call, heard = loader, caller, hearing
