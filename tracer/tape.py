"""The tape: what is recorded, where, and the nodes that it is made of.

Nodes point to their inputs and never forward, and a tensor points to its node and never back, so
there are no reference cycles: a tape is freed by reference counting alone.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from tracer import hints, plugins, remarks
from tracer.errors import TracingError
from tracer.frames import source_line, users_warnings
from tracer.leaving import elsewhere
from tracer.snapshots import Snapshots, Trusted

if TYPE_CHECKING:
    import networkx as nx

    from tracer.operation import Operation
    from tracer.tensor import Tensor


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


class Cursor:
    """Where this thread or task records: on which tape, and at which place in the model.

    Entering a scope makes a new one, so that tasks and threads on one tape have scopes of their
    own. (Attributes of a class with slots are read in a third of the time that a tuple takes.)
    """

    __slots__ = ("place", "tape")

    def __init__(self, tape: Tape, place: Place):
        self.tape = tape
        self.place = place


_current: ContextVar[Cursor | None] = ContextVar("tracer_cursor", default=None)

#: the cursor of this thread or task, or None where nothing is recorded
current_cursor = _current.get


def current_tape() -> Tape | None:
    """The innermost open tape of this thread or task, or None."""
    cursor = _current.get()
    return None if cursor is None else cursor.tape


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
    kept: Any = None
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


class KeepingNode(Node):
    """A node with something that its rules go on from."""

    __slots__ = ("kept",)


class Tape:
    """Records the operations on tensors inside its `with` block.

    A tape opened inside another shares its record, so that what the inner one computes, its
    sweeps included, can be differentiated by the outer one. `watch=True` keeps statistics of every
    value and cotangent (norm, NaN and infinity counts), for pictures.
    """

    def __init__(self, *, watch: bool = False):
        plugins.load()
        self.nodes: list[Node] = []
        #: what the record keeps of arrays that others may write into
        self.snapshots = Snapshots()
        self.start = 0
        self.stop: int | None = None
        self.parent: Tape | None = None
        self.roots: list[Any] = []
        self.watched: dict[int, dict[str, Any]] | None = {} if watch else None
        self.failure: Failure | None = None
        self._warnings: Any = None
        self._open = False
        #: the code that recorded last, which is the user's
        self.users_code: CodeType | None = None
        #: the composites that were recorded, with the nodes of their parts; see `tracer.composite`
        self.composites: dict[Any, Any] = {}
        #: whether values were read out of the record, as plain arrays that may come back
        self.values_read = False
        #: what was computed beside the record: tensors and arrays that know where they come from
        self.unrecorded: list[weakref.ref[Any]] = []
        #: views of recorded tensors that were made beside the record: the node viewed, and the view
        self.unrecorded_views: list[tuple[Node, weakref.ref[Any]]] = []
        #: sweeps that dropped values of the record, from their beginning on
        self.releases = 0
        self.loss: Node | None = None

    def __enter__(self) -> Tape:
        if self._open or self.stop is not None:
            raise TracingError("a Tape records one `with` block: make a new Tape for another one")
        outer = _current.get()
        self.parent = open_tape()
        place = NOWHERE
        if self.parent is not None:
            self.nodes, self.snapshots = self.parent.nodes, self.parent.snapshots
            self.start = len(self.nodes)
            if outer is not None:
                place = outer.place
        try:
            self._open = True
            _opened[id(self)] = weakref.ref(self)
            _enter(self, Cursor(self, place))
            if self.parent is None and type(self.snapshots) is Snapshots:
                self._warnings = users_warnings()
                self._warnings.__enter__()
            call_hook("begin_trace", tape=self)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            remarks.annotate(error)
        self._close()
        call_hook("end_trace", tape=self)

    def _close(self) -> None:
        self._open = False
        _opened.pop(id(self), None)
        self.stop = len(self.nodes)
        warnings, self._warnings = self._warnings, None
        _leave(self)
        if warnings is not None:
            warnings.__exit__(None, None, None)
        self.unrecorded_views.clear()
        if self.unrecorded:
            self._let_go()

    def _let_go(self) -> None:
        """Let what was computed beside the record and is still in use know its samples by itself.

        It would keep the record alive otherwise, and those of tapes before.
        """
        from tracer.settling import settle

        held = [each for ref in self.unrecorded if (each := ref()) is not None]
        self.unrecorded = []
        settle(held)

    def __reduce__(self) -> Any:
        raise TracingError(
            "a tape is of the program that recorded it, and cannot be pickled or copied: pickle "
            "the parameters (model.state_dict()) and the values of its results"
        )

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def place(self) -> Place:
        """Where this thread or task records on this tape; nowhere if it does not."""
        cursor = _current.get()
        return cursor.place if cursor is not None and cursor.tape is self else NOWHERE

    @property
    def swept(self) -> bool:
        """Whether values of the record were dropped, and have to be computed again."""
        return self.releases > 0

    def recorded(self) -> list[Node]:
        """The nodes of this tape's own block, in the order of recording."""
        nodes = self.nodes[self.start : self.stop]
        if not self.composites:
            return nodes
        from tracer.composite import expanded, finish

        finish(self.composites)
        return expanded(nodes, self.composites)

    def condensed(self) -> list[Node]:
        """The same, with composites in place of the operations that they stand for."""
        nodes = self.nodes[self.start : self.stop]
        if not self.composites:
            return nodes
        from tracer.composite import condensed, finish

        finish(self.composites)
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
        undefined: str = "warn",
        parameters: Any = None,
        progress: Any = None,
        **others: Any,
    ) -> dict[str, Any]:
        """One sweep for the gradient of `loss` and any number of further quantities.

        `loss` has one element. `quantities` are registered names or configured objects. Returns
        quantity name -> parameter name -> value (raw arrays, or what the quantity defines).

        `memory_budget` bounds the bytes of temporary values: rows and samples are worked on in
        chunks, with identical results. Without one, a sweep stays within half of the memory that
        is free, its values included. What cannot be done within it raises `QuantityError`. `rng`
        (a `numpy.random.Generator`) makes sampled quantities reproducible. `samples` restricts
        quantities that are of single samples, or list them, to these.
        `reduce[name](parameter_name, value)` replaces a quantity's value as soon as it exists.
        `outputs` is the tensor at which the Gauss-Newton matrix splits model from loss, for a loss
        in plain NumPy code. `undefined` says what is done
        where a quantity is undefined for some parameters: "warn" leaves them out and says so once,
        "raise" raises `QuantityError`; so does a quantity that no parameter has. `parameters`
        restricts the sweep to some: a name, a parameter, a module, or a collection of those.
        `progress(done, total, text)` is called now and then where it takes more than two seconds;
        True writes a line to stderr.

        Values are constants to this tape: for derivatives of gradients, sweep it inside of another
        tape, or use `tracer.grad`.

        The sweep frees what it has passed; another sweep of the same tape first replays the
        forward computation from the leaves.
        """
        if others:
            raise TracingError(hints.sweep(others))
        return _backward()(
            self,
            loss,
            quantities,
            memory_budget=memory_budget,
            rng=rng,
            samples=samples,
            reduce=reduce or {},
            outputs=outputs,
            undefined=undefined,
            parameters=parameters,
            progress=progress,
        )

    def graph(self, direction: str = "forward", time: str = "unrolled") -> nx.MultiDiGraph:
        """The recorded graph as a `networkx.MultiDiGraph`; see `tracer.graph.build`."""
        from tracer.graph import build

        return build(self, direction, time)


