"""What scripts use beside layers: mirrors `torch.nn.utils`.

Gradients are results of a sweep, and not of parameters: what acts on them takes the results.
"""

from tracer_layers.utils import clipping, normalised_weights, vectors
from tracer_layers.utils.clipping import *
from tracer_layers.utils.clipping import clip_grad_norm as clip_grad_norm_
from tracer_layers.utils.clipping import clip_grad_value as clip_grad_value_
from tracer_layers.utils.normalised_weights import *
from tracer_layers.utils.vectors import *

__all__ = ["clip_grad_norm_", "clip_grad_value_"]
__all__ += clipping.__all__
__all__ += normalised_weights.__all__
__all__ += vectors.__all__
