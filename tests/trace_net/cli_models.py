"""Code of models that several tests use."""

PLAIN = """
    import numpy as np
    import tracer

    rng = np.random.default_rng(0)
    w = tracer.parameter(rng.standard_normal((4, 3)), name="w")
    b = tracer.parameter(np.zeros(3), name="b")
    targets = np.ones((5, 3))

    def model(x):
        return np.tanh(x @ w + b)

    def example_inputs():
        return rng.standard_normal((5, 4))

    def loss(output, y):
        return ((output - y) ** 2).sum()
"""

LAYERS = """
    import numpy as np
    import tracer_layers as nn

    rng = np.random.default_rng(0)

    def build_model(width=6):
        return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))

    def example_inputs():
        return rng.standard_normal((5, 4)).astype(np.float32)

    loss = nn.CrossEntropyLoss()
    targets = np.array([0, 1, 2, 0, 1])
"""
