"""The settings of a sweep, from what is typed."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence

from tracer.errors import UsageError
from tracer.extend import Choices, Range

FORMS = "write lr=0.1,0.01 or, for a sampler that draws, lr=1e-4..1e-1:log"
RANGE = re.compile(r"(?P<low>[^.:]*(?:\.\d*)?[^.:]*)\.\.(?P<high>[^:]+)(?P<log>:log)?")
#: combinations that are looked at before the first training
MOST = 10_000


def space_of(grid: Sequence[str]) -> dict[str, Choices | Range]:
    """What each setting is one of, or lies in; `UsageError` for what cannot be read."""
    found: dict[str, Choices | Range] = {}
    for text in grid:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"--grid is a name and values, got {text!r}", FORMS)
        if name.replace("-", "_") in {known.replace("-", "_") for known in found}:
            raise UsageError(f"--grid names {name!r} twice", "give all of its values together")
        match = RANGE.fullmatch(values.strip())
        found[name] = Choices(choices_of(name, values)) if match is None else range_of(name, match)
    return found


def choices_of(name: str, text: str) -> tuple[str, ...]:
    """Values with commas between; commas in brackets are of a value."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            values.append("")
        else:
            values[-1] += letter
    values = [value.strip() for value in values]
    if not all(values):
        raise UsageError(f"--grid has an empty value of {name!r}: {text!r}", FORMS)
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise UsageError(
            f"--grid has {name}={twice} twice", "--seeds N trains each combination N times"
        )
    return tuple(values)


def range_of(name: str, match: re.Match[str]) -> Range:
    """A range of whole numbers, if both ends are whole, or of others."""
    texts = match["low"].strip(), match["high"].strip()
    try:
        low, high = map(float, texts)
    except ValueError:
        raise UsageError(f"--grid has no range of {name!r}: {match[0]!r}", FORMS) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"the range of {name!r} ascends from {texts[0]} to {texts[1]}", FORMS)
    if match["log"] and low <= 0:
        raise UsageError(
            f"the range of {name!r} begins at {texts[0]}, which has no logarithm",
            "begin above 0, or leave :log out",
        )
    whole = all(re.fullmatch(r"[+-]?\d+", text) for text in texts)
    return Range(low, high, bool(match["log"]), whole)


def combinations(space: dict[str, Choices | Range]) -> Iterator[dict[str, str]]:
    """All combinations of values, and of the ends of ranges; at most `MOST`."""
    values = [
        each.values
        if isinstance(each, Choices)
        else (typed(each, each.low), typed(each, each.high))
        for each in space.values()
    ]
    for chosen in itertools.islice(itertools.product(*values), MOST):
        yield dict(zip(space, chosen, strict=True))


def typed(of: Range, value: float) -> str:
    """A number of a range as it would be typed: with four digits, and inside."""
    if of.whole:
        return str(min(max(round(value), round(of.low)), round(of.high)))
    return repr(min(max(float(f"{value:.4g}"), of.low), of.high))
