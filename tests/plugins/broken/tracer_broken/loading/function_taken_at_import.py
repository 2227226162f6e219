"""takes numpy.kron"""

import numpy as np
from tracer.extend import implements


@implements(np.kron)  # named
def kron(a, b):
    return a
