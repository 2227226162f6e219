"""The hooks of plugins, and how plugins are loaded."""

from tracer.plugins.loading import CORE, Loader, Plugin, load, loaded

__all__ = ["CORE", "Loader", "Plugin", "load", "loaded"]