hints.give(Tape, "a tape", hints.TAPE)


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
    tape = current_tape()
    while tape is not None and not tape._open:
        tape = tape.parent
    return tape


#: The tapes that are open, in whichever thread or task, by their id. (An interruption at the end of
#: a `with` block can leave one open that nobody has: it is not kept alive.)
_opened: dict[int, weakref.ref[Tape]] = {}


def refuse_elsewhere(nodes: Iterable[Node | None]) -> None:
    """Raise `TracingError` where one of the nodes is of a record that another thread has open."""
    others = opened_elsewhere()
    if not others:
        return
    for node in nodes:
        if node is not None and node.parents and any(node in tape.nodes for tape in others):
            raise elsewhere("a tensor of a tape that is open in another thread is used in this one")


def opened_elsewhere() -> list[Tape]:
    """The tapes that are open, but not in this thread or task; none where it has paused."""
    if not _opened:
        return []
    here: set[Tape] = set()
    blocks = _blocks.get()
    while blocks is not None:
        entered, cursor, blocks = blocks
        if type(entered) is pause:
            return []
        if cursor is not None:
            here.add(owner(cursor.tape))
    tapes = [reference() for reference in tuple(_opened.values())]
    return [tape for tape in tapes if tape is not None and owner(tape) not in here]


