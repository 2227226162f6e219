"""Names that are nearly right, and what is said of them."""

import pytest

import tracer
from tracer.errors import TracingError, suggestion

KNOWN = ("batch_dot", "diag_ggn_exact", "diag_h", "grad", "grad_batch", "kfac", "kfra", "variance")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BatchGrad", "grad_batch"),
        ("ggn_diag", "diag_ggn_exact"),
        ("var", "variance"),
        ("kfak", "kfac"),
        ("kfr", "kfra"),
        ("gard", "grad"),
    ],
)
def test_the_nearest_name_is_suggested(name, meant):
    assert suggestion(name, KNOWN) == f" Did you mean {meant!r}?"


@pytest.mark.parametrize("name", ["", "va", "loss", "trace"])
def test_a_name_that_is_near_none_gets_no_suggestion(name):
    assert suggestion(name, KNOWN) == ""


def test_rows_of_the_gradient_called_like_a_function_name_the_function():
    with pytest.raises(TracingError, match=r"`tracer\.grad\(function\)`"):
        tracer.gradient(lambda x: x)
