"""Each chapter as a notebook, run without a browser: it prints and draws what the page shows."""

import os
from pathlib import Path

import pytest
from course import codes

from trace_net.course.chapters import chapters
from trace_net.course.notebook import ROOM, notebook

nbclient = pytest.importorskip("nbclient", reason="needs pip install 'trace-net[notebook]'")
pytest.importorskip("ipykernel", reason="needs pip install 'trace-net[notebook]'")

STREAMS = ("stdout", "stderr")
#: chapters that train for long: their notebooks run with the slow tests
LONG = {"5-experiments", "6-projects"}


def trained():
    """The chapters, long ones marked as slow."""
    for chapter in chapters():
        marks = [pytest.mark.slow] if chapter.name in LONG else []
        yield pytest.param(chapter, marks=marks, id=chapter.name)


@pytest.fixture(scope="module", params=trained())
def executed(request, tmp_path_factory):
    """A chapter, and its notebook after all cells have run, without a screen."""
    import nbformat

    folder = str(tmp_path_factory.mktemp("jupyter"))
    places = dict.fromkeys(("JUPYTER_CONFIG_DIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"), folder)
    places |= {"JUPYTER_PLATFORM_DIRS": "1"}
    before = {name: os.environ.get(name) for name in places}
    os.environ.update(places)
    try:
        document = nbformat.reads(notebook(request.param).decode(), as_version=4)
        nbclient.NotebookClient(
            document,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        ).execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    if keep := os.environ.get("TRACE_NET_NOTEBOOKS"):  # to look at them
        Path(keep).mkdir(exist_ok=True)
        nbformat.write(document, Path(keep) / f"{request.param.name}.ipynb")
    return request.param, [cell for cell in document.cells if cell.cell_type == "code"]


def test_a_notebook_runs_and_shows_what_the_page_does(executed):
    chapter, ran = executed
    pieces = iter(codes(chapter.pieces, solutions=False))
    for cell in ran:
        if cell.source == ROOM:
            assert not cell.outputs
            continue
        code = next(pieces)
        streams = [out for out in cell.outputs if out.output_type == "stream"]
        said = {name: "".join(s.text for s in streams if s.name == name) for name in STREAMS}
        assert not said["stderr"] or "main([" in code.text, cell.source  # of commands alone
        if code.printed is not None:
            assert said["stdout"].rstrip() == code.printed.rstrip()
        shown = [out.data for out in cell.outputs if "data" in out]
        pictures = [data for data in shown if {"image/png", "image/svg+xml"} & set(data)]
        assert len(pictures) == len(shown) == (code.image is not None), cell.source
    assert next(pieces, None) is None
