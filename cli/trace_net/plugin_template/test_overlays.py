from tracer.testing import check_overlay

from tracer_softclip.overlays import SoftClipOverlay


def test_nodes_have_numbers():
    assert "values" in check_overlay(SoftClipOverlay())
