"""Annotations say what is meant: `Any` is for what may really be anything.

Names for everything else are in `tracer.arrays.types` and where the glossary says
(docs/explanation/architecture.md#glossary). A figure that falls is to be written down here.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: how often annotations say `Any`, at most
ANY = {
    "tracer/api": 34,
    "tracer/arrays": 47,
    "tracer/cotangents": 12,
    "tracer/curvature": 53,
    "tracer/graph": 45,
    "tracer/operations": 0,
    "tracer/plugins": 1,
    "tracer/record": 232,
    "tracer/sweep": 24,
    "tracer/testing": 69,
    "plugins/tracer_import": 263,
    "plugins/tracer_layers": 161,
    "plugins/tracer_native": 2,
    "plugins/tracer_quantities": 0,
    "plugins/tracer_render": 62,
    "plugins/tracer_scale": 69,
    "plugins/tracer_training": 76,
    "cli/trace_net": 104,
}


def annotations(tree):
    """The annotations of arguments, of what functions return, and of names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.returns


def saying_any(text):
    """The lines of annotations that say `Any`, once for each time."""
    return [
        name.lineno
        for annotation in annotations(ast.parse(text))
        if annotation is not None
        for name in ast.walk(annotation)
        if isinstance(name, ast.Name) and name.id == "Any"
    ]


@pytest.mark.parametrize(("folder", "most"), ANY.items())
def test_any_is_no_more_frequent_than_it_was(folder, most):
    files = sorted((ROOT / folder).rglob("*.py"))
    found = {file: saying_any(file.read_text(encoding="utf-8")) for file in files}
    count = sum(map(len, found.values()))
    often = sorted(found, key=lambda file: -len(found[file]))[:3]
    assert count <= most, f"{folder}: {count} and not {most}, most of them in {often}"


def test_any_is_found_wherever_it_is_said():
    text = "def f(a: Any, *b: list[Any], c: int = 0) -> dict[Any, Any]:\n    x: Any = 1\n    Any"
    assert sorted(saying_any(text)) == [1, 1, 1, 1, 2]
