"""Graphs as `Tape.graph` makes them, built by hand so that drawing is tested on its own."""

from __future__ import annotations

import math

import networkx as nx

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
            "source": f"net.py:{len(self.graph)}",
        }
        self.graph.add_node(
            name, **{"kind": kind, "op": op, "label": label, "scope": scope, **common, **data}
        )
        for slot, tail in enumerate(inputs):
            shape = self.graph.nodes[tail]["shape"]
            self.graph.add_edge(tail, name, kind="data", slot=slot, shape=shape, delay=0)
        return name

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
    for t in range(steps):
        h = net.op("matmul", h, w, time=t)
        h = net.op("fma", h, c, c, time=t)
    return net


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
