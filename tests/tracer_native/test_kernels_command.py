"""`trace-net kernels`, and what the doctor says."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TRACER_NATIVE", raising=False)

    def run(*arguments, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        done = subprocess.run(
            [sys.executable, "-m", "trace_net", *arguments], capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.slow
def test_build_list_and_remove(kernels, command):  # where `kernels` are, a compiler is, too
    code, built, _ = command("kernels", "build")
    assert code == 0
    assert command("kernels", "list")[1] == f"runs here  {built}"
    told = json.loads(command("doctor", "--json")[1])["compiled kernels"]
    assert told == {"native": built.strip()}
    assert command("kernels", "remove")[1] == built
    assert command("kernels", "list")[1] == ""
    told = json.loads(command("doctor", "--json")[1])["compiled kernels"]
    assert told == {"native": "none are built: `trace-net kernels build` does it"}
    told = json.loads(command("doctor", "--json", TRACER_NATIVE="0")[1])["compiled kernels"]
    assert told == {"none": "NumPy does all"}


def test_a_compiler_that_is_missing_is_an_error(command, tmp_path):
    code, out, error = command("kernels", "build", PATH=str(tmp_path), CXX="")
    if not code:
        pytest.skip("the extra `native` is installed, whose compiler is not on the PATH")
    assert out == ""
    assert "no kernels were built: there is no C++ compiler: install g++ or clang" in error
