"""Files appear whole or not at all."""

import os

import pytest

from trace_net.errors import UsageError
from trace_net.write import writable, write


def test_a_file_is_replaced_and_nothing_is_left_beside_it(folder):
    (folder / "a.svg").write_bytes(b"old")
    writable("a.svg")
    write("a.svg", b"new")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"a.svg": b"new"}


def test_an_interrupted_write_leaves_the_old_file(folder, monkeypatch):
    (folder / "a.svg").write_bytes(b"old")

    def interrupted(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write("a.svg", b"new")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"a.svg": b"old"}


def test_a_link_keeps_pointing_at_its_file(folder):
    (folder / "a.svg").write_bytes(b"old")
    (folder / "link.svg").symlink_to("a.svg")
    write("link.svg", b"new")
    assert (folder / "link.svg").is_symlink()
    assert (folder / "a.svg").read_bytes() == b"new"


def test_permissions_are_those_of_any_new_file(folder):
    (folder / "touched").touch()
    write("a.svg", b"new")
    assert (folder / "a.svg").stat().st_mode == (folder / "touched").stat().st_mode


def test_a_device_is_written_to():
    writable(os.devnull)
    write(os.devnull, b"new")
    assert not os.path.isfile(os.devnull)


@pytest.mark.parametrize("path", ["missing/a.svg", ".", "file/a.svg"])
def test_what_cannot_be_written_is_known_before(folder, path):
    (folder / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        writable(path)
