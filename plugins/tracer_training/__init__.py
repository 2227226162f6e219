"""Training: optimisers, schedules, data, the loop and checkpoints.

```python
import tracer_training as training

train, test = training.datasets.digits()
loader = training.DataLoader(train, batch_size=64, shuffle=True, rng=0)
optimizer = training.AdamW(model.parameters(), lr=1e-3)
for x, y in loader:
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y)
    optimizer.step(tape.backward(loss, optimizer.quantities))
```

Optimisers and schedules mirror `torch.optim`, and some optimisers use curvature; models are modules
of any kind, or functions. It needs `tracer_layers`, for what PyTorch has in `nn.utils`.
"""

from typing import Any

from tracer_layers.utils import clip_grad_norm, clip_grad_value
from tracer_training import (
    accumulation,
    averaging,
    checkpoints,
    curvature,
    data,
    hints,
    loop,
    optimizers,
    problems,
    schedules,
)
from tracer_training.accumulation import *
from tracer_training.averaging import *
from tracer_training.checkpoints import *
from tracer_training.curvature import *
from tracer_training.data import *
from tracer_training.loop import *
from tracer_training.optimizers import *
from tracer_training.schedules import *

__all__: list[str] = []
__all__ += accumulation.__all__
__all__ += averaging.__all__
__all__ += checkpoints.__all__
__all__ += ["clip_grad_norm", "clip_grad_value"]
__all__ += curvature.__all__
__all__ += data.__all__
__all__ += loop.__all__
__all__ += optimizers.__all__
__all__ += ["problems"]
__all__ += schedules.__all__


def __getattr__(name: str) -> Any:
    raise hints.no_name(name, __all__)
