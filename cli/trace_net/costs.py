"""What operations cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracer.extend import Node


def flops(node: Node) -> int:
    """Floating-point operations of the forward call; one an element where no rule says more."""
    return int(node.op.flops(node)) if node.op.flops else math.prod(node.shape)
