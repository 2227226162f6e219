"""Operations that change no value and say something of it."""

from tracer.record.operation import Operation, operation


@operation("batch")
class MarkBatch(Operation):
    """The identity, which says along which axis the samples lie."""

    saves = ()
    linear = True
    views = True

    def forward(x, *, axis):
        return x

    def vjp(node, g):
        """g."""
        return (g,)

    def jvp(node, tangents):
        """t."""
        return tangents[0]

    def batch_axis(node, axes):
        return node.params["axis"]

    def examples(rng):
        return [((rng.random((2, 3)),), {"axis": 0})]


OPERATIONS = [MarkBatch]
