"""The graph of a function in the language of Graphviz, from the tape's networkx graph.

    python docs/examples/programs/drawn_graph.py | dot -Tsvg -o graph.svg

`trace-net visualize` and `tape.draw()` draw more.
"""

import numpy as np

import tracer

SHAPES = {"operation": "box", "parameter": "ellipse", "constant": "plain", "input": "ellipse"}


def function(x):
    """What is drawn."""
    y = np.sin(x)
    return (y + np.exp(x) - 0.5) * y


def dot(function, x):
    """A line for each node and each edge."""
    with tracer.Tape() as tape:
        function(tracer.parameter(x, name="x"))
    graph = tape.graph()
    lines = [
        f'  {node} [label="{data["label"]}", shape={SHAPES[data["kind"]]}];'
        for node, data in graph.nodes(data=True)
    ]
    lines += [f"  {one} -> {other};" for one, other in graph.edges()]
    return "\n".join(["digraph {", *lines, "}"])


if __name__ == "__main__":
    print(dot(function, 1.0))
