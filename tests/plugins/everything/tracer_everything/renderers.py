"""Renderers: a graph as the bytes of a file, whose suffix is the name."""

import csv
import io

from tracer.extend import Renderer


class Edges(Renderer):
    """A line of CSV for each edge: from which label to which."""

    name = "csv"
    media_type = "text/csv"

    def render(self, graph, options):
        lines = io.StringIO()
        table = csv.writer(lines)
        table.writerow(["from", "to"])
        label = graph.nodes(data="label")
        table.writerows([label[a], label[b]] for a, b in graph.edges())
        return lines.getvalue().encode()
