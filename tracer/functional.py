"""Functions of functions: gradients, Jacobians, Hessians and products with them, of any order.

Arguments may be arrays or nested dicts, lists and tuples of arrays. Derivatives taken inside a
function that is itself being differentiated are tensors; the outermost results are raw arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tracer import backend
from tracer.errors import ShapeError, TracingError
from tracer.operation import PARAMETER, describe
from tracer.sweep import Sweep, replay
from tracer.tangents import descendants, push
from tracer.tape import Node, Tape, enclosing, owner, using
from tracer.tensor import Tensor, _float_array, _leaf, batch

# -- nested containers ------------------------------------------------------------------------


def flatten(tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The leaves of nested dicts, lists and tuples, and a function that puts leaves back."""
    leaves: list[Any] = []
    form = _form(tree, leaves)
    return leaves, lambda values: _filled(form, iter(values))


def _form(tree: Any, leaves: list[Any]) -> Any:
    """The containers of a tree; its leaves are added to `leaves`."""
    if isinstance(tree, dict):
        return dict, [(key, _form(value, leaves)) for key, value in tree.items()]
    if isinstance(tree, list | tuple):
        return type(tree), [_form(value, leaves) for value in tree]
    leaves.append(tree)
    return None


def _filled(form: Any, values: Iterator[Any]) -> Any:
    """Containers with the next values as their leaves."""
    if form is None:
        return next(values)
    kind, children = form
    if kind is dict:
        return {key: _filled(child, values) for key, child in children}
    made = [_filled(child, values) for child in children]
    return kind(*made) if hasattr(kind, "_fields") else kind(made)


# -- recording a function of leaves -----------------------------------------------------------


