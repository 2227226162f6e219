"""Runs side by side: what differs comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tracer_experiments import printing
from tracer_experiments.commands import exporting, fields

#: of an environment, what differs from one run to another by itself
UNSAID = ("command",)
#: what is there in no run
MISSING = "-"


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings with dotted names."""
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def print_pairs(title: str, values: Mapping[str, object]) -> None:
    """Names and values in two columns."""
    if not values:
        return
    rows = [[printing.printable(name), printing.cell(value)] for name, value in values.items()]
    printing.print_table((title, ""), rows)


def sections(listed: Sequence[fields.Listed]) -> Iterator[tuple[str, dict[str, list[object]]]]:
    """Titles, and by name the values of each run: those that differ before those that do not."""
    configs = [flat(each.run.config) for each in listed]
    yield "settings that differ", side_by_side(configs, differ=True)
    values = [last_values(each) for each in listed]
    yield "last values", side_by_side(values)
    best = [best_values(each) for each in listed]
    yield "best values", side_by_side(best)
    environments = [
        {n: v for n, v in flat(each.run.environment).items() if n not in UNSAID} for each in listed
    ]
    yield "environment that differs", side_by_side(environments, differ=True)
    yield "settings that are the same", side_by_side(configs, differ=False)


def side_by_side(
    values: Sequence[Mapping[str, object]], differ: bool | None = None
) -> dict[str, list[object]]:
    """By name the value of each; with `differ` those alone that differ, or that do not."""
    names = dict.fromkeys(name for each in values for name in each)
    missing = object()
    found = {}
    for name in names:
        have = [each.get(name, missing) for each in values]
        if differ is None or differ == (len(set(map(repr, have))) > 1):
            found[name] = [None if value is missing else value for value in have]
    return found


def last_values(each: fields.Listed) -> dict[str, object]:
    """The last value of each series of numbers."""
    return {name: info.last for name, info in each.series.items() if info.kind == "number"}


def best_values(each: fields.Listed) -> dict[str, object]:
    """The least value of each series that is a loss, and the greatest of each accuracy."""
    found: dict[str, object] = {}
    for name, info in each.series.items():
        if info.kind != "number" or not name.endswith(("loss", "accuracy")):
            continue
        columns = exporting.readable(each.run, name, each.run.columns)
        if columns is None:
            continue
        finite = columns.numbers[columns.numbers == columns.numbers]
        if finite.size:
            is_high = name.endswith("accuracy")
            found[name] = float(finite.max() if is_high else finite.min())
    return found


def print_comparison(listed: Sequence[fields.Listed]) -> None:
    """All sections that say something, a column for each run."""
    heads = [f">{each.run.id} {each.run.name}" for each in listed]
    for title, values in sections(listed):
        if not values:
            continue
        rows = [
            [printing.printable(name), *(MISSING if v is None else printing.cell(v) for v in have)]
            for name, have in values.items()
        ]
        printing.print_side_by_side((title, *heads), rows)


def document(listed: Sequence[fields.Listed]) -> dict[str, object]:
    """A comparison for JSON: the runs, and by name what each of them has."""
    keys = {
        "settings that differ": "differing",
        "last values": "last",
        "best values": "best",
        "environment that differs": "environment",
        "settings that are the same": "same",
    }
    found: dict[str, object] = {keys[title]: values for title, values in sections(listed)}
    return {"runs": [exporting.summary(each.run) for each in listed], **found}
