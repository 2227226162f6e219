"""What `visualize` says of a model that its reader would look for: NaN, and what nothing uses."""

import pytest

MODEL = """
    import numpy as np
    import tracer_layers as nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.other = nn.Linear(2, 2), nn.Linear(4, 4)

        def forward(self, x):
            h = self.scale(x)
            with np.errstate(invalid="ignore"):
                bad = np.log(h * 0 + np.array([[1.0, -1.0], [2.0, 3.0]], np.float32))
            return bad * 2

    model = Net()
    example_inputs = np.ones((2, 2), np.float32)
"""


@pytest.fixture
def said(command, write_file):
    def run(text):
        outcome = command("visualize", write_file("net.py", text), "-o", "net.svg")
        assert outcome.code == 0
        return outcome.err.splitlines()

    return run


def test_where_nan_came_up_first(said):
    lines = [line for line in said(MODEL) if "NaN" in line]
    assert lines == ["trace-net: NaN first at net.py:13 (log): 1 of 4 entries"]
    assert not any("NaN" in line for line in said(MODEL.replace("-1.0", "1.0")))


def test_parameters_that_nothing_used(said):
    line = "trace-net: parameters that nothing used, and are not drawn: other.weight, other.bias"
    assert line in said(MODEL)
    assert line not in said(MODEL.replace("bad * 2", "bad * 2 + self.other(np.ones(4)).sum()"))
