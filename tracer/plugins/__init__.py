"""The hooks of plugins, and how plugins are loaded."""

from tracer.blame import Plugin
from tracer.plugins.loading import CORE, Loader, load, loaded

__all__ = ["CORE", "Loader", "Plugin", "load", "loaded"]
