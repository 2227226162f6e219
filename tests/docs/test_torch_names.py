"""The page of PyTorch's names says what is here, and what errors say of what is not."""

import importlib.util
from pathlib import Path

import pytest

from tracer.errors import HintError

DOCS = Path(__file__).resolve().parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("torch_table", DOCS / "torch_table.py")
table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(table)
ROWS = table.rows()
STATES = {f"{space}.{r.name}": r.state for space, rows in ROWS.items() for r in rows}


def test_the_page_is_what_the_command_writes():
    """`python docs/torch_table.py` makes it anew."""
    assert table.PAGE.read_text(encoding="utf-8") == table.page()


def test_departures_and_reasons_are_of_names_that_are_so():
    assert {STATES[name] for name in table.DEPARTURES} == {table.DEPARTS}
    assert {STATES[name] for name in table.REASONS} == {table.ABSENT}


@pytest.mark.parametrize("namespace", table.HINTS)
def test_an_error_says_what_the_page_says_of_a_name_that_is_absent(namespace):
    owner = table.OURS[namespace]
    owner = owner() if isinstance(owner, type) else owner
    for row in ROWS[namespace]:
        first = row.name.partition(".")[0]
        if row.state == table.ABSENT and f"{namespace}.{row.name}" not in table.REASONS:
            with pytest.raises(HintError) as error:
                getattr(owner, first)
            assert str(error.value).endswith(row.note)


def test_few_names_are_absent():
    absent = [name for name, state in STATES.items() if state == table.ABSENT]
    assert len(STATES) > 450
    assert len(absent) < 80
    assert sum(name.startswith("torch.nn.functional.") for name in absent) == 3
