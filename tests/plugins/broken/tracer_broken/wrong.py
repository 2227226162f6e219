"""Loads and runs, and what it says is wrong: `trace-net check broken-wrong` finds all of it."""

import numpy as np
from tracer.extend import Elementwise, Overlay, Quantity, Renderer, hookimpl, operation


@operation("broken_wrong_sine")
class Sine(Elementwise):
    """Its derivative has the wrong sign."""

    saves = ("inputs",)

    def forward(x):
        return np.sin(x)

    def vjp(node, g):
        return (-g * np.cos(node.inputs[0]),)

    def examples(rng):
        return [((rng.uniform(0.2, 1.0, 3),), {})]


class Twice(Quantity):
    """Twice the gradient, and not by its definition."""

    name = "broken_wrong_twice"

    def extract(self, cotangent, context):
        return 2 * cotangent.total()[0]

    def reference(self, brute):
        return brute.gradients.sum(0)


class Shade(Overlay):
    """Writes into the graph."""

    name = "broken_wrong_shade"

    def values(self, graph, results):
        for node in graph:
            graph.nodes[node]["shade"] = 1
        return dict.fromkeys(graph, 1.0)


class Picture(Renderer):
    """Gives nothing."""

    name = "brkwrong"

    def render(self, graph, options):
        return b""


@hookimpl
def register_operations():
    return [Sine]


@hookimpl
def register_quantities():
    return [Twice]


@hookimpl
def register_overlays():
    return [Shade()]


@hookimpl
def register_renderers():
    return [Picture()]
