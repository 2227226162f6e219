"""What scripts use beside layers: mirrors `torch.nn.utils`.

Gradients are results of a sweep, and not of parameters: what acts on them takes the results.
"""

from typing import Any

from tracer_layers.module import hints
from tracer_layers.utils import (
    clipping,
    fusion,
    parametrizations,
    parametrize,
    rnn,
    spectral_normalisation,
    vectors,
    weight_normalisation,
)
from tracer_layers.utils.clipping import *
from tracer_layers.utils.clipping import clip_grad_norm as clip_grad_norm_
from tracer_layers.utils.clipping import clip_grad_value as clip_grad_value_
from tracer_layers.utils.clipping import clip_grads_with_norm as clip_grads_with_norm_
from tracer_layers.utils.fusion import *
from tracer_layers.utils.spectral_normalisation import *
from tracer_layers.utils.vectors import *
from tracer_layers.utils.weight_normalisation import *

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_"]
__all__ += ["parametrizations", "parametrize", "rnn"]
__all__ += clipping.__all__
__all__ += fusion.__all__
__all__ += spectral_normalisation.__all__
__all__ += vectors.__all__
__all__ += weight_normalisation.__all__


def __getattr__(name: str) -> Any:
    raise hints.no_util(name, __all__)
