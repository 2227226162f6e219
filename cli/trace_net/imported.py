"""TARGETs of other libraries: files that an importer reads, and objects that one converts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from trace_net.usercode import user_code

if TYPE_CHECKING:
    from tracer.extend import Importer

#: what is called with arrays
Model: TypeAlias = Callable[..., Any]


def reader_of(path: Path | None) -> Importer | None:
    """What reads a file of this suffix; None where nothing does."""
    from tracer import registry

    found = (each for each in registry.importers.values() if path and path.suffix in each.suffixes)
    return next(found, None)


def suffixes() -> list[str]:
    """The suffixes of files that importers read."""
    from tracer import registry

    return sorted(suffix for each in registry.importers.values() for suffix in each.suffixes)


def converter_of(model: object) -> Importer | None:
    """What converts an object of another library; None where nothing does."""
    from tracer import registry

    kind = model if isinstance(model, type) else type(model)
    packages = {base.__module__.partition(".")[0] for base in kind.__mro__}
    found = (each for each in registry.importers.values() if each.package in packages)
    return next(found, None)


def is_program(text: str) -> bool:
    """Whether a TARGET is a file that an importer reads."""
    return Path(text).suffix in suffixes() if "." in text else False


def converted_loss(
    importer: Importer, loss: Model, output: object, targets: tuple[object, ...]
) -> Model:
    """The loss as the library's own, if it is one; one of arrays is left as it is."""
    try:
        return importer.convert(loss, (output, *targets), {})
    except (
        Exception
    ):  # it calls no function of the library, or what is not there: it says so itself
        return loss


def read(importer: Importer, path: Path, where: str) -> Model:
    """The model in a file."""
    with user_code(f"reading {where}"):
        return importer.load(path)
