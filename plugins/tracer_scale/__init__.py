"""More than one machine: quantities of a whole data set, folded over its shards.

```python
import tracer_scale as scale

shards = scale.Shards(load, n=64)  # load(i) -> (x, y)
result = scale.fold(model, nn.cross_entropy, shards, quantities=("grad", "kfac"))
```

Shards are computed by processes, on Dask's workers or on MPI's ranks, and their states merge in the
order of the shards. It needs `tracer_training`, for how checkpoints hold states.
"""

from tracer_scale import errors, folding, parallel, shards
from tracer_scale.errors import *
from tracer_scale.folding import *
from tracer_scale.parallel import *
from tracer_scale.shards import *

__all__: list[str] = []
__all__ += errors.__all__
__all__ += folding.__all__
__all__ += parallel.__all__
__all__ += shards.__all__
