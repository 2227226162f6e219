"""`trace-net course`: which files it writes, and that it keeps what a student has written."""

import json
import zipfile

import pytest
from environments import ROOT

from trace_net.course.chapters import chapters

FOLDER = "trace_net/course/"
NAMES = [f"{chapter.name}.ipynb" for chapter in chapters()]


def test_it_writes_a_notebook_for_each_chapter(command, folder):
    outcome = command("course")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [f"course/{name}" for name in NAMES]
    assert sorted(path.name for path in (folder / "course").iterdir()) == NAMES
    for name in NAMES:
        assert json.loads((folder / "course" / name).read_text("utf-8"))["nbformat"] == 4


def test_one_chapter_goes_into_the_folder_that_is_named(command, folder):
    outcome = command("course", "deep/er", "--chapter", "2")
    assert outcome.code == 0, outcome.err
    assert [path.name for path in (folder / "deep" / "er").iterdir()] == [NAMES[1]]


def test_the_list_writes_nothing(command, folder):
    outcome = command("course", "--list")
    assert outcome.code == 0
    for chapter in chapters():
        assert chapter.title in outcome.out
    assert not list(folder.iterdir())


def test_what_a_student_wrote_is_kept_and_what_is_missing_comes(command, folder):
    command("course")
    mine, gone = folder / "course" / NAMES[0], folder / "course" / NAMES[1]
    mine.write_text("mine")
    gone.unlink()
    outcome = command("course")
    assert outcome.code == 0
    assert mine.read_text() == "mine"
    assert gone.exists()
    assert f"course/{NAMES[0]} is kept as you left it; --force writes it anew" in outcome.err
    assert f"course/{NAMES[0]}" not in outcome.out.splitlines()


def test_force_writes_anew(command, folder):
    command("course")
    mine = folder / "course" / NAMES[0]
    as_it_came = mine.read_bytes()
    mine.write_text("mine")
    outcome = command("course", "--force")
    assert outcome.code == 0
    assert mine.read_bytes() == as_it_came


@pytest.mark.parametrize("number", ["0", "-1", "99"])
def test_a_chapter_that_is_none_is_refused(command, folder, number):
    outcome = command("course", "--chapter", number)
    assert outcome.code == 2
    assert f"--chapter takes 1 to {len(NAMES)}, got {number}" in outcome.error
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_made_is_said(command, folder):
    (folder / "file").write_text("")
    outcome = command("course", "file")
    assert outcome.code == 2
    assert "cannot make the folder file" in outcome.error


def test_what_the_chapters_need_is_said_where_it_is_missing(command, monkeypatch):
    monkeypatch.setattr("trace_net.commands.course.NEEDED", ("numpy", "no_such_module"))
    outcome = command("course")
    assert "the chapters need no_such_module: pip install 'trace-net[course]'" in outcome.err


@pytest.mark.slow
def test_a_wheel_has_every_chapter(environment, tmp_path):
    environment.pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("trace_net-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(FOLDER)}
    assert {f"{FOLDER}{chapter.name}.md" for chapter in chapters()} <= held
