"""A network that computes XOR with two hidden units, small enough to check by hand.

The first hidden unit counts the ones of its input, the second says whether both are one; the
output is the first less twice the second. Its bias is off by a quarter, so that there is something
to learn.

    python docs/examples/xor.py
"""

import numpy as np

import tracer
import tracer_layers as nn

example_inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
targets = np.array([[0.0], [1.0], [1.0], [0.0]])
loss = nn.MSELoss()


def build_model():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    model.load_state_dict({
        "0.weight": np.array([[1.0, 1.0], [1.0, 1.0]]),
        "0.bias": np.array([0.0, -1.0]),
        "2.weight": np.array([[1.0, -2.0]]),
        "2.bias": np.array([0.25]),
    })  # fmt: skip
    return model


if __name__ == "__main__":
    model = build_model()
    with tracer.Tape(cotangents=True) as tape:
        output = model(example_inputs)
        objective = loss(output, targets)
    gradient = tape.backward(objective)["grad"]
    print("output    ", output.data.ravel())
    print("loss      ", objective.item())
    print("by output ", tape.cotangents[output].ravel())
    for name, value in gradient.items():
        print(f"by {name:<9}", value.ravel())
