"""Graphs as `Tape.graph` makes them, built by hand so that drawing is tested on its own."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np

import tracer

NASTY = 'a"b\\c <script>alert("x")</script>\n{d|e} [f] `g` #h; é 数 & \x00\x1b end'


class Net:
    """Adds forward nodes; `both` mirrors them with cotangents."""

    def __init__(self, **attributes):
        kept = {"direction": "forward", "time": "unrolled", "name": "net", **attributes}
        self.graph = nx.MultiDiGraph(**kept)

    def leaf(self, kind, label, shape=(4, 3), **data):
        return self._add(kind, "", label, shape, (), data)

    def op(self, op, *inputs, shape=(4, 3), **data):
        return self._add("operation", op, data.pop("label", op), shape, inputs, data)

    def _add(self, kind, op, label, shape, inputs, data):
        name = f"n{len(self.graph)}"
        scope = data.get("scope", "")
        common = {
            "shape": list(shape),
            "dtype": "float32",
            "nbytes": 4 * math.prod(shape),
            "scopes": scope.split(".") if scope else [],
            "time": None,
            "times": [],
            "loop": None,
            "source": f"net.py:{len(self.graph)}",
        }
        self.graph.add_node(
            name, **{"kind": kind, "op": op, "label": label, "scope": scope, **common, **data}
        )
        for slot, tail in enumerate(inputs):
            shape = self.graph.nodes[tail]["shape"]
            self.graph.add_edge(tail, name, kind="data", slot=slot, shape=shape, delay=0)
        return name

    def loop(self, steps, *, parent=None, reverse=False, scope=""):
        """A loop over time; returns what places an operation at a step of it."""
        table = self.graph.graph.setdefault("loops", [])
        table.append({"parent": parent, "scope": scope, "source": "net.py:1",
                      "reverse": reverse, "steps": steps})  # fmt: skip
        number = len(table) - 1
        return lambda *times: {"time": times[-1], "times": list(times), "loop": number}

    def state(self, tail, head):
        shape = self.graph.nodes[tail]["shape"]
        self.graph.add_edge(tail, head, kind="data", slot=0, shape=shape, delay=1)

    def both(self, norms=None):
        """The graph with cotangents; `norms` maps forward nodes to their gradients' norms."""
        graph = self.graph
        graph.graph["direction"] = "both"
        wanted = [n for n, d in graph.nodes(data=True) if d["kind"] not in ("input", "constant")]
        edges = list(graph.edges(data=True))
        for node in wanted:
            data = {**graph.nodes[node], "kind": "cotangent", "of": node}
            data["label"] = f"∇ {data['label']}"
            if norms and node in norms:
                data["norm"] = norms[node]
            for key in ("failed", "error"):
                data.pop(key, None)
            graph.add_node(f"d{node[1:]}", **data)
        for tail, head, data in edges:
            if tail in wanted and head in wanted:
                back = {**data, "kind": "cotangent"}
                graph.add_edge(f"d{head[1:]}", f"d{tail[1:]}", **back)
        return graph


def mlp(**attributes):
    """Two linear layers, each a module, and a loss."""
    net = Net(**attributes)
    h = net.leaf("input", "x")
    for layer in ("0", "2"):
        scope = {"scope": layer, "scopes": ["Linear"]}
        w = net.leaf("parameter", f"{layer}.weight", **scope)
        b = net.leaf("parameter", f"{layer}.bias", **scope)
        h = net.op("linear", h, w, b, **scope)
        h = net.op("relu", h)
    net.op("mean", h, shape=())
    return net


def nested():
    """A module in a module in a module."""
    net = Net()
    h = net.leaf("input", "x")
    for block in range(2):
        skip = h
        for layer in range(2):
            scope = {
                "scope": f"encoder.{block}.{layer}",
                "scopes": ["Encoder", "Block", "Linear"],
            }
            w = net.leaf("parameter", f"{scope['scope']}.weight", **scope)
            h = net.op("linear", h, w, **scope)
        h = net.op("add", h, skip, scope=f"encoder.{block}", scopes=["Encoder", "Block"])
    net.op("mean", h, shape=())
    return net


def recurrent(steps=4):
    """A weight that every time step uses, and a constant that it uses twice at once."""
    net = Net()
    w = net.leaf("parameter", "w")
    c = net.leaf("constant", "c")
    h = net.leaf("input", "h0")
    at = net.loop(steps)
    for t in range(steps):
        h = net.op("matmul", h, w, **at(t))
        h = net.op("fma", h, c, c, **at(t))
    return net


def trace(steps, reverse=False):
    """A watched and swept tape of h <- tanh(x_t + h W) in a module that is called in every step."""
    rng = np.random.default_rng(0)
    w = tracer.parameter(0.5 * rng.standard_normal((2, 2)), "w")
    x, h = tracer.batch(rng.standard_normal((3, steps, 2)), name="x"), np.zeros((3, 2))
    with tracer.Tape(watch=True) as tape:
        with tracer.scope("rnn", "RNN"):
            for t in tracer.steps(steps, reverse=reverse):
                with tracer.scope("cell", "Cell"):
                    h = np.tanh(x[:, t] + h @ w)
        loss = np.sum(h)
    tape.backward(loss)
    return tape


def folded():
    net = Net(time="folded")
    w = net.leaf("parameter", "w")
    h0 = net.leaf("input", "h0")
    a = net.op("matmul", h0, w, steps=30)
    b = net.op("tanh", a, steps=30)
    net.state(b, a)
    return net


def sick():
    """Gradients that are NaN, infinite, zero, missing and healthy."""
    net = mlp()
    norms = {"n1": math.inf, "n2": 0.0, "n3": math.nan, "n5": 0.25, "n7": 2e-5, "n8": 4.0}
    graph = net.both(norms)
    graph.nodes["d3"]["nan"] = 12
    graph.nodes["d4"]["reached"] = False
    return graph


def failing():
    net = mlp(error="ShapeError: (4, 3) does not fit (5, 2)")
    net.graph.nodes["n7"].update(failed=True, error="ShapeError: (4, 3) does not fit (5, 2)")
    return net.graph


def nasty():
    """Names that would break out of every format, and names that are alike."""
    net = Net(name=NASTY, error=NASTY)
    x = net.leaf("input", NASTY)
    w = net.leaf("parameter", "w" * 300, scope='a"<b>.c]', scopes=[NASTY, "</style>"])
    y = net.op("mul", x, w, label="-->", scope='a"<b>.c]')
    z = net.op("end", y, label="")
    net.op("%%{init}%%", z, z, label="subgraph end; graph TD", failed=True, error=NASTY)
    return net.both()


ALL = {
    "mlp": lambda: mlp().both(),
    "forward": lambda: mlp().graph,
    "nested": lambda: nested().both(),
    "recurrent": lambda: recurrent().both(),
    "folded": lambda: folded().both(),
    "sick": sick,
    "failing": failing,
    "nasty": nasty,
    "single": lambda: _single(),
    "empty": lambda: Net().graph,
    "components": lambda: nx.disjoint_union(mlp().both(), mlp().both()),
}


def _single():
    net = Net()
    net.leaf("input", "x", shape=())
    return net.graph