class Trace:
    """A function recorded at some arguments, some of whose leaves are differentiated by."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], argnums: Sequence[int]):
        self.variables: list[Tensor] = []
        with Tape() as tape:
            made = list(args)
            for i in argnums:
                made[i] = self._leaf(args[i], i)
            self.output = function(*made)
        self.tape = tape
        self.first = {v.node for v in self.variables if not v.node.op.leaf}
        self.nodes = self.after(tape.condensed())
        self._only: set[Any] | None = None

    def _leaf(self, argument: Any, position: int) -> Any:
        leaves, build = flatten(argument)
        variables = []
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.node is not None:
                variables.append(_variable(leaf))
                continue
            data = _float_array(leaf, f"argument {position}")
            params = {"name": f"argument {position}", "variable": True}  # of this trace alone
            node = _leaf(PARAMETER, data, params, wants=True)
            variables.append(Tensor(data, node))
        self.variables += variables
        return build(variables)

    def after(self, nodes: Sequence[Node]) -> list[Node]:
        """What was recorded but the variables themselves."""
        return [node for node in nodes if node not in self.first]

    @property
    def outer(self) -> Tape | None:
        """The tape that records derivatives too; None once those around are closed."""
        return enclosing(self.tape)

    @property
    def only(self) -> set[Any]:
        """The nodes that depend on the variables."""
        if self._only is None:
            self._only = descendants(self.nodes, {variable.node for variable in self.variables})
        return self._only

    def pull(self, seeds: dict[Node, Any]) -> list[Any]:
        """Stacks `[V, *variable.shape]` from stacks at outputs; zeros where nothing arrives."""
        rows = len(next(iter(seeds.values())))
        with using(self.outer):
            recorded = self.outer is not None
            arrived = Sweep(self.nodes, dict(seeds), recorded=recorded, only=self.only).run()
            out = []
            for variable in self.variables:
                stack = arrived.get(variable.node)
                if stack is None:
                    stack = np.zeros_like(variable.data, shape=(rows, *variable.shape))
                elif stack.dtype != variable.dtype:
                    stack = stack.astype(variable.dtype)
                out.append(stack)
            return out

    def plain(self, value: Any) -> Any:
        """A tensor for an enclosing trace, a raw array outside of all."""
        if isinstance(value, Tensor):
            return value if self.outer is not None else value.data
        return np.asarray(value) if isinstance(value, np.generic) else value


def _variable(tensor: Tensor) -> Tensor:
    """A tensor of an enclosing trace as a new variable, which the enclosing one sees through."""
    return +tensor


def _scalar(output: Any, what: str) -> Tensor:
    if not isinstance(output, Tensor):
        output = Tensor(backend.as_array(output))
    if output.size != 1:
        raise ShapeError(
            f"{what} needs a function with one number as its value, got {describe(output)}: use "
            f"jacobian or vjp for others"
        )
    return output


def _argnums(argnums: int | Sequence[int], args: Sequence[Any]) -> list[int]:
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    for i in numbers:
        if not -len(args) <= i < len(args):
            raise TracingError(f"argnums names argument {i}, of {len(args)} given")
    numbers = [i % len(args) for i in numbers]
    if len(set(numbers)) < len(numbers):
        raise TracingError(f"argnums names an argument twice: {argnums!r}")
    return numbers


def _chosen(args: Sequence[Any], argnums: int | Sequence[int]) -> Any:
    """The differentiated arguments as one tree: as the result is shaped."""
    if isinstance(argnums, int):
        return args[argnums]
    return tuple(args[i] for i in argnums)


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Any, Any]]:
    """`value_and_grad(f)(*args) -> (value, gradient)`, the gradient shaped like the argument.

    With several `argnums` the gradient is a tuple. The function's value has one element.
    """

    def call(*args: Any) -> tuple[Any, Any]:
        trace = Trace(function, args, _argnums(argnums, args))
        output = _scalar(trace.output, "grad")
        _, build = flatten(_chosen(args, argnums))
        if output.node is None or output.node not in trace.only:
            grads = [np.zeros_like(v.data) for v in trace.variables]
        else:
            with using(trace.outer):
                seed = np.ones_like(output.data, shape=(1, *output.shape))
            grads = [trace.plain(stack[0]) for stack in trace.pull({output.node: seed})]
        return trace.plain(output), build(grads)

    return call


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """`grad(f)(*args)`: the gradient by the arguments `argnums`; see `value_and_grad`."""
    both = value_and_grad(function, argnums)
    return lambda *args: both(*args)[1]


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], Any]]:
    """`output, pullback = vjp(f, *primals)`.

    `pullback(cotangent)`, of the output's structure, gives a tuple of cotangents, one per primal.
    """
    trace = Trace(function, primals, range(len(primals)))
    outputs, build_output = flatten(trace.output)
    _, build = flatten(tuple(primals))

    def pullback(cotangent: Any) -> Any:
        given, _ = flatten(cotangent)
        if len(given) != len(outputs):
            raise ShapeError(
                f"the pullback takes {len(outputs)} cotangents, one per output, got {len(given)}"
            )
        seeds: dict[Node, Any] = {}
        for output, value in zip(outputs, given, strict=True):
            if np.shape(value) != np.shape(output):
                raise ShapeError(
                    f"a cotangent has the shape of its output, {list(np.shape(output))}, got "
                    f"{list(np.shape(value))}"
                )
            if isinstance(output, Tensor) and output.node in trace.only:
                assert output.node is not None
                stack = _as_stack(value, output)
                seeds[output.node] = seeds[output.node] + stack if output.node in seeds else stack
        if not seeds:
            return build([np.zeros_like(v.data) for v in trace.variables])
        if owner(trace.tape).swept:
            replay(trace.nodes)
        return build([trace.plain(stack[0]) for stack in trace.pull(seeds)])

    return build_output([trace.plain(o) for o in outputs]), pullback


def _as_stack(value: Any, like: Any) -> Any:
    if isinstance(value, Tensor):
        return value[None]
    dtype = like.dtype
    return np.asarray(value, dtype=dtype)[None] if isinstance(
        value, int | float | list | tuple | np.generic
    ) else value[None].astype(dtype)  # fmt: skip


def jvp(
    function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """`(output, tangent)`: the derivative of `f` at `primals` in the direction `tangents`."""
    if len(primals) != len(tangents):
        raise ShapeError(f"jvp got {len(primals)} primals and {len(tangents)} tangents")
    trace = Trace(function, tuple(primals), range(len(primals)))
    directions, _ = flatten(tuple(tangents))
    for variable, direction in zip(trace.variables, directions, strict=True):
        if np.shape(direction) != variable.shape:
            raise ShapeError(
                f"a tangent has the shape of its primal, {list(variable.shape)}, got "
                f"{list(np.shape(direction))}"
            )
    with using(trace.outer):
        stacks = {
            variable.node: _as_stack(direction, variable)
            for variable, direction in zip(trace.variables, directions, strict=True)
        }
        push(trace.after(trace.tape.recorded()), stacks, recorded=trace.outer is not None)
    outputs, build = flatten(trace.output)
    moved = []
    for output in outputs:
        node = output.node if isinstance(output, Tensor) else None
        stack = stacks.get(node)  # type: ignore[arg-type]
        value = output.data if isinstance(output, Tensor) else output
        moved.append(np.zeros_like(value) if stack is None else trace.plain(stack[0]))
    return build([trace.plain(o) for o in outputs]), build(moved)


def hvp(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """`hvp(f)(x, v)`: the Hessian of `f` at `x` times `v`, shaped like `x`."""

    def call(x: Any, v: Any) -> Any:
        return jvp(grad(function), (x,), (v,))[1]

    return call


def ggn_vp(model: Callable[..., Any], loss: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """`ggn_vp(model, loss)(parameters, v)`: `J^T H J v`, shaped like `parameters`.

    J is the Jacobian of `model` at `parameters` and H the Hessian of `loss` at the model's output
    (Schraudolph 2002).
    """

    def call(parameters: Any, v: Any) -> Any:
        output, moved = jvp(model, (parameters,), (v,))
        _, pullback = vjp(model, parameters)
        curved = hvp(loss)(output, moved)
        return pullback(curved)[0]

    return call


def jacobian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """`jacobian(f)(*args)`: `[*output.shape, *argument.shape]`, from one sweep of stacked rows."""

    def call(*args: Any) -> Any:
        trace = Trace(function, args, _argnums(argnums, args))
        output = trace.output
        if not isinstance(output, Tensor):
            output = Tensor(backend.as_array(output))
        _, build = flatten(_chosen(args, argnums))
        size = output.size
        if output.node is None or output.node not in trace.only:
            return build([
                np.zeros_like(v.data, shape=(*output.shape, *v.shape)) for v in trace.variables
            ])  # fmt: skip
        with using(trace.outer):
            eye = backend.namespace(output.data).eye(size, dtype=output.dtype)
            stacks = trace.pull({output.node: eye.reshape(size, *output.shape)})
            return build([
                trace.plain(np.reshape(stack, (*output.shape, *variable.shape)))
                for stack, variable in zip(stacks, trace.variables, strict=True)
            ])  # fmt: skip

    return call


def hessian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """`hessian(f)(*args)`: `[*argument.shape, *argument.shape]` for one array argument."""
    return jacobian(grad(function, argnums), argnums)


def trace(function: Callable[..., Any], *inputs: Any) -> tuple[Tape, Any]:
    """`tape, output = trace(f, *inputs)`: record a call, the inputs marked as batches."""
    with Tape() as tape:
        output = function(*(
            x if isinstance(x, Tensor) and x.node is not None else batch(x) for x in inputs
        ))  # fmt: skip
    return tape, output
