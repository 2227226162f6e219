"""The tape: what is recorded, where, and the nodes that it is made of.

Nodes point to their inputs and never forward, and a tensor points to its node and never back, so
there are no reference cycles: a tape is freed by reference counting alone.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from tracer import plugins
from tracer.errors import TracingError

if TYPE_CHECKING:
    import networkx as nx

    from tracer.operation import Operation
    from tracer.tensor import Tensor

_current: ContextVar[Tape | None] = ContextVar("tracer_tape", default=None)

_UNSET: Any = object()

#: the innermost open tape of this thread or task, or None
current_tape = _current.get


class Place(NamedTuple):
    """Where in a model something is recorded: module path, class names along it, steps of loops.

    `times` are the time steps and `loops` the loops that they are of, the outermost first.
    `present` says which samples are there, in padded sequences; see `tracer.present`.
    """

    scope: str = ""
    scopes: tuple[str, ...] = ()
    times: tuple[int, ...] = ()
    loops: tuple[Loop, ...] = ()
    present: Any = None

    @property
    def time(self) -> int | None:
        """The step of the innermost loop; None outside of all."""
        return self.times[-1] if self.times else None


class Loop:
    """One run of a loop over time: where it was entered, and which way it goes."""

    __slots__ = ("code", "lasti", "reverse", "scope")

    def __init__(self, frame: FrameType, scope: str, reverse: bool):
        self.code = frame.f_code
        self.lasti = frame.f_lasti
        self.scope = scope
        self.reverse = reverse

    @property
    def source(self) -> str | None:
        """`file.py:12`, the line of the loop."""
        return source_line(self.code, self.lasti)


NOWHERE = Place()

#: files that run a user's model: the lines that call it are none of the user's
DRIVER_FILES: set[str] = set()


def source_line(code: CodeType, lasti: int) -> str | None:
    """`file.py:12`, the line of an instruction; None in the files that run a user's model."""
    if code.co_filename in DRIVER_FILES:
        return None
    lines = (line for start, stop, line in code.co_lines() if start <= lasti < stop and line)
    return f"{os.path.basename(code.co_filename)}:{next(lines, code.co_firstlineno)}"


class Node:
    """One recorded operation, or a leaf (`op.leaf` is true; it has no parents).

    `parents` holds a node or None (a constant) per input. `inputs` and `output` hold the raw
    arrays that the rules of `op` read. Instead of an array there is None where `op.saves` does not
    name them, and after a sweep has passed; constants and leaves stay among the inputs. `kept` is
    what `op.forward_keeping` gave for the rules, None where there is none or it was dropped.

    There is no constructor: what records fills nodes in, which takes half the time.
    """

    __slots__ = (
        "code",
        "dtype",
        "inputs",
        "kept",
        "lasti",
        "op",
        "output",
        "params",
        "parents",
        "place",
        "shape",
        "wants",
    )

    op: Operation
    parents: tuple[Node | None, ...]
    inputs: tuple[Any, ...]
    params: dict[str, Any]
    output: Any
    kept: Any
    shape: tuple[int, ...]
    dtype: Any
    place: Place
    code: CodeType | None
    lasti: int
    wants: bool

    def input_shape(self, slot: int) -> tuple[int, ...]:
        """Shape of an input that wants a gradient, whether or not it was saved."""
        parent = self.parents[slot]
        if parent is not None:
            return parent.shape
        return getattr(self.inputs[slot], "shape", ())

    @property
    def source(self) -> str | None:
        """`file.py:12`, the user's line that recorded this node."""
        return None if self.code is None else source_line(self.code, self.lasti)

    @property
    def label(self) -> str:
        """The name of a leaf, or of the operation."""
        return self.params.get("name") or self.op.name if self.op.leaf else self.op.name

    def __repr__(self) -> str:
        where = f" in {self.place.scope}" if self.place.scope else ""
        return f"<{self.label} {self.dtype}{list(self.shape)}{where}>"


