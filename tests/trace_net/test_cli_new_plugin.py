"""`trace-net new-plugin`: what it writes is a plugin, and what it refuses."""

import importlib
import tomllib

import pytest

import tracer
from trace_net import plugin_checks
from trace_net.commands.new_plugin import KINDS
from tracer import registry
from tracer.extend import Plugin
from tracer.extensions import BUILT_IN
from tracer.testing import check_operation, check_quantity


def test_the_default_is_an_operation_and_a_quantity(command, folder):
    outcome = command("new-plugin", "soft-sat")
    assert outcome.code == 0, outcome.err
    written = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert written == sorted(outcome.out.split())
    assert {
        "soft-sat/pyproject.toml", "soft-sat/README.md", "soft-sat/.github/workflows/tests.yml",
        "soft-sat/tracer_soft_sat/operations.py", "soft-sat/tests/test_quantities.py",
    } <= set(written)  # fmt: skip
    assert not any("overlay" in path for path in written)
    assert "pip install -e 'soft-sat[test]' && pytest soft-sat" in outcome.err
    project = tomllib.loads((folder / "soft-sat/pyproject.toml").read_text())["project"]
    assert project["name"] == "tracer-soft-sat"
    assert project["entry-points"]["tracer"] == {"soft-sat": "tracer_soft_sat"}
    text = "".join((folder / path).read_text() for path in written)
    assert "softclip" not in text.lower()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone_is_a_plugin_that_registers(command, monkeypatch, folder, kind):
    assert command("new-plugin", "softsat", "here", "--with", kind).code == 0
    monkeypatch.syspath_prepend(folder / "here")
    module = importlib.import_module("tracer_softsat")
    hook = KINDS[kind].hook
    if hook is None:
        layer, inputs = module.SoftsatLayer.examples(registry.backends["numpy"].generator(0))[0]
        tracer.testing.check_layer(layer, *inputs)
        return
    tracer.register(module)
    try:
        (thing,) = getattr(module, hook)()
        assert type(registry.BY_HOOK[hook][thing.name]) is type(thing)
        assert registry.BY_HOOK[hook].entry(thing.name).plugin == "user"
        if kind == "operation":
            check_operation(thing)
        if kind == "quantity":
            assert check_quantity(thing).is_defined
    finally:
        tracer.unregister(module)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Soft"], "NAME is at most 40 small letters"),
        (["1a"], "NAME is at most 40 small letters"),
        (["a-"], "NAME is at most 40 small letters"),
        (["a" * 41], "NAME is at most 40 small letters"),
        (["class"], "'class' cannot be the name of a function"),
        (["none"], "'None' that of a class"),
        (["print"], "'print' cannot be the name of a function"),
        (["command", "--with", "command"], "'Command' that of a class"),
        (["layers"], "the plugin 'layers' is there already"),
        (["tracer"], "the plugin 'tracer' is there already"),
        (["tracer-scale"], "NAME is without 'tracer', since the package is called tracer_NAME"),
        (["tracer_training"], "NAME is without 'tracer'"),
        (["trace-net"], "NAME is without 'trace'"),
        (["scale"], "the plugin 'scale' is there already"),
        (["native"], "the plugin 'native' is there already"),
        (["json"], "'json' is a module of Python's standard library"),
        (["numpy"], "'numpy' is a package that trace-net needs"),
        (["networkx"], "'networkx' is a package that trace-net needs"),
        (["guest"], "a package 'tracer_guest' is there already"),
        (["tanh"], "the operation 'tanh' is there already"),
        (["svg", "--with", "renderer"], "the renderer 'svg' is there already"),
        (["doctor", "--with", "command"], "the command 'doctor' is there already"),
        (["softsat", "--with", "layers"], "Did you mean 'layer'?"),
        (["softsat", "--with", ","], "--with takes operation, layer"),
        (["softsat", "full"], "full exists, and is no empty folder"),
        (["softsat", "file"], "file exists, and is no empty folder"),
    ],
)
def test_what_is_refused(command, folder, monkeypatch, arguments, message):
    monkeypatch.syspath_prepend(folder)
    (folder / "tracer_guest.py").touch()
    (folder / "full").mkdir()
    (folder / "full/file").touch()
    (folder / "file").touch()
    outcome = command("new-plugin", *arguments)
    assert outcome.code == 2
    assert message in outcome.error
    assert not (folder / "softsat").exists()


