"""What a program has and nobody provides, listed at once before anything runs."""

from __future__ import annotations

from collections import defaultdict

from tracer import registry
from tracer.errors import suggestion
from tracer_import.errors import ProgramError
from tracer_import.program import Node, Program

#: source lines that are named for each operator
LINES = 3
#: operators whose results have shapes that only the values tell
BY_VALUES = frozenset(
    f"aten.{name}"
    for name in (
        "nonzero.default nonzero_numpy.default masked_select.default item.default "
        "_local_scalar_dense.default unique_consecutive.default _unique2.default "
        "repeat_interleave.Tensor"
    ).split()
)
QUANTISED = ("quantized_decomposed.", "quantized.", "torchao.")


def check_supported(program: Program) -> None:
    """Raise `ProgramError` with all operators that are missing, how often, and at which lines."""
    nodes: dict[str, list[Node]] = defaultdict(list)
    for node in program.nodes:
        if node.target not in registry.imports:
            nodes[node.target].append(node)
    if not nodes:
        return
    listed = sorted(nodes.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    text = "; ".join(_entry(target, found) for target, found in listed)
    raise ProgramError(
        f"{program.origin} has {len(nodes)} operators that are not there: {text}. {_way(nodes)}"
    )


def _entry(target: str, nodes: list[Node]) -> str:
    lines = list(dict.fromkeys(str(node.source) for node in nodes if node.source))
    shown = ", ".join(lines[:LINES]) + (", ..." if len(lines) > LINES else "")
    times = f" x {len(nodes)}" if len(nodes) > 1 else ""
    return f"{target}{times}{f' ({shown})' if shown else ''}"


def _way(nodes: dict[str, list[Node]]) -> str:
    if any(target in BY_VALUES for target in nodes):
        values = next(target for target in nodes if target in BY_VALUES)
        return (
            f"The shape of what {values} gives depends on values, which a program here cannot "
            f"have: write it with torch.where or with a mask that is multiplied"
        )
    if any(target.startswith(QUANTISED) for target in nodes):
        return "Quantised weights have no derivatives: export the model before it is quantised"
    near = suggestion(next(iter(nodes)), list(registry.imports)).strip()
    return (
        f"A plugin adds them by the hook register_imports, as "
        f"tracer.register(ImportedOperator(name, function)) does in a script"
        f"{f'. {near}' if near else ''}"
    )
