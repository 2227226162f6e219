"""Arguments and options that several commands take, with their completion."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from trace_net import write
from trace_net.errors import UsageError

#: File suffixes besides the names of the formats.
SUFFIXES = {"gv": "dot", "htm": "html", "mmd": "mermaid"}


class Theme(StrEnum):
    """Colours of the picture."""

    auto = "auto"
    light = "light"
    dark = "dark"


def renderer_names(incomplete: str) -> list[str]:
    """Registered formats that begin with what was typed."""
    from tracer import registry

    return [name for name in registry.renderers if name.startswith(incomplete)]


def overlay_names(incomplete: str) -> list[str]:
    """Registered overlays and quantities that begin with what was typed; scalars after a colon."""
    from tracer import registry

    quantity, colon, scalar = incomplete.partition(":")
    if colon and quantity in registry.quantities:
        from trace_net.scalars import SCALARS

        return [f"{quantity}:{name}" for name in SCALARS if name.startswith(scalar)]
    known = (*registry.overlays, *registry.quantities)
    return [name for name in known if name.startswith(incomplete)]


def quantity_names(incomplete: str) -> list[str]:
    """Registered quantities that begin with what was typed."""
    from tracer import registry

    return [name for name in registry.quantities if name.startswith(incomplete)]


def loss_names(incomplete: str) -> list[str]:
    """Losses that `--loss` takes that begin with what was typed."""
    from trace_net.made_loss import LOSSES

    return [name for name in LOSSES if name.startswith(incomplete)]


def device_names(incomplete: str) -> list[str]:
    """Registered devices that begin with what was typed."""
    from tracer import registry

    return [b.device for b in registry.backends.values() if b.device.startswith(incomplete)]


def check_device(name: str | None) -> None:
    """`UsageError` for a device that is not known or does not work here."""
    from tracer.errors import TracerError
    from tracer.extend import backend_for

    try:
        if name is not None:
            backend_for(name)
    except TracerError as error:
        raise UsageError(str(error), hint="`trace-net doctor` tells what there is") from error


def look_up(known: Mapping[str, Any], name: str) -> Any:
    """A registered object; `UsageError` with the nearest known name if there is none."""
    from tracer.errors import RegistryError

    try:
        return known[name]
    except RegistryError as error:
        raise UsageError(str(error), hint="`trace-net plugins` lists what is registered") from error


def choose_format(output: str | None, format: str | None) -> str:
    """The format asked for, else that of the file's suffix, else svg."""
    if format is not None:
        return format
    if output is None or output == write.STDOUT:
        return "svg"
    suffix = Path(output).suffix.removeprefix(".").lower()
    if not suffix:
        raise UsageError(
            f"the file {output!r} has no suffix to choose a format by",
            hint="add one, as in graph.svg, or give --format",
        )
    return SUFFIXES.get(suffix, suffix)


TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="path.py, path.py:attr, path.py:factory(k=1) or pkg.module:attr. Without attr: "
        "build_model() or model. Inputs come from example_inputs, an array, a tuple of arrays or "
        "a dict of keyword arguments, or a function that returns one; loss and targets are "
        "optional.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=SPEC",
        help="An input in place of example_inputs: x=f32[32,10] (random, fixed seed), "
        "y=i64[32]<10 (integers below 10) or x=@file.npy. Repeatable.",
    ),
]
QuantityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--quantity",
        metavar="NAME",
        help="A quantity to compute in the sweep, as in kfac. Repeatable.",
        autocompletion=quantity_names,
    ),
]
LossOption = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="NAME",
        help="A loss of the output against targets that are made, in place of TARGET's: "
        "cross_entropy, mse_loss or binary_cross_entropy_with_logits.",
        autocompletion=loss_names,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Move model, inputs and loss there: cuda (needs CuPy and a GPU) or cpu.",
        autocompletion=device_names,
    ),
]
#: how the option of the file that is written is called, whose help differs
OUTPUT = ("-o", "--output")
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="svg, png, pdf, dot, html, json, mermaid or a plugin's. "
        "(default: the suffix of FILE, else svg)",
        autocompletion=renderer_names,
    ),
]
ThemeOption = Annotated[Theme, typer.Option(help="Colours of the picture.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
