"""`quantities`: tables, files and pictures; `visualize` with overlays by quantities."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from trace_net import plot


def asked(*names):
    return [word for name in names for word in ("--quantity", name)]


def values_of(outcome, **keys):
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["values"]
    return [row for row in rows if all(row[key] == value for key, value in keys.items())]


def test_a_kronecker_product_is_summed_up_by_factor_and_as_a_block(command, folder, layers):
    outcome = command("quantities", layers, *asked("kflr"), "--json", "-o", "q.npz")
    rows = {row["part"]: row for row in values_of(outcome, parameter="2.weight")}
    assert list(rows) == ["factor0", "factor1", "block"]
    arrays = np.load(folder / "q.npz")
    factors = [arrays[f"kflr/2.weight/factor{i}"].astype(np.float64) for i in (0, 1)]
    block = np.kron(*factors)
    assert rows["block"]["shape"] == list(block.shape)
    assert rows["block"]["norm"] == pytest.approx(np.linalg.norm(block))
    assert rows["block"]["trace"] == pytest.approx(np.trace(block))
    assert rows["block"]["largest"] == pytest.approx(np.linalg.eigvalsh(block)[-1])
    for part, factor in zip(("factor0", "factor1"), factors, strict=True):
        rank = np.linalg.matrix_rank(factor.astype(np.float32))
        assert rows[part]["rank"] == rank
        full = rank == len(factor)
        expected = pytest.approx(np.linalg.cond(factor), rel=1e-4) if full else "Infinity"
        assert rows[part]["condition"] == expected


def test_samples_are_where_the_module_says(command, folder):
    """An LSTM takes sequences first, so that the samples are on the second axis."""
    (folder / "sequences.py").write_text(
        """
import numpy as np

import tracer
import tracer_layers as nn

