"""Traces a target: forward, loss, one sweep, with the user's own errors kept for the report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from trace_net import imported, streams, usercode
from trace_net.errors import ModelError
from trace_net.streams import Step
from trace_net.target import Arguments, Subject, parameter_names
from trace_net.usercode import user_code

if TYPE_CHECKING:
    import numpy as np

    from tracer import Tape, Tensor


#: places where numbers become wider that are told of one by one
MOST_CHANGES = 4


@dataclass
class Run:
    """What came of running a subject. `failure` is set where it stopped before its end."""

    subject: Subject
    tape: Tape
    output: Any = None
    loss: Tensor | None = None
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failure: ModelError | None = None

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter that was used, by its name."""
        return {
            attributes["label"]: tuple(attributes["shape"])
            for _, attributes in self.tape.graph("forward").nodes(data=True)
            if attributes["kind"] == "parameter"
        }

    def counted(self) -> dict[str, int]:
        """Elements and bytes of all parameters, where the run failed before it came to all of them.

        They are the model's if it has any, else those of the graph up to the failure.
        """
        from tracer.extend import totals

        if self.failure is None:
            return {}
        named = getattr(self.subject.model, "named_parameters", None)
        if named is None:
            known = totals(self.tape.graph("forward"))
            return {key: known[key] for key in ("parameters", "frozen", "parameter_bytes")}
        parameters = list({id(each): each for _, each in named()}.values())
        return {
            "parameters": sum(each.size for each in parameters),
            "frozen": sum(each.size for each in parameters if not each.requires_grad),
            "parameter_bytes": sum(each.data.nbytes for each in parameters),
        }

    def gradient_flow(self) -> Mapping[str, np.ndarray]:
        """The gradient's norms by recurrent state and step; empty without loops or a gradient."""
        from tracer.extend import gradient_flow

        loops = any(node.place.times for node in self.tape.recorded())
        return gradient_flow(self.tape) if loops and "grad" in self.results else {}


def run(subject: Subject, quantities: tuple[str, ...], step: Step, values: bool = False) -> Run:
    """Run the model on its inputs, then one sweep for `quantities` unless that is empty.

    A model without parameters is differentiated by its inputs of floats. With `values` the record
    has the numbers of small tensors. An error in the model,
    in the loss or in the sweep ends the run and is kept as `failure`, so that what was recorded can
    still be drawn.
    """
    from tracer.extend import DRIVER_FILES

    DRIVER_FILES.update((__file__, usercode.__file__))
    done = _record(subject, step, values)
    if done.failure is not None and is_of_numbers(subject):
        # what takes numbers out of the record, as math.exp does, is refused where one is wanted
        done = _record(subject, step, values, by_inputs=True)
    if done.failure is None and quantities and _is_of_inputs_alone(done):
        subject.choices["gradient"] = "by the inputs, since there are no parameters"
        done = _record(subject, step, values, by_inputs=True)
    if done.failure is None and quantities:
        done.failure = _of_whole_numbers(done)
    if done.failure is None and quantities:
        _sweep(done, quantities, step)
    return done


def record(subject: Subject) -> tuple[Tape, Tensor]:
    """The record of the model and its loss; raises what failed.

    A model without parameters wants to be differentiated by its inputs of floats.
    """
    from tracer.extend import DRIVER_FILES

    DRIVER_FILES.update((__file__, usercode.__file__))
    with streams.progress(steps=2) as step:
        done = _record(subject, step, values=False)
        if done.failure is None and _is_of_inputs_alone(done):
            done = _record(subject, step, values=False, by_inputs=True)
    if done.failure is not None:
        raise done.failure
    assert done.loss is not None
    return done.tape, done.loss


def _record(subject: Subject, step: Step, values: bool, by_inputs: bool = False) -> Run:
    """The forward pass and the loss."""
    import tracer

    done = Run(subject, tracer.Tape(watch=True, values=values))
    where = subject.target.where
    try:
        with done.tape:
            step("running the model")
            with user_code(f"the forward pass of {where}"):
                inputs = mark_batches(subject, done.tape, by_inputs)
                done.output = subject.model(*inputs.positional, **inputs.keywords)
            step("computing the loss")
            with user_code(f"the loss of {where}"):
                done.loss = objective(subject, done.output)
    except ModelError as failure:
        done.failure = failure
    return done


