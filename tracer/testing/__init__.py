"""Checks for authors of operations and quantities. Each raises `AssertionError` with what differs.

```python
from tracer.testing import check_operation, check_quantity


def test_swish():
    check_operation(Swish)


def test_my_quantity():
    check_quantity(MyQuantity(), reference=lambda d: (d.gradients**3).sum(0))
```

They need no test framework. An operation is checked at its `examples(rng)`, a list of
`(inputs, params)`; float64 arrays among the inputs are differentiated, all else is constant.
Examples lie away from kinks.
"""

from tracer.testing.agreement import agree
from tracer.testing.contractions import check_cotangent
from tracer.testing.definitions import DEFINITIONS, BruteForce, brute_force
from tracer.testing.derivatives import numerical_jacobian
from tracer.testing.networks import SquaredError
from tracer.testing.operations import check_operation
from tracer.testing.quantities import check_quantity

__all__ = [
    "DEFINITIONS",
    "BruteForce",
    "SquaredError",
    "agree",
    "brute_force",
    "check_cotangent",
    "check_operation",
    "check_quantity",
    "numerical_jacobian",
]
