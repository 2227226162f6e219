"""Building and finding libraries: what goes wrong is one line, and NumPy goes on."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tracer_native import cache, compilers, loading
from tracer_native.compilers import Compiler, CompilerError


class Copying(Compiler):
    """A compiler that is done at once: its library is what it is given."""

    def compile(self, target):
        target.write_bytes(b"a library")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(loading.VARIABLE, raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compilers, "has_zig", lambda: False)
    return tmp_path


def copying(version="1"):
    return Copying(("copying",), version)


def test_a_library_is_found_by_text_flags_and_processor(monkeypatch, own_cache):
    path = cache.build(copying())
    assert path.is_relative_to(own_cache)
    assert cache.built() == [path]
    assert cache.is_whole(path)
    monkeypatch.setattr(cache, "key", lambda: "of another processor")
    assert cache.built() == []
    assert cache.all_built() == [path]


def test_one_of_another_compiler_comes_beside_and_the_newest_is_taken():
    first, second = cache.build(copying("1")), cache.build(copying("2"))
    os.utime(first, (1, 1))
    assert cache.built() == [second, first]


def test_nothing_is_left_of_a_build_that_fails(own_cache):
    with pytest.raises(CompilerError, match="not-a-compiler failed"):
        cache.build(Compiler(("not-a-compiler",), ""))
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_nothing_is_built_unasked(monkeypatch, capsys):
    monkeypatch.setattr(loading, "build", lambda: pytest.fail("nobody asked for it"))
    assert loading.load() is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("by", ["variable", "extra"])
def test_it_is_built_where_that_is_asked_for(monkeypatch, by):
    built = []
    monkeypatch.setattr(loading, "build", lambda: built.append(1) or cache.build(copying()))
    if by == "variable":
        monkeypatch.setenv(loading.VARIABLE, "1")
    else:
        monkeypatch.setattr(compilers, "has_zig", lambda: True)
    loading.load()
    assert built == [1]


def test_the_variable_turns_off_what_the_extra_asks_for(monkeypatch):
    monkeypatch.setattr(compilers, "has_zig", lambda: True)
    monkeypatch.setenv(loading.VARIABLE, "0")
    assert loading.is_off()
    assert not loading.is_asked_for()


def one_line(capsys):
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("trace-net: no compiled kernels, NumPy goes on: ")
    return told


def test_no_compiler(monkeypatch, capsys):
    monkeypatch.setenv(loading.VARIABLE, "1")
    monkeypatch.setenv("PATH", "")
    assert loading.load() is None
    assert "there is no C++ compiler: install g++ or clang" in one_line(capsys)


def test_a_compiler_that_fails(monkeypatch, capsys, tmp_path):
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\n[ $1 = --version ] && exit 0\necho 'error: no' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv(loading.VARIABLE, "1")
    monkeypatch.setenv("CXX", str(failing))
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    assert loading.load() is None
    assert f"{failing} failed: error: no" in one_line(capsys)


def test_a_cache_that_cannot_be_written(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv(loading.VARIABLE, "1")
    monkeypatch.setattr(compilers, "found", lambda: iter([copying()]))
    assert loading.load() is None
    assert "file" in one_line(capsys)


def test_a_damaged_library_is_told_and_built_anew_where_that_is_asked_for(monkeypatch, capsys):
    path = cache.build(copying())
    path.write_bytes(b"half a lib")
    assert loading.load() is None
    assert "is damaged: `trace-net kernels build` makes it anew" in one_line(capsys)
    monkeypatch.setenv(loading.VARIABLE, "1")
    monkeypatch.setattr(compilers, "found", lambda: iter([copying()]))
    assert loading.load() is None  # since this one is no library
    one_line(capsys)
    assert cache.is_whole(path)


def test_a_file_that_is_no_library(capsys):
    cache.build(copying())
    assert loading.load() is None
    one_line(capsys)


PROGRAM = """
    import numpy as np, os, threading
    import tracer, tracer_layers as nn
    from tracer.extend import compiled

    def step():
        x = np.linspace(-1, 1, 8 * 3 * 20 * 20).reshape(8, 3, 20, 20)
        with tracer.Tape() as tape:
            loss = np.mean(model(x) ** 2)
        return tape.backward(loss)["grad"]["0.weight"].tobytes()

    tracer.seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2)).double()
    first = step()
    print(type(compiled()).__module__)
    made = []
    threads = [threading.Thread(target=lambda: made.append(step())) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert made == [first] * 3
    child = os.fork()
    if not child:
        os._exit(0 if step() == first else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_same_bits_in_threads_in_a_forked_child_and_for_any_number_of_threads(
    kernels, monkeypatch
):
    bits = []
    for threads in ("1", "2", "3"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        environment["XDG_CACHE_HOME"] = str(Path(kernels.describe()).parents[2])
        program = textwrap.dedent(PROGRAM) + "\nprint(first.hex())"
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
            env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        module, found = done.stdout.split()
        assert module == "tracer_native.kernels"
        bits.append(found)
    assert len(set(bits)) == 1
