"""What the check of a plugin found, laid out for 80 columns: a table, and below it, each once,
what failed, why something was not compared, and what each check compares with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trace_net import report, streams

if TYPE_CHECKING:
    from rich.console import Console

    from trace_net.plugin_checks import Checked

#: of the tables where stdout is no terminal
WIDTH = 80
#: so many names are listed, and how many more there are is said
NAMES = 6


def show(checked: Sequence[Checked]) -> None:
    """Print all of it."""
    console = streams.console(width=WIDTH)
    meanings = _meanings(checked)
    rows = [
        (each.kind, each.name, each.result, _compared(each, meanings[each.kind]))
        for each in checked
    ]
    console.print(report.table(("kind", "name", "result", "compared"), rows))
    _show_errors(console, checked)
    _show_missing(console, checked)
    listed = [
        (kind if first else "", check, text)
        for kind, texts in meanings.items()
        for first, (check, text) in zip((True, *(False,) * len(texts)), texts.items(), strict=False)
    ]
    if listed:
        console.print(report.table(("kind", "check", "compares"), listed))


def _meanings(checked: Sequence[Checked]) -> dict[str, dict[str, str]]:
    """By kind, what each check compares with what."""
    found: dict[str, dict[str, str]] = {}
    for each in checked:
        found.setdefault(each.kind, {}).update(each.compared)
    return found


def _compared(each: Checked, meanings: dict[str, str]) -> str:
    if each.error:
        return "see below"
    if len(each.compared) == len(meanings) > 1:
        return f"all {len(meanings)}"
    return ", ".join(each.compared) or "nothing"


def _show_errors(console: Console, checked: Sequence[Checked]) -> None:
    for each in checked:
        if each.error:
            console.print(f"{each.kind} {each.name}: {each.error}\n")


def _show_missing(console: Console, checked: Sequence[Checked]) -> None:
    """Each check that was not made, and each reason, with the names of all that share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    for each in checked:
        for check, reason in each.missing.items():
            shared.setdefault((check, reason), []).append(each.name)
    rows = [(check, _some(names), reason) for (check, reason), names in shared.items()]
    if rows:
        console.print(report.table(("not compared", "of", "why"), rows))


def _some(names: Sequence[str]) -> str:
    if len(names) <= NAMES + 1:
        return ", ".join(names)
    return f"{', '.join(names[:NAMES])} and {len(names) - NAMES} more"
