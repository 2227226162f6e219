"""What this plugin registers. Nothing heavy is imported before something is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from tracer.extend import Overlay, Renderer, hookimpl
from tracer_render.overlays import GradNorm
from tracer_render.renderers import DOT, HTML, JSON, PDF, PNG, SVG, Mermaid


@hookimpl
def register_renderers() -> Iterable[Renderer]:
    return [SVG(), PNG(), PDF(), DOT(), HTML(), JSON(), Mermaid()]


@hookimpl
def register_overlays() -> Iterable[Overlay]:
    return [GradNorm()]
