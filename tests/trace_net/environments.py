"""A virtual environment with trace-net in it, into which distributions are installed."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Environment:
    """Made without downloads but for the build backend: what trace-net needs is seen, not copied.

    The packages of the interpreter that runs the tests come after those of the environment.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        seen = sysconfig.get_path("purelib")
        # the last by name, since what is editable here has to come before what is editable there
        (packages / "zz_seen.pth").write_text(f"import site; site.addsitedir({seen!r})\n")
        self.pip("install", "hatchling", "editables")
        self.install("-e", str(ROOT))

    def install(self, *distributions: str) -> None:
        """Install with the build backend that is here, and without what they depend on."""
        self.pip("install", "--no-deps", "--no-build-isolation", *distributions)

    def pip(self, *arguments: str) -> None:
        python = str(self.folder / "bin/python")
        own = [sys.executable, "-m", "pip", "--python", python, "--quiet"]
        done = subprocess.run([*own, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def run(
        self, program: str, *arguments: str, variables: dict[str, str] | None = None, **options
    ) -> subprocess.CompletedProcess:
        """Run a program of the environment, as `trace-net`; its output is text."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(self.folder / "bin" / program), *arguments]
        options["env"] = kept | (variables or {})
        return subprocess.run(command, capture_output=True, text=True, **options)
