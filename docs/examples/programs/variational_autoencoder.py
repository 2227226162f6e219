"""Digits through five numbers and back: an encoder that gives a Gaussian, and a decoder.

python docs/examples/programs/variational_autoencoder.py
"""

import numpy as np
from descent import adam, digits, network, outputs, show

import tracer

LATENT = 5


def bound(model, images, noise):
    """The mean bound of the log-chance of binary images (Kingma and Welling 2014, equation 10)."""
    encoder, decoder = model
    code = outputs(encoder, images)
    mean, log_deviation = code[:, :LATENT], code[:, LATENT:]
    logits = outputs(decoder, mean + np.exp(log_deviation) * noise)
    pixels = images * logits - np.logaddexp(0, logits)
    apart = 0.5 * (mean**2 + np.exp(2 * log_deviation) - 1) - log_deviation
    return np.mean(np.sum(pixels, axis=1) - np.sum(apart, axis=1))


def figures(steps=250, size=128):
    """The bound for test images before and after 250 steps, in nats."""
    rng = np.random.default_rng(0)
    images, _, test, _ = digits()
    images, test = (1.0 * (each > 0.5) for each in (images, test))
    start = (network(rng, 64, 64, 2 * LATENT), network(rng, LATENT, 64, 64))

    def slopes(model, step):
        batch = images[rng.integers(len(images), size=size)]
        noise = rng.standard_normal((size, LATENT))
        return tracer.grad(lambda model: -bound(model, batch, noise))(model)

    found = adam(slopes, start, steps, 0.01)
    noise = rng.standard_normal((len(test), LATENT))
    return {"bounds": np.array([bound(each, test, noise) for each in (start, found)])}


if __name__ == "__main__":
    show(figures())
