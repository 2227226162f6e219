"""What an operation declares: its rules, and what holds of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracer import registry
from tracer.arrays.types import Array, Stack
from tracer.entries import Replaced


class Rules:
    """An operation with its rules. `@operation(name)` makes one instance of a subclass.

    Functions of a subclass are plain functions, without `self`:

    - `forward(*inputs, **params) -> array`.
    - `forward_keeping(*inputs, **params) -> (array, kept)`, in its place (or beside it, for what
      is recorded and wants a gradient), where rules go on from what it works out on the way. They
      find that as `node.kept`, or None, and then work it out again: it is gone after a sweep, and
      is not there in sweeps that are themselves recorded.
    - `vjp(node, g) -> tuple`, one entry per input. `g` is a stack of cotangents
      `[V, *output.shape]`, an entry a stack `[V, *input.shape]`, or None (no gradient), or a
      function without arguments that gives it, which is called only if that input wants a
      gradient. Rules use negative axes. The engine undoes broadcasting.
    - `batch_axis(node, axes) -> axis` where samples lie in the output, given where they lie in
      each input: an int, None, `POOLED` or `UNKNOWN`. Without it the engine falls back to one row
      per sample. Whether each entry of an axis is one sample or several are of one, the engine
      knows by itself, unless the operation has `grouped_axes`.
    - `parameter_cotangent(node, slot, g) -> Cotangent`, optional: what reaches an unbatched input,
      sample by sample, in its natural form (`tracer.cotangents`). `node.batch_axis` and
      `node.batch_axes` tell where the samples are.
    - `carry(node, slot, cotangent) -> Cotangent | None`, optional, for operations on unbatched
      tensors: the same with a structured cotangent of the output.
    - `through(node, entry) -> Scattered | None`, optional, for operations of one input: what `vjp`
      makes of a cotangent that is yet to be put in place (`tracer.sweep.scattered`); None if that
      is made first.
    - `jvp(node, tangents) -> array`, optional: a stack `[V, *output.shape]` from stacks
      `[V, *input.shape]` (None: a constant); `NotImplemented` where the engine is to transpose
      `vjp`, as it does without the rule. What is elementwise, or linear in
      all inputs together, has one by itself (`tracer.sweep.slopes`).
    - `blocks(node) -> counts`, optional, for what is elementwise between equal blocks of the last
      axis: how many each input holds. The Hessian's diagonal then takes few rows.
    - `flops(node) -> int`, optional: floating-point operations of the forward call.

    Those of a loss (`loss = True`) besides, of which quantities of the Gauss-Newton matrix start.
    `weight` is what each unreduced loss weighs in the objective, of the loss's shape, and not
    negative:

    - `sqrt_hessian(node, weight) -> [C, *prediction.shape]`: rows `S_c` with `sum_c S_c S_c^T` the
      Hessian of `sum(weight * loss)` by each sample's prediction.
    - `short_sqrt_hessian(node, weight)`, optional: the same with fewer rows.
    - Either may take `rows`, a slice of the rows that are wanted: within a memory budget they are
      then made a chunk at a time, and never all. `row_counts(node)` says how many there are.
    - `diagonal_hessian(node, weight) -> [*prediction.shape]`, optional: that Hessian, where it is a
      diagonal. It serves penalties on parameters, in place of a row per element.
    - `sqrt_hessian_sampled(node, weight, samples, rng) -> [M, *prediction.shape]`: the same in
      expectation, from targets sampled from the model's likelihood; None if it has none.

    An operation is of real numbers, and refuses complex ones that want a gradient, unless
    `takes_complex` says that its rules hold for them. Cotangents pair without conjugates: `g` at a
    complex value z stands for the slope `Re(sum(g * dz))`, which makes that of a real function
    `df/dx - i df/dy`. So the rules of what is analytic, products and `exp` and `np.fft.fft`, are
    those for real numbers as they stand, with transposes and no conjugates. An entry for a complex
    input is complex; of one for a real input the engine takes the real part.

    `saves` names what the rules read of a node: `"inputs"`, `"output"`, both or nothing.
    `numpy` lists the NumPy functions that record this operation when called on tensors. Where
    another has these, or the name, `replaces` says that it stands in place of that.
    """

    name: str
    leaf = False
    #: a leaf whose array counts as it was first used, until `tensor.data` gives it away
    guarded = False
    #: a leaf of what was computed in a thread that did not record
    foreign = False
    #: stands for several operations; see `tracer.record.composite`
    composite = False
    elementwise = False
    loss = False
    saves: tuple[str, ...] = ("inputs", "output")
    numpy: tuple[Any, ...] = ()
    #: what of others it stands in place of: names of operations, and NumPy functions
    replaces: Replaced = ()
    #: ufunc -> a quicker way to record this operation
    fast: dict[Callable[..., Any], Callable[..., Any]] = {}
    #: linear in all its inputs together
    linear = False
    #: slots in which it is linear while the other inputs are constant
    linear_in: tuple[int, ...] = ()
    #: second derivatives are zero wherever they exist, as for pieces of linear functions
    piecewise_linear = False
    #: its value may lie in the memory of its first input, as a slice does (a bool, or of the node)
    views: bool | Callable[..., bool] = False
    #: no option is an array, so that none has to be copied when it is recorded
    plain_options = False
    #: puts each element of its input in exactly one place of its output (a bool, or of the node)
    reindexes: bool | Callable[..., bool] = False
    #: of the node: the slots whose elements `forward` puts into the output, whatever they are, the
    #: output having no others; None if it has
    moves: Callable[..., Sequence[int] | None] | None = None
    #: its output is its input, broadcast
    spreads = False
    #: puts each element of an input in exactly one place of its output, beside other inputs
    places = False
    #: its `vjp` tells where nothing arrived: entries are -0.0 there, which changes no sum
    marks_unreached = False
    #: `batch_axis` takes and gives `GroupedAxis`, too: it puts the entries of an axis together
    #: with others, or takes them apart
    grouped_axes = False
    #: takes an unbatched input to each sample alike, so that its `vjp` has the samples apart
    broadcasts = False
    #: maps each sample of its first input by the same linear map, which its other inputs make
    maps_alike = False
    #: its rules hold for complex numbers, too: see the class
    takes_complex = False

    forward: Callable[..., Array]
    forward_keeping: Callable[..., tuple[Array, Any]]
    vjp: Callable[..., Sequence[Any]]
    batch_axis: Any = None
    parameter_cotangent: Callable[..., Any] | None = None
    carry: Callable[..., Any] | None = None
    through: Callable[..., object] | None = None
    jvp: Callable[..., Stack] | None = None
    blocks: Callable[..., tuple[int, ...]] | None = None
    flops: Callable[..., int] | None = None
    sqrt_hessian: Callable[..., Stack] | None = None
    short_sqrt_hessian: Callable[..., Any] | None = None
    sqrt_hessian_sampled: Callable[..., Stack | None] | None = None
    diagonal_hessian: Callable[..., Array] | None = None
    row_counts: Callable[..., dict[str, int]]

    def __init__(self, name: str, numpy: Any = (), replaces: Replaced = ()):
        self.name = name
        self.numpy = numpy if isinstance(numpy, tuple) else (numpy,)
        if replaces != ():
            self.replaces = replaces
        self.saves_inputs = "inputs" in self.saves
        self.saves_output = "output" in self.saves
        self.keeps = hasattr(self, "forward_keeping")
        self.__doc__ = type(self).__doc__

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def __copy__(self) -> Rules:
        return self

    def __deepcopy__(self, memo: Any) -> Rules:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _registered, (self.name,)


def _registered(name: str) -> Rules:
    return registry.operations[name]
