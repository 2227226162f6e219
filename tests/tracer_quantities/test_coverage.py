"""Every quantity on every layer, and the page of the docs that says so."""

from pathlib import Path

import pytest
from coverage_cases import CASES, layer_of, layers
from coverage_table import STRUCTURED, listed, page, row

import tracer_quantities as tq

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "coverage.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_page_says_what_each_quantity_is_on_a_layer(case):
    """Computed anew; a value that differs from its definition is an error."""
    assert row(case) == listed(PAGE)[case]


def test_every_layer_of_the_package_has_a_case():
    assert {layer_of(case) for case in CASES} == set(layers())


def test_the_page_lists_the_cases_and_is_what_the_command_prints():
    rows = listed(PAGE)
    assert list(rows) == list(CASES)
    assert page(rows) == PAGE


def test_every_cell_of_first_derivatives_is_exact_but_where_samples_are_mixed():
    for case, cells in listed(PAGE).items():
        mixed = "(training)" in case
        for quantity in ("grad", "grad_batch", "batch_l2", "batch_dot", "variance"):
            undefined = mixed and quantity != "grad"
            assert cells[quantity].startswith("undefined") == undefined, (case, quantity)


def test_only_kronecker_factors_are_structured():
    kronecker = {quantity.name for quantity in tq.QUANTITIES if issubclass(quantity, tq.KFLR)}
    found = {
        quantity
        for cells in listed(PAGE).values()
        for quantity, cell in cells.items()
        if cell.startswith(STRUCTURED)
    }
    assert found == kronecker
