"""Commands that a script registers, and how each command may end."""

import importlib

import pytest

import tracer
from trace_net import plugin_checks
from tracer.extend import Command

CODE = """
import sys

import tracer
import typer
from tracer.extend import Command, Overlay

app = typer.Typer()


def helper(x):
    return 1 / x


@app.command()
def crash():
    helper(0)


@app.command()
def ends(how: str):
    print("begun")
    raise {
        "none": SystemExit(),
        "zero": SystemExit(0),
        "seven": SystemExit(7),
        "text": SystemExit("no such layer"),
        "exit": typer.Exit(5),
    }[how]


@app.command()
def counts():
    return 3


def version(wanted: bool):
    if wanted:
        print("1.0")
        sys.exit(9)


@app.command()
def asks(version: bool = typer.Option(False, callback=version, is_eager=True)):
    print("never")


def odd(x: "int | str"):
    print("never")


def lost():
    raise KeyError("gone")


class Shade(Overlay):
    name = "test_script_shade"

    def values(self, graph, results):
        return {1: 1 / 0}


group = Command("test-script", app)
wrong = Command("test-script-odd", odd)
gone = Command("test-script-lost", lost)
shade = Shade()
"""


@pytest.fixture
def script(write_file, monkeypatch, folder):
    write_file("own_script.py", CODE)
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("own_script")
    things = (module.group, module.wrong, module.gone, module.shade)
    for each in things:
        tracer.register(each)
    yield module
    for each in things:
        tracer.unregister(each)


def line(text):
    return next(i for i, row in enumerate(CODE.strip("\n").split("\n"), 2) if text in row)


@pytest.mark.parametrize(
    ("arguments", "what", "where"),
    [
        (("test-script", "crash"), "'test-script', which this program registers, failed: ZeroDi",
         "return 1 / x"),
        (("test-script-lost",), "'test-script-lost', which this program registers, failed: KeyErr",
         'raise KeyError("gone")'),
        (("test-script-odd",), "doesn't support Union types", "def odd(x"),
        (("visualize", "plain.py", "-o", "-", "--format", "json", "--overlay", "test_script_shade"),
         "a part, which this program registers, failed: ZeroDivisionError", "return {1: 1 / 0}"),
    ],
)  # fmt: skip
def test_what_a_script_registers_is_blamed_with_its_line(
    script, command, plain, arguments, what, where
):
    outcome = command(*arguments)
    assert outcome.code == 4
    assert what in outcome.error
    assert outcome.error.endswith(f"(own_script.py:{line(where)})")
    assert "report the traceback" not in outcome.err
    assert "--debug" in outcome.hint


def test_the_help_stands_where_a_command_of_a_script_is_broken(script, command):
    outcome = command("--help")
    assert outcome.code == 0
    assert "test-script-odd" in outcome.out


@pytest.mark.parametrize(
    ("how", "code"), [("none", 0), ("zero", 0), ("seven", 7), ("text", 1), ("exit", 5)]
)
def test_a_command_ends_with_the_code_that_it_names(script, command, how, code):
    outcome = command("test-script", "ends", how)
    assert outcome.code == code
    assert outcome.out == "begun\n"
    assert outcome.err == ("error: no such layer\n" if how == "text" else "")


def test_a_callback_of_an_option_ends_it_too(script, command):
    outcome = command("test-script", "asks", "--version")
    assert (outcome.code, outcome.out) == (9, "1.0\n")


def test_what_a_command_returns_is_no_exit_code(script, command):
    assert command("test-script", "counts").code == 0


def test_a_target_without_annotation_is_told(command, plain):
    def act(target, count: int = 1):
        """Do something."""
        print(type(target).__name__)

    def fine(target: str):
        """Do something."""

    report = plugin_checks.check_command(Command("test-act", act))
    assert report.missing["target"].startswith("act has a parameter target without annotation")
    assert "target: tracer.Target" in report.missing["target"]
    assert "target" not in plugin_checks.check_command(Command("test-fine", fine)).missing


def test_a_target_without_annotation_is_told_of_each_command_of_an_app():
    import typer

    app, inner = typer.Typer(), typer.Typer()
    app.add_typer(inner, name="inner")

    @app.command()
    def one(target: tracer.Target): ...

    @inner.command()
    def two(target): ...

    report = plugin_checks.check_command(Command("test-act", app, help="Acts."))
    assert report.missing["target"].startswith("two has a parameter target")
