"""`trace-net check`: derivatives against numerical ones, of a model or of what a plugin has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from trace_net import imported, options, report, streams
from trace_net.errors import ModelError, PluginFailure, UsageError

MODEL_COLUMNS = ("parameter", ">gradient", ">difference", ">relative error", "")


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|PLUGIN",
            help="A model, as in path.py:attr, or the name of a plugin, as in layers.",
        ),
    ],
    input: options.InputOption = None,
    json: options.JsonOption = False,
) -> None:
    """Check derivatives of a model, or all that a plugin registers.

    A model's gradient is compared with central differences along random directions of each
    parameter, in float64. What a plugin registers goes through tracer.testing: it is "ok" only if
    it was compared with a definition. The exit code is 1 where something disagrees.
    """
    if target.endswith(".py") or ":" in target or "/" in target or imported.is_program(target):
        check_model(target, input or [], json)
    else:
        check_plugin(target, json)


def check_model(target: str, specs: list[str], json: bool) -> None:
    """Print a row per parameter and direction; `ModelError` where one disagrees."""
    from trace_net.inputs import parse_inputs
    from trace_net.run import describe_choices
    from trace_net.target import load, parse_target

    parsed = parse_target(target)
    given = parse_inputs(specs)
    with streams.progress(steps=4) as step:
        step(f"loading {target}")
        subject = load(parsed, given)
        from trace_net.differences import compare

        rows = list(compare(subject, step))
    streams.note(describe_choices(subject))
    if not rows:
        raise ModelError(
            f"{parsed.where}: no gradient reaches a parameter that the model holds",
            hint="make arrays that are to be trained with tracer.parameter",
        )
    if json:
        told = [{**asdict(row), "agrees": row.agrees} for row in rows]
        report.print_json("check", {"target": target, "rows": told})
    else:
        shown = [(*asdict(row).values(), "ok" if row.agrees else "WRONG") for row in rows]
        streams.console().print(report.table(MODEL_COLUMNS, shown))
    wrong = sorted({row.parameter for row in rows if not row.agrees})
    if wrong:
        raise ModelError(
            f"the gradient differs from central differences at {', '.join(wrong)}",
            hint="check the rules of the operations that these parameters pass through",
        )


def check_plugin(name: str, json: bool) -> None:
    """Print a row for each thing that a plugin registers; `ModelError` where a check fails."""
    from trace_net import plugin_checks, plugin_report
    from tracer import plugins
    from tracer.errors import suggestion

    found = {plugin.name: plugin for plugin in plugins.loaded()}
    if name not in found:
        raise UsageError(
            f"{name!r} is neither a file, a module:attr nor a plugin.{suggestion(name, found)}",
            hint="`trace-net plugins` lists the plugins",
        )
    if found[name].status != "loaded":
        failed = found[name].status == "failed"
        raise (PluginFailure if failed else UsageError)(
            f"the plugin {name!r} {'failed to load' if failed else 'is blocked'}",
            hint="what it fails at is said above" if failed else "unblock it",
        )
    work = plugin_checks.work(found[name])
    if not work:
        raise UsageError(
            f"the plugin {name!r} registers nothing that can be checked",
            hint="`trace-net plugins` lists what it registers",
        )
    checked = []
    with streams.progress(steps=len(work)) as step:
        for kind, entry, check in work:
            step(f"{kind} {entry}")
            checked.append(plugin_checks.outcome(kind, entry, check))
    if json:
        report.print_json("check", {"plugin": name, "checked": [asdict(each) for each in checked]})
    else:
        plugin_report.show(checked)
    undefined = [each for each in checked if each.result == plugin_checks.UNDEFINED]
    if undefined:
        streams.note(
            f"{len(undefined)} of {len(checked)} ran and agree with themselves, but were compared "
            f"with no definition: nothing says that they are right"
        )
    wrong = [f"{e.kind} {e.name}" for e in checked if e.result == plugin_checks.WRONG]
    if wrong:
        raise ModelError(
            f"{len(wrong)} of {len(checked)} checks of plugin {name!r} failed: {', '.join(wrong)}",
            hint="tracer.testing runs the same checks in a test, with the full traceback",
        )
