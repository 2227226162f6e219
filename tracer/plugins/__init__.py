"""The hooks of plugins, and how plugins are loaded."""

from tracer.blame import Plugin, culprit, guard, place, raised
from tracer.plugins.listing import Thing, hooks, things
from tracer.plugins.loading import CORE, Loader, load, loaded
from tracer.settings import Setting, settings_of

__all__ = [
    "CORE",
    "Loader",
    "Plugin",
    "Setting",
    "Thing",
    "culprit",
    "guard",
    "hooks",
    "load",
    "loaded",
    "place",
    "raised",
    "settings_of",
    "things",
]
