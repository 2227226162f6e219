from tracer_experiments.checks import check_instrument

from tracer_softclip.instruments import SoftClipInstrument


def test_a_training_is_measured():
    assert "values" in check_instrument(SoftClipInstrument)
