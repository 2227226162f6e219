"""Programs that write into arrays, as ones that do not.

What writes into a value, `relu_`, makes a new one here, and what is said of the old value later is
said of the new one. If the value is a view, the array that it shows is made anew too, and other
views of that are taken again where they are used next: this is how JAX and functorch do it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tracer_import.errors import ProgramError
from tracer_import.program import Argument, Held, Node, Program, Value, renamed

#: operators whose result shows their first argument, and how a new result is written back to it
RESHAPED = (
    "view.default view.dtype reshape.default _unsafe_view.default flatten.using_ints "
    "unflatten.int squeeze.default squeeze.dim squeeze.dims unsqueeze.default view_as.default"
).split()
MOVED = "transpose.int t.default permute.default swapaxes.default numpy_T.default".split()
SAME = (
    "alias.default detach.default contiguous.default lift_fresh.default to.dtype to.device "
    "to.dtype_layout _to_copy.default dropout.default"
).split()
PARTS = (
    "split.Tensor split_with_sizes.default split.sizes chunk.default unbind.int "
    "tensor_split.sections tensor_split.indices"
).split()
SCATTERED = {
    "slice.Tensor": "aten.slice_scatter.default",
    "narrow.default": "tracer.narrow_scatter",
    "select.int": "aten.select_scatter.default",
    "diagonal.default": "aten.diagonal_scatter.default",
    "as_strided.default": "aten.as_strided_scatter.default",
}
EXPANDED = ("expand.default", "expand_as.default", "unfold.default")
VIEWS = {f"aten.{name}" for name in (*RESHAPED, *MOVED, *SAME, *PARTS, *SCATTERED, *EXPANDED)}
#: operators that write and are named otherwise without it
FUNCTIONAL = {
    "aten.bernoulli_.float": "aten.bernoulli.p",
    "aten.fill_.Scalar": "aten.fill.Scalar",
    "aten.fill_.Tensor": "aten.fill.Tensor",
    "aten.copy_.default": "aten.copy.default",
    "aten.zero_.default": "aten.zero.default",
}
#: those of which only the value changes its shape, or nothing at all
OF_SHAPE = {
    "aten.squeeze_.dim": "aten.squeeze.dim",
    "aten.squeeze_.default": "aten.squeeze.default",
    "aten.unsqueeze_.default": "aten.unsqueeze.default",
    "aten.t_.default": "aten.t.default",
    "aten.transpose_.default": "aten.transpose.int",
    "aten.detach_.default": "aten.detach.default",
    "aten.requires_grad_.default": "aten.alias.default",
}
#: operators of two tensors, which have overloads for numbers
OF_TENSORS = "add sub mul div true_divide copysign subtract multiply divide".split()
#: those that write into `out=`, where the operator without it has another overload than the rule's
OF_OUT = {
    "max.out": "max.other",
    "min.out": "min.other",
    "norm.out": "norm.ScalarOpt_dim",
    "sum.IntList_out": "sum.dim_IntList",
    "prod.int_out": "prod.dim_int",
    "div.out_mode": "div.Tensor_mode",
    "divide.out_mode": "divide.Tensor_mode",
    **{f"{name}.out": f"{name}.Tensor" for name in OF_TENSORS},
    **{f"{name}.out": f"{name}.dim" for name in "mean std var all any frobenius_norm".split()},
    **{f"{name}.all_out": f"{name}.default" for name in ("all", "any")},
    **{f"{name}.unary_out": f"{name}.default" for name in ("max", "min")},
}
WRITES = re.compile(r"(?P<namespace>\w+)\.(?P<name>\w*[^_\W])_\.(?P<overload>\w+)")


@dataclass(slots=True)
class _Known:
    """What is known of a value: the array that it shows, through which node, and its name now."""

    root: str
    now: str
    parent: str | None = None
    node: Node | None = None
    part: int = 0
    #: how often the root had been written when this was its name
    version: int = 0


@dataclass(slots=True)
class _Rewriting:
    held: dict[str, Held]
    known: dict[str, _Known] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    made: int = 0

    def of(self, name: str) -> _Known:
        if name not in self.known:
            self.known[name] = _Known(name, name)
        return self.known[name]

    def use(self, name: str) -> str:
        """The name of a value now, taken again where what it shows was written since."""
        known = self.of(name)
        version = self.versions.get(known.root, 0)
        if known.version != version and known.parent is not None and known.node is not None:
            again = _with_first(known.node, Value(self.use(known.parent)))
            names: list[str | None] = [None] * len(again.outputs)
            names[known.part] = known.now = self.fresh(name)
            self.nodes.append(replace(again, outputs=tuple(names)))
            known.version = version
        return known.now

    def fresh(self, name: str) -> str:
        self.made += 1
        return f"{name}'{self.made}"

    def add(self, node: Node) -> None:
        names = {name: self.use(name) for name in node.values()}
        current = replace(
            node,
            arguments=renamed(node.arguments, names),
            keywords={key: renamed(value, names) for key, value in node.keywords.items()},
        )
        if node.target in OF_SHAPE:
            self._reshape(node, current)
        elif (target := written(node.target)) is not None:
            place = node.arguments[0] if node.arguments else None
            self._write(node, replace(current, target=target), place)
        elif isinstance(place := node.keywords.get("out"), Value):
            self._write(node, without_out(current), place)
        elif _moves_statistics(current):
            self._normalise(node, current)
        else:
            self.nodes.append(current)
            if node.target in VIEWS and _is_value(node):
                self._note_view(node)

    def _note_view(self, node: Node) -> None:
        parent = node.arguments[0].name
        above = self.of(parent)
        version = self.versions.get(above.root, 0)
        for part, name in enumerate(node.outputs):
            if name is not None:
                self.known[name] = _Known(above.root, name, parent, node, part, version)

    def _reshape(self, node: Node, current: Node) -> None:
        """The value is another view of what it showed."""
        taken = self.of(node.arguments[0].name)
        (name,) = node.outputs
        new = name or self.fresh(node.arguments[0].name)
        plain = replace(current, target=OF_SHAPE[node.target], outputs=(new,))
        self.nodes.append(plain)
        before = self.fresh(node.arguments[0].name)
        self.known[before] = replace(taken)
        known = _Known(taken.root, new, before, replace(plain, target=plain.target), 0,
                       self.versions.get(taken.root, 0))  # fmt: skip
        self.known[node.arguments[0].name] = known
        if name is not None:
            self.known[name] = known

    def _write(self, node: Node, current: Node, place: Argument) -> None:
        """What `current` gives is written into `place`."""
        if not isinstance(place, Value):
            raise ProgramError(_cannot(node))
        name, result = place.name, node.outputs[0] if node.outputs else None
        new = result or self.fresh(name)
        before, typed = Value(self.use(name)), self.fresh(name)
        self.nodes.append(replace(current, outputs=(new,)))
        # what is written has the dtype and shape of what it is written into
        arguments = (before, Value(new))
        self.nodes.append(Node("tracer.written", arguments, {}, (typed,), node.scope, node.source))
        self._written(name, typed, node)
        if result is not None:
            self.known[result] = self.of(name)

    def _normalise(self, node: Node, current: Node) -> None:
        """Batch normalisation with the running statistics that it moves to, in training."""
        input, weight, bias, mean, variance, training, momentum, eps, *_ = _batch_norm(current)
        places = _batch_norm(node)[3:5]
        names = [self.fresh(place.name) for place in places]
        self.nodes.append(
            replace(
                current,
                target="aten._native_batch_norm_legit_functional.default",
                arguments=(input, weight, bias, mean, variance, training, momentum, eps),
                keywords={},
                outputs=(node.outputs[0], None, None, *names),
                several=True,
            )
        )
        for place, name in zip(places, names, strict=True):
            self._written(place.name, name, node)

    def _written(self, name: str, new: str, node: Node) -> None:
        """A value has become `new`, and so have the arrays that it shows."""
        chain = [self.of(name)]
        value = new
        values = [value]
        while (known := chain[-1]).parent is not None:
            assert known.node is not None
            above = self.of(known.parent)
            value = self._back(known, self.use(known.parent), value, node)
            chain.append(above)
            values.append(value)
        root = chain[-1].root
        if root in self.held and self.held[root].kind == "parameter":
            raise ProgramError(
                f"the program writes into the parameter {self.held[root].path!r} "
                f"({node.target}, {node.source}): export the model without that"
            )
        self.versions[root] = version = self.versions.get(root, 0) + 1
        for known, value in zip(chain, values, strict=True):
            known.now, known.version = value, version

    def _back(self, known: _Known, base: str, value: str, writes: Node) -> str:
        """The name of the array that a view shows, after the view has become `value`."""
        view = known.node
        assert view is not None
        name = view.target.removeprefix("aten.")
        if name in SAME:
            return value
        result = self.fresh(base)

        def emit(target: str, *arguments: Argument, **keywords: Argument) -> str:
            self.nodes.append(
                Node(target, arguments, keywords, (result,), writes.scope, writes.source)
            )
            return result

        rest = view.arguments[1:]
        if name in RESHAPED:
            return emit("tracer.reshape_as", Value(value), Value(base))
        if name in SCATTERED:
            return emit(SCATTERED[name], Value(base), Value(value), *rest, **view.keywords)
        if name == "permute.default":
            order = [dim % len(rest[0]) for dim in rest[0]]
            inverse = tuple(order.index(i) for i in range(len(order)))
            return emit("aten.permute.default", Value(value), inverse)
        if name in MOVED:
            return emit(view.target, Value(value), *rest, **view.keywords)
        if name in PARTS:
            return emit("tracer.replace_part", Value(base), Value(value), view.target, known.part,
                        rest, tuple(view.keywords.items()))  # fmt: skip
        raise ProgramError(_cannot(writes))


def functional(program: Program) -> Program:
    """The same program, in which nothing is written into, without what nobody uses.

    Raises `ProgramError` for what writes in a way that has no other form, with operator and line.
    """
    rewriting = _Rewriting({held.value: held for held in program.held})
    for node in program.nodes:
        rewriting.add(node)
    names = {name: rewriting.use(name) for name in _results(program)}
    mutations = {path: names[name] for path, name in program.mutations.items()}
    for held in program.held:
        if held.kind in ("buffer", "transient") and rewriting.versions.get(held.value):
            mutations[held.path] = rewriting.use(held.value)
    outputs = tuple(renamed(output, names) for output in program.outputs)
    changed = replace(program, nodes=tuple(rewriting.nodes), outputs=outputs, mutations=mutations)
    return replace(changed, nodes=tuple(_used(changed)))


def written(target: str) -> str | None:
    """The operator that gives what this one writes; None for one that does not write."""
    if target in FUNCTIONAL:
        return FUNCTIONAL[target]
    match = WRITES.fullmatch(target)
    if match is None or match["namespace"] != "aten":
        return None
    return f"aten.{match['name']}.{match['overload']}"


def without_out(node: Node) -> Node:
    """The operator that gives what this one writes into `out`; of any other overload, itself."""
    namespace, _, name = node.target.partition(".")
    packet, _, overload = name.partition(".")
    plain = OF_OUT.get(name) or f"{packet}.{overload.removesuffix('out').rstrip('_') or 'default'}"
    keywords = {key: value for key, value in node.keywords.items() if key != "out"}
    return replace(node, target=f"{namespace}.{plain}", keywords=keywords)


def _results(program: Program) -> Iterator[str]:
    for output in program.outputs:
        if isinstance(output, Value):
            yield output.name
    yield from program.mutations.values()


def _used(program: Program) -> list[Node]:
    """The nodes that results depend on."""
    wanted, kept = set(_results(program)), []
    for node in reversed(program.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.values())
    return kept[::-1]


def _is_value(node: Node) -> bool:
    return bool(node.arguments) and isinstance(node.arguments[0], Value)


def _with_first(node: Node, first: Value) -> Node:
    return replace(node, arguments=(first, *node.arguments[1:]))


#: of a batch normalisation, names of what may be given by keyword
BATCH_NORM = "input weight bias running_mean running_var training momentum eps".split()


def _batch_norm(node: Node) -> list[Argument]:
    given = [*node.arguments[:8]]
    return given + [node.keywords.get(name) for name in BATCH_NORM[len(given) :]]


def _moves_statistics(node: Node) -> bool:
    """Whether a node is a batch normalisation that has running statistics, to be moved or not."""
    if node.target not in ("aten.batch_norm.default", "aten.cudnn_batch_norm.default"):
        return False
    arguments = _batch_norm(node)
    return all(isinstance(each, Value) for each in arguments[3:5])


def _cannot(node: Node) -> str:
    where = f" ({node.source})" if node.source else ""
    return (
        f"{node.target}{where} writes into an array in a way that has no other form here: write "
        f"x = x.relu() in place of x.relu_(), and torch.where in place of a masked write"
    )
