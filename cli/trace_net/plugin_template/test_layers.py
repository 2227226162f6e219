import numpy as np
from tracer.testing import check_layer

from tracer_softclip.layers import SoftClipLayer


def test_derivatives_and_quantities():
    for layer, inputs in SoftClipLayer.examples(np.random.default_rng(0)):
        check_layer(layer, *inputs)
