"""Overlays: numbers that colour the nodes of a picture."""

import numpy as np
from tracer.extend import Overlay


class SoftClipOverlay(Overlay):
    """Colours parameters by the mean magnitude of their gradients."""

    name = "softclip"
    label = "mean |gradient|"
    quantities = ("grad",)

    def values(self, graph, results):
        found = results["grad"]
        return {
            node: float(np.abs(found[data["label"]]).mean())
            for node, data in graph.nodes(data=True)
            if data["kind"] == "parameter" and data["label"] in found
        }
