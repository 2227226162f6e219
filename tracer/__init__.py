"""trace-net: a tape-based automatic differentiation library with an extensible registry.

```python
with tracer.Tape() as tape:
    loss = cross_entropy(model(x), y)
results = tape.backward(loss, quantities=("grad", "grad_batch", "kfac"))
```

See `tracer.Tape`, `tracer.parameter`, `tracer.batch`, `tracer.grad` and the registry.
"""

from typing import TYPE_CHECKING, Any

from tracer import errors, implicit, registry, scipy
from tracer.api.checkpoint import checkpoint
from tracer.api.devices import asnumpy, cuda_available, to_device
from tracer.api.functional import (
    ggn_vp,
    grad,
    hessian,
    holomorphic_grad,
    hvp,
    jacobian,
    jvp,
    trace,
    value_and_grad,
    value_and_jacobian,
    vjp,
)
from tracer.api.linear_map import linearize
from tracer.api.primitive import primitive
from tracer.api.tape import Tape
from tracer.arrays import backend
from tracer.arrays.backend import Backend
from tracer.arrays.random import seed
from tracer.cotangents import (
    Cotangent,
    Dense,
    Gather,
    Mixed,
    Outer,
    Reindexed,
    Summed,
    samples_first,
)
from tracer.cotangents.kronecker import Kronecker
from tracer.curvature.quantity import Context, Quantity, Shard
from tracer.curvature.rows import GGNMonteCarlo, Rows, ggn_exact, ggn_mc, gradient
from tracer.errors import (
    BatchError,
    GraphError,
    HintError,
    ParameterError,
    PluginError,
    QuantityError,
    RegistryError,
    ShapeError,
    TracerError,
    TracingError,
)
from tracer.extensions import Command, DrawOptions, Overlay, Renderer, RendererUnavailable
from tracer.operations.concatenators import c_, r_
from tracer.operations.joining import array
from tracer.operations.placing import index_add, index_set
from tracer.operations.reductions import logsumexp
from tracer.operations.unary import Erf as erf
from tracer.operations.unary import Expit as expit
from tracer.operations.unary import LogExpit as log_expit
from tracer.operations.updating import at
from tracer.plugins.hookspecs import hookimpl
from tracer.plugins.registering import register, unregister
from tracer.plugins.targets import Target
from tracer.record import hints
from tracer.record.axes import POOLED, UNKNOWN
from tracer.record.dispatch import implements
from tracer.record.leaves import batch, parameter
from tracer.record.node import Node
from tracer.record.operation import Elementwise, Operation, operation
from tracer.record.pausing import pause
from tracer.record.recorder import current_tape
from tracer.record.scopes import present, scope, steps
from tracer.record.tensor import Tensor

if TYPE_CHECKING:
    from tracer.graph.flow import gradient_flow
    from tracer.graph.unrolling import Unrolled, unroll

__version__ = "0.1.0"


#: name -> its module, which imports networkx and is loaded when it is first asked for
_LATE = {"Unrolled": "unrolling", "unroll": "unrolling", "gradient_flow": "flow"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise hints.missing("module 'tracer'", name, hints.package(name), __all__)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"tracer.graph.{_LATE[name]}"), name)
    return value


__all__ = [
    "POOLED",
    "UNKNOWN",
    "Backend",
    "BatchError",
    "Command",
    "Context",
    "Cotangent",
    "Dense",
    "DrawOptions",
    "Elementwise",
    "GGNMonteCarlo",
    "Gather",
    "GraphError",
    "HintError",
    "Kronecker",
    "Mixed",
    "Node",
    "Operation",
    "Outer",
    "Overlay",
    "ParameterError",
    "PluginError",
    "Quantity",
    "QuantityError",
    "RegistryError",
    "Reindexed",
    "Renderer",
    "RendererUnavailable",
    "Rows",
    "ShapeError",
    "Shard",
    "Summed",
    "Tape",
    "Target",
    "Tensor",
    "TracerError",
    "TracingError",
    "Unrolled",
    "array",
    "asnumpy",
    "at",
    "backend",
    "batch",
    "c_",
    "checkpoint",
    "cuda_available",
    "current_tape",
    "erf",
    "errors",
    "expit",
    "ggn_exact",
    "ggn_mc",
    "ggn_vp",
    "grad",
    "gradient",
    "gradient_flow",
    "hessian",
    "holomorphic_grad",
    "hookimpl",
    "hvp",
    "implements",
    "implicit",
    "index_add",
    "index_set",
    "jacobian",
    "jvp",
    "linearize",
    "log_expit",
    "logsumexp",
    "operation",
    "parameter",
    "pause",
    "present",
    "primitive",
    "r_",
    "register",
    "registry",
    "samples_first",
    "scipy",
    "scope",
    "seed",
    "steps",
    "to_device",
    "trace",
    "unregister",
    "unroll",
    "value_and_grad",
    "value_and_jacobian",
    "vjp",
]
