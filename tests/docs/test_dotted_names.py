"""Names of modules, of what is in them, and of files are those that there are."""

import ast
import importlib
import re

import pytest
from pages import PAGES, ROOT, markdown, name

PACKAGES = (
    "tracer",
    "tracer_layers",
    "tracer_quantities",
    "tracer_render",
    "tracer_training",
    "trace_net",
)
SOURCES = [
    *sorted((ROOT / "tracer").rglob("*.py")),
    *sorted((ROOT / "plugins").rglob("*.py")),
    *sorted((ROOT / "cli").rglob("*.py")),
]
#: a dotted name in a code span, alone or called, or in a directive of the reference
DOTTED = re.compile(
    rf"(?:``?|::: )((?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+)(?=`|\(|\.?\s|$)", re.MULTILINE
)
FILE = re.compile(r"`((?:[a-z]\w*/)*[a-z_][a-z0-9_]*\.py)`")


def docstrings(source):
    """The docstrings of a file, with their lines, and the comments that describe a name (`#:`)."""
    text = source.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    yield from re.findall(r"#:? .*", text)


def resolves(dotted):
    """Whether a dotted name is a module, or something in one, however deep."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if error.name is None or not dotted.startswith(error.name):
                raise
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def missing(text):
    return sorted(dotted for dotted in set(DOTTED.findall(text)) if not resolves(dotted))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_on_a_page_are_there(page):
    assert missing(markdown(page)) == []


@pytest.mark.parametrize("package", ["tracer", *PACKAGES[1:]])
def test_names_in_docstrings_are_there(package):
    wrong = {
        name(source): found
        for source in SOURCES
        if package in source.relative_to(ROOT).parts
        and (found := missing("\n".join(docstrings(source))))
    }
    assert wrong == {}


def test_a_name_that_is_not_there_is_found():
    text = "`tracer.parameter(array)` of `tracer.record.node.Node`, `tracer.nothing`, `tracer.no.a`"
    assert missing(text) == ["tracer.no.a", "tracer.nothing"]


@pytest.mark.parametrize("page", [p for p in PAGES if FILE.search(markdown(p))], ids=name)
def test_files_on_a_page_are_there(page):
    """A name such as `sweep/rules.py` is the end of a path; an example's may be a user's own."""
    known = [f"/{p.relative_to(ROOT)}" for p in ROOT.rglob("*.py") if ".venv" not in p.parts]
    made = set(re.findall(r'title="(.+)"', markdown(page))) | USERS
    named = {file for file in FILE.findall(markdown(page)) if file not in made}
    assert [f for f in sorted(named) if not any(path.endswith(f"/{f}") for path in known)] == []


#: files of users, in examples
USERS = {"model.py", "path.py"}
