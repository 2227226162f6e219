"""ONNX models as programs, read with the package `onnx` (extra `onnx`), opset 13 and later.

What ONNX calls initializers are parameters where they are floats that an operator takes as a
weight, buffers where a batch normalisation takes them as statistics, and else constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tracer_import.consistency import check_consistent
from tracer_import.errors import ProgramError
from tracer_import.graphs import source_of
from tracer_import.inplace import functional
from tracer_import.onnx_limits import Library, Message, check_external, check_functions
from tracer_import.onnx_modes import Constant, with_modes
from tracer_import.program import Argument, Held, Input, Meta, Node, Program, Scope, Value
from tracer_import.sizes import Expression, Size

#: the first version of the operators that is read
FIRST_OPSET = 13
#: the names of ONNX's own operators
OWN_DOMAINS = ("", "ai.onnx")
#: by operator, the places of arguments that are trained
WEIGHTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "RMSNormalization": (1,),
    "Gather": (0,),
    "PRelu": (1,),
    "LSTM": (1, 2, 3),
    "GRU": (1, 2, 3),
    "RNN": (1, 2, 3),
    "Add": (0, 1),
    "Mul": (0, 1),
}
#: by operator, the places of running statistics
STATISTICS = {"BatchNormalization": (3, 4)}
#: what PyTorch's exporter notes of a node
SCOPES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
TRACE = "pkg.torch.onnx.stack_trace"


def read(path: Path) -> Program:
    """The program in an `.onnx` file.

    Raises `ProgramError` for one that is damaged, of an older opset, or whose arrays are in files
    outside its folder; `OSError` for a file that is not there.
    """
    onnx = _library()
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
        _check_opset(path, model)
        check_external(path, onnx, model)
        onnx.checker.check_model(str(path))
        check_functions(path, model)
        model = onnx.inliner.inline_local_functions(model)
        program = _program(onnx, path, model)
        check_consistent(program)
        return functional(program)
    except (ProgramError, OSError):
        raise
    except Exception as error:  # protobuf's and the checker's own
        why = f"{type(error).__name__}: {error}".strip().replace("\n", " ")[:200]
        raise ProgramError(
            f"{str(path)!r} is no whole model of ONNX's ({why}): export it again"
        ) from error


def _library() -> Library:
    try:
        import onnx
        import onnx.inliner
    except ImportError as error:
        raise ProgramError(
            "an .onnx file is read with the package onnx: pip install 'trace-net[onnx]'"
        ) from error
    return onnx


def _check_opset(path: Path, model: Message) -> None:
    versions = {each.domain: each.version for each in model.opset_import}
    own = max((versions[domain] for domain in OWN_DOMAINS if domain in versions), default=0)
    if not own:
        raise ValueError("it does not say of which opset it is")
    if own < FIRST_OPSET:
        raise ProgramError(
            f"{str(path)!r} is of opset {own}, and {FIRST_OPSET} or later is read: export it with "
            f"opset_version={FIRST_OPSET} or more"
        )


def _program(onnx: Library, path: Path, model: Message) -> Program:
    graph = model.graph
    if graph.sparse_initializer:
        raise ProgramError(f"{str(path)!r} has sparse arrays: convert them before the export")
    kinds = _kinds(graph)
    held, modules = [], {}
    for tensor in graph.initializer:
        array = _array(onnx, path, tensor)
        kind = kinds.get(tensor.name, "constant") if array.dtype.kind == "f" else "constant"
        kind = "constant" if array.size < 2 and kind == "parameter" else kind
        held.append(Held(tensor.name, _path(tensor.name), array, kind, kind == "parameter"))
    known = {each.value for each in held}
    given = [each for each in graph.input if each.name not in known]
    nodes = []
    for node in graph.node:
        scope = _scope(node)
        modules.update({each.path: each.kind for each in scope if each.path})
        nodes.append(_node(onnx, path, node, scope))
    nodes, mutations = with_modes(nodes, held)
    metas = {each.name: _meta(onnx, each) for each in given}
    names = tuple(each.name for each in given)
    return Program(
        inputs=tuple(Input(name, name, metas[name]) for name in names),
        held=tuple(held),
        nodes=tuple(nodes),
        outputs=tuple(Value(each.name) for each in graph.output),
        arguments=(None,) * len(names),
        argument_names=names,
        results=None if len(graph.output) == 1 else (None,) * len(graph.output),
        mutations=mutations,
        metas={name: meta for name, meta in metas.items() if meta is not None},
        ranges={},
        modules={"": _class_name(graph.name), **modules},
        origin=path.name,
    )


def _class_name(name: str) -> str:
    return name if name.isidentifier() else "Program"


def _kinds(graph: Message) -> dict[str, str]:
    """By initializer, what it is, by the operators that take it."""
    kinds: dict[str, str] = {}
    for node in graph.node:
        for table, kind in ((WEIGHTS, "parameter"), (STATISTICS, "buffer")):
            for place in table.get(node.op_type, ()):
                if place < len(node.input):
                    kinds.setdefault(node.input[place], kind)
    return kinds


def _path(name: str) -> str:
    """A path of a module and a name in it."""
    parts = [part for part in name.replace("::", "_").replace("/", ".").split(".") if part]
    return ".".join(parts) or "constant"


def _array(onnx: Library, path: Path, tensor: Message) -> np.ndarray:
    array = onnx.numpy_helper.to_array(tensor, base_dir=str(path.parent))
    if array.dtype.kind not in "fiubc" or (array.dtype.itemsize == 1 and array.dtype.kind == "f"):
        array = array.astype(np.float32)  # bfloat16 and 8-bit floats of ml_dtypes
    return np.array(array, order="C")


def _meta(onnx: Library, given: Message) -> Meta | None:
    if not given.type.HasField("tensor_type"):
        raise ProgramError(f"the model takes {given.name!r}, which is no array: export it without")
    kind = given.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sizes: list[Size] = []
    for i, size in enumerate(kind.shape.dim):
        named = size.dim_param if size.dim_param.isidentifier() else f"{given.name}_{i}"
        sizes.append(size.dim_value if size.HasField("dim_value") else Expression(named))
    return Meta(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), tuple(sizes))


def _node(onnx: Library, path: Path, node: Message, scope: tuple[Scope, ...]) -> Node:
    properties = {each.key: each.value for each in node.metadata_props}
    source = source_of(properties.get(TRACE, ""))
    plain = [each for each in node.attribute if each.type not in _graphs(onnx)]
    keywords = {each.name: _attribute(onnx, path, each) for each in plain}
    prefix = "onnx" if node.domain in OWN_DOMAINS else node.domain
    return Node(
        f"{prefix}.{node.op_type}",
        tuple(Value(name) if name else None for name in _taken(onnx, node)),
        keywords,
        tuple(name or None for name in node.output),
        scope,
        source,
        several=len(node.output) > 1 or node.op_type in ("Split", "Dropout", "LSTM", "GRU", "RNN"),
    )


def _graphs(onnx: Library) -> tuple[int, ...]:
    """The kinds of attributes that are graphs: control flow, listed with what is missing."""
    return onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS


def _taken(onnx: Library, node: Message) -> list[str]:
    """What a node takes, and what graphs in it take from outside of them."""
    names = list(node.input)
    for attribute in node.attribute:
        if attribute.type in _graphs(onnx):
            for graph in (attribute.g, *attribute.graphs):
                given = (*graph.input, *graph.initializer)
                own = {each.name for each in given} | {x for n in graph.node for x in n.output}
                inner = [name for each in graph.node for name in _taken(onnx, each)]
                inner += [each.name for each in graph.output]
                names += [name for name in inner if name and name not in own]
    return names


def _attribute(onnx: Library, path: Path, attribute: Message) -> Argument:
    kinds = onnx.AttributeProto
    if attribute.type == kinds.TENSOR:
        return Constant(_array(onnx, path, attribute.t))
    if attribute.type == kinds.STRING:
        return attribute.s.decode(errors="replace")
    if attribute.type == kinds.STRINGS:
        return tuple(each.decode(errors="replace") for each in attribute.strings)
    if attribute.type in (kinds.INTS, kinds.FLOATS):
        return tuple(onnx.helper.get_attribute_value(attribute))
    if attribute.type in (kinds.INT, kinds.FLOAT):
        return onnx.helper.get_attribute_value(attribute)
    raise ProgramError(
        f"the program has an attribute {attribute.name!r} that is no number or array"
    )


def _scope(node: Message) -> tuple[Scope, ...]:
    """The calls that a node is in, as PyTorch's exporters write them."""
    properties = {each.key: each.value for each in node.metadata_props}
    if SCOPES in properties:
        paths = _listed(properties[SCOPES])[:-1]
        kinds = _listed(properties.get(CLASSES, ""))
        pairs = zip(paths, [*kinds, *("Module",) * len(paths)], strict=False)
        return tuple(Scope(p, k.rpartition(".")[2]) for p, k in pairs if p and _is_path(p))
    names = [part for part in node.name.split("/") if part][:-1]
    return tuple(Scope(name, "Module") for name in _absolute(names) if _is_path(name))


def _absolute(names: list[str]) -> Iterator[str]:
    """`layer1`, `layer1.0`, `conv1` as paths: each is below the one before."""
    path = ""
    for name in names:
        inside = name.startswith(f"{path}.")
        path = name if inside or not path else f"{path}.{name}"
        yield path


def _is_path(path: str) -> bool:
    return all(part.isidentifier() or part.isdecimal() for part in path.split("."))


def _listed(text: str) -> list[str]:
    """The texts of a list as Python writes it, parsed and never evaluated."""
    return [part.strip().strip("'\"") for part in text.strip("[]").split(",") if part.strip()]