class Tape:
    """Records the operations on tensors inside its `with` block.

    A tape opened inside another shares its record, so that what the inner one computes, its
    sweeps included, can be differentiated by the outer one. `watch=True` keeps statistics of every
    value and cotangent (norm, NaN and infinity counts), for pictures.
    """

    def __init__(self, *, watch: bool = False):
        plugins.load()
        self.nodes: list[Node] = []
        self.start = 0
        self.stop: int | None = None
        self.place = NOWHERE
        self.parent: Tape | None = None
        self.roots: list[Any] = []
        self.watched: dict[int, dict[str, Any]] | None = {} if watch else None
        self.failure: Failure | None = None
        self._token: Token[Tape | None] | None = None
        self._open = False
        #: the composites that were recorded, with the nodes of their parts
        self.composites: dict[Node, list[Node]] = {}
        self.swept = False
        self.loss: Node | None = None

    def __enter__(self) -> Tape:
        if self._open or self.stop is not None:
            raise TracingError("a Tape records one `with` block: make a new Tape for another one")
        self.parent = open_tape()
        if self.parent is not None:
            self.nodes, self.place = self.parent.nodes, self.parent.place
            self.start = len(self.nodes)
        self._token = _current.set(self)
        self._open = True
        _call_hook("begin_trace", tape=self)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._open = False
        self.stop = len(self.nodes)
        if self._token is not None:
            _current.reset(self._token)
            self._token = None
        _call_hook("end_trace", tape=self)

    @property
    def is_open(self) -> bool:
        return self._open

    def recorded(self) -> list[Node]:
        """The nodes of this tape's own block, in the order of recording."""
        nodes = self.nodes[self.start : self.stop]
        if not self.composites:
            return nodes
        from tracer.composite import expanded

        return expanded(nodes, self.composites)

    def condensed(self) -> list[Node]:
        """The same, with composites in place of the operations that they stand for."""
        nodes = self.nodes[self.start : self.stop]
        if not self.composites:
            return nodes
        from tracer.composite import condensed

        return condensed(nodes)

    def backward(
        self,
        loss: Tensor,
        quantities: Sequence[Any] = ("grad",),
        *,
        memory_budget: int | None = None,
        rng: Any = None,
        samples: Sequence[int] | None = None,
        reduce: Mapping[str, Callable[[str, Any], Any]] | None = None,
        outputs: Tensor | None = None,
    ) -> dict[str, Any]:
        """One sweep for the gradient of `loss` and any number of further quantities.

        `loss` has one element. `quantities` are registered names or configured objects. Returns
        quantity name -> parameter name -> value (raw arrays, or what the quantity defines).

        `memory_budget` bounds the bytes of temporary values: rows and samples are worked on in
        chunks, with identical results. `rng` (a `numpy.random.Generator`) makes sampled
        quantities reproducible. `samples` restricts per-sample quantities to these samples.
        `reduce[name](parameter_name, value)` replaces a quantity's value as soon as it exists.
        `outputs` is the tensor at which the Gauss-Newton matrix splits model from loss, for a loss
        in plain NumPy code.

        The sweep frees what it has passed; another sweep of the same tape first replays the
        forward computation from the leaves.
        """
        return _backward()(
            self,
            loss,
            quantities,
            memory_budget=memory_budget,
            rng=rng,
            samples=samples,
            reduce=reduce or {},
            outputs=outputs,
        )

    def graph(self, direction: str = "forward", time: str = "unrolled") -> nx.MultiDiGraph:
        """The recorded graph as a `networkx.MultiDiGraph`; see `tracer.graph.build`."""
        from tracer.graph import build

        return build(self, direction, time)


class Failure(NamedTuple):
    """The operation that raised while a watched tape recorded, for the partial graph."""

    op: Operation
    parents: tuple[Node | None, ...]
    place: Place
    code: CodeType
    lasti: int
    error: str

    @property
    def source(self) -> str | None:
        """`file.py:12`, the user's line that raised."""
        return source_line(self.code, self.lasti)


