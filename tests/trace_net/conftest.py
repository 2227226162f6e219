"""Model files in a folder of their own, and the command run inside the test's process."""

import sys
import textwrap
from dataclasses import dataclass

import pytest
from cli_models import LAYERS, PLAIN
from environments import Environment

from trace_net.main import main


@dataclass
class Outcome:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that starts `error:`; the test fails where there are none or several."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error:")]
        return line

    @property
    def hint(self) -> str:
        (line,) = [line for line in self.err.splitlines() if line.startswith("hint:")]
        return line


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder of the test; modules and paths that a target adds are removed again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def write_file(folder):
    """Write a file of Python code, dedented, and give its name."""

    def write(name: str, code: str) -> str:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(code), encoding="utf-8")
        return name

    return write


@pytest.fixture
def plain(write_file) -> str:
    """A model in plain NumPy code, with inputs, targets and a loss."""
    return write_file("plain.py", PLAIN)


@pytest.fixture
def layers(write_file) -> str:
    """A model of layers, in float32, with a registered loss."""
    return write_file("layers.py", LAYERS)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """A virtual environment with trace-net, the same for all tests that install something."""
    return Environment(tmp_path_factory.mktemp("environments") / "env")


@pytest.fixture
def command(capsys):
    """Run `trace-net` with these arguments."""

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
