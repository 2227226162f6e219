"""`trace-net kernels [build | list | remove]`."""

from __future__ import annotations

import typer

from tracer.errors import TracerError
from tracer_native import cache, loading
from tracer_native.compilers import CompilerError

app = typer.Typer(
    help="Build, list and remove compiled kernels for this machine's processor.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    add_completion=False,  # that of `trace-net` completes it
    no_args_is_help=True,
)


@app.command("build")
def build() -> None:
    """Compile the kernels into the user's cache, where every program then finds them."""
    try:
        path = loading.build()
    except CompilerError as error:
        raise TracerError(f"no kernels were built: {error}") from error
    except OSError as error:
        raise TracerError(
            f"no kernels were built, {cache.folder()} cannot be written: {error}. Set "
            f"XDG_CACHE_HOME to a folder that can"
        ) from error
    for other in cache.built():
        if other != path:
            other.unlink(missing_ok=True)
    print(path)


@app.command("list")
def list_libraries() -> None:
    """List the libraries in the cache, and which of them is for this version and processor."""
    mine = cache.built()
    for path in cache.all_built():
        whole = "damaged" if not cache.is_whole(path) else "runs here" if path in mine else "other"
        print(f"{whole}  {path}")


@app.command("remove")
def remove() -> None:
    """Remove all of them."""
    for path in cache.all_built():
        path.unlink(missing_ok=True)
        print(path)
