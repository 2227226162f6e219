"""The shortest way from an operator or a ufunc on tensors to its record.

`Operation.__call__` is general; these two do the same for one or two inputs without parameters.
Measured on 3-element arrays, they save about 0.7 microseconds an operation. That of two inputs does
itself what `operation.record` does, which saves 0.1 of the 1.0 that are left.
"""

import sys
from contextlib import suppress

from numpy import dtype, ndarray

from tracer import backend
from tracer.operation import DROPPED, INTERNAL_FILES, explain, record, watch
from tracer.tape import Node, current_tape
from tracer.tensor import Tensor

INTERNAL_FILES.add(__file__)
_frame, _new = sys._getframe, object.__new__
_NO_PARAMS: dict = {}
_OBJECT = dtype(object)
_SCALARS = frozenset((int, float, bool))


def fast_unary(op, norms=(), square_of=None):
    """A function of one tensor that records `op`, or gives `square_of` the results of `norms`."""
    forward, saves_inputs = op.forward, op.saves_inputs

    def call(x):
        if type(x) is not Tensor:
            return op(x)
        a, p = x.data, x.node
        try:
            out = forward(a)
        except Exception as error:
            raise explain(error, op, (a,), (p,), _NO_PARAMS) from error
        if type(out) is not ndarray:
            out = backend.as_array(out)
        tape = current_tape()
        if tape is None or p is None:
            return Tensor(out)
        if p.op in norms and (square := square_of(x)) is not None:
            return square
        saved = (a,) if saves_inputs or not p.parents else DROPPED
        return record(tape, op, (p,), saved, _NO_PARAMS, out, p.wants)

    call.__name__ = op.name
    return call


def fast_binary(op, norms=(), square_of=None):
    """A function of two operands, at least one a tensor, that records `op`.

    A result of `norms` with itself goes to `square_of`.
    """
    forward = op.forward
    saves_inputs, saves_output = op.saves_inputs, op.saves_output

    def call(x, y):
        if x is y and square_of is not None and x.node is not None and x.node.op in norms:
            square = square_of(x)
            if square is not None:
                return square
        p = q = None
        if type(x) is Tensor:
            a, p = x.data, x.node
        else:
            kind = type(x)
            plain = x.dtype is not _OBJECT if kind is ndarray else kind in _SCALARS
            a = x if plain else backend.as_array(x)
        if type(y) is Tensor:
            b, q = y.data, y.node
        else:
            kind = type(y)
            plain = y.dtype is not _OBJECT if kind is ndarray else kind in _SCALARS
            b = y if plain else backend.as_array(y)
        try:
            out = forward(a, b)
        except Exception as error:
            raise explain(error, op, (a, b), (p, q), _NO_PARAMS) from error
        if type(out) is not ndarray:
            out = backend.as_array(out)
        tape = current_tape()
        if tape is None or (p is None and q is None):
            return Tensor(out)
        if not saves_inputs:  # but constants and leaves
            if p is not None and p.parents:
                a = None
            if q is not None and q.parents:
                b = None
        node = Node()
        node.op = op
        node.parents = (p, q)
        node.inputs = (a, b)
        node.output = out if saves_output else None
        node.kept = None
        node.params = _NO_PARAMS
        node.shape = out.shape
        node.dtype = out.dtype
        node.place = tape.place
        node.wants = (p is not None and p.wants) or (q is not None and q.wants)
        frame = _frame(1)
        code = frame.f_code
        while code.co_filename in INTERNAL_FILES:
            frame = frame.f_back  # never None: no internal file is a program
            code = frame.f_code
        node.code = code
        node.lasti = frame.f_lasti
        tape.nodes.append(node)
        if tape.watched is not None:
            watch(tape, node, out)
        tensor = _new(Tensor)
        tensor.data = out
        tensor.node = node
        return tensor

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
