"""Hooks of plugins, as the core calls them: `tracer.plugins` provides what loads and calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _nothing(*_: Any, **arguments: Any) -> None:
    """No plugins."""


_loader: Callable[[], Any] = _nothing
_caller: Callable[..., None] = _nothing


def provide(loader: Callable[[], Any], caller: Callable[..., None]) -> None:
    """Give what loads all plugins, once, and what calls a hook by its name."""
    global _loader, _caller
    _loader, _caller = loader, caller


def load() -> None:
    """Load all plugins. The first call loads; later ones are a lookup."""
    _loader()


def call(name: str, **arguments: Any) -> None:
    """Call a hook of all plugins. An error in one is raised as `PluginError`, which names it."""
    _caller(name, **arguments)