def _is_of_inputs_alone(done: Run) -> bool:
    """Whether there are inputs of floats, and no parameters that could be differentiated by."""
    from tracer.extend import PARAMETER

    leaves = [p for node in done.tape.recorded() for p in node.parents if p and not p.parents]
    inputs = any(leaf.op.name == "input" and leaf.dtype.kind == "f" for leaf in leaves)
    return inputs and not any(leaf.op is PARAMETER for leaf in leaves)


def _of_whole_numbers(done: Run) -> ModelError | None:
    """What to say where there are no parameters, and only inputs that are no floats."""
    from tracer.extend import PARAMETER

    leaves = [p for node in done.tape.recorded() for p in node.parents if p and not p.parents]
    given = {leaf.label: leaf.dtype for leaf in leaves if leaf.op.name == "input"}
    floats = any(dtype.kind == "f" for dtype in given.values())
    if not given or floats or any(leaf.op is PARAMETER for leaf in leaves):
        return None
    shown = ", ".join(f"{name} of {dtype.name}" for name, dtype in given.items())
    name = next(iter(given))
    return ModelError(
        f"{done.subject.target.where} has no parameters and no inputs of floats, by which it could "
        f"be differentiated: {shown}",
        hint=f"give floats, as in --input '{name}=[1.0, 2.0]', or draw it by itself: "
        "trace-net visualize --direction forward",
    )


def _sweep(done: Run, quantities: tuple[str, ...], step: Step) -> None:
    """One sweep from the loss; an error in it is kept."""
    step("sweeping backward")
    try:
        with user_code(f"the backward sweep of {done.subject.target.where}"), noted_warnings():
            done.results = done.tape.backward(
                done.loss,
                quantities=quantities,
                outputs=where_the_loss_begins(done, quantities),
                progress=step.within,
            )
    except ModelError as failure:
        done.failure = _without_loss(done.subject, quantities, failure)


def _without_loss(subject: Subject, quantities: tuple[str, ...], failure: ModelError) -> ModelError:
    """What to do where a quantity is of a loss, and the TARGET a file that can hold none."""
    from tracer import registry
    from tracer.errors import QuantityError

    alone = subject.loss is None and imported.reader_of(subject.target.path) is not None
    if not alone or not isinstance(failure.__cause__, QuantityError):
        return failure
    named = [name for name in quantities if registry.quantities[name]().rows]
    told = ModelError(
        f"{named[0] if named else quantities[0]} is of a loss, and {subject.target.where} holds a "
        f"model alone",
        hint="give a loss of its output against targets that are made, as in --loss cross_entropy",
    )
    told.__cause__ = failure
    return told


@contextmanager
def noted_warnings() -> Iterator[None]:
    """What the sweep warns of, as notes on stderr; NumPy's warnings stay what they are."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            streams.note(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def on_device(subject: Subject, device: str | None) -> Subject:
    """The subject with its model, loss and arrays moved there; as it is if None is given.

    Of a plain function the arguments of a `functools.partial` are moved; what else it holds stays.
    """
    if device is None:
        return subject
    return replace(
        subject,
        model=moved_function(subject.model, device),
        loss=subject.loss and moved_function(subject.loss, device),
        inputs=moved(subject.inputs, device),
        targets=moved(subject.targets, device),
        choices=subject.choices | {"device": device},
    )


def moved_function(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """A model or a loss there: a module moves itself."""
    if isinstance(function, partial):
        given = moved(Arguments(function.args, function.keywords), device)
        return partial(function.func, *given.positional, **given.keywords)
    return function.to(device) if hasattr(function, "to") else function


def moved(arguments: Arguments, device: str) -> Arguments:
    """Arguments with their arrays moved; what holds none is left as it is."""
    import tracer
    from tracer.errors import TracingError

    def move(value: Any) -> Any:
        try:
            return tracer.to_device(value, device)
        except TracingError:
            return value

    positional, keywords = arguments.positional, arguments.keywords
    return Arguments(tuple(map(move, positional)), {k: move(v) for k, v in keywords.items()})


def mark_batches(subject: Subject, tape: Tape, by_inputs: bool = False) -> Arguments:
    """The inputs, named on the tape; for a function, arrays with axes are marked as batches.

    A module marks its inputs itself, since it knows where their samples are. `by_inputs` makes
    those of floats want a gradient. Of a function of numbers alone these are inputs, too.
    """
    import tracer
    from tracer.extend import input_leaf

    def mark(value: Any, name: str) -> Any:
        if not has_axes(value):
            known = of_numbers and is_float(value)
            return input_leaf(value, name=name, wants=by_inputs) if known else value
        named[id(value)] = name
        if by_itself and not by_inputs:
            return value
        wants = by_inputs and value.dtype.kind == "f"
        return input_leaf(value, 0, name, wants=True) if wants else tracer.batch(value)

    names = parameter_names(subject.model)
    count = len(subject.inputs.positional)
    if len(names) < count:
        names = ["input"] if count == 1 else [f"input{i}" for i in range(count)]
    by_itself = getattr(subject.model, "marks_inputs", False)
    of_numbers = is_of_numbers(subject)
    named: dict[int, str] = {}
    tape.input_names = named
    return Arguments(
        tuple(mark(v, n) for v, n in zip(subject.inputs.positional, names, strict=False)),
        {name: mark(value, name) for name, value in subject.inputs.keywords.items()},
    )


def is_of_numbers(subject: Subject) -> bool:
    """Whether the model is a function whose inputs are numbers alone, and no arrays."""
    given = [*subject.inputs.positional, *subject.inputs.keywords.values()]
    return not getattr(subject.model, "marks_inputs", False) and not any(map(has_axes, given))


def has_axes(value: object) -> bool:
    """Whether an input is an array, and no number."""
    import tracer

    return tracer.backend.is_array(value) and getattr(value, "ndim", 0) > 0


def is_float(value: object) -> bool:
    """Whether an input is a number of floats, with or without a type of NumPy's."""
    import numpy as np

    return not np.ndim(value) and np.asarray(value).dtype.kind == "f"


