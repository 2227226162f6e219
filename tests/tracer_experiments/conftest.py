"""The command run inside the test's process, in a folder of its own."""

from dataclasses import dataclass

import pytest

from trace_net.main import main


@dataclass
class Outcome:
    """What a command gave back."""

    code: int
    out: str
    err: str

    def line(self, beginning: str) -> str:
        """The one line of stderr that begins so; the test fails where there are none or several."""
        (found,) = [line for line in self.err.splitlines() if line.startswith(beginning)]
        return found


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Run `trace-net` with these arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments: object, code: int = 0) -> Outcome:
        capfd.readouterr()
        found = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        assert found == code, captured.err
        assert "Traceback" not in captured.err
        return Outcome(found, captured.out, captured.err)

    return run
