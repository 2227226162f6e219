"""Every registered operation and quantity through the kit, and what the kit finds wrong."""

import numpy as np
import pytest
import tracer
from tracer import registry
from tracer.testing import check_operation, check_quantity


@pytest.mark.parametrize("name", list(registry.operations))
def test_operation(name):
    check_operation(registry.operations[name])


@pytest.mark.parametrize("name", list(registry.quantities))
def test_quantity(name):
    applied = check_quantity(name)
    assert "chunks" in applied
