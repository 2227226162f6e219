"""How much memory is free: what the system says, and what limits leave of it."""

import numpy as np
import pytest

from tracer.arrays import available, backend


@pytest.fixture
def machine(monkeypatch):
    """Other sources in place of this machine's, and nothing known from before."""

    def give(*amounts):
        monkeypatch.setattr(available, "_known", (-1.0, None))
        monkeypatch.setattr(available, "_groups", lambda: iter(()))
        names = ("_meminfo", "_pages", "_address_space")
        for name, amount in zip(names, amounts, strict=True):
            monkeypatch.setattr(available, name, lambda amount=amount: amount)

    return give


def test_this_machine_has_some():
    free = backend.of(np.ones(1)).free_memory()
    assert free is None or free > 0


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ((5, None, None), 5),
        ((5, None, 3), 3),
        ((None, 7, None), 7),
        ((5, None, -2), 0),
        ((None, None, None), None),
    ],
)
def test_the_least_counts(machine, amounts, expected):
    machine(*amounts)
    assert available.host_memory() == expected


def test_an_answer_is_good_for_a_while(machine):
    machine(5, None, None)
    assert available.host_memory() == 5
    available._meminfo = lambda: pytest.fail("asked again")
    assert available.host_memory() == 5


def test_the_kernel_tells_what_is_available(tmp_path):
    place = tmp_path / "meminfo"
    place.write_text("MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:  30 kB\n")
    assert available._meminfo(str(place)) == 30 << 10
    assert available._meminfo(str(tmp_path / "none")) is None


def group(folder, names, limit, used, stat=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)


def left(root, lines):
    of = root / "cgroup"
    of.write_text(lines)
    amounts = [amount() for amount in available._groups(str(root), str(of))]
    return [amount for amount in amounts if amount is not None]


def test_groups_of_the_second_version_and_those_around_them(tmp_path):
    group(tmp_path, available.VERSION_2, "max", 10)
    group(tmp_path / "a", available.VERSION_2, 100, 40, "anon 1\ninactive_file 15\n")
    group(tmp_path / "a" / "b", available.VERSION_2, 90, 60)
    assert left(tmp_path, "0::/a/b\n") == [30, 75]


def test_groups_of_the_first_version(tmp_path):
    group(tmp_path / "memory" / "job", available.VERSION_1, 100, 40, "total_inactive_file 5\n")
    group(tmp_path / "memory", available.VERSION_1, 9223372036854771712, 40)
    assert left(tmp_path, "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n") == [65]


def test_a_group_whose_path_is_of_another_place(tmp_path):
    """As in a container, where the path is the host's: the limit is at the root."""
    group(tmp_path, available.VERSION_2, 100, 30)
    assert left(tmp_path, "0::/system/docker-17\n") == [70]
