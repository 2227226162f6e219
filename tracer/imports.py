"""What plugins provide to read models of other libraries: operators, by the names that these have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
