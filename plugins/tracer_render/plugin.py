"""What this plugin registers. Nothing heavy is imported before something is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from tracer.extend import Overlay, Renderer, defined, hookimpl
from tracer_render import overlays, renderers


@hookimpl
def register_renderers() -> Iterable[Renderer]:
    """The formats, each where it is defined."""
    return [renderer() for renderer in defined(Renderer, renderers)]


@hookimpl
def register_overlays() -> Iterable[Overlay]:
    """The overlays, each where it is defined."""
    return [overlay() for overlay in defined(Overlay, overlays)]
