"""`trace-net doctor`: what this machine can draw and compute with."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from typing import Any

from trace_net import options, report, streams

DISTRIBUTIONS = ("trace-net", "numpy", "networkx", "pluggy", "graphviz", "pygraphviz", "typer")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def doctor(json: options.JsonOption = False) -> None:
    """Show what this machine can draw and compute with.

    Renderers and layout engines, array backends, devices and versions.
    """
    findings = examine()
    if json:
        report.print_json("doctor", findings)
        return
    out = streams.console()
    for section, facts in findings.items():
        rows = facts.items() if isinstance(facts, dict) else [(name, "") for name in facts]
        out.print(report.table((section, ""), rows))


def examine() -> dict[str, Any]:
    """Facts by section."""
    from tracer import plugins, registry

    return {
        "system": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": os.cpu_count() or 1,
            **{name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        },
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "layout engines": {
            "dot": shutil.which("dot") or "not on the PATH: install Graphviz",
            "pygraphviz": version("pygraphviz", "pip install 'trace-net[render]'"),
            "built-in": "svg and html only",
        },
        "renderers": {name: registry.renderers.entry(name).plugin for name in registry.renderers},
        "backends": {name: registry.backends.entry(name).plugin for name in registry.backends},
        "devices": {library.device: describe(library) for library in registry.backends.values()},
        "plugins": {p.name: p.error or p.status for p in plugins.loaded()},
    }


def describe(library: Any) -> str:
    """What an array library says of itself, or how that failed."""
    try:
        return str(library.describe())
    except Exception as error:
        from tracer import registry

        plugin = registry.backends.entry(library.name).plugin
        return f"plugin {plugin!r} failed: {type(error).__name__}: {error}"


def version(distribution: str, remedy: str = "") -> str:
    """The installed version, or that there is none and what to do."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"not installed: {remedy}" if remedy else "not installed"
