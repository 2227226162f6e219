"""Functions of functions: gradients, Jacobians, Hessians and products with them, of any order.

Arguments and outputs may be arrays or nested dicts, lists and tuples of arrays; dicts that belong
together are matched by key. An array that is given is a variable whatever it is elsewhere: a marked
batch and a frozen parameter, too. Derivatives taken inside a function that is itself being
differentiated are tensors; the outermost results are raw arrays, which share their memory with
nothing else and may be written into.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tracer.api.arguments import Argnums, arguments
from tracer.api.linearisation import Linearisation, Output, stack_of
from tracer.api.tape import Tape
from tracer.arrays import backend
from tracer.arrays.trees import Structure, flatten
from tracer.arrays.types import Array, DType, Stack, Tree
from tracer.curvature.plan import Allowance
from tracer.errors import ShapeError, TracingError
from tracer.record.describe import check_flags, describe
from tracer.record.frames import INTERNAL_FILES
from tracer.record.leaves import batch
from tracer.record.tensor import Tensor

INTERNAL_FILES.add(__file__)

Call = TypeVar("Call", bound=Callable[..., Any])


def value_and_grad(
    function: Callable[..., Tree], argnums: Argnums = 0, *, has_aux: bool = False
) -> Callable[..., tuple[Tree, Tree]]:
    """`value_and_grad(f)(*args, **keywords) -> (value, gradient)`.

    The gradient is shaped like the argument at `argnums`, which is a number or a name, of a
    positional argument or a keyword; several of these give a tuple. All others are passed on. The
    function's value is one real number. By a complex argument z = x + iy the gradient is
    `df/dx - i df/dy`, as in JAX and autograd, and by a real one it is real. With `has_aux` the
    function returns a pair (value, aux), and the result is ((value, aux), gradient).

    An argument is of floats, or of complex numbers. An integer that stands alone is taken as a
    float, which a warning says; arrays of integers raise `TracingError`.
    """

    _callable("value_and_grad", function)
    check_flags("value_and_grad", has_aux=has_aux)

    def call(*args: Tree, **keywords: Any) -> tuple[Tree, Tree]:
        given = arguments(function, argnums, args, keywords)
        record = Linearisation(function, given.args, given.keys, given.keywords, has_aux)
        value = _one_number(record)
        (output,) = record.outputs
        seed = np.ones_like(record.like, shape=(1, *output.shape), dtype=output.dtype)
        gradient = given.structure.build(record.pull([seed], what="grad"))
        return (value, record.aux()) if has_aux else value, gradient

    return _called("value_and_grad", function, call)


def grad(
    function: Callable[..., Tree], argnums: Argnums = 0, *, has_aux: bool = False
) -> Callable[..., Tree]:
    """`grad(f)(*args, **keywords)`: the gradient by the arguments `argnums`.

    With `has_aux` it gives (gradient, aux); see `value_and_grad`.
    """
    _callable("grad", function)
    check_flags("grad", has_aux=has_aux)
    both = value_and_grad(function, argnums, has_aux=has_aux)

    def call(*args: Tree, **keywords: Any) -> Tree:
        value, gradient = both(*args, **keywords)
        return (gradient, value[1]) if has_aux else gradient

    return _called("grad", function, call)


def holomorphic_grad(function: Callable[..., Tree], argnums: Argnums = 0) -> Callable[..., Tree]:
    """`holomorphic_grad(f)(*args, **keywords)`: the complex derivative by complex arguments.

    `f` gives one complex number, and is shaped like `grad` otherwise. Raises `TracingError` where
    the function has no complex derivative (the Cauchy-Riemann equations do not hold), as for
    `np.conj(z)`.
    """
    _callable("holomorphic_grad", function)

    def call(*args: Tree, **keywords: Any) -> Tree:
        given = arguments(function, argnums, args, keywords)
        record = Linearisation(function, given.args, given.keys, given.keywords)
        output = _one_element(record, record.value())
        names, dtypes = ["value", *record.names], [v.dtype for v in record.variables]
        for name, dtype in zip(names, [output.dtype, *dtypes], strict=True):
            if dtype.kind != "c":
                raise TracingError(
                    f"holomorphic_grad is of a complex function of complex arguments, and its "
                    f"{name} is of {dtype}: write grad, or give z.astype(complex)"
                )
        rows = _rows(record, 0)
        shapes = [variable.shape for variable in record.variables]
        return given.structure.build([
            np.reshape(row, shape) for row, shape in zip(rows, shapes, strict=True)
        ])  # fmt: skip

    return _called("holomorphic_grad", function, call)


def vjp(function: Callable[..., Tree], *primals: Tree, has_aux: bool = False) -> tuple[Any, ...]:
    """`output, pullback = vjp(f, *primals)`; with `has_aux`, `output, pullback, aux`.

    `pullback(cotangent)`, of the output's structure and shapes, gives a tuple of cotangents, one
    per primal, complex of complex ones. Cotangents pair without conjugates: that of z stands for
    the slope `Re(sum(cotangent * dz))`. It is of what was computed, as often and wherever it is
    called: inside another function that is being differentiated, its result depends on the
    cotangent.
    """
    _callable("vjp", function)
    check_flags("vjp", has_aux=has_aux)
    record = Linearisation(function, primals, range(len(primals)), has_aux=has_aux)
    _, structure = flatten(tuple(primals))

    def pullback(cotangent: Tree) -> Tree:
        return structure.build(record.pull(record.cotangents(cotangent)))

    return (record.value(), pullback, record.aux()) if has_aux else (record.value(), pullback)


def jvp(
    function: Callable[..., Tree],
    primals: Sequence[Tree],
    tangents: Sequence[Tree],
    *,
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """`(output, tangent)`: the derivative of `f` at `primals` in the direction `tangents`.

    Both are tuples of arguments, with the same structure and shapes. With `has_aux`,
    `(output, tangent, aux)`.
    """
    _callable("jvp", function)
    check_flags("jvp", has_aux=has_aux)
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, list | tuple):
            raise TracingError(
                f"jvp takes a tuple of {what}, one per argument, got {describe(given)}: write "
                f"jvp(f, (x,), (v,))"
            )
    if len(primals) != len(tangents):
        raise ShapeError(f"jvp got {len(primals)} primals and {len(tangents)} tangents")
    _, structure = flatten(tuple(primals))
    directions = _directions(structure, tuple(tangents), "tangent", "primal")
    record = Linearisation(function, tuple(primals), range(len(primals)), has_aux=has_aux)
    moved = _pushed(record, structure, directions, "tangent", "primal")
    return (record.value(), moved, record.aux()) if has_aux else (record.value(), moved)


def hvp(function: Callable[..., Tree]) -> Callable[..., Tree]:
    """`hvp(f)(x, v, **keywords)`: the Hessian of `f` at `x` times `v`, both of one structure.

    The Hessian is symmetric: its product is the pullback of `v` through the gradient.
    """

    _callable("hvp", function)

    def call(x: Tree, v: Tree, **keywords: Any) -> Tree:
        _, structure = flatten(x)
        directions = _directions(structure, v, "vector", "argument")
        record = Linearisation(grad(function), (x,), (0,), keywords)
        stacks = [
            stack_of(direction, *output[1:], record.like, "vector", "argument", path)
            for direction, output, path in zip(
                directions, record.outputs, structure.paths, strict=True
            )
        ]
        return structure.build(record.pull(stacks, what="hvp"))

    return call


def ggn_vp(model: Callable[..., Tree], loss: Callable[..., Tree]) -> Callable[[Tree, Tree], Tree]:
    """`ggn_vp(model, loss)(parameters, v)`: `J^T H J v`, shaped like `parameters`.

    J is the Jacobian of `model` at `parameters` and H the Hessian of `loss` at the model's output
    (Schraudolph 2002). The model is called once.
    """

    for given in (model, loss):
        _callable("ggn_vp", given)

    def call(parameters: Tree, v: Tree) -> Tree:
        _, structure = flatten(parameters)
        directions = _directions(structure, v, "vector", "parameter")
        record = Linearisation(model, (parameters,), (0,))
        moved = _pushed(record, structure, directions, "vector", "parameter")
        curved = hvp(loss)(record.value(), moved)
        return structure.build(record.pull(record.cotangents(curved)))

    return call


def value_and_jacobian(
    function: Callable[..., Tree], argnums: Argnums = 0, *, has_aux: bool = False
) -> Callable[..., tuple[Tree, Tree]]:
    """`value_and_jacobian(f)(*args, **keywords) -> (value, jacobian)`, of one call of `f`.

    With `has_aux` the result is ((value, aux), jacobian); see `jacobian`.
    """

    _callable("value_and_jacobian", function)
    check_flags("value_and_jacobian", has_aux=has_aux)

    def call(*args: Tree, **keywords: Any) -> Tree:
        given = arguments(function, argnums, args, keywords)
        record = Linearisation(function, given.args, given.keys, given.keywords, has_aux)
        structure = given.structure
        blocks = [structure.build(_rows(record, i)) for i in range(len(record.outputs))]
        matrix = record.structure.build(blocks)
        value = record.value()
        return (value, record.aux()) if has_aux else value, matrix

    return _called("value_and_jacobian", function, call)


def jacobian(
    function: Callable[..., Tree], argnums: Argnums = 0, *, has_aux: bool = False
) -> Callable[..., Tree]:
    """`jacobian(f)(*args, **keywords)`: `[*output.shape, *argument.shape]`.

    Of nested outputs by nested arguments it is the output's structure and, at each leaf of that,
    the argument's (a tuple for several `argnums`). Each output takes one sweep of stacked rows.
    Of a real output by a complex argument it is `df/dx - i df/dy`; of a complex output by a real
    argument `df/dx`, and by a complex one the complex derivative, or a `TracingError` where there
    is none. With `has_aux` it gives (jacobian, aux); see `value_and_grad`.
    """
    _callable("jacobian", function)
    check_flags("jacobian", has_aux=has_aux)
    both = value_and_jacobian(function, argnums, has_aux=has_aux)

    def call(*args: Tree, **keywords: Any) -> Tree:
        value, matrix = both(*args, **keywords)
        return (matrix, value[1]) if has_aux else matrix

    return _called("jacobian", function, call)


def hessian(
    function: Callable[..., Tree], argnums: Argnums = 0, *, has_aux: bool = False
) -> Callable[..., Tree]:
    """`hessian(f)(*args, **keywords)`: `[*argument.shape, *argument.shape]` for an array.

    Of a nested argument it is the argument's structure and, at each leaf of that, the same again:
    `hessian(f)(p)["w"]["b"]` is `[*p["w"].shape, *p["b"].shape]`. Several `argnums` are a tuple.
    """
    _callable("hessian", function)
    check_flags("hessian", has_aux=has_aux)
    slopes = grad(function, argnums, has_aux=has_aux)
    return _called("hessian", function, jacobian(slopes, argnums, has_aux=has_aux))


def trace(function: Callable[..., Tree], *inputs: Any) -> tuple[Tape, Any]:
    """`tape, output = trace(f, *inputs)`: record a call, the inputs marked as batches."""
    _callable("trace", function)
    with Tape() as tape:
        output = function(*(
            x if isinstance(x, Tensor) and x.node is not None else batch(x) for x in inputs
        ))  # fmt: skip
    return tape, output


# -- arguments and outputs ---------------------------------------------------------------------


def _callable(transform: str, function: object) -> None:
    """Raise `TracingError` for what is no function."""
    if callable(function):
        return
    way = ""
    if isinstance(function, Tensor):
        way = ": the gradient of a recorded value is tape.backward(loss)['grad']"
    raise TracingError(f"{transform} takes a function, got {describe(function)}{way}")


def _called(transform: str, function: Callable[..., Tree], call: Call) -> Call:
    """The transformed function, which has the arguments of the function that it is of."""
    call.__name__ = f"{transform}_of_{getattr(function, '__name__', 'function')}"
    call.__qualname__, call.__doc__ = (
        call.__name__,
        f"{transform} of: {function.__doc__ or function}",
    )
    call.__wrapped__ = function  # type: ignore[attr-defined]  # whose signature counts
    return call


def _one_number(record: Linearisation) -> Array:
    """The output, which is one real number."""
    value = record.value()
    output = _one_element(record, value)
    if output.dtype.kind == "c":
        raise TracingError(
            f"grad needs a function with a real value, got the complex {describe(value)}: return "
            f"np.real, np.imag or abs of it, or use holomorphic_grad or jacobian"
        )
    return value if backend.is_array(value) or isinstance(value, Tensor) else np.asarray(value)


def _one_element(record: Linearisation, value: Tree) -> Output:
    """What is known of the output, whose value is one number."""
    if not record.structure.is_leaf:
        raise ShapeError(
            f"grad needs a function with one number as its value, got {describe(value)}: return "
            f"the number alone, and the rest beside it with has_aux=True, or use jacobian or vjp"
        )
    (output,) = record.outputs
    if output.dtype.kind == "b":
        raise TracingError(
            f"grad needs a function with a number as its value, got the boolean {describe(value)}: "
            f"return the value that was compared"
        )
    if math.prod(output.shape) != 1:
        raise ShapeError(
            f"grad needs a function with one number as its value, got {describe(value)}: use "
            f"jacobian or vjp for others"
        )
    return output


def _rows(record: Linearisation, i: int) -> list[Array]:
    """The derivatives of output `i` by each variable, `[*output.shape, *variable.shape]`."""
    output = record.outputs[i]
    if output.dtype.kind == "b":
        raise TracingError(
            f"the function's output{record.structure.paths[i]} is boolean, which has no "
            f"derivative: return the value that was compared"
        )
    size, is_complex = math.prod(output.shape), output.dtype.kind == "c"
    lead = (2, *output.shape) if is_complex else output.shape
    cotangents: list[Stack | None] = [None] * len(record.outputs)
    if size and output.node is not None:
        columns = sum(math.prod(variable.shape) for variable in record.variables)
        Allowance(None, record.like).require(
            math.prod(lead) * (size + columns) * output.dtype.itemsize,
            "a derivative of all outputs by all inputs",
            f"for {size:,} outputs and {columns:,} inputs",
            "use products with it, by tracer.hvp, tracer.vjp or tracer.jvp",
        )
        eye = backend.namespace(record.like).eye(size, dtype=output.dtype)
        rows = eye.reshape(size, *output.shape)
        cotangents[i] = np.concatenate([rows, -1j * rows]) if is_complex else rows
    pulled = record.pull(cotangents, lead, "jacobian")
    if not is_complex:
        return pulled
    pairs = zip(record.names, record.variables, pulled, strict=True)
    return [_complex_slope(name, variable.dtype, both) for name, variable, both in pairs]


def _complex_slope(name: str, dtype: DType, both: Stack) -> Stack:
    """The derivative of a complex y from `Re(dy)` and `Im(dy)`, the rows of `both`.

    By a real x it is `dy/dx`. By a complex z the rows are `y'` and `-i y'` if y has a complex
    derivative y'. Raises `TracingError` if it has none, which is not found where the rest is less
    than the root of the dtype's precision.
    """
    if dtype.kind != "c":
        return both[0] + 1j * both[1]
    first, second = (raw if not isinstance(raw, Tensor) else raw._value for raw in both)
    size = max(np.abs(part).max(initial=0) for part in (first, second))
    rest = np.abs(second + 1j * first).max(initial=0)
    if bool(rest > size * float(np.finfo(dtype).eps) ** 0.5):
        raise TracingError(
            f"the function has no complex derivative by {name}, as np.conj(z), abs(z) and "
            f"np.real(z) have none: take its real and imaginary parts for outputs, or those of z "
            f"for arguments"
        )
    return both[0]


def _directions(structure: Structure, given: Tree, what: str, of: str) -> list[Array]:
    """The leaves of a direction, copied: the function, which is yet to run, may write into them."""
    leaves = structure.match(given, what, of)
    return [leaf.copy() if backend.is_array(leaf) else leaf for leaf in leaves]


def _pushed(
    record: Linearisation, structure: Structure, directions: Sequence[Array], what: str, of: str
) -> Tree:
    """Tangents of the outputs, in the output's structure, from those of the variables."""
    stacks = [
        stack_of(direction, variable.shape, variable.dtype, variable._value, what, of, path)
        for direction, variable, path in zip(
            directions, record.variables, structure.paths, strict=True
        )
    ]
    return record.structure.build(record.push(stacks))