def is_set() -> bool:
    """Whether this thread or task is in a block with a cursor of its own, a pause among them."""
    return _blocks.get() is not None


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


#: The `with` blocks that this thread or task is in, as (block, its cursor, those around it).
#: A generator may be left, closed or collected at any time, so that blocks are not always left
#: innermost first. The chain is never changed in place: each thread or task has one of its own.
_blocks: ContextVar[Any] = ContextVar("tracer_blocks", default=None)


def _enter(entered: Any, cursor: Cursor | None) -> None:
    """Record at this cursor, until the block is left."""
    _blocks.set((entered, cursor, _blocks.get()))
    _current.set(cursor)


def _leave(entered: Any) -> None:
    """Return to the block around this one; where others were entered since, see `_leave_late`."""
    innermost = _blocks.get()
    if innermost is not None:
        if innermost[0] is entered:
            _return(innermost[2])
        else:
            _leave_late(entered, innermost)


def _return(blocks: Any) -> None:
    _blocks.set(blocks)
    _current.set(None if blocks is None else blocks[1])


def _leave_late(entered: Any, innermost: Any) -> None:
    """Leave a block that is not the innermost.

    If it was a generator's, those that were entered since go on, as the consumer's own. If not,
    they are of generators that wait in the middle of theirs, and end with it.
    """
    since = []
    blocks = innermost
    while blocks is not None and blocks[0] is not entered:
        since.append(blocks)
        blocks = blocks[2]
    if blocks is None:  # left in another thread or task than entered, or ended already
        return
    remaining = blocks[2]
    frame: Any = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and not frame.f_code.co_flags & _GENERATES:
        frame = frame.f_back  # never None: this file is no program
    if frame.f_code.co_flags & _GENERATES:
        for block, cursor, _ in reversed(since):
            if cursor is None or cursor.tape is not entered:
                remaining = (block, cursor, remaining)
    _return(remaining)


#: flags of the code of generators, plain and asynchronous
_GENERATES = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class _Entered:
    """A `with` block that has a cursor of its own."""

    __slots__ = ()

    def _go(self, cursor: Cursor | None) -> None:
        _enter(self, cursor)

    def __exit__(self, *error: Any) -> None:
        _leave(self)


def rerecording() -> Tape:
    """A tape for what is recorded again from the values of a record."""
    tape = Tape()
    tape.snapshots = Trusted()
    return tape


class using(_Entered):
    """Record on `tape` (or on none) in a `with` block, at `place` in its model.

    Without a place it is that of now where `tape` is the current one, and nowhere elsewhere.
    """

    __slots__ = ("place", "tape")

    def __init__(self, tape: Tape | None, place: Place | None = None):
        self.tape = tape
        self.place = place

    def __enter__(self) -> None:
        if self.tape is None:
            self._go(None)
            return
        now, place = _current.get(), self.place
        if place is None:
            place = now.place if now is not None and now.tape is self.tape else NOWHERE
        self._go(Cursor(self.tape, place))


