"""Names the plugin whose renderer, overlay or command raised an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from trace_net.errors import CommandError, DrawingError, PluginFailure


@contextmanager
def blame(plugin: str, what: str) -> Iterator[None]:
    """An unexpected error in the block becomes a `PluginFailure` that names `plugin`."""
    from tracer.errors import TracerError
    from tracer.extend import RendererUnavailable

    try:
        yield
    except (CommandError, TracerError, typer.Exit, typer.Abort, typer.BadParameter):
        raise  # these say themselves what is wrong
    except RendererUnavailable as error:
        raise DrawingError(
            str(error), hint="--format dot and --format json always work; see `trace-net doctor`"
        ) from error
    except Exception as error:
        raise PluginFailure(
            f"{what} of plugin {plugin!r} failed: {type(error).__name__}: {error}",
            hint=f"run it again with --debug, or block it with TRACER_DISABLE_PLUGINS={plugin}",
        ) from error