def test_every_built_in_command_is_known_as_one():
    from trace_net.main import app

    names = {each.name or each.callback.__name__ for each in app.registered_commands}
    assert names == set(BUILT_IN)


@pytest.mark.slow
def test_a_new_distribution_installs_tests_itself_and_is_listed(command, folder, environment):
    assert command("new-plugin", "softsat", "--with", ",".join(KINDS)).code == 0
    environment.pip("install", "--no-build-isolation", "-e", "softsat[test]")

    def run(*arguments):
        done = environment.run(*arguments, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert " passed" in run("python", "-m", "pytest", "softsat")
    listed = run("trace-net", "plugins", "softsat")
    for kind in KINDS:
        assert kind in listed or KINDS[kind].hook is None
    checked = run("trace-net", "check", "softsat")
    assert "WRONG" not in checked
    assert checked.count(" ok ") == 3  # operation, quantity and layer have a definition
    environment.pip("uninstall", "--yes", "tracer-softsat")


LAYERS = """
import numpy as np
import tracer_layers as nn


class Mine(nn.Linear):
    def __init__(self, size=3):
        super().__init__(size, size)

    {examples}
"""
GIVE = "examples = staticmethod(lambda rng: {})"


@pytest.mark.parametrize(
    ("examples", "result", "told"),
    [
        (GIVE.format("[(Mine(), (rng.random((2, 3)),))]"), "ok", ""),
        (GIVE.format("[(Mine(), (rng.random((2, 3)),), {'axis': 0})]"), "ok", ""),
        (GIVE.format("[Mine()]"), "WRONG", "gives [Mine("),
        (GIVE.format("[(Mine(), rng.random((2, 3)))]"), "WRONG", "write a list of (layer, inputs)"),
        (GIVE.format("[]"), "WRONG", "gives []: write a list of (layer, inputs)"),
        (GIVE.format("None"), "WRONG", "gives None: write"),
        ("", "not checked", "it has no examples(rng): a list of (layer, inputs)"),
    ],
)
def test_the_examples_of_a_layer(write_file, monkeypatch, folder, examples, result, told):
    write_file("own_layers.py", LAYERS.format(examples=examples))
    monkeypatch.syspath_prepend(folder)
    work = plugin_checks.work(Plugin("own", "own_layers", "own", "1"))
    ((kind, name, check),) = work
    found = plugin_checks.outcome(kind, name, check)
    assert (kind, name, found.result) == ("layer", "Mine", result)
    assert told in found.error + "".join(found.missing.values())


COMMANDS = """
from typing import Annotated, Optional

import tracer
import typer
from tracer.extend import Command

app = typer.Typer()


@app.command()
def two(target: Annotated[tracer.Target, typer.Argument(help="A model.")], count: int = 1) -> None:
    print("two", target.model.__name__, count)


@app.command()
def some(target: Optional[tracer.Target] = None) -> None:
    print("some", target and target.record()[1].shape)


def many(targets: list[tracer.Target]) -> None:
    print("never")


group = Command("test-group", app)
wrong = Command("test-many", many)
"""


def test_a_target_may_be_optional_or_described(command, plain, write_file, monkeypatch, folder):
    write_file("own_commands.py", COMMANDS)
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("own_commands")
    for each in (module.group, module.wrong):
        tracer.register(each)
    try:
        assert command("test-group", "two", plain, "--count", "3").out == "two model 3\n"
        assert command("test-group", "some").out == "some None\n"
        assert command("test-group", "some", plain).out == "some ()\n"
        assert "A model." in command("test-group", "two", "--help").out
        assert "'targets' is annotated" in command("test-many", plain).error
        with pytest.raises(AssertionError, match="'targets' is annotated"):
            plugin_checks.check_command(module.wrong)
        assert "options" in plugin_checks.check_command(module.group)
    finally:
        tracer.unregister(module.group)
        tracer.unregister(module.wrong)
