"""Logistic regression by gradient descent and by Newton's method, on two classes of digits.

python docs/examples/programs/logistic_regression.py
"""

import numpy as np
from descent import digits, show

import tracer


def loss(weights, images, signs):
    """The mean of log(1 + exp(-margin)), and a little of the weights' squares."""
    margins = signs * (images @ weights)
    return np.mean(np.logaddexp(0, -margins)) + 1e-3 * np.sum(weights**2)


def fours_and_nines():
    """Images with a pixel that is always one, and signs: 1 for a nine, -1 for a four."""
    images, labels, _, _ = digits()
    chosen = (labels == 4) | (labels == 9)
    images = images[chosen]
    return np.concatenate([images, np.ones((len(images), 1))], 1), (labels[chosen] - 6.5) / 2.5


def figures():
    """The loss of no weights, after 200 steps downhill, and after eight of Newton's method."""
    data = fours_and_nines()
    zero = np.zeros(65)
    gradient, hessian = tracer.grad(loss), tracer.hessian(loss)

    weights = zero
    for _ in range(200):
        weights = weights - 0.5 * gradient(weights, *data)
    newton = zero
    for _ in range(8):
        newton = newton - np.linalg.solve(hessian(newton, *data), gradient(newton, *data))
    images, signs = data
    return {
        "losses": np.array([loss(w, *data) for w in (zero, weights, newton)]),
        "slope": np.linalg.norm(gradient(newton, *data)),
        "accuracy": np.mean(np.sign(images @ newton) == np.sign(signs)),
    }


if __name__ == "__main__":
    show(figures())