class pause(using):
    """`with tracer.pause():` records nothing; results are constants to the tapes around it.

    What is computed there of a batch stays a batch: its samples are known where it is used.

    In a generator it is for what the generator computes itself: where it waits at a `yield` inside
    of the block, what its consumer computes of tensors raises `TracingError`.
    """

    __slots__ = ("frame", "paused")

    paused: Tape | None
    frame: FrameType | None

    def __init__(self) -> None:
        super().__init__(None)

    def __enter__(self) -> None:
        outer = _innermost_pause()
        self.paused = open_tape() or (None if outer is None else outer.paused)
        self.frame = _generator(sys._getframe(1))
        super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self.frame = None
        super().__exit__(*error)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, called inside of a pause: `@tracer.pause()`."""
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TracingError(
                f"@tracer.pause() is for functions, and {function.__name__} goes on after it "
                f"returns: write `with tracer.pause():` inside of it"
            )

        @functools.wraps(function)
        def paused(*args: Any, **keywords: Any) -> Any:
            with pause():
                return function(*args, **keywords)

        return paused


def _generator(frame: FrameType) -> FrameType | None:
    """The frame if it is that of a generator that hands values on, and is no `with` block."""
    if not frame.f_code.co_flags & _GENERATES or frame.f_back is None:
        return None
    driver = frame.f_back.f_globals.get("__name__", "")
    return None if driver.partition(".")[0] in _DRIVERS else frame


#: modules that run the halves of a generator around what is to be inside of its blocks
_DRIVERS = frozenset(("contextlib", "_pytest", "pluggy", "pytest_asyncio"))


def paused_tape() -> Tape | None:
    """The tape that is paused in this thread or task, or None.

    Raises `TracingError` where a generator paused it, and waits at a `yield` now.
    """
    innermost = _innermost_pause()
    if innermost is None or innermost.paused is None:
        return None
    if innermost.frame is not None and innermost.paused.is_open:
        _assert_running(innermost.frame)
    return innermost.paused


def _innermost_pause() -> pause | None:
    block = _blocks.get()
    while block is not None:
        if block[0].__class__ is pause:
            return block[0]
        block = block[2]
    return None


def _assert_running(waiting: FrameType) -> None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not waiting:
        frame = frame.f_back
    if frame is None:
        raise TracingError(
            f"the generator {waiting.f_code.co_name} "
            f"({source_line(waiting.f_code, waiting.f_lasti)}) waits at a yield inside of "
            f"`with tracer.pause():`, which pauses its consumer: leave the block before the "
            f"yield, or put it around the loop over the generator"
        )


class _At(_Entered):
    """A `with` block at a place of its own on the current tape."""

    __slots__ = ()

    def inside(self, place: Place) -> Place:
        """The place in the block, from the one around it."""
        raise NotImplementedError

    def __enter__(self) -> None:
        now = _current.get()
        if now is not None:
            self._go(Cursor(now.tape, self.inside(now.place)))


class scope(_At):
    """`with tracer.scope("encoder"):` puts what is recorded in it under this name in the graph."""

    __slots__ = ("kind", "name")

    def __init__(self, name: str, kind: str | None = None):
        self.name = name
        self.kind = kind or name

    def inside(self, place: Place) -> Place:
        path = f"{place.scope}.{self.name}" if place.scope else self.name
        return place._replace(scope=path, scopes=(*place.scopes, self.kind))


class present(_At):
    """`with tracer.present(mask):` says which samples of padded sequences are there.

    `mask` holds booleans `[N]` or, for operations on all T steps at once, `[N, T]`, in the library
    of the tensors; None says nothing. Uses of parameters elsewhere count in no Kronecker factor.
    (In the other quantities they have no share anyway, if the loss does not look at them.) Where it
    is nested, a sample is there if all masks say so.
    """

    __slots__ = ("mask",)

    def __init__(self, mask: Any):
        if mask is not None:
            if not hasattr(mask, "ndim"):
                raise TracingError(
                    f"present expects an array of booleans [N] or [N, T], got a "
                    f"{type(mask).__name__}"
                )
            mask = mask.copy() if mask.ndim > 1 else mask[:, None].copy()
        self.mask = mask

    def inside(self, place: Place) -> Place:
        if self.mask is None:
            return place
        mask = self.mask if place.present is None else place.present & self.mask
        return place._replace(present=mask)


def steps(count: int, *, reverse: bool = False) -> Iterator[int]:
    """`for t in tracer.steps(T):` marks what each round of a loop records with its time step.

    Loops nest. With `reverse=True` the steps are T-1, ..., 0: the position in the sequence of a
    loop that goes through it backward.
    """
    try:
        count = operator.index(count)
    except TypeError:
        raise TracingError(
            f"steps expects the number of steps, as in tracer.steps(len(xs)), got a "
            f"{type(count).__name__}"
        ) from None
    outside = _current.get()
    times = range(count - 1, -1, -1) if reverse else range(count)
    if outside is None:
        yield from times
        return
    tape, outer = outside.tape, outside.place
    loops = (*outer.loops, Loop(sys._getframe(1), outer.scope, reverse))
    try:
        for t in times:
            _leave(loops)
            _enter(loops, Cursor(tape, outer._replace(times=(*outer.times, t), loops=loops)))
            yield t
    finally:
        _leave(loops)


@functools.cache
def _backward() -> Callable[..., dict[str, Any]]:
    """`tracer.backward.backward`, of a module that needs this one."""
    from tracer.backward import backward

    return backward


def call_hook(name: str, **arguments: Any) -> None:
    """Call a hook of all plugins. An error in one is raised as `PluginError`, which names it."""
    hook = plugins.hook()
    if hook is not None and (caller := getattr(hook, name)).get_hookimpls():
        plugins.blaming(caller, arguments)
