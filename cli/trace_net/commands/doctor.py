"""`trace-net doctor`: what this machine can draw and compute with."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from typing import TYPE_CHECKING, Any

from trace_net import options, report, streams

if TYPE_CHECKING:
    from tracer.errors import PluginError
    from tracer.registry import Registry

DISTRIBUTIONS = ("trace-net", "numpy", "networkx", "pluggy", "graphviz", "pygraphviz", "typer")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def doctor(json: options.JsonOption = False) -> None:
    """Show what this machine can draw and compute with.

    Renderers and layout engines, array backends, devices and versions.
    """
    failures: list[PluginError] = []
    findings = examine(failures)
    if json:
        report.print_json("doctor", findings)
    else:
        out = streams.console()
        for section, facts in findings.items():
            rows = facts.items() if isinstance(facts, dict) else [(name, "") for name in facts]
            out.print(report.table((section, ""), rows))
    if failures:
        raise failures[0]


def examine(failures: list[PluginError]) -> dict[str, Any]:
    """Facts by section; what array libraries fail with is added to the failures."""
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
        "devices": devices(failures),
        "compiled kernels": kernels(failures),
        "plugins": {p.name: p.error or p.status for p in plugins.loaded()},
    }


def devices(failures: list[PluginError]) -> dict[str, str]:
    """What each array library says of its device, or how that failed."""
    from tracer import registry

    told = described(registry.backends, "the array library", failures)
    return {str(registry.backends[name].device): text for name, text in told.items()}


def kernels(failures: list[PluginError]) -> dict[str, str]:
    """Which compiled kernels run for NumPy's arrays, as each plugin says, or how that failed."""
    from tracer import registry

    told = described(registry.kernels, "the compiled kernels", failures)
    return told or {"none": "NumPy does all"}


def described(registered: Registry, what: str, failures: list[PluginError]) -> dict[str, str]:
    """What each thing of a registry says of itself for people, or how that failed, by its name."""
    from tracer.errors import PluginError
    from tracer.plugins import guard

    found = {}
    for name in registered:
        entry = registered.entry(name)
        try:
            with guard(entry.plugin, f"{what} {name!r}"):
                found[name] = str(entry.value.describe())
        except PluginError as error:
            found[name] = error.message
            failures.append(error)
    return found


def version(distribution: str, remedy: str = "") -> str:
    """The installed version, or that there is none and what to do."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"not installed: {remedy}" if remedy else "not installed"
