"""The ways through the house lead through the files that the page on architecture names."""

import re
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from pages import DOCS

import tracer
import tracer_layers as nn
from trace_net.main import main
from tracer.errors import ResultError

PAGE = (DOCS / "explanation" / "architecture.md").read_text()


def named(way):
    """The files that a section names."""
    section = PAGE.partition(f"## The way of a {way}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`([a-z_/]+\.py)`", section))


@contextmanager
def passed():
    """The files whose functions are called in its block."""
    files = set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, *_: files.add(frame.f_code.co_filename))
    try:
        yield files
    finally:
        sys.setprofile(before)


def not_passed(way, files):
    return {name for name in named(way) if not any(file.endswith(f"/{name}") for file in files)}


def test_the_way_of_a_tensor():
    tracer.plugins.load()
    with passed() as files:
        w = tracer.parameter(np.ones((3, 2)))
        with tracer.Tape() as tape:
            np.tanh(np.ones((4, 3)) @ w)
    # a table is looked up in `dispatch` without a call
    assert not_passed("tensor", files) == {"record/dispatch.py"}
    assert [node.op.name for node in tape.recorded()] == ["matmul", "tanh"]


def test_the_way_of_a_cotangent():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(np.ones((4, 3))), np.array([0, 1, 1, 0]))
    with passed() as files:
        tape.backward(loss)
        results = tape.backward(loss, ("grad", "kfac", "kfra", "diag_h", "ggn"))
        results["ggn"] @ np.ones(results["ggn"].shape[1])
        with pytest.raises(ResultError):
            results["kflr"]
    assert not_passed("cotangent", files) == set()


def test_the_way_of_a_target(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "model_of_ways.py").write_text(
        "import numpy as np\n"
        "import tracer_layers as nn\n"
        "model = nn.RNN(2, 3, batch_first=True)\n"
        "def loss(output): return nn.mse_loss(output[0], np.zeros(output[0].shape))\n"
    )
    target, *given = "model_of_ways.py", "--input", "input=f32[3,4,2]"
    with passed() as files:
        assert main(["visualize", target, "-o", "x.html", "--overlay", "kfac", *given]) == 0
        assert main(["visualize", target, "-o", "x.svg", "--time", "folded", *given]) == 0
        assert main(["quantities", target, "--quantity", "kfac", *given]) == 0
    assert not_passed("TARGET", files) == set()


def test_there_are_ways():
    assert min(len(named(way)) for way in ("tensor", "cotangent", "TARGET")) > 5
