"""Where a run ran: versions, program, revision, machine."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

#: distributions whose versions are kept, where they are installed
VERSIONS = ("trace-net", "numpy", "scipy", "networkx", "cupy-cuda12x", "cupy-cuda13x")


@functools.cache
def environment() -> dict[str, Any]:
    """What is kept of this process, made once: texts and numbers, for JSON."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": command(),
        "folder": str(Path.cwd()),
        "versions": {name: version for name in VERSIONS if (version := version_of(name))},
    }
    return found | revision(Path.cwd())


def command() -> list[str]:
    """What was typed; a command of trace-net changes `sys.argv` for the file that it runs."""
    interpreter, *arguments = sys.orig_argv or [""]
    if arguments and not arguments[0].startswith("-"):
        return [Path(arguments[0]).name, *arguments[1:]]
    return [Path(interpreter).name, *arguments]


def version_of(distribution: str) -> str:
    """The version of an installed distribution, or nothing."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def revision(folder: Path) -> dict[str, Any]:
    """The revision of git that a folder is at, and whether files differ from it; or nothing."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"git": {"revision": head, "changed": bool(changed)}}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, timeout=5, check=False, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