def open_tape() -> Tape | None:
    """The innermost tape that is still open in this thread or task."""
    tape = _current.get()
    while tape is not None and not tape._open:
        tape = tape.parent
    return tape


def is_set() -> bool:
    """Whether this thread or task has, or had, a tape of its own, or paused."""
    return _current.get(_UNSET) is not _UNSET


def enclosing(tape: Tape) -> Tape | None:
    """The nearest tape around this one that is still open."""
    outer = tape.parent
    while outer is not None and not outer.is_open:
        outer = outer.parent
    return outer


def owner(tape: Tape) -> Tape:
    """The outermost of the tapes that share this one's record."""
    while tape.parent is not None and tape.parent.nodes is tape.nodes:
        tape = tape.parent
    return tape


class using:
    """Make `tape` (or no tape) the current one for a `with` block."""

    __slots__ = ("tape", "token")

    def __init__(self, tape: Tape | None):
        self.tape = tape

    def __enter__(self) -> None:
        self.token = _current.set(self.tape)

    def __exit__(self, *error: Any) -> None:
        _current.reset(self.token)


def pause() -> using:
    """`with tracer.pause():` records nothing; results are constants to the tapes around it."""
    return using(None)


class scope:
    """`with tracer.scope("encoder"):` puts what is recorded in it under this name in the graph."""

    __slots__ = ("kind", "name", "outer", "tape")

    def __init__(self, name: str, kind: str | None = None):
        self.name = name
        self.kind = kind or name

    def __enter__(self) -> None:
        self.tape = tape = _current.get()
        if tape is not None:
            self.outer = place = tape.place
            path = f"{place.scope}.{self.name}" if place.scope else self.name
            tape.place = place._replace(scope=path, scopes=(*place.scopes, self.kind))

    def __exit__(self, *error: Any) -> None:
        if self.tape is not None:
            self.tape.place = self.outer


class present:
    """`with tracer.present(mask):` says which samples of padded sequences are there.

    `mask` holds booleans `[N]` or, for operations on all T steps at once, `[N, T]`, in the library
    of the tensors; None says nothing. Uses of parameters elsewhere count in no Kronecker factor.
    (In the other quantities they have no share anyway, if the loss does not look at them.) Where it
    is nested, a sample is there if all masks say so.
    """

    __slots__ = ("mask", "outer", "tape")

    def __init__(self, mask: Any):
        self.mask = mask if mask is None or mask.ndim > 1 else mask[:, None]

    def __enter__(self) -> None:
        self.tape = tape = _current.get()
        if tape is not None:
            self.outer = place = tape.place
            if self.mask is not None:
                mask = self.mask if place.present is None else place.present & self.mask
                tape.place = place._replace(present=mask)

    def __exit__(self, *error: Any) -> None:
        if self.tape is not None:
            self.tape.place = self.outer


def steps(count: int, *, reverse: bool = False) -> Iterator[int]:
    """`for t in tracer.steps(T):` marks what each round of a loop records with its time step.

    Loops nest. With `reverse=True` the steps are T-1, ..., 0: the position in the sequence of a
    loop that goes through it backward.
    """
    tape = _current.get()
    times = range(count - 1, -1, -1) if reverse else range(count)
    if tape is None:
        yield from times
        return
    outer = tape.place
    loops = (*outer.loops, Loop(sys._getframe(1), outer.scope, reverse))
    try:
        for t in times:
            tape.place = outer._replace(times=(*outer.times, t), loops=loops)
            yield t
    finally:
        tape.place = outer


@functools.cache
def _backward() -> Callable[..., dict[str, Any]]:
    """`tracer.backward.backward`, of a module that needs this one."""
    from tracer.backward import backward

    return backward


def _call_hook(name: str, **arguments: Any) -> None:
    hook = plugins.hook()
    if hook is not None and (caller := getattr(hook, name)).get_hookimpls():
        caller(**arguments)
