"""Every code block of the README and the docs does what the page says.

The Python blocks of a page run in order, in one namespace. A block of text right after one is what
that one prints. Commands in console blocks exist, with the options that they are given, and those
on the examples succeed.
"""

import io
import itertools
import shlex
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import typer
from pages import DOCS, PAGES, blocks, markdown, name

from trace_net.main import app, main
from tracer import registry
from tracer.record import dispatch


@pytest.fixture
def registries():
    """What a page registers is forgotten again."""
    registry.load_plugins()
    tables = [dispatch.UFUNCS, dispatch.FUNCTIONS, dispatch.SPECIAL]
    tables += [each._entries for each in registry.BY_HOOK.values()]
    before = [dict(table) for table in tables]
    yield
    for table, known in zip(tables, before, strict=True):
        table.clear()
        table.update(known)


@pytest.fixture
def figures(monkeypatch):
    """Figures are drawn without a screen, and closed where a page shows them."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    yield
    plt.close("all")


def with_language(language):
    return [page for page in PAGES if any(b.language == language for b in blocks(markdown(page)))]


#: what trains for long, and is run as a notebook, too
LONG = ("docs/course/6-projects.md",)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name(page), marks=[pytest.mark.slow] * (name(page) in LONG))
        for page in with_language("python")
    ],
)
def test_python_blocks_run_and_print_what_follows(page, tmp_path, monkeypatch, registries, request):
    monkeypatch.chdir(tmp_path)
    for archive in DOCS.glob("examples/*.pt2"):
        shutil.copy(archive, tmp_path)
    text = markdown(page)
    if "plt.show()" in text:
        request.getfixturevalue("figures")
    namespace = {"__name__": "page"}
    course = page.parent.name == "course"
    for block, follower in itertools.pairwise([*blocks(text), None]):
        if course and block.language == "console":
            for words in map(shlex.split, typed(block.text)):
                # what reads the records that the chapter has written by now
                if words[0] == "runs" and any(Path(word, "runs.db").exists() for word in words):
                    assert main(words) == 0, words
        if block.language != "python":
            continue
        printed = io.StringIO()
        code = compile("\n" * (block.line - 1) + block.text, name(page), "exec")
        with redirect_stdout(printed):
            exec(code, namespace)
        if follower is not None and follower.language == "text":
            between = text[block.end : text.index("```text", block.end)]
            if not between.strip():
                assert printed.getvalue().rstrip() == follower.text.rstrip(), f"line {block.line}"


def commands():
    """Page and arguments of every `trace-net` line in a console block."""
    for page in with_language("console"):
        for block in blocks(markdown(page)):
            if block.language == "console":
                for line in typed(block.text):
                    yield page, line


def typed(console):
    """What follows `trace-net` in each line of a console block; a line may go on after a \\."""
    for line in console.replace("\\\n", " ").splitlines():
        if line.startswith("$ trace-net "):
            yield line.removeprefix("$ trace-net ")


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_commands_exist_with_their_options(page, line):
    group = typer.main.get_command(app)
    words = shlex.split(line, comments=True)
    if words[0].startswith("-"):
        known = {o for p in group.params for o in p.opts} | {"--help"}
    else:
        command = group.get_command(None, words[0])
        assert command is not None, f"no command {words[0]!r}"
        if hasattr(command, "commands"):  # of which the first one is meant where none is named
            commands = command.commands
            command = commands.get(
                words[1] if len(words) > 1 else "", next(iter(commands.values()))
            )
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    assert given <= known


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """The current folder has a copy of the examples, at their path in the repository."""
    shutil.copytree(DOCS / "examples", tmp_path / "docs" / "examples")
    (tmp_path / "docs" / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield
    for path in (tmp_path / "docs" / "examples").glob("*.py"):
        for module in set(sys.modules) - known:
            if module in (path.stem, f"trace_net_target_{path.stem}"):
                del sys.modules[module]


@pytest.mark.parametrize("line", sorted({c for _, c in commands() if "docs/examples" in c}))
def test_commands_on_the_examples_succeed(line, examples, capsys):
    assert main(shlex.split(line)) == 0, capsys.readouterr().err
