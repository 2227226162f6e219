"""Graphs of a `.pt2` archive as nodes: arguments, scopes, source lines, and graphs in graphs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from tracer_import.archive import Document
from tracer_import.errors import ProgramError
from tracer_import.program import Argument, DtypeOf, Meta, Node, Scope, Source, Value
from tracer_import.sizes import UNKNOWN, Expression, Size, parsed
from tracer_import.weights import DTYPES, dtype_of

#: how deeply graphs are nested at most
DEEPEST = 20
#: how deeply calls of modules are nested at most
DEEPEST_CALLS = 100
#: what begins the names of operators that hold graphs
HIGHER = "higher_order."
#: those that hold a graph which is run as it is
NO_GRADIENT = "wrap_with_set_grad_enabled"
PRECISION = "wrap_with_autocast"
#: what begins the names of all operators
PREFIX = "torch.ops."
FRAME = re.compile(r'File "([^"\n]+)", line (\d+), in ')
#: files of PyTorch itself, which are not the model's
OF_TORCH = re.compile(r"(^|(site|dist)-packages/)torch/")
#: what nodes that are in no module have in place of a path
NO_MODULE = "_empty_nn_module_stack"


class Graph:
    """A graph as an argument of an operator."""

    def __init__(self, document: Document):
        self.document = document


class GraphReader:
    """The nodes of a graph and of those in it, in one list.

    `names` are the values of a graph in another one, by the names that they have there; `prefix`
    stands before those that are its own.
    """

    def __init__(
        self,
        document: Document,
        names: Mapping[str, str] | None = None,
        prefix: str = "",
        depth: int = 0,
    ):
        if depth > DEEPEST:
            raise ValueError("graphs that are nested too deeply")
        self.document, self.prefix, self.depth = document, prefix, depth
        self.renamed = dict(names or {})
        self.nodes: list[Node] = []
        self.modules: dict[str, str] = {}
        self.metas: dict[str, Meta] = {}

    def add_all(self) -> None:
        """Read all nodes, and what is known of all values."""
        for name, meta in self.document["tensor_values"].items():
            self.metas[self.named(name)] = _meta(meta)
        for node in self.document["nodes"]:
            self._add(node)

    def named(self, name: Any) -> str:
        """The name of a value here."""
        if not isinstance(name, str):
            raise ValueError(f"a value is called {name!r:.60}")
        return self.renamed.get(name, self.prefix + name)

    def argument(self, data: Document) -> Argument:
        """An argument, with the values by their names here."""
        return _argument(data, self.named)

    @staticmethod
    def plain_argument(data: Document) -> Argument:
        """An argument of the outermost graph."""
        return _argument(data, str)

    def _add(self, node: Document) -> None:
        target = str(node["target"]).removeprefix(PREFIX)
        metadata = node.get("metadata") or {}
        scope = self._scope(str(metadata.get("nn_module_stack") or ""))
        source = source_of(str(metadata.get("stack_trace") or ""))
        given = [(entry, self.argument(entry["arg"])) for entry in node["inputs"]]
        if any(isinstance(value, Graph) for _, value in given):
            values = [value for _, value in given]
            self._inline(target, values, node, scope, source)
            return
        # 1 is a positional argument, 2 a keyword; of old programs nobody says, and all have names
        positional = tuple(value for entry, value in given if entry.get("kind") == 1)
        keywords = {str(e["name"]): value for e, value in given if e.get("kind") != 1}
        names, several = self._outputs(node["outputs"])
        self.nodes.append(Node(target, positional, keywords, names, scope, source, several))

    def _outputs(self, outputs: list[Any]) -> tuple[tuple[str | None, ...], bool]:
        """The names of results, and whether there may be several."""
        if len(outputs) == 1 and "as_tensors" in outputs[0]:
            return tuple(self.named(each["name"]) for each in outputs[0]["as_tensors"]), True
        return tuple(self._output(each) for each in outputs), len(outputs) > 1

    def _output(self, output: Document) -> str | None:
        value = self.argument(output)
        if value is None or isinstance(value, Value):
            return None if value is None else value.name
        raise ValueError(f"a result is {value!r:.60}")

    # -- graphs in the graph ------------------------------------------------------------------

    def _inline(
        self, target: str, values: list[Argument], node: Document,
        scope: tuple[Scope, ...], source: Source | None,
    ) -> None:  # fmt: skip
        """Add the nodes of a graph that is run once, as it is."""
        kind = target.removeprefix(HIGHER)
        place = next(i for i, value in enumerate(values) if isinstance(value, Graph))
        options, graph, taken = values[:place], values[place], values[place + 1 :]
        narrows = kind == PRECISION and len(options) > 2 and bool(options[2])
        if kind not in (NO_GRADIENT, PRECISION) or narrows:
            # it cannot be run, and is listed with the operators that are missing
            plain = tuple(value for value in values if not isinstance(value, Graph))
            names, several = self._outputs(node["outputs"])
            self.nodes.append(Node(f"{HIGHER}{kind}", plain, {}, names, scope, source, several))
            return
        parameters = [each["as_tensor"]["name"] for each in graph.document["inputs"]
                      if "as_tensor" in each]  # fmt: skip
        given = [value.name for value in taken if isinstance(value, Value)]
        renames = dict(zip(parameters, given, strict=False))
        prefix = f"{self.prefix}{node.get('name') or target}_{len(self.nodes)}."
        inner = GraphReader(graph.document, renames, prefix, self.depth + 1)
        inner.add_all()
        self.nodes += inner.nodes
        self.metas.update(inner.metas)
        self.modules.update(inner.modules)
        stops = kind == NO_GRADIENT and not options[0]
        outputs, _ = self._outputs(node["outputs"])
        results = [inner.argument(each) for each in graph.document["outputs"]]
        for name, result in zip(outputs, results, strict=True):
            if name is not None:
                operator = "aten.detach.default" if stops else "aten.alias.default"
                self.nodes.append(Node(operator, (result,), {}, (name,), scope, source))

    # -- scopes -------------------------------------------------------------------------------

    def _scope(self, stack: str) -> tuple[Scope, ...]:
        """The calls in `key,path,class;...`, where the key of a second call ends in `@1`."""
        if not stack or stack.startswith(NO_MODULE):
            return ()
        scopes: list[Scope] = []
        for entry in stack.split(";")[:DEEPEST_CALLS]:
            parts = entry.split(",")
            if len(parts) != 3:
                continue
            path, number = parts[1].partition("@")[0], parts[0].partition("@")[2]
            kind = parts[2].rpartition(".")[2] or "Module"
            self.modules.setdefault(path, kind)
            if path:
                scopes.append(Scope(path, kind, int(number) if number.isdecimal() else 0))
        return tuple(scopes)


def source_of(trace: str) -> Source | None:
    """The innermost line of a stack that is not PyTorch's own.

    A file that is not there, or no file of Python's, keeps its name alone: nobody reads it.
    """
    for file, line in reversed(FRAME.findall(trace)):
        if OF_TORCH.search(file) is None:
            readable = file.endswith(".py") and os.path.isfile(file)
            name = file if readable else os.path.basename(file) or "program"
            return Source(name, min(int(line[:9]), 10**6))
    return None


# -- arguments ---------------------------------------------------------------------------------


def _meta(meta: Document) -> Meta:
    sizes, strides = (tuple(map(_size, meta.get(key) or ())) for key in ("sizes", "strides"))
    return Meta(dtype_of(int(meta["dtype"])), sizes, strides)


def _size(entry: Document) -> Size:
    if "as_int" in entry:
        return int(entry["as_int"])
    try:
        return parsed(str(entry["as_expr"]["expr_str"]))
    except ValueError:  # it is only to be shown and checked
        return Expression(UNKNOWN)


def _argument(data: Document, named: Callable[[Any], str]) -> Argument:
    """What an argument of the schema says."""
    if not isinstance(data, Mapping) or len(data) != 1:
        raise ValueError(f"an argument is {data!r:.80}")
    ((kind, value),) = data.items()
    if kind == "as_none":
        return None
    if kind in ("as_tensor", "as_token"):
        return Value(named(value["name"]))
    if kind in ("as_tensors",):
        return tuple(Value(named(each["name"])) for each in value)
    if kind == "as_nested_tensors":
        return tuple(tuple(Value(named(each["name"])) for each in row) for row in value)
    if kind in ("as_optional_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return tuple(_of_union(each, named) for each in value)
    if kind in ("as_optional_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
        return _of_union(value, named)
    if kind in PLAIN:
        return PLAIN[kind](value)
    if kind == "as_graph":
        return Graph(value["graph"])
    raise ProgramError(
        f"the program has an argument of the kind {kind.removeprefix('as_')!r}, which is code and "
        f"no number or array: export the model without it"
    )


def _of_union(data: Document, named: Callable[[Any], str]) -> Argument:
    """One of a list whose entries are values or numbers."""
    ((kind, value),) = data.items()
    if kind == "as_name":
        return Value(named(value))
    return _argument(data, named)


def _float(value: Any) -> float:
    """A number; those that JSON has none for are texts."""
    return float(value)


def _plain(kind: type) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r:.60} is no {kind.__name__}")
        return value

    return checked


def _each(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda values: tuple(map(read, values))


def _dtype(value: Any) -> DtypeOf | None:
    return DtypeOf(DTYPES.get(int(value)) or dtype_of(int(value)))


def _nothing(value: Any) -> None:
    """Where and how arrays lie in memory, which is decided here."""


PLAIN: dict[str, Callable[[Any], Any]] = {
    "as_int": _plain(int),
    "as_ints": _each(_plain(int)),
    "as_float": _float,
    "as_floats": _each(_float),
    "as_bool": _plain(bool),
    "as_bools": _each(_plain(bool)),
    "as_string": _plain(str),
    "as_strings": _each(_plain(str)),
    "as_operator": _plain(str),
    "as_int_lists": _each(_each(_plain(int))),
    "as_float_lists": _each(_each(_float)),
    "as_complex": lambda value: complex(value["real"], value["imag"]),
    "as_scalar_type": _dtype,
    "as_memory_format": _nothing,
    "as_layout": _nothing,
    "as_device": _nothing,
}
