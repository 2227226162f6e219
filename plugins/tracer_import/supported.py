"""What a program has and nobody provides, listed at once before anything runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from tracer import registry
from tracer_import.errors import ProgramError
from tracer_import.program import Node, Program

#: source lines that are named for each operator
LINES = 3
#: operators whose results have shapes that only the values tell
BY_VALUES = frozenset(
    f"aten.{name}"
    for name in (
        "nonzero.default nonzero_numpy.default masked_select.default item.default "
        "_local_scalar_dense.default unique_consecutive.default _unique2.default _unique.default "
        "unique_dim.default unique_dim_consecutive.default argwhere.default bincount.default "
        "repeat_interleave.Tensor"
    ).split()
) | {f"onnx.{name}" for name in ("NonZero", "Unique", "Compress", "NonMaxSuppression")}
#: what begins the names of operators of quantised weights, PyTorch's and ONNX's
QUANTISED = (
    "quantized_decomposed. quantized. torchao. aten.quantize_per_ aten.dequantize. "
    "aten._weight_int8pack_mm aten._weight_int4pack_mm onnx.QLinear onnx.QuantizeLinear "
    "onnx.DequantizeLinear onnx.DynamicQuantizeLinear onnx.ConvInteger onnx.MatMulInteger"
).split()
#: of PyTorch's and ONNX's operators that hold graphs, the one that only changes the precision
PRECISION = "higher_order.wrap_with_autocast"
CONTROL_FLOW = ("onnx.If", "onnx.Loop", "onnx.Scan", "onnx.SequenceMap")
#: kinds of what is missing, and what to do about them
KINDS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (
        lambda target: target == PRECISION,
        "The program computes in a lower precision (autocast): export it without torch.autocast",
    ),
    (
        lambda target: target.startswith("higher_order.") or target in CONTROL_FLOW,
        "{} is control flow, and a program here is a list of operators: export the model with that "
        "branch or loop taken in Python",
    ),
    (
        lambda target: target in BY_VALUES,
        "The shape of what {} gives depends on values, which a program here cannot have: write it "
        "with torch.where or with a mask that is multiplied",
    ),
    (
        lambda target: target.startswith(tuple(QUANTISED)),
        "Quantised weights have no derivatives: export the model before it is quantised",
    ),
)


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
    counted = "1 operator that is" if len(nodes) == 1 else f"{len(nodes)} operators that are"
    raise ProgramError(f"{program.origin} has {counted} not there: {text}. {_ways(nodes)}")


def _entry(target: str, nodes: list[Node]) -> str:
    lines = list(dict.fromkeys(str(node.source) for node in nodes if node.source))
    shown = ", ".join(lines[:LINES]) + (", ..." if len(lines) > LINES else "")
    times = f" x {len(nodes)}" if len(nodes) > 1 else ""
    return f"{target}{times}{f' ({shown})' if shown else ''}"


def _ways(nodes: dict[str, list[Node]]) -> str:
    """What to do about each kind of what is missing, a sentence each."""
    left = dict.fromkeys(nodes)
    ways = []
    for is_of, way in KINDS:
        found = [target for target in left if is_of(target)]
        if found:
            ways.append(way.format(" and ".join(found)))
            for target in found:
                del left[target]
    if left:
        ways.append(
            f"A plugin adds {'others' if ways else 'them'} by the hook register_imports, as "
            f"tracer.register(ImportedOperator(name, function)) does in a script"
        )
    return ". ".join(ways)
