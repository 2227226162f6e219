from tracer.testing import check_renderer

from tracer_softclip.renderers import SoftClipRenderer


def test_graphs_of_all_kinds():
    assert "render" in check_renderer(SoftClipRenderer())
