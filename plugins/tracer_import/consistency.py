"""Whether a program hangs together: values are made before they are used, results are all there."""

from __future__ import annotations

from collections.abc import Iterable

from tracer_import.program import Program, names_in
from tracer_import.trees import leaves


def check_consistent(program: Program) -> None:
    """Raise `ValueError` for a program that could not be run, whatever its operators do."""
    known = {each.value for each in program.inputs} | {each.value for each in program.held}
    for node in program.nodes:
        _check(known, node.values(), node.target)
        known.update(name for name in node.outputs if name is not None)
    _check(known, names_in(program.outputs), "its outputs")
    _check(known, program.mutations.values(), "its buffers")
    buffers = {held.path for held in program.held if held.kind in ("buffer", "transient")}
    if strange := program.mutations.keys() - buffers:
        raise ValueError(f"it changes {min(strange)!r}, which is no buffer")
    if leaves(program.results) != len(program.outputs):
        raise ValueError(
            f"it gives {len(program.outputs)} values for {leaves(program.results)} places"
        )
    paths = [held.path for held in program.held]
    if len(paths) != len(set(paths)):
        raise ValueError("it has two arrays under one name")
    for path in (*paths, *program.modules):
        if path and not all(path.split(".")):
            raise ValueError(f"{path[:80]!r} is no path of a module")


def _check(known: set[str], names: Iterable[str], user: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{user} needs {name!r}, which nothing makes")
