"""Checks for authors of plugins. Each raises `AssertionError` with what differs.

```python
from tracer.testing import check_operation, check_quantity


def test_swish():
    check_operation(Swish)


def test_my_quantity():
    check_quantity(MyQuantity(), reference=lambda d: (d.gradients**3).sum(0))
```

They need no test framework. Each returns a `Report` of what was compared with what, and of what
could not be: what was not compared with a definition is not known to be right.

An operation is checked at its `examples(rng)`, a list of `(inputs, params)`; float64 arrays among
the inputs are differentiated, all else is constant. Examples lie away from kinks.
"""

from tracer.testing.agreement import agree
from tracer.testing.backends import check_backend
from tracer.testing.contractions import check_cotangent
from tracer.testing.definitions import DEFINITIONS, BruteForce, brute_force
from tracer.testing.derivatives import numerical_jacobian
from tracer.testing.gradients import check_gradients
from tracer.testing.layers import check_layer
from tracer.testing.networks import SquaredError
from tracer.testing.operations import check_operation
from tracer.testing.pictures import check_overlay, check_renderer
from tracer.testing.quantities import check_quantity
from tracer.testing.report import Report
from tracer.testing.rows import check_rows

__all__ = [
    "DEFINITIONS",
    "BruteForce",
    "Report",
    "SquaredError",
    "agree",
    "brute_force",
    "check_backend",
    "check_cotangent",
    "check_gradients",
    "check_layer",
    "check_operation",
    "check_overlay",
    "check_quantity",
    "check_renderer",
    "check_rows",
    "numerical_jacobian",
]
