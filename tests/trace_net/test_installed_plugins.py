"""Three distributions, installed: one of everything, one ported, one broken in fifty ways."""

import ast
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

DISTRIBUTIONS = Path(__file__).parents[1] / "plugins"
BROKEN = DISTRIBUTIONS / "broken" / "tracer_broken"

MODEL = """
import numpy as np, tracer, tracer_layers
w = tracer.parameter(np.ones(3), "w")
model = lambda x: x * w
example_inputs = targets = np.ones((2, 3))
loss = tracer_layers.MSELoss()
"""
#: of the operation of a plugin that is broken
OF_OPERATION = MODEL.replace("x * w", "tracer.registry.operations[{!r}](x * w)")

#: runs commands in one process and prints how each ended
SEVERAL = """
import contextlib, io, json, sys
from trace_net.main import main

for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line.split())
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def ways(folder):
    """Of each plugin of a folder: its file, what is said, its command, the line that is named."""
    for file in sorted((BROKEN / folder).glob("*.py")):
        text = file.read_text(encoding="utf-8")
        said, _, command = ast.get_docstring(ast.parse(text)).partition("\n\n$ trace-net ")
        named = [i for i, line in enumerate(text.splitlines(), 1) if "# named" in line]
        if file.stem not in ("__init__", "hooks"):
            yield file, said, command, f"{file.name}:{named[0]}" if named else ""


@pytest.fixture
def models(folder):
    (folder / "model.py").write_text(MODEL)
    for name in ("vjp", "flops"):
        (folder / f"{name}.py").write_text(OF_OPERATION.format(f"broken_{name}"))
    return folder


@pytest.mark.slow
def test_everything_and_the_ported_one(environment, folder):
    environment.install(str(DISTRIBUTIONS / "everything"), str(DISTRIBUTIONS / "scan"))
    lines = [
        ("python", "-m", "pytest", "-p", "no:cacheprovider", str(DISTRIBUTIONS / "everything")),
        ("python", "-m", "pytest", "-p", "no:cacheprovider", str(DISTRIBUTIONS / "scan")),
        ("trace-net", "plugins", "everything", "--json"),
        ("trace-net", "check", "everything", "--json"),
        ("trace-net", "check", "scan", "--json"),
    ]
    tests, more_tests, listed, checked, scan = at_once(environment, lines, folder)
    for done in (tests, more_tests):
        assert done.returncode == 0, done.stdout + done.stderr
    for done in (listed, checked, scan):
        assert done.returncode == 0, done.stderr
        assert "plugin" not in done.stderr  # nothing failed to load
    document = json.loads(listed.stdout)
    assert document["plugin"]["distribution"] == "tracer-everything"
    assert {(thing["kind"], thing["name"]) for thing in document["things"]} == {
        *(("operation", f"everything_{name}") for name in ("softsign", "project", "log_cosh")),
        *(("quantity", "everything_l1"), ("quantity", "everything_trace")),
        *(("row kind", "everything_sketched"), ("array backend", "tracer_everything")),
        *(("renderer", "csv"), ("overlay", "everything_share")),
        *(("NumPy function", "numpy.logspace"),),
        *(("instrument", "everything_largest"), ("sink", "everything_names")),
        *(("command", "largest"), ("command", "everything")),
    }
    assert all(thing["place"] and thing["doc"] for thing in document["things"]), document
    hooks = {hook["name"] for hook in document["hooks"]}
    assert {"register_rows", "begin_trace", "end_trace", "begin_sweep", "end_sweep"} <= hooks
    results = {each["name"]: each["result"] for each in json.loads(checked.stdout)["checked"]}
    undefined = {"everything_trace", "everything_share", "csv", "largest", "everything"}
    undefined |= {"everything_largest", "everything_names"}
    assert {name for name, result in results.items() if result != "ok"} == undefined
    (operation, layer) = json.loads(scan.stdout)["checked"]
    assert (operation["result"], layer["result"]) == ("ok", "ok")
    assert "jvp" in operation["compared"]


@pytest.mark.slow
def test_each_that_is_broken_is_named(environment, models):
    environment.install(str(DISTRIBUTIONS / "broken"))
    try:
        loading(environment, models)
        running(environment, models)
    finally:
        environment.pip("uninstall", "--yes", "tracer-broken")


def loading(environment, folder):
    """What cannot be loaded is told on stderr, each in a line, and the rest still work."""
    checked = ("trace-net", "check", "broken-wrong", "--json")
    listed, wrong, told = at_once(
        environment, [("trace-net", "plugins", "--json"), checked, ("trace-net", "doctor")], folder
    )
    assert listed.returncode == 4
    plugins = {plugin["name"]: plugin for plugin in json.loads(listed.stdout)["plugins"]}
    lines = [line for line in listed.stderr.splitlines() if "'tracer-broken' failed" in line]
    cases = list(ways("loading"))
    assert len(cases) >= 28
    for file, said, _, place in cases:
        name = f"broken-{file.stem.replace('_', '-')}"
        (line,) = [line for line in lines if f"plugin {name!r} of distribution" in line]
        for message in (line, plugins[name]["error"]):
            assert said in message
            assert place in message
        assert f"TRACER_DISABLE_PLUGINS={name}" in line
        assert "Remove it with `pip uninstall tracer-broken`" in line
        assert plugins[name]["status"] == "failed"
    assert "(entry point tracer_broken.not_there_at_all)" in plugins["broken-nothing"]["error"]
    assert "it is the class Twice, whose hooks" in plugins["broken-class"]["error"]
    assert len(lines) == len(cases) + 2
    assert plugins["broken-wrong"]["status"] == plugins["layers"]["status"] == "loaded"
    assert wrong.returncode == 1
    results = {each["name"]: each["error"] for each in json.loads(wrong.stdout)["checked"]}
    assert "vjp" in results["broken_wrong_sine"]
    assert "sum of losses: w is" in results["broken_wrong_twice"]
    assert "changes the graph" in results["broken_wrong_shade"]
    assert "render gives nothing" in results["brkwrong"]
    assert told.returncode == 4


def running(environment, folder):
    """What fails at its part ends its command with 4, and the line and the remedy are named."""
    cases = list(ways("running"))
    assert len(cases) >= 16
    lines = json.dumps([command for _, _, command, _ in cases])
    done = environment.run("python", "-c", SEVERAL, input=lines, cwd=folder)
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    for (file, said, command, place), (code, out, err) in zip(cases, outcomes, strict=True):
        check_told(file.stem, said, place, code, err)
        assert not out or command == "doctor", file.stem
    hooks = ("begin_trace", "end_trace", "begin_sweep", "end_sweep")
    lines = [("trace-net", "quantities", "model.py")] * len(hooks)
    settings = [{"TRACER_BROKEN_HOOKS_WHEN": hook} for hook in hooks]
    for hook, each in zip(hooks, at_once(environment, lines, folder, settings), strict=True):
        check_told("hooks", f"the hook {hook}", "hooks.py:", each.returncode, each.stderr)


def check_told(stem, said, place, code, err):
    name = f"broken-{stem.replace('_', '-')}"
    assert code == 4, f"{stem}: {err}"
    (error,) = [line for line in err.splitlines() if line.startswith("error:")]
    (hint,) = [line for line in err.splitlines() if line.startswith("hint:")]
    assert f"plugin {name!r} of distribution 'tracer-broken'" in error
    assert said in error
    assert place in error
    assert f"TRACER_DISABLE_PLUGINS={name}" in hint
    assert "pip uninstall tracer-broken" in hint


def at_once(environment, lines, folder, settings=None):
    """Run programs of the environment, two at a time."""
    settings = settings or [{}] * len(lines)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(
            lambda line, more: environment.run(*line, cwd=folder, variables=more),
            lines, settings,
        ))  # fmt: skip
