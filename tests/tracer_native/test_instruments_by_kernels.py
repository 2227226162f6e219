"""Instruments read by kernels what they read by NumPy."""

import numpy as np
import pytest

from tests.tracer_experiments.test_instruments_together import measured, same
from tests.tracer_native.conftest import running
from tracer.arrays.compiled import NONE
from tracer_experiments.instruments.presets import ALL
from tracer_native.kernels import Kernels

#: all but what is timed or iterated; `GradHist2d` of outer products has columns
WHICH = [*(name for name in ALL if name not in ("Time", "HessMaxEV", "HessMaxAbsEV"))]
VISITS = {"visit", "travel", "pairs", "count_products", "correlation_each"}


@pytest.fixture
def called(monkeypatch):
    """The names of the kernels that took something."""
    names = set()

    def told(name):
        method = getattr(Kernels, name)

        def call(self, *arguments, **options):
            found = method(self, *arguments, **options)
            if found is not None:
                names.add(name)
            return found

        monkeypatch.setattr(Kernels, name, call)

    for name in VISITS:
        told(name)
    return names


@pytest.mark.usefixtures("all_sizes")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("layers", [False, True])
def test_values_are_those_of_numpy(kernels, called, layers, momentum):
    which = WHICH if not momentum else [n for n in WHICH if n not in ("CABS", "EarlyStopping")]
    with running(NONE):
        expected = measured(which, layers=layers, momentum=momentum)
    assert not called
    with running(kernels):
        found = measured(which, layers=layers, momentum=momentum)
    assert called == VISITS
    same(found, expected)


def test_sums_over_samples_are_those_of_numpy(kernels):
    with running(NONE):
        expected = measured(["TICDiag", "MeanGSNR"], curvature="diag_ggn_exact")
    with running(kernels):
        found = measured(["TICDiag", "MeanGSNR"], curvature="diag_ggn_exact")
    same(found, expected)
    assert np.isfinite(found[-1]["TICDiag"])
