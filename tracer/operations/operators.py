"""The shortest way from an operator or a ufunc on tensors to its record.

`Operation.__call__` is general; these two do the same for one or two inputs without parameters.
Measured on 3-element arrays, they save about 0.7 microseconds an operation.
"""

import sys
from contextlib import suppress

from numpy import ndarray

from tracer import backend
from tracer.operation import INTERNAL_FILES, explain, watch
from tracer.tape import Node, current_tape
from tracer.tensor import Tensor

INTERNAL_FILES.add(__file__)
_frame = sys._getframe
_NO_PARAMS: dict = {}
_SCALARS = frozenset((int, float, bool))


def fast_unary(op):
    """A function of one tensor that records `op`."""
    forward, saves_inputs, saves_output = op.forward, op.saves_inputs, op.saves_output

    def call(x):
        if type(x) is not Tensor:
            return op(x)
        a = x.data
        try:
            out = forward(a)
        except Exception as error:
            raise explain(error, op, [a], [x.node], _NO_PARAMS) from error
        if type(out) is not ndarray:
            out = backend.as_array(out)
        tape = current_tape()
        p = x.node
        if tape is None or p is None:
            return Tensor(out)
        frame = _frame(1)
        while frame.f_code.co_filename in INTERNAL_FILES and frame.f_back is not None:
            frame = frame.f_back
        node = Node(
            op,
            (p,),
            (a,) if saves_inputs or not p.parents else None,
            _NO_PARAMS,
            out if saves_output else None,
            out,
            tape.place,
            frame,
            p.wants,
        )
        tape.nodes.append(node)
        if tape.watched is not None:
            watch(tape, node, out)
        return Tensor(out, node)

    call.__name__ = op.name
    return call


def fast_binary(op):
    """A function of two operands, at least one a tensor, that records `op`."""
    forward, saves_inputs, saves_output = op.forward, op.saves_inputs, op.saves_output

    def call(x, y):
        p = q = None
        if type(x) is Tensor:
            a, p = x.data, x.node
        else:
            a = x if type(x) in _SCALARS else backend.as_array(x)
        if type(y) is Tensor:
            b, q = y.data, y.node
        else:
            b = y if type(y) in _SCALARS else backend.as_array(y)
        try:
            out = forward(a, b)
        except Exception as error:
            raise explain(error, op, [a, b], [p, q], _NO_PARAMS) from error
        if type(out) is not ndarray:
            out = backend.as_array(out)
        tape = current_tape()
        if tape is None or (p is None and q is None):
            return Tensor(out)
        frame = _frame(1)
        while frame.f_code.co_filename in INTERNAL_FILES and frame.f_back is not None:
            frame = frame.f_back
        if saves_inputs:
            inputs = (a, b)
        else:
            keep_a = p is None or not p.parents
            keep_b = q is None or not q.parents
            inputs = (a if keep_a else None, b if keep_b else None) if keep_a or keep_b else None
        node = Node(
            op,
            (p, q),
            inputs,
            _NO_PARAMS,
            out if saves_output else None,
            out,
            tape.place,
            frame,
            (p is not None and p.wants) or (q is not None and q.wants),
        )
        tape.nodes.append(node)
        if tape.watched is not None:
            watch(tape, node, out)
        return Tensor(out, node)

    call.__name__ = op.name
    return call


def binary_method(function, reflected=False):
    """`__add__` or `__radd__` from a function of two operands."""
    if not reflected:
        return function

    def method(self, other):
        return function(other, self)

    with suppress(AttributeError):
        method.__name__ = f"r{function.__name__}"
    return method
