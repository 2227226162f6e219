"""Commands of plugins that take a TARGET: it is loaded before they are called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from trace_net import options, streams

if TYPE_CHECKING:
    from trace_net.target import Subject
    from tracer import Tape, Tensor


def taking_targets(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a string in place of each parameter that is annotated `tracer.Target`.

    It may be `Target | None`, and have typer's argument or option in `Annotated`. Raises
    `PluginError` for any other type that has a TARGET in it.
    """
    hints = get_type_hints(function, include_extras=True)
    taken = {
        name: of_string for name, hint in hints.items() if (of_string := _of_string(name, hint))
    }
    if not taken:
        return function

    @functools.wraps(function)
    def run(*arguments: object, **keywords: object) -> object:
        for name in taken:
            if isinstance(text := keywords.get(name), str):
                seed = keywords.get("seed")
                keywords[name] = loaded(text, seed if isinstance(seed, int) else 0)
        return function(*arguments, **keywords)

    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=(hints | taken).get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
    ]
    del run.__wrapped__
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _of_string(name: str, hint: object) -> object:
    """What typer is told of a parameter; None of one without a TARGET."""
    from tracer.errors import PluginError
    from tracer.extend import Target

    described: tuple[object, ...] = options.TargetArgument.__metadata__
    if get_origin(hint) is Annotated:
        hint, *given = get_args(hint)
        described = tuple(given)
    if hint is Target:
        return Annotated[(str, *described)]  # type: ignore[return-value]
    if Target not in _within(hint):
        return None
    if set(get_args(hint)) == {Target, NoneType}:
        return Annotated[(str | None, *described)]  # type: ignore[return-value]
    raise PluginError(
        f"the parameter {name!r} is annotated {hint}: a TARGET is tracer.Target, "
        f"tracer.Target | None, or one of these in Annotated"
    )


def _within(hint: object) -> list[object]:
    """The types that a type is made of."""
    return [hint, *(inner for part in get_args(hint) for inner in _within(part))]


def all_taking_targets(app: typer.Typer) -> None:
    """The same for every command of an app, in place."""
    known = [*app.registered_commands, *filter(None, [app.registered_callback])]
    for command in known:
        if command.callback is not None:
            command.callback = taking_targets(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            all_taking_targets(group.typer_instance)


def loaded(text: str, seed: int = 0) -> LoadedTarget:
    """What a command is given of a TARGET, with initial values of a seed."""
    from trace_net.target import load, parse_target

    subject = load(parse_target(text), {}, seed)
    from trace_net.run import describe_choices

    streams.note(describe_choices(subject))
    return LoadedTarget(subject, text)


class LoadedTarget:
    """A `tracer.Target`: see there."""

    def __init__(self, subject: Subject, text: str):
        self._subject, self.text = subject, text
        self.arguments = subject.target.keywords
        self.model, self.loss = subject.model, subject.loss
        self.inputs, self.keywords = subject.inputs.positional, subject.inputs.keywords
        self.targets = subject.targets.positional

    def defined(self, name: str) -> Any:
        """What the file defines under a name, or None."""
        return getattr(self._subject.definitions, name, None)

    def with_arguments(self, arguments: Mapping[str, object]) -> str:
        """The text of the TARGET whose factory is called with these, too."""
        from trace_net.target import with_arguments

        return with_arguments(self._subject, arguments)

    def record(self) -> tuple[Tape, Tensor]:
        """Run the model and its loss."""
        from trace_net.run import record

        return record(self._subject)
