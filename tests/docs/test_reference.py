"""The reference pages say what the code does."""

import importlib.util
import inspect
import re
from types import FunctionType

import numpy as np
import pytest
import typer
from pages import DOCS, FENCE, ROOT, blocks

import tracer
import tracer_layers
from trace_net.group import plugin_command
from trace_net.main import app
from tracer import extend, registry, testing
from tracer.plugins import hookspecs

REFERENCE = DOCS / "reference"
SPEC = importlib.util.spec_from_file_location("listing", DOCS / "listing.py")
listing = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(listing)


def page(name):
    return (REFERENCE / name).read_text()


def hooks():
    return {
        name: function
        for name, function in vars(hookspecs).items()
        if inspect.isfunction(function) and hasattr(function, "tracer_spec")
    }


def test_the_hooks_page_lists_exactly_the_hooks_in_order():
    assert re.findall(r"^### `(\w+)`$", page("hooks.md"), re.MULTILINE) == list(hooks())


@pytest.mark.parametrize("name", hooks())
def test_the_hooks_page_has_signature_and_meaning(name):
    function = hooks()[name]
    section = page("hooks.md").partition(f"### `{name}`\n")[2].partition("\n### ")[0]
    assert f"def {name}{inspect.signature(function)}".replace("'", "") in section
    meaning = " ".join(inspect.getdoc(function).split())
    assert meaning in " ".join(section.split())


def test_the_quantities_page_lists_exactly_the_bundled_quantities():
    listed = {
        name
        for row in re.findall(r"^\| (`.+?) \|", page("quantities.md"), re.MULTILINE)
        for name in re.findall(r"`([a-z]\w*)`", row)
    }
    assert listed == set(registry.quantities.provided_by("quantities"))


def test_the_layers_page_lists_exactly_the_layers():
    table = page("layers.md").partition("| kind | classes |\n")[2].partition("\n\n")[0]
    listed = re.findall(r"`(\w+)`", table)
    assert sorted(listed) == sorted(
        name for name in tracer_layers.__all__ if isinstance(getattr(tracer_layers, name), type)
    )


def test_the_graph_page_lists_the_attributes_of_nodes_and_edges():
    x, w = tracer.batch(np.ones((2, 3))), tracer.parameter(np.ones(3), "w")
    with tracer.Tape(watch=True) as tape:
        for _ in tracer.steps(2):
            w_next = np.tanh(x * w)
        loss = np.sum(w_next)
    tape.backward(loss)
    text = page("graph.md")
    for time in ("unrolled", "folded"):
        graph = tape.graph("both", time)
        found = set(graph.graph)
        found.update(*(attributes for _, attributes in graph.nodes(data=True)))
        found.update(*(attributes for *_, attributes in graph.edges(data=True)))
        assert {name for name in found if f"`{name}`" not in text} == set()


def commands():
    """The built-in commands, and those of the bundled plugins."""
    group = typer.main.get_command(app)
    own = {name: group.commands[name] for name in group.commands}
    return own | {name: plugin_command(name) for name in ("train", "runs", "board", "kernels")}


def test_the_command_page_lists_exactly_the_commands():
    assert re.findall(r"^## `trace-net ([\w-]+)`$", page("cli.md"), re.MULTILINE) == list(
        commands()
    )


@pytest.mark.parametrize("name", commands())
def test_the_command_page_lists_exactly_the_options(name):
    section = page("cli.md").partition(f"## `trace-net {name}`\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `(-[\w-]+)", section, re.MULTILINE))
    command = commands()[name]
    long = {
        next((o for o in parameter.opts if o.startswith("--")), parameter.opts[0])
        for each in getattr(command, "commands", {"": command}).values()
        for parameter in each.params
        if parameter.opts[0].startswith("-")
    }
    assert listed == long


def test_the_api_page_shows_everything_public():
    text = page("api.md")
    whole = [
        importlib.import_module(f"tracer.{name}")
        for name in ("curvature.rows", "extensions", "errors")
    ]
    missing = [
        name
        for name, value in ((name, getattr(tracer, name)) for name in tracer.__all__)
        if isinstance(value, type | FunctionType)
        and not re.search(rf"^::: ({value.__module__}|tracer)\.{name}$", text, re.MULTILINE)
        and not any(hasattr(module, name) for module in whole)
    ]
    assert missing == []


@pytest.mark.parametrize("name", listing.PAGES)
def test_a_page_that_is_made_of_the_code_is_as_it_would_be_made_now(name):
    assert page(name) == listing.PAGES[name](), "run `python docs/listing.py`"


@pytest.mark.parametrize(("name", "module"), [("extend.md", extend), ("testing.md", testing)])
def test_such_a_page_says_something_of_every_name(name, module):
    sections = re.split(r"^### `(\w+)`\n", page(name), flags=re.MULTILINE)[1:]
    said = dict(zip(sections[::2], sections[1::2], strict=True))
    assert sorted(said) == sorted(module.__all__)
    without = [
        n for n, text in said.items() if not FENCE.sub("", text).partition("\n## ")[0].strip()
    ]
    assert without == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / ".mkdocs.yml").read_text()
    missing = [
        p for p in DOCS.rglob("*.md") if f" {p.relative_to(DOCS).as_posix()}" not in navigation
    ]
    assert missing == []


@pytest.mark.parametrize("mark", ["draw", "test"])
def test_the_readme_marks_the_quick_start_for_scripts(mark):
    text = (ROOT / "README.md").read_text()
    before, found, after = text.partition(f"<!-- quick-start: {mark} -->\n")
    assert found
    assert f"quick-start: {mark}" not in before + after
    assert after.startswith("```bash\n")
    (command,) = blocks(after)[0].text.strip().splitlines()
    assert command.startswith("python3 -m venv .venv && ")