tracer.seed(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(2, 3), nn.Linear(3, 2)

    def forward(self, sequence):
        return self.out(self.lstm(sequence)[0][-1])


model = Model()
example_inputs = np.ones((5, 4, 2), np.float32)
targets = np.array([0, 1, 1, 0])
loss = nn.cross_entropy
"""
    )
    outcome = command("quantities", "sequences.py", *asked("grad_batch"), "--json")
    for row in values_of(outcome):
        assert row["shape"][0] == 4
    assert "sequence" in command("visualize", "sequences.py", "-o", "-", "--format", "mermaid").out


def test_a_bias_has_one_factor_and_no_further_block(command, layers):
    outcome = command("quantities", layers, *asked("kfac"), "--json")
    assert [row["part"] for row in values_of(outcome, parameter="0.bias")] == ["factor0"]


def test_a_small_operator_is_summed_up_exactly(command, layers):
    outcome = command("quantities", layers, *asked("ggn", "diag_ggn_exact"), "--json")
    (ggn,) = values_of(outcome, quantity="ggn")
    assert ggn["kind"] == "operator"
    size = 4 * 6 + 6 + 6 * 3 + 3
    assert ggn["shape"] == [size, size]
    means = values_of(outcome, quantity="diag_ggn_exact")
    trace = sum(row["mean"] * np.prod(row["shape"]) for row in means)
    assert ggn["trace"] == pytest.approx(trace, rel=1e-4)
    assert 0 < ggn["largest"] < ggn["trace"]
    assert ggn["rank"] == 5 * 2


def test_a_large_operator_has_its_largest_eigenvalue(command, layers, monkeypatch):
    from trace_net import spectra

    small = values_of(command("quantities", layers, *asked("hessian"), "--json"))
    monkeypatch.setattr(spectra, "LARGEST_DENSE", 20)
    large = values_of(command("quantities", layers, *asked("hessian"), "--json"))
    assert large[0]["largest"] == pytest.approx(small[0]["largest"], rel=0.02)
    assert large[0]["trace"] is None


def test_every_kind_has_its_table(command, folder, layers):
    names = ("grad", "kfac", "ggn", "hmp")
    outcome = command("quantities", layers, *asked(*names), "-o", "q.npz")
    assert outcome.code == 0, outcome.err
    for words in ("arrays", "condition", "4/4", "[51, 51]", "operators", "functions of vectors"):
        assert words in outcome.out
    assert "ggn has no arrays to write: what it gives is operators" in outcome.err
    assert "hmp has no arrays to write: what it gives is functions" in outcome.err
    assert {key.partition("/")[0] for key in np.load(folder / "q.npz").files} == {"grad", "kfac"}


ALL = ("grad", "kfac", "batch_l2", "grad_batch", "batch_dot", "sqrt_ggn_exact", "diag_h", "ggn")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", plot.FORMATS)
def test_a_picture_of_every_form(command, folder, layers, suffix):
    outcome = command("quantities", layers, *asked(*ALL), "--plot", f"q.{suffix}")
    assert outcome.code == 0, outcome.err
    magic = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert (folder / f"q.{suffix}").read_bytes().startswith(magic)


def sections_of(results, shapes):
    return {section.quantity: section for section in plot.sections(results, shapes)}


def test_the_picture_of_a_stack_counts_the_norms_of_samples():
    stack = np.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    (panel,) = sections_of({"sqrt_ggn_exact": {"b": stack}}, {"b": (3,)})["sqrt_ggn_exact"].panels
    assert panel.numbers == pytest.approx([np.linalg.norm(stack[:, n]) for n in range(5)])


@pytest.mark.parametrize("count", [1, 2, 40, 120])
def test_panels_are_of_few_and_of_many_parameters(count):
    values = {f"layers.{i}.weight": np.full((3, 2), 10.0**-i) for i in range(count)}
    shapes = dict.fromkeys(values, (3, 2))
    section = sections_of({"grad": values}, shapes)["grad"]
    assert len(section.norms) == count
    assert len(section.panels) == min(count, plot.MOST_PANELS)
    assert ("largest norm" in section.heading) == (count > plot.MOST_PANELS)


def test_a_histogram_counts_every_positive_number():
    numbers = np.array([1e-30, 1e-3, 1.0, 0.0, -1.0, np.inf, np.nan])
    edges = plot._edges([numbers])
    assert plot._count(numbers, edges).sum() == 3
    assert plot._count(-numbers, edges).sum() == 1


def test_a_picture_of_hostile_names_and_values(recwarn):
    values = {
        "$\\frac{": np.array([np.nan, 1.0]),
        "層\n<b>": np.array([np.inf, -1.0]),
        "zero" * 20: np.zeros(2),
        "empty": np.zeros((0,)),
    }
    shapes = {name: value.shape for name, value in values.items()}
    flow = {name: np.append(value, 1.0) for name, value in values.items()}
    assert b"</svg>" in plot.draw({"grad": values}, shapes, flow, "$x", "svg")
    assert not recwarn


def test_nothing_to_draw_is_said(command, layers, folder):
    outcome = command("quantities", layers, *asked("hmp"), "--plot", "q.png")
    assert outcome.code == 2
    assert "hmp gives none" in outcome.error
    assert not (folder / "q.png").exists()


def test_a_plot_without_matplotlib_says_what_to_install(command, layers, monkeypatch, folder):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name)
    )
    outcome = command("quantities", layers, "--plot", "q.png")
    assert outcome.code == 3
    assert "matplotlib" in outcome.error
    assert "pip install 'trace-net[plot]'" in outcome.hint
    assert not (folder / "q.png").exists()


@pytest.mark.parametrize("path", ["q.jpg", "q", "-", "folder.png/q"])
def test_a_plot_in_a_format_that_is_not_drawn(command, layers, path):
    outcome = command("quantities", layers, "--plot", path)
    assert outcome.code == 2
    assert "png, pdf, svg" in outcome.error


def test_matplotlib_is_imported_for_pictures_only(command, layers, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # an import of it would raise an error
    assert command("quantities", layers, *asked("kfac")).code == 0


@pytest.mark.parametrize(
    ("overlay", "label"),
    [
        ("kfac", "norm of kfac"),
        ("diag_ggn_exact:max", "maximum of diag_ggn_exact"),
        ("batch_l2:mean", "mean of batch_l2"),
        ("kflr:trace", "trace of kflr"),
    ],
)
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_an_overlay_by_a_quantity_colours_parameters(
    command, folder, layers, overlay, label, direction
):
    options = ("--direction", direction, "-o", "g.json", "--overlay", overlay)
    outcome = command("visualize", layers, *options)
    assert outcome.code == 0, outcome.err
    document = json.loads((folder / "g.json").read_text())
    assert document["overlay"]["label"] == label
    count = {"forward": 4, "backward": 4, "both": 8}[direction]
    numbers = document["overlay"]["values"].values()
    assert len(numbers) == count
    assert all(number > 0 for number in numbers)


def test_the_legend_says_what_colours_mean(command, folder, layers):
    assert command("visualize", layers, "--overlay", "kfac:trace").code == 0
    assert "trace of kfac" in (folder / "layers.svg").read_text()


def test_an_overlay_without_values_is_said_to_colour_nothing(command, layers):
    outcome = command("visualize", layers, "--overlay", "grad:condition")
    assert outcome.code == 0, outcome.err
    assert "no node is coloured: none has a value of condition number of grad" in outcome.err


def test_a_misspelt_scalar(command, layers):
    outcome = command("visualize", layers, "--overlay", "kfac:tracee")
    assert outcome.code == 2
    assert "'trace'" in outcome.error


TIED = """
    import numpy as np
    import tracer_layers as nn

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 4)
            {more}

        def forward(self, codes):
            h = self.table(codes).mean(1)
            {use}
            return h @ self.table.weight.T

    def build_model():
        return Tied()

    def example_inputs():
        return np.arange(12).reshape(4, 3) % 5

    loss = nn.CrossEntropyLoss()
    targets = np.array([0, 1, 2, 0])
"""


def test_what_is_undefined_for_a_parameter_is_said_and_the_rest_is_given(command, write_file):
    code = TIED.format(more="self.linear = nn.Linear(4, 4)", use="h = np.tanh(self.linear(h))")
    outcome = command("quantities", write_file("tied.py", code), *asked("kfac", "grad"), "--json")
    found = {(row["quantity"], row["parameter"]) for row in values_of(outcome)}
    assert found == {
        *(("kfac", f"linear.{part}") for part in ("weight", "bias")),
        *(("grad", name) for name in ("table.weight", "linear.weight", "linear.bias")),
    }
    (line,) = [line for line in outcome.err.splitlines() if "undefined" in line]
    assert line.startswith("trace-net: kfac is undefined for 1 of 3 parameters, 'table.weight' (")


def test_a_quantity_that_no_parameter_has_is_an_error(command, write_file):
    outcome = command("quantities", write_file("tied.py", TIED.format(more="", use="")),
                      *asked("kfac"))  # fmt: skip
    assert outcome.code == 1
    assert "kfac is undefined for 'table.weight'" in outcome.err


def test_a_long_sweep_is_told_of_on_stderr(command, layers, monkeypatch):
    monkeypatch.setattr("tracer.curvature.progress.AFTER", 0.0)
    outcome = command("quantities", layers, *asked("diag_ggn_exact"), "--json")
    assert json.loads(outcome.out)["values"]
    assert "diag_ggn_exact: one sweep: 100 %" in outcome.err.splitlines()
