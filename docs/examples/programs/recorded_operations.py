"""What a tape has recorded, a line for each operation.

python docs/examples/programs/recorded_operations.py
"""

import numpy as np

import tracer


def mean_of_sines(x):
    """A function whose steps are printed."""
    y = np.sin(x + x)
    return (y + y) / 2


def lines(function, x):
    """`C = sin(B)`, and so on, in the order of the record."""
    with tracer.Tape() as tape:
        function(tracer.parameter(x, name="x"))
    graph = tape.graph()
    letters = {node: chr(ord("A") + i) for i, node in enumerate(graph)}
    for node, data in graph.nodes(data=True):
        inputs = ", ".join(letters[other] for other, _ in graph.in_edges(node))
        yield f"{letters[node]} = {data['label']}" + (f"({inputs})" if inputs else "")


if __name__ == "__main__":
    print(*lines(mean_of_sines, 1.23), sep="\n")
