"""Smoke that is blown into a shape: the gradient goes back through a simulation of a fluid.

The fluid is Stam's (2003): velocities and smoke are carried along backwards, and velocities are
made free of divergence by some steps of an iteration. What is sought is the velocity at the start.

    python docs/examples/programs/smoke.py
"""

import numpy as np
from descent import show

from tracer.scipy.optimize import minimize

SIZE, STEPS = 20, 10
ROWS, COLUMNS = np.arange(SIZE)[:, None], np.arange(SIZE)


def neighbours(field):
    """The values above, below, left and right; edges are joined."""
    return [np.roll(field, shift, axis) for axis in (0, 1) for shift in (1, -1)]


def projected(down, right, iterations=10):
    """Velocities with about no divergence."""
    divergence = -0.5 * (
        np.roll(down, -1, 0) - np.roll(down, 1, 0) + np.roll(right, -1, 1) - np.roll(right, 1, 1)
    )
    pressure = np.zeros_like(divergence)
    for _ in range(iterations):
        pressure = (divergence + sum(neighbours(pressure))) / 4
    above, below, left, after = neighbours(pressure)
    return down - 0.5 * (below - above), right - 0.5 * (after - left)


def carried(field, down, right):
    """A field after a step: each cell has what was where its fluid came from."""
    row, column = ROWS - down, COLUMNS - right
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    lower, later = row - top, column - left
    top, left = top % SIZE, left % SIZE
    bottom, after = (top + 1) % SIZE, (left + 1) % SIZE
    above = (1 - later) * field[top, left] + later * field[top, after]
    below = (1 - later) * field[bottom, left] + later * field[bottom, after]
    return (1 - lower) * above + lower * below


def blown(wind, smoke):
    """The smoke at the end, for a wind `[2, SIZE, SIZE]` at the start."""
    down, right = wind[0], wind[1]
    for _ in range(STEPS):
        down, right = projected(carried(down, down, right), carried(right, down, right))
        smoke = carried(smoke, down, right)
    return smoke


def disc(row, column, radius):
    """One within a circle, and zero without."""
    return 1.0 * ((ROWS - row) ** 2 + (COLUMNS - column) ** 2 < radius**2)


def figures(iterations=20):
    """The mean squared distance to the wanted shape in still air, and in the best wind."""
    smoke, wanted = disc(6, 10, 4), disc(12, 10, 4)

    def loss(wind):
        return np.mean((blown(wind, smoke) - wanted) ** 2)

    still = np.zeros((2, SIZE, SIZE))
    found = minimize(loss, still, method="CG", options={"maxiter": iterations})
    return {"distance": np.array([loss(still), found.fun])}


if __name__ == "__main__":
    show(figures())
