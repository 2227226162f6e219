"""`trace-net check`: derivatives against numerical ones, of a model or of a plugin's rules."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from trace_net import options, report, streams
from trace_net.errors import ModelError, UsageError

MODEL_COLUMNS = ("parameter", ">gradient", ">difference", ">relative error", "")
PLUGIN_COLUMNS = ("checked", "name", "result")


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|PLUGIN",
            help="A model, as in path.py:attr, or the name of a plugin, as in layers.",
        ),
    ],
    input: options.InputOption = None,
) -> None:
    """Check derivatives of a model, or the rules of a plugin.

    A model's gradient is compared with central differences along random directions of each
    parameter, in float64. A plugin's operations and quantities go through tracer.testing. The
    exit code is 1 where something disagrees.
    """
    if target.endswith(".py") or ":" in target or "/" in target:
        check_model(target, input or [])
    else:
        check_plugin(target)


def check_model(target: str, specs: list[str]) -> None:
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
    shown = [(*asdict(row).values(), "ok" if row.agrees else "WRONG") for row in rows]
    streams.console().print(report.table(MODEL_COLUMNS, shown))
    wrong = sorted({row.parameter for row in rows if not row.agrees})
    if wrong:
        raise ModelError(
            f"the gradient differs from central differences at {', '.join(wrong)}",
            hint="check the rules of the operations that these parameters pass through",
        )


def check_plugin(name: str) -> None:
    """Print a row per operation and quantity; `ModelError` where a check fails."""
    from tracer import plugins, registry
    from tracer.errors import suggestion

    found = {plugin.name: plugin for plugin in plugins.loaded()}
    if name not in found:
        raise UsageError(
            f"{name!r} is neither a file, a module:attr nor a plugin.{suggestion(name, found)}",
            hint="`trace-net plugins` lists the plugins",
        )
    if found[name].status != "loaded":
        raise UsageError(
            f"the plugin {name!r} is {found[name].status}", hint=found[name].error or "unblock it"
        )
    from tracer import testing

    work: list[tuple[str, str, Any]] = [
        *(("operation", n, testing.check_operation) for n in registry.operations.provided_by(name)),
        *(("quantity", n, testing.check_quantity) for n in registry.quantities.provided_by(name)),
    ]
    if not work:
        raise UsageError(
            f"the plugin {name!r} registers neither operations nor quantities",
            hint="there is nothing to check in it",
        )
    rows = []
    with streams.progress(steps=len(work)) as step:
        for kind, entry, function in work:
            step(f"{kind} {entry}")
            registered = registry.operations if kind == "operation" else registry.quantities
            rows.append((kind, entry, _outcome(function, registered[entry])))
    streams.console().print(report.table(PLUGIN_COLUMNS, rows))
    wrong = [entry for _, entry, outcome in rows if outcome != "ok"]
    if wrong:
        raise ModelError(
            f"{len(wrong)} of {len(rows)} checks of plugin {name!r} failed: {', '.join(wrong)}",
            hint="tracer.testing runs the same checks in a test, with the full traceback",
        )


def _outcome(function: Any, value: Any) -> str:
    """`ok`, or the first line of what the check raised."""
    try:
        function(value)
    except Exception as error:  # the check's own assertion, or whatever the rule raised
        return f"{type(error).__name__}: {streams.one_line(str(error))[:200]}"
    return "ok"
