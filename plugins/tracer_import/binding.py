"""What a program is called with: arrays by position or name, in the shapes and dtypes it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tracer
from tracer.errors import ShapeError
from tracer.extend import Tensor, backend, raw
from tracer_import.operators.context import Context
from tracer_import.program import Input, Program
from tracer_import.sizes import UNKNOWN, Expression, known
from tracer_import.trees import flattened

#: the kind of a dtype that a program takes -> the kinds that become it without being asked
BECOME = {"f": "biuf", "c": "biufc", "i": "biu", "u": "biu", "b": "biu"}


def bound(
    program: Program, inputs: tuple[Any, ...], options: Mapping[str, Any], context: Context
) -> dict[str, Any]:
    """The values of the program's inputs, by their names there.

    Raises `ShapeError` where arguments, shapes or dtypes are others than the program's.
    """
    given = _leaves(program, inputs, options)
    values: dict[str, Any] = {}
    _, batch = batch_size(program)
    symbols: dict[str, int] = {}
    for each, value in zip(program.inputs, given, strict=True):
        if each.constant:
            _check_constant(each, value)
            if each.value:
                values[each.value] = each.constant[0]
            continue
        value = _array(program, each, value, context, symbols)
        values[each.value] = _marked(each, value, batch) if "." in each.name else value
    return values


def batch_size(program: Program) -> tuple[int, str]:
    """The axis of the first input whose size may vary, and the symbol of it; 0 and "" if none."""
    for given in program.inputs:
        if given.meta is not None:
            for axis, size in enumerate(given.meta.shape):
                if isinstance(size, Expression) and not size.arguments:
                    return axis, size.name
            return 0, ""
    return 0, ""


def _marked(given: Input, value: Any, batch: str) -> Any:
    """An array within others as a batch; those that are arguments are marked by the call."""
    if isinstance(value, Tensor) or given.meta is None or value.dtype.kind == "b" or not batch:
        return value
    axes = [axis for axis, size in enumerate(given.meta.shape) if size == Expression(batch)]
    return tracer.batch(value, axes[0]) if axes else value


def signature(program: Program) -> str:
    """How the program is called, for messages: `(x f32[N, 3, 32, 32], mask=None)`."""
    return f"({', '.join(map(_described, program.inputs))})"


def _described(given: Input) -> str:
    if given.constant:
        return f"{given.name}={given.constant[0]!r}"
    if given.meta is None:
        return given.name
    sizes = ", ".join(map(str, given.meta.shape))
    return f"{given.name} {given.meta.dtype}[{sizes}]"


def _leaves(program: Program, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> list[Any]:
    """The leaves of all arguments, in the order of the program's inputs."""
    names = [*program.argument_names, *(f"argument {i}" for i in range(len(program.arguments)))]
    arguments = dict(zip(names, program.arguments, strict=False))
    taken = {**arguments, **program.keywords}
    order = [*arguments, *program.keywords]
    if len(inputs) > len(order):
        raise ShapeError(f"the model takes {signature(program)}, got {len(inputs)} arguments")
    by_name = dict(zip(order, inputs, strict=False))
    for name, value in options.items():
        if name not in taken or name in by_name:
            raise ShapeError(f"the model takes {signature(program)}, got {name!r}")
        by_name[name] = value
    constants = {each.name: each.constant for each in program.inputs if each.constant}
    found = []
    for name, tree in taken.items():
        if name not in by_name:
            if name not in constants:
                raise ShapeError(f"the model takes {signature(program)}, got no {name!r}")
            by_name[name] = constants[name][0]
        try:
            found += [value for _, value in flattened(tree, by_name[name], name)]
        except (TypeError, AttributeError) as error:
            raise ShapeError(f"the model takes {signature(program)}: {error}") from error
    return found


def _check_constant(given: Input, value: Any) -> None:
    constant = given.constant[0]
    same = value is constant or (type(value) in (int, float, bool, str) and value == constant)
    if not same:
        raise ShapeError(
            f"the program was exported with {given.name}={constant!r}, which is part of it, got "
            f"{value!r:.60}: leave it out, or export it with another value"
        )


def _array(
    program: Program, given: Input, value: Any, context: Context, symbols: dict[str, int]
) -> Any:
    if isinstance(value, int | float | list):
        value = context.library.from_host(np.asarray(value))
    if not isinstance(value, Tensor) and not backend.is_array(value):
        raise ShapeError(
            f"the model takes {signature(program)}, got {value!r:.60} for {given.name}"
        )
    if given.meta is None:
        return value
    shape = tuple(raw(value).shape)
    if len(shape) != len(given.meta.shape):
        raise ShapeError(_misfit(given, shape))
    for size, number in zip(given.meta.shape, shape, strict=True):
        if isinstance(size, Expression) and not size.arguments and size.name != UNKNOWN:
            least, most = program.ranges.get(size.name, (0, None))
            number_is = symbols.setdefault(size.name, number)
            fits = number >= _least(least) and (most is None or number <= most)
            if number_is != number or not fits:
                raise ShapeError(_misfit(given, shape, program))
        else:
            wanted = known(size, symbols)
            if wanted is not None and wanted != number:
                raise ShapeError(_misfit(given, shape, program))
    return _in_dtype(given, value, context)


def _least(least: int) -> int:
    """The least size: PyTorch tells 1 from others, and starts its ranges at 2 for that alone."""
    return 1 if least == 2 else least


def _misfit(given: Input, shape: tuple[int, ...], program: Program | None = None) -> str:
    limits = []
    for name, (least, most) in (program.ranges if program else {}).items():
        limits.append(f"{name} from {_least(least)}{'' if most is None else f' to {most}'}")
    return (
        f"the program takes {_described(given)}{f' ({chr(44).join(limits)})' if limits else ''}, "
        f"got {list(shape)}: give that shape, or export it with dynamic sizes"
    )


def _in_dtype(given: Input, value: Any, context: Context) -> Any:
    assert given.meta is not None
    wanted = context.dtype_of(given.meta.dtype)
    if value.dtype == wanted:
        return value
    if value.dtype.kind not in BECOME[wanted.kind]:
        raise ShapeError(
            f"the program takes {_described(given)}, got {value.dtype}: convert it with "
            f"astype({wanted})"
        )
    made = value.astype(wanted)
    narrower = wanted.kind in "iu" and not np.can_cast(value.dtype, wanted)
    if narrower and (raw(made) != raw(value)).any():
        raise ShapeError(
            f"the program takes {_described(given)}, got {value.dtype} with numbers that {wanted} "
            f"does not hold: give those between {np.iinfo(wanted).min} and {np.iinfo(wanted).max}"
        )
    return made
