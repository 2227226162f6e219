"""Recurrent models on the command line: both views in time, steps, and gradient flow."""

import importlib.util
import json
import re

import numpy as np
import pytest

RECURRENT = """
    import numpy as np
    import tracer

    w = tracer.parameter({scale} * np.eye(3), name="w")

    def model(x):
        h = np.zeros((2, 3))
        with tracer.scope("cell"):
            for t in tracer.steps({steps}):
                h = x[:, t] + h @ w
        return h

    example_inputs = np.zeros((2, {steps}, 3))

    def loss(output):
        return output.sum()
"""


@pytest.fixture
def recurrent(write_file):
    """A linear loop, whose gradient is scaled by `scale` at each step back."""

    def write(steps=20, scale=0.5):
        return write_file("loop.py", RECURRENT.format(steps=steps, scale=scale))

    return write


@pytest.mark.parametrize("time", ["unrolled", "folded"])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("format", ["svg", "dot", "json", "mermaid", "html"])
def test_every_format_draws_time_both_ways(command, folder, recurrent, time, direction, format):
    file = f"g.{format}"
    outcome = command(
        "visualize", recurrent(), "-o", file, "--time", time, "--direction", direction,
        "--overlay", "grad_norm", "--depth", "1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    text = (folder / file).read_text()
    if format == "json":
        assert json.loads(text)["graph"]["time"] == time
    elif format == "html":
        assert f'data-time="{time}" tabindex' in text
        data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
        assert json.loads(data[1])["views"].keys() == {"folded", "unrolled"}
    else:
        folded = re.search(r"T (=|&#61;|#61;) 20 steps", text) is not None
        assert folded == (time == "folded")


def test_long_loops_are_drawn_in_short_and_that_is_said(command, folder, recurrent, caplog):
    outcome = command("visualize", recurrent(50), "-o", "g.svg", "--depth", "all")
    assert outcome.code == 0, outcome.err
    assert "42 of 50 steps are not drawn" in caplog.text
    assert "… 42 steps …" in (folder / "g.svg").read_text()


def test_longer_loops_than_three_steps_are_folded_by_default(command, folder, recurrent):
    for steps, folded in ((3, False), (4, True)):
        assert command("visualize", recurrent(steps), "-o", "g.svg").code == 0
        assert (f"T = {steps} steps" in (folder / "g.svg").read_text()) == folded


@pytest.mark.parametrize(("steps", "drawn"), [("2", 2), ("7", 7), ("all", 20)])
def test_as_many_steps_are_drawn_as_asked_for(command, folder, recurrent, steps, drawn):
    outcome = command(
        "visualize", recurrent(), "-o", "g.svg", "--direction", "forward", "--steps", steps
    )
    assert outcome.code == 0, outcome.err
    assert len(re.findall(r">t = \d+</text>", (folder / "g.svg").read_text())) == drawn


@pytest.mark.parametrize("steps", ["1", "-3", "some", "2.5", ""])
def test_a_wrong_number_of_steps_is_refused(command, recurrent, steps):
    outcome = command("visualize", recurrent(), f"--steps={steps}")
    assert outcome.code == 2
    assert "a number of steps from 2, or all" in outcome.error


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_gradient_flow_is_in_table_document_and_file(command, folder, recurrent, scale):
    target = recurrent(20, scale)
    outcome = command("quantities", target, "-o", "q.npz", "--json")
    assert outcome.code == 0, outcome.err
    expected = np.sqrt(6) * scale ** np.arange(19.0, -1, -1)
    flow = json.loads(outcome.out)["gradient_flow"]
    assert list(flow) == ["cell.add"]
    np.testing.assert_allclose(flow["cell.add"], expected)
    np.testing.assert_allclose(np.load(folder / "q.npz")["gradient_flow/cell.add"], expected)
    table = command("quantities", target).out.partition("gradient flow through time")[2]
    (row,) = [line.split() for line in table.splitlines() if "cell.add" in line]
    assert row[:2] == ["cell.add", "20"]
    assert float(row[-1]) == scale


def test_without_loops_or_gradient_there_is_no_flow(command, recurrent, plain):
    assert json.loads(command("quantities", plain, "--json").out)["gradient_flow"] == {}
    outcome = command("quantities", recurrent(), "--quantity", "batch_l2", "--json")
    assert json.loads(outcome.out)["gradient_flow"] == {}
    assert "gradient flow" not in command("quantities", plain).out


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="draws with matplotlib")
def test_gradient_flow_is_plotted_on_a_log_scale(command, folder, recurrent):
    outcome = command("quantities", recurrent(), "--plot", "q.svg")
    assert outcome.code == 0, outcome.err
    assert (folder / "q.svg").stat().st_size > 10_000
    from matplotlib.figure import Figure

    from trace_net import flow

    axes = Figure().add_subplot()
    flow.draw(axes, {"a": np.array([1.0, np.inf, 100.0]), "b (reverse)": np.array([0, 2.0, 3.0])})
    assert axes.get_yscale() == "log"
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["a, 1 infinite", "b (reverse), 1 zero"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1, np.nan, 100])


def test_a_row_has_the_rate_over_the_steps_that_have_a_gradient():
    from trace_net import flow

    norms = {
        "falls": np.array([np.nan, 0.0, 1.0, 2.0, 4.0]),
        "grows (reverse)": np.array([1.0, 3.0, 9.0])[::-1],
        "none": np.full(3, np.nan),
    }
    rows = {name: row for name, *row in flow.rows(norms)}
    assert rows["falls"] == [5, 0.0, 4.0, 0.0, 4.0, 0.5]
    assert rows["grows (reverse)"] == [3, 1.0, 9.0, 1.0, 9.0, pytest.approx(1 / 3)]
    assert np.isnan(rows["none"][1:]).all()
