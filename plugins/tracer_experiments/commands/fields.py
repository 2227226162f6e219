"""What a run is chosen, sorted and listed by: its fields, its configuration, its last values."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tracer.errors import UsageError, suggestion
from tracer_experiments import printing
from tracer_experiments.store.reading import SeriesInfo
from tracer_experiments.store.schema import RecordError
from tracer_experiments.stored_run import StoredRun

#: what every run has
FIELDS = ("id", "name", "group", "status", "begun", "seconds", "steps", "seed", "error")
FILTER = re.compile(r"\s*(?P<name>.+?)\s*(?P<sign><=|>=|==|!=|=|<|>|~)\s*(?P<value>.*?)\s*")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Listed:
    """A run with what is known of its series, by name."""

    run: StoredRun

    @cached_property
    def series(self) -> dict[str, SeriesInfo]:
        """What is known of each; nothing of a run that is damaged, which is told."""
        try:
            return self.run.names()
        except RecordError as error:
            printing.note(f"the series of run {self.run.id} cannot be read: {error}")
            return {}

    @property
    def steps(self) -> int:
        """How many steps it has come: of its loss, if it has one."""
        known = self.series
        of = [known["loss"]] if "loss" in known else list(known.values())
        return 1 + max((info.last_step for info in of), default=-1)

    def value(self, name: str) -> object:
        """A field, else an entry of the configuration, else the last value of a series; or None."""
        if name == "steps":
            return self.steps
        if name == "seed":
            return self.run.config.get("seed", self.run.environment.get("seed"))
        if name in FIELDS:
            return getattr(self.run, name)
        if name in self.run.config:
            return self.run.config[name]
        info = self.series.get(name)
        return None if info is None else info.last

    def names(self) -> list[str]:
        """All that `value` knows."""
        return [*FIELDS, *self.run.config, *self.series]


def check_known(name: str, listed: Sequence[Listed], option: str) -> None:
    """Raise `UsageError` for a name that no run has."""
    known = list(dict.fromkeys(known for each in listed for known in each.names()))
    if listed and name not in known:
        raise UsageError(
            f"{option} names {name!r}, which no run has.{suggestion(name, known)}",
            f"there are {', '.join(known)}",
        )


def chosen(listed: Sequence[Listed], filters: Sequence[str]) -> list[Listed]:
    """The runs that pass all of the filters, each `lr<0.1`, `optimizer=sgd` or `name~regular`."""
    left = list(listed)
    for text in filters:
        match = FILTER.fullmatch(text)
        if match is None:
            raise UsageError(
                f"--filter is a name, a sign and a value, got {text!r}",
                'write "lr<0.1", "optimizer=sgd", "status!=failed" or "name~wide"',
            )
        name, sign, value = match["name"], match["sign"], match["value"]
        check_known(name, listed, "--filter")
        left = [each for each in left if passes(each.value(name), sign, value)]
    return left


def passes(found: object, sign: str, text: str) -> bool:
    """Whether a value has this relation to what was typed; numbers compare with numbers alone."""
    if sign == "~":
        try:
            return re.search(text, str(found)) is not None
        except re.error as error:
            raise UsageError(
                f"--filter: {text!r} is no regular expression: {error}", 'as in "name~^wide"'
            ) from error
    wanted = typed(text)
    if _is_number(found) and _is_number(wanted):
        return bool(SIGNS[sign](found, wanted))
    if sign in ("=", "==", "!="):
        is_same = found == wanted or (found is not None and str(found) == text)
        return is_same == (sign != "!=")
    if isinstance(found, str) and not _is_number(wanted):
        return bool(SIGNS[sign](found, text))
    return False


def typed(text: str) -> object:
    """What was typed as JSON has it: a number, true, false, null; else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def ordered(listed: Sequence[Listed], name: str) -> list[Listed]:
    """The runs by a value, ascending, or with `-` before it descending; None last."""
    key = name.removeprefix("-")
    check_known(key, listed, "--sort")
    having = [each for each in listed if _rank(each.value(key)) is not None]
    having.sort(key=lambda each: _rank(each.value(key)) or (0, 0.0, ""), reverse=name != key)
    return [*having, *(each for each in listed if _rank(each.value(key)) is None)]


def _rank(value: object) -> tuple[int, float, str] | None:
    """Numbers come before texts; None has no place."""
    if value is None or value != value:
        return None
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def differing(listed: Sequence[Listed]) -> list[str]:
    """The settings that differ between the runs that have them, in their order."""
    found: dict[str, set[str]] = {}
    for each in listed:
        for name, value in each.run.config.items():
            found.setdefault(name, set()).add(repr(value))
    return [name for name, values in found.items() if len(values) > 1]
