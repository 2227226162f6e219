"""Instruments: what is measured in trainings, in the sweeps of their gradients."""

from tracer.extend import Instrument, defined
from tracer_experiments.instruments import (
    activations,
    curvature,
    gradients,
    histograms,
    spectra,
    steps,
    training,
)
from tracer_experiments.instruments.instruments import Instruments
from tracer_experiments.instruments.observation import NotMeasured, Observation

INSTRUMENTS = tuple(
    defined(Instrument, training, steps, gradients, curvature, histograms, activations, spectra)
)

__all__ = ["INSTRUMENTS", "Instruments", "NotMeasured", "Observation"]
