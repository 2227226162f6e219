from tracer.testing import check_quantity

from tracer_softclip.quantities import SoftClipL1


def test_values_against_the_definition():
    assert check_quantity(SoftClipL1).is_defined
