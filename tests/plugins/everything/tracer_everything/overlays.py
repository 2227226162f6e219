"""Overlays: numbers that colour the nodes of a picture."""

import numpy as np
from tracer.extend import Overlay


class Share(Overlay):
    """Colours parameters by the sum of the magnitudes of their samples' gradients."""

    name = "everything_share"
    label = "sum of |gradient|"
    quantities = ("everything_l1",)
    add_up = True

    def values(self, graph, results):
        found = results["everything_l1"]
        return {
            node: float(np.sum(found[data["label"]]))
            for node, data in graph.nodes(data=True)
            if data["kind"] == "parameter" and data["label"] in found
        }
