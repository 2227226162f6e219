"""Which operations complex numbers may go through: those whose rules hold for them.

Most rules are written for real numbers. Where an operation gives complex numbers that want a
gradient, or takes some, it has said `takes_complex`, or it is refused there.
"""

from __future__ import annotations

from tracer.arrays.types import DType
from tracer.errors import TracingError
from tracer.record.node import Parents
from tracer.record.rules import Rules

#: whether any complex number of this process wants a gradient: before that, nobody looks for them,
#: which would take a tenth of the time of recording
seen = False


def note(op: Rules, dtype: DType) -> None:
    """Complex numbers of this dtype come to want a gradient, by an operation or as a variable.

    Raises `TracingError` if the operation's rules are not for these.
    """
    global seen
    if not (op.takes_complex or op.leaf):
        raise _refused(op, f"gives complex numbers ({dtype})")
    seen = True


def check(op: Rules, parents: Parents) -> None:
    """Raise `TracingError` for complex inputs that the rules of the operation are not for."""
    if op.takes_complex:
        return
    for parent in parents:
        if parent is not None and parent.wants and parent.dtype.kind == "c":
            raise _refused(op, f"takes complex numbers ({parent.dtype})")


def _refused(op: Rules, what: str) -> TracingError:
    return TracingError(
        f"{op.name} {what}, and its rules are for real ones: compute with np.real(z) and "
        f"np.imag(z), or on tensor.data where no derivative is wanted; an operation whose rules "
        f"hold for complex numbers says takes_complex = True"
    )
