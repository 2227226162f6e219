"""What plugins provide to read models of other libraries: importers, and operators by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracer.blame import place
from tracer.errors import PluginError


@dataclass(frozen=True, slots=True)
class ImportedOperator:
    """An operator of imported programs: what it computes, as a function of arrays or tensors.

    `name` is the operator's own, as "aten.relu.default" or "mylib.gate.default" of PyTorch's, or
    "onnx.Relu". `function` is called with the arguments that a program has, by position and by the
    names of the operator's schema, and returns an array or tensor, or a tuple of them. It calls
    operations and NumPy's functions, so that all derivatives follow. What writes into its first
    argument in PyTorch returns the new value here.

    `mode` is the argument that says whether this is training, of an operator that has one: a flag,
    or a probability that is 0 in evaluation. `examples(rng)` is a list of (arguments, keywords) to
    check it at. `replaces` is the name, if another plugin has it and this one is to stand in its
    place.
    """

    name: str
    function: Callable[..., Any]
    mode: str = ""
    examples: Callable[[Any], Sequence[tuple[tuple[Any, ...], dict[str, Any]]]] | None = None
    replaces: str | tuple[str, ...] = ()


class Importer:
    """Opens models of another library, for the command line.

    `suffixes` are those of files that it reads, as ".pt2"; `package` is the library's name, whose
    objects it converts, as "torch". `replaces` is the name, if another plugin has it and this one
    is to stand in its place.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    package: str = ""
    replaces: str | tuple[str, ...] = ()

    def load(self, path: Path) -> Callable[..., Any]:
        """The model in a file."""
        raise NotImplementedError("an importer of files defines load")

    def inputs(self, model: Callable[..., Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments and keywords that a loaded model may be called with, made of its shapes."""
        raise NotImplementedError("an importer of files defines inputs")

    def convert(
        self, model: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]
    ) -> Callable[..., Any]:
        """The model that an object of the library is, when it is called with these."""
        raise NotImplementedError("an importer of a package defines convert")

    def arrays(self, value: Any) -> Any:
        """Arrays in place of the library's own, however they are nested."""
        return value


def check_importer(importer: Importer) -> None:
    """Raise `PluginError` for an importer that opens nothing."""
    reads = type(importer).load is not Importer.load
    converts = type(importer).convert is not Importer.convert
    if bool(importer.suffixes) != reads or bool(importer.package) != converts:
        raise PluginError(
            f"the importer {importer.name!r} has suffixes {importer.suffixes!r} and the package "
            f"{importer.package!r}: it defines load(path) where it has suffixes, and convert("
            f"model, inputs, keywords) where it has a package ({place(type(importer))})"
        )


def check_imported(operator: ImportedOperator) -> None:
    """Raise `PluginError` for an operator that cannot be called."""
    if not callable(operator.function):
        raise PluginError(
            f"the imported operator {operator.name!r} has {operator.function!r} as its function: "
            f"give a function of arrays, as ImportedOperator({operator.name!r}, np.tanh)"
        )
    if operator.examples is not None and not callable(operator.examples):
        raise PluginError(
            f"the imported operator {operator.name!r} has examples that are no function "
            f"({place(operator.function)}): give a function examples(rng)"
        )
