"""How formulas of the pages are set: as TeX does, where MathML has another space."""

import sys

import pytest
from pages import DOCS

pytest.importorskip("latex2mathml", reason="needs pip install 'trace-net[docs]'")
sys.path.append(str(DOCS))
from formulas import mathml, on_page_content

THIN = '<mspace width="0.167em" />'


def set_as(formula):
    text = mathml(formula, "inline")
    return text.partition("<mrow>")[2].removesuffix("</mrow></math>")


@pytest.mark.parametrize(
    ("formula", "wanted"),
    [
        (r"\log x", f"<mi>log</mi>{THIN}<mi>x</mi>"),
        (r"\sin^2 x", f"<msup><mi>sin</mi><mn>2</mn></msup>{THIN}<mi>x</mi>"),
        (r"\max x", f"<mi>max</mi>{THIN}<mi>x</mi>"),
    ],
)
def test_the_name_of_a_function_is_set_off(formula, wanted):
    assert set_as(formula) == wanted


@pytest.mark.parametrize("formula", [r"\sin(x)", r"\log \sum_i x", r"\log", r"a b", "ab"])
def test_brackets_sums_and_letters_are_not(formula):
    assert "mspace" not in mathml(formula, "inline")


@pytest.mark.parametrize("formula", ["a / b", r"a \partial b", r"a \dots b", r"a \infty b"])
def test_signs_that_are_no_operators_have_no_space(formula):
    assert ' lspace="0" rspace="0">' in set_as(formula)


def test_a_minus_after_a_relation_is_a_sign_and_between_letters_it_subtracts():
    assert '<mo form="prefix" lspace="0" rspace="0">\N{MINUS SIGN}</mo>' in set_as("a = -b")
    assert "<mo>\N{MINUS SIGN}</mo>" in set_as("a - b")


def test_bars_of_a_norm_are_as_high_as_letters():
    assert set_as(r"\lVert x \rVert^2").count('stretchy="false"') == 2


def test_a_page_has_them_in_place_of_marks():
    page = r'<p>so <span class="arithmatex">\(a &lt; b\)</span> is</p>'
    made = on_page_content(page)
    assert made.startswith('<p>so <math xmlns="http://www.w3.org/1998/Math/MathML"')
    assert "<mo>&lt;</mo>" in made
