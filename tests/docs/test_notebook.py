"""The example notebook, run without a browser: each cell shows what its object is."""

import os
from pathlib import Path

import pytest
from pages import DOCS

nbclient = pytest.importorskip("nbclient", reason="needs pip install 'trace-net[notebook]'")
pytest.importorskip("ipykernel", reason="needs pip install 'trace-net[notebook]'")

NOTEBOOK = DOCS / "examples" / "notebook.ipynb"
#: cell -> the format of its output, and words that are in it
SHOWN = {
    "model": ("text/html", ["Sequential: 410 parameters", "Conv2d", "kernel_size=(3, 3)"]),
    "draw": ("image/svg+xml", ["</svg>", ">0 · Conv2d<", "FLOPs"]),
    "tape": ("image/svg+xml", ["</svg>", "∇ 0  Conv2d", "cross_entropy"]),
    "overlay": ("image/svg+xml", ["</svg>", "time (log scale)", "µs"]),
    "graph": ("image/svg+xml", ["</svg>", "Conv2d"]),
    "results": ("text/html", ["<th>kfac</th>", "Kronecker(10x10, 36x36)", "ggn: operator 410"]),
    "values": ("text/html", ["10\N{MULTIPLICATION SIGN}36, norm"]),
    "factors": ("text/html", ["36\N{MULTIPLICATION SIGN}36", "largest eigenvalue"]),
    "operator": ("text/html", ["ggn: operator 410\N{MULTIPLICATION SIGN}410", "0.weight"]),
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    import nbformat

    folder = tmp_path_factory.mktemp("jupyter")
    places = {name: str(folder) for name in ("JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    places |= {"JUPYTER_RUNTIME_DIR": str(folder), "JUPYTER_PLATFORM_DIRS": "1"}
    before = {name: os.environ.get(name) for name in places}
    os.environ.update(places)
    try:
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        resources = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources=resources
        ).execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return {cell.id: cell for cell in notebook.cells}


def bundle(cell):
    (output,) = (o for o in cell.outputs if o.output_type == "execute_result")
    return output.data


def test_every_cell_with_an_output_is_looked_at(cells):
    assert set(SHOWN) == {name for name, cell in cells.items() if cell.get("outputs")}


@pytest.mark.parametrize("name", SHOWN)
def test_a_cell_shows_a_picture_or_a_table(cells, name):
    form, words = SHOWN[name]
    data = bundle(cells[name])
    assert "text/plain" in data
    for word in words:
        assert word in data[form], word


def test_nothing_is_written_but_notes(cells):
    outputs = [output for cell in cells.values() for output in cell.get("outputs", ())]
    said = [output.text for output in outputs if output.output_type == "stream"]
    assert all(text.startswith("depth ") for text in said), said


def test_the_notebook_is_kept_without_outputs():
    assert '"outputs": []' in Path(NOTEBOOK).read_text()
    assert "image/" not in Path(NOTEBOOK).read_text()
