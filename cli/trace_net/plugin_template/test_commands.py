import subprocess
import sys

MODEL = """
import numpy as np
import tracer

w = tracer.parameter(np.ones((3, 2)), name="w")


def model(x):
    return np.tanh(x @ w)


def example_inputs():
    return np.ones((4, 3))
"""


def test_the_command_tells_of_a_model(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    command = [sys.executable, "-m", "trace_net", "softclip", "model.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("w  [3, 2]  ")
