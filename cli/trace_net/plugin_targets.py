"""Commands of plugins that take a TARGET: it is loaded before they are called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from trace_net import options, streams

if TYPE_CHECKING:
    from trace_net.target import Subject
    from tracer import Tape, Tensor


def taking_targets(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a string in place of each parameter that is annotated `tracer.Target`."""
    from tracer.extend import Target

    hints = get_type_hints(function, include_extras=True)
    targets = [name for name, hint in hints.items() if hint is Target]
    if not targets:
        return function

    @functools.wraps(function)
    def run(*arguments: object, **keywords: object) -> object:
        for name in targets:
            if isinstance(keywords.get(name), str):
                keywords[name] = loaded(keywords[name])
        return function(*arguments, **keywords)

    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=options.TargetArgument if name in targets else hints.get(
            name, parameter.annotation
        ))
        for name, parameter in signature.parameters.items()
    ]  # fmt: skip
    del run.__wrapped__
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def all_taking_targets(app: typer.Typer) -> None:
    """The same for every command of an app, in place."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = taking_targets(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            all_taking_targets(group.typer_instance)


def loaded(text: str) -> LoadedTarget:
    """What a command is given of a TARGET."""
    from trace_net.target import load, parse_target

    subject = load(parse_target(text), {})
    from trace_net.run import describe_choices

    streams.note(describe_choices(subject))
    return LoadedTarget(subject)


class LoadedTarget:
    """A `tracer.Target`: see there."""

    def __init__(self, subject: Subject):
        self._subject = subject
        self.model, self.loss = subject.model, subject.loss
        self.inputs, self.keywords = subject.inputs.positional, subject.inputs.keywords
        self.targets = subject.targets.positional

    def record(self) -> tuple[Tape, Tensor]:
        """Run the model and its loss."""
        from trace_net.run import record

        return record(self._subject)