def objective(subject: Subject, output: Any) -> Tensor:
    """The scalar to differentiate: the loss; else the output, summed where it is no scalar."""
    import numpy as np

    from tracer import Tensor
    from tracer.errors import TracerError

    if subject.loss is not None:
        value = subject.loss(output, *subject.targets.positional, **subject.targets.keywords)
        source = "loss"
    else:
        tensors = list(tensors_in(output))
        if not tensors:
            raise TracerError(
                f"the model returned {type(output).__name__}, which holds no tensor: nothing in it "
                f"depends on a tracer.parameter or on an input of floats (3.0, and not 3)"
            )
        subject.choices["loss"] = "the sum of the output" if tensors[0].size != 1 else "the output"
        first, *others = (t if _is_computed_number(t) else np.sum(t) for t in tensors)
        value = sum(others, start=first)
        source = "output"
    if not isinstance(value, Tensor) or value.size != 1:
        shape = list(value.shape) if hasattr(value, "shape") else type(value).__name__
        raise TracerError(f"the {source} must be a tensor with one element, got {shape}")
    return value


def _is_computed_number(tensor: Tensor) -> bool:
    """Whether a tensor can be the objective as it is."""
    return not tensor.ndim and tensor.node is not None and bool(tensor.node.parents)


def where_the_loss_begins(done: Run, quantities: tuple[str, ...]) -> Tensor | None:
    """The model's output, for Gauss-Newton quantities of a loss that is no registered one.

    For quantities of the outputs themselves, too, which need no loss.
    """
    from tracer import Tensor

    registered = any(node.op.loss for node in done.tape.recorded())
    plain = done.subject.loss is not None and not registered
    wanted = plain or (not registered and any(map(is_of_outputs, quantities)))
    return done.output if wanted and isinstance(done.output, Tensor) else None


def is_of_outputs(quantity: str) -> bool:
    """Whether a registered quantity is of the model's outputs, whatever a loss makes of these."""
    from tracer import registry

    rows = registry.quantities[quantity]().rows
    kind = registry.rows[rows] if isinstance(rows, str) else rows
    return kind is not None and kind.of_outputs


def tensors_in(output: Any) -> Iterator[Tensor]:
    """The tensors in an output: itself, or those in nested tuples, lists and dicts."""
    from tracer import Tensor

    pending = [output]
    while pending:
        value = pending.pop(0)
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            pending[:0] = value
        elif isinstance(value, dict):
            pending[:0] = value.values()


def note_precision(done: Run) -> list[str]:
    """Say on stderr where numbers become wider by accident; all of that, as texts."""
    from tracer.extend import precision_changes

    found = list(map(str, precision_changes(done.tape)))
    for text in found[:MOST_CHANGES]:
        streams.note(text)
    if len(found) > MOST_CHANGES:
        streams.note(f"and {len(found) - MOST_CHANGES} more places where numbers become wider")
    return found


def describe_choices(subject: Subject) -> str:
    """What was chosen, on one line, for stderr."""
    chosen = ", ".join(f"{what}: {how}" for what, how in subject.choices.items())
    return f"{subject.target.where}: {chosen}"
