"""Layers and losses that mirror `torch.nn`, on NumPy and CuPy arrays.

```python
import tracer_layers as nn

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
```

Each room has its arrays, then its operations, then its layers, and imports from the rooms before
it alone: `module`, `activations`, `linear_maps`, `shape`, `normalisation`, `embeddings`,
`convolution`, `pooling`, `losses`, `attention`, `functional`, `transformer`, `recurrent`; `init`
and `utils` stand beside them. What a file names in `__all__` is here.
"""

import sys
from typing import Any

from tracer.extend import INTERNAL_FILES
from tracer.extend import seed as seed
from tracer_layers import (
    activations,
    attention,
    convolution,
    embeddings,
    functional,
    init,
    linear_maps,
    losses,
    module,
    normalisation,
    pooling,
    recurrent,
    shape,
    transformer,
    utils,
)
from tracer_layers.activations import *
from tracer_layers.attention import *
from tracer_layers.convolution import *
from tracer_layers.embeddings import *
from tracer_layers.linear_maps import *
from tracer_layers.losses import *
from tracer_layers.module import *
from tracer_layers.module import hints
from tracer_layers.normalisation import *
from tracer_layers.pooling import *
from tracer_layers.recurrent import *
from tracer_layers.shape import *
from tracer_layers.transformer import *

# the functions as `functional` has them
globals().update((name, vars(functional)[name]) for name in functional.__all__)

# what these modules record counts as recorded by the line that called a layer or a loss
INTERNAL_FILES.update(
    str(module.__file__)
    for name, module in list(sys.modules.items())
    if name.startswith(f"{__name__}.")
)

ROOMS = (
    activations,
    attention,
    convolution,
    embeddings,
    linear_maps,
    losses,
    module,
    normalisation,
    pooling,
    recurrent,
    shape,
    transformer,
)

__all__ = ["functional", "init", "seed", "utils"]
__all__ += activations.__all__
__all__ += attention.__all__
__all__ += convolution.__all__
__all__ += embeddings.__all__
__all__ += linear_maps.__all__
__all__ += losses.__all__
__all__ += module.__all__
__all__ += normalisation.__all__
__all__ += pooling.__all__
__all__ += recurrent.__all__
__all__ += shape.__all__
__all__ += transformer.__all__


def __getattr__(name: str) -> Any:
    raise hints.no_layer(name, __all__)
