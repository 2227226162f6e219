"""Which versions compute: states of one version are not merged with those of another."""

from __future__ import annotations

import numpy as np

import tracer


def versions() -> dict[str, str]:
    """Of this process: name -> version."""
    return {"trace-net": tracer.__version__, "numpy": np.__version__}


def difference(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """The first that differs, as text; empty where all are equal."""
    for name, version in ours.items():
        if theirs.get(name) != version:
            return f"{name} {theirs.get(name, 'of no version')} in place of {version}"
    return ""
