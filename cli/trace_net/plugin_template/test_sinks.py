from tracer_experiments.checks import check_sink

from tracer_softclip.sinks import SoftClipSink


def test_runs_of_every_kind_are_written():
    assert "values" in check_sink(SoftClipSink)
