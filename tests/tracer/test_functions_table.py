"""The page of NumPy's and SciPy's functions is what there is, and what it calls refused is refused.

That the others are right is in `test_numpy_functions`, `test_numpy_border` and `test_scipy`, each
of which finds by itself a function without a case.
"""

import importlib
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy
from functions_table import MODULES, functions, kind, listed

import tracer
from tracer.arrays.trees import flatten

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "functions.md").read_text("utf-8")
TABLE = listed(PAGE)
MADE_WITH = re.search(r"NumPy (\S+) and SciPy (\S+)\.", PAGE).groups()


def public(module):
    return functions(importlib.import_module(module))


@pytest.mark.parametrize("module", MODULES)
def test_the_page_says_what_there_is(module):
    found, aliases = public(module)
    wrong = {
        name: kind(module, name, function)
        for name, function in found.items()
        if TABLE.get((module, name)) not in (None, kind(module, name, function))
    }
    assert not wrong, "python tests/tracer/functions_table.py > docs/reference/functions.md"
    if (np.__version__, scipy.__version__) == MADE_WITH:
        names = {*found, *(alias for others in aliases.values() for alias in others)}
        assert names == {name for where, name in TABLE if where == module}


def test_each_function_is_once_on_the_page():
    names = [
        (module, name)
        for module, text in zip(MODULES, re.split(r"^## .*$", PAGE, flags=re.M)[1:], strict=True)
        for line in text.splitlines()
        if line.startswith(("`", "(`"))
        for name in line.split("`")[1::2]
    ]  # fmt: skip
    assert len(names) == len(set(names)) > 1000


REFUSED = [
    (module, name)
    for module in MODULES
    if module.startswith("scipy")
    for name, function in public(module)[0].items()
    if kind(module, name, function).startswith("refused")
]

#: what is constant at these arguments: of one number, no elements, an empty interval, few decibels,
#: and in older versions beside tensors a matrix that is not given, and a grid of frequencies
CONSTANT = {
    ("scipy.stats", "tiecorrect"),
    ("scipy.linalg", "fiedler"),
    ("scipy.linalg", "fiedler_companion"),
    ("scipy.integrate", "quad"),
    ("scipy.integrate", "dblquad"),
    ("scipy.signal", "abcd_normalize"),
    ("scipy.signal", "group_delay"),
    ("scipy.signal", "kaiser_beta"),
}


@pytest.mark.parametrize(("module", "name"), REFUSED)
def test_what_is_refused_gives_no_numbers(module, name):
    """With tensors in the place of all arguments, of up to five: an error, or no floats at all."""
    function = getattr(importlib.import_module(module), name)
    matrix = np.array([[2.0, 0.3], [0.1, 1.5]])
    for count in range(1, 6):
        for values in (matrix, matrix[0], np.array(0.3)):
            with tracer.Tape(), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                tensors = [tracer.parameter(values) for _ in range(count)]
                try:
                    found = function(*tensors)
                except Exception:  # ours, or SciPy's where it looks at other things first
                    continue
            leaves = [leaf for leaf in flatten(found)[0] if not isinstance(leaf, tracer.Tensor)]
            kinds = {getattr(leaf, "dtype", np.dtype(object)).kind for leaf in leaves}
            numbers = any(type(leaf) is float for leaf in leaves) or "f" in kinds
            assert not numbers or (module, name) in CONSTANT, found
