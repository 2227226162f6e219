from tracer.testing import check_operation

from tracer_softclip.operations import SoftClip


def test_rules_against_numerical_derivatives_and_brute_force():
    check_operation(SoftClip)
