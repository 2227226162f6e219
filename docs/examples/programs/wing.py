"""A wing that is shaped by the wind: its cells are filled so that lift per drag is large.

python docs/examples/programs/wing.py
"""

import numpy as np
from descent import show
from smoke import SIZE, carried, neighbours, projected

from tracer.scipy.optimize import minimize
from tracer.scipy.special import expit

INSIDE = np.zeros((SIZE, SIZE))
INSIDE[6:14, 6:14] = 1


def filled(cells):
    """How much of each cell is wing, from 0 to 1; only cells in the middle may be."""
    return INSIDE * expit(2 * cells)


def around(field, wing):
    """A field that is smooth across the wing, where it takes the mean of its neighbours."""
    air = 1 - wing
    there = sum(neighbours(air))
    return field * air + wing * sum(neighbours(field * air)) / (there + 1e-3)


def blown(cells, steps=6):
    """Velocities down and to the right, after steps of a wind to the right."""
    wing = filled(cells)
    down, right = np.zeros((SIZE, SIZE)), np.ones((SIZE, SIZE))
    for _ in range(steps):
        moved = carried(down, down, right), carried(right, down, right)
        down, right = projected(*(around(part, wing) for part in moved))
        down, right = down * (1 - wing), right * (1 - wing)
    return down, right


def lift_per_drag(cells):
    """Air pushed down, per air that is slowed."""
    down, right = blown(cells)
    return np.mean(down) / np.mean(1 - right)


def figures(iterations=15):
    """Lift per drag of a half-filled block, and of the shape that was found."""
    start = np.zeros((SIZE, SIZE))
    found = minimize(
        lambda cells: -lift_per_drag(cells), start, method="CG", options={"maxiter": iterations}
    )
    return {"lift per drag": np.array([lift_per_drag(start), -found.fun])}


if __name__ == "__main__":
    show(figures())
