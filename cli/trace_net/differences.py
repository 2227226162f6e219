"""The gradient of a loaded model against central differences, in float64."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

import tracer
from trace_net.errors import ModelError
from trace_net.run import mark_batches, objective, run
from trace_net.target import Arguments, Subject
from trace_net.usercode import OWN_PACKAGES, user_code

if TYPE_CHECKING:
    from trace_net.streams import Step

#: Central differences are exact to about STEP**2 + 1e-16 / STEP, relatively.
STEP = 1e-5
TOLERANCE = 1e-5
DIRECTIONS = 2


@dataclass(frozen=True)
class Comparison:
    """Both directional derivatives of the loss along a random direction of one parameter."""

    parameter: str
    gradient: float
    difference: float
    error: float

    @property
    def agrees(self) -> bool:
        """Whether the relative error is within the tolerance; false where it is NaN."""
        return self.error <= TOLERANCE


def compare(subject: Subject, step: Step) -> Iterator[Comparison]:
    """Two directions per parameter. Changes the model: its parameters and inputs become float64.

    Raises `ModelError` where the model fails, or gives different losses in two equal runs.
    """
    parameters = find_parameters(subject)
    to_float64(parameters)
    subject = replace(
        subject,
        inputs=_arguments_to_float64(subject.inputs),
        targets=_arguments_to_float64(subject.targets),
    )
    tracer.seed(0)
    done = run(subject, ("grad",), step)
    if done.failure is not None:
        raise done.failure
    gradients = done.results["grad"]
    names = {id(gradient): name for name, gradient in gradients.items()}
    loss = functools.partial(evaluate, subject)
    if not _same(loss(), loss()):
        raise ModelError(
            f"{subject.target.where} gives different losses in two equal runs",
            hint="draw random numbers with tracer.seed's generator, or from a fixed seed per call",
        )
    rng = np.random.default_rng(0)
    for parameter in parameters:
        try:
            along = gradients[parameter]
        except KeyError:  # it is frozen, or the model does not use it
            continue
        name = names[id(along)]
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(parameter.shape)
            direction /= np.linalg.norm(direction) or 1.0
            gradient = float(np.vdot(along, direction))
            yield _comparison(name, gradient, difference(loss, parameter, direction))


def difference(loss: Callable[[], float], parameter: Any, direction: np.ndarray) -> float:
    """Central difference of `loss()` along `direction`; `parameter` is set back afterwards."""
    data = parameter.data
    h = STEP * max(1.0, float(np.abs(data).max(initial=0.0)))
    try:
        parameter.data = data + h * direction
        above = loss()
        parameter.data = data - h * direction
        below = loss()
    finally:
        parameter.data = data
    return (above - below) / (2 * h)


def evaluate(subject: Subject) -> float:
    """The loss, with nothing recorded and random layers drawing the same numbers each time."""
    tracer.seed(0)
    with user_code(f"the forward pass of {subject.target.where}"), tracer.Tape() as tape:
        inputs = mark_batches(subject, tape)
        output = subject.model(*inputs.positional, **inputs.keywords)
        return float(objective(subject, output).data)


def find_parameters(subject: Subject) -> list[tracer.Tensor]:
    """The parameters that the model can reach, each once."""
    return [
        value
        for value in reachable(subject.model)
        if isinstance(value, tracer.Tensor) and value.is_parameter
    ]


def to_float64(parameters: list[tracer.Tensor]) -> None:
    """Give every parameter a float64 copy of its array."""
    for parameter in parameters:
        fresh = tracer.parameter(parameter.data.astype(np.float64), name=parameter.name)
        fresh.requires_grad_(parameter.requires_grad)
        parameter._value, parameter.node = fresh._value, fresh.node


def reachable(root: Any) -> Iterator[Any]:
    """What `root` refers to, itself first: attributes, items, and what its functions use."""
    pending = deque([root])
    seen: dict[int, Any] = {}
    while pending:
        value = pending.popleft()
        if id(value) in seen or isinstance(value, type | ModuleType | np.ndarray | str | bytes):
            continue
        seen[id(value)] = value  # kept, so that its id is not used again
        yield value
        pending.extend(_parts(value))


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, tracer.Tensor):
        return ()
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__self__, value.__func__
    if isinstance(value, FunctionType):
        known = value.__globals__
        return [*(known[n] for n in value.__code__.co_names if n in known), *_cells(value)]
    functions = [part for kind in type(value).__mro__ for part in vars(kind).values()]
    return [*getattr(value, "__dict__", {}).values(), *filter(_is_users, functions)]


def _is_users(part: Any) -> bool:
    """Whether a member of a class is a function that trace-net does not define."""
    if not isinstance(part, FunctionType):
        return False
    return part.__module__.partition(".")[0] not in OWN_PACKAGES


def _cells(function: FunctionType) -> list[Any]:
    """Contents of a function's closure; None for a cell that is not filled yet."""
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(None)
    return contents


def _arguments_to_float64(arguments: Arguments) -> Arguments:
    def convert(value: Any) -> Any:
        is_float = getattr(getattr(value, "dtype", None), "kind", "") == "f"
        return value.astype(np.float64) if is_float else value

    return Arguments(
        tuple(map(convert, arguments.positional)),
        {name: convert(value) for name, value in arguments.keywords.items()},
    )


def _comparison(name: str, gradient: float, numerical: float) -> Comparison:
    scale = max(abs(gradient), abs(numerical), 1e-4)
    return Comparison(name, gradient, numerical, abs(gradient - numerical) / scale)


def _same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))
