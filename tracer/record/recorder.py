"""The tape: what is recorded, where, and the nodes that it is made of.

Nodes point to their inputs and never forward, and a tensor points to its node and never back, so
there are no reference cycles: a tape is freed by reference counting alone.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Hashable, Iterable, Mapping
from contextvars import ContextVar
from types import CodeType, TracebackType
from typing import Any, TypeAlias

from tracer import hooks
from tracer.arrays.parallel import Work, begin_work, current_work, end_work
from tracer.errors import TracingError
from tracer.record import remarks
from tracer.record.frames import INTERNAL_FILES, users_warnings
from tracer.record.leaving import elsewhere
from tracer.record.node import Node
from tracer.record.place import NOWHERE, Place
from tracer.record.raising import Failure, failure_of, note_place
from tracer.record.settling import settle
from tracer.record.snapshots import Snapshots, Trusted

#: what operations take, by their nodes, and what their rules do, by (node, "cotangent")
Seconds: TypeAlias = "dict[Node | tuple[Node, str], float]"


class Cursor:
    """Where this thread or task records: on which tape, and at which place in the model.

    Entering a scope makes a new one, so that tasks and threads on one tape have scopes of their
    own. (Attributes of a class with slots are read in a third of the time that a tuple takes.)
    """

    __slots__ = ("place", "tape")

    def __init__(self, tape: Recorder, place: Place):
        self.tape = tape
        self.place = place


cursors: ContextVar[Cursor | None] = ContextVar("tracer_cursor", default=None)


#: the cursor of this thread or task, or None where nothing is recorded
current_cursor = cursors.get


def current_tape() -> Recorder | None:
    """The innermost open tape of this thread or task, or None."""
    cursor = cursors.get()
    return None if cursor is None else cursor.tape


class Recorder:
    """What a `with` block records: see `tracer.Tape`, which adds sweeps and graphs of it."""

    #: of the blocks that have a cursor of their own, those of `pause` record nothing
    pauses = False
    #: names of arrays that models mark as batches, by the id of the array
    input_names: Mapping[int, str] | None = None
    #: arrays that a model was given besides its batch, of another length: not marked, and no batch
    #: unless a term of the objective is of them alone
    unmarked_inputs: tuple[Any, ...] = ()
    #: the part of the nodes that it recorded itself, inside of another tape or not
    start = 0
    stop: int | None = None
    parent: Recorder | None = None
    failure: Failure | None = None
    #: the code that recorded last, which is the user's
    users_code: CodeType | None = None
    #: whether values were read out of the record, as plain arrays that may come back
    values_read = False
    #: of the outermost tape: the blocks whose values are computed again in sweeps, if there are any
    recomputed: Any = None
    #: sweeps that dropped values of the record, from their beginning on
    releases = 0
    loss: Node | None = None
    #: the cotangents of the last sweep for the gradient, where they were to be kept
    arrived: object = None
    #: how long each operation takes, and its rule, where that was measured
    seconds: Seconds = {}
    _warnings: Any = None
    _work_before: Work | None = None
    _open = False

    def __init__(self, *, watch: bool = False, values: bool = False, cotangents: bool = False):
        hooks.load()
        self.nodes: list[Node] = []
        #: what the record keeps of arrays that others may write into
        self.snapshots = Snapshots()
        #: what it is part of, or by itself, for the threads that compute it
        self.work = current_work() or Work()
        self.roots: list[Any] = []
        self.watched: dict[Hashable, dict[str, object]] | None = {} if watch or values else None
        #: whether `watched` also has the numbers of small values
        self.keeps_values = values
        #: whether a sweep for the gradient keeps what arrives at each tensor
        self.keeps_cotangents = cotangents
        #: the composites that were recorded, with the nodes of their parts
        self.composites: dict[Node | None, Any] = {}
        #: what was computed beside the record: tensors and arrays that know where they come from
        self.unrecorded: list[weakref.ref[Any]] = []
        #: views of recorded tensors that were made beside the record: the node viewed, and the view
        self.unrecorded_views: list[tuple[Node, weakref.ref[Any]]] = []

    def __enter__(self) -> Recorder:
        if self._open or self.stop is not None:
            raise TracingError("a Tape records one `with` block: make a new Tape for another one")
        outer, place = cursors.get(), NOWHERE
        if outer is not None and (parent := open_tape()) is not None:
            self.parent, place = parent, outer.place
            self.nodes, self.snapshots = parent.nodes, parent.snapshots
            self.start = len(self.nodes)
        try:
            self._open = True
            self._work_before = begin_work(self.work)
            _opened[id(self)] = weakref.ref(self)
            enter_block(self, Cursor(self, place))
            if self.parent is None and type(self.snapshots) is Snapshots:
                self._warnings = users_warnings()
                self._warnings.__enter__()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            remarks.annotate(error)
            if self.watched is not None and self.failure is None:
                self.failure = failure_of(error, self.nodes[self.start :])
        self._close()

    def _close(self) -> None:
        self._open = False
        if current_work() is self.work:
            end_work(self._work_before)
        if self.work.blocks and self.work is not self._work_before:
            self.work.release()  # also where tapes are closed in another order
        _opened.pop(id(self), None)
        self.stop = len(self.nodes)
        warnings, self._warnings = self._warnings, None
        leave_block(self)
        if warnings is not None:
            warnings.__exit__(None, None, None)
        self.unrecorded_views.clear()
        if self.unrecorded:
            self._let_go()

    def _let_go(self) -> None:
        """Let what was computed beside the record and is still in use know its samples by itself.

        It would keep the record alive otherwise, and those of tapes before.
        """
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
        cursor = cursors.get()
        return cursor.place if cursor is not None and cursor.tape is self else NOWHERE

    @property
    def swept(self) -> bool:
        """Whether values of the record were dropped, and have to be computed again."""
        return self.releases > 0


def open_tape() -> Recorder | None:
    """The innermost tape that is still open in this thread or task."""
    tape = current_tape()
    while tape is not None and not tape._open:
        tape = tape.parent
    return tape


#: The tapes that are open, in whichever thread or task, by their id. (An interruption at the end of
#: a `with` block can leave one open that nobody has: it is not kept alive.)
_opened: dict[int, weakref.ref[Recorder]] = {}


def refuse_elsewhere(nodes: Iterable[Node | None]) -> None:
    """Raise `TracingError` where one of the nodes is of a record that another thread has open."""
    others = opened_elsewhere()
    if not others:
        return
    for node in nodes:
        if node is not None and node.parents and any(node in tape.nodes for tape in others):
            raise elsewhere("a tensor of a tape that is open in another thread is used in this one")


def opened_elsewhere() -> list[Recorder]:
    """The tapes that are open, but not in this thread or task; none where it has paused."""
    if not _opened:
        return []
    here: set[Recorder] = set()
    blocks = blocks_around.get()
    while blocks is not None:
        entered, cursor, blocks = blocks
        if entered.pauses:
            return []
        if cursor is not None:
            here.add(owner(cursor.tape))
    tapes = [reference() for reference in tuple(_opened.values())]
    return [tape for tape in tapes if tape is not None and owner(tape) not in here]


def nobody_records() -> bool:
    """Whether no tape is open, in any thread or task, nor recorded on here."""
    return not _opened and cursors.get() is None


def is_set() -> bool:
    """Whether this thread or task is in a block with a cursor of its own, a pause among them."""
    return blocks_around.get() is not None


def enclosing(tape: Recorder) -> Recorder | None:
    """The nearest tape around this one that is still open."""
    outer = tape.parent
    while outer is not None and not outer.is_open:
        outer = outer.parent
    return outer


def owner(tape: Recorder) -> Recorder:
    """The outermost of the tapes that share this one's record."""
    while tape.parent is not None and tape.parent.nodes is tape.nodes:
        tape = tape.parent
    return tape


#: The `with` blocks that this thread or task is in, as (block, its cursor, those around it).
#: A generator may be left, closed or collected at any time, so that blocks are not always left
#: innermost first. The chain is never changed in place: each thread or task has one of its own.
blocks_around: ContextVar[Any] = ContextVar("tracer_blocks", default=None)


def enter_block(entered: Any, cursor: Cursor | None) -> None:
    """Record at this cursor, until the block is left."""
    blocks_around.set((entered, cursor, blocks_around.get()))
    cursors.set(cursor)


def leave_block(entered: Any) -> None:
    """Return to the block around this one; where others were entered since, see `_leave_late`."""
    innermost = blocks_around.get()
    if innermost is not None:
        if innermost[0] is not entered:
            _leave_late(entered, innermost)
            return
        blocks = innermost[2]
        blocks_around.set(blocks)
        cursors.set(None if blocks is None else blocks[1])


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
    while frame.f_code.co_filename in INTERNAL_FILES and not frame.f_code.co_flags & GENERATES:
        frame = frame.f_back  # never None: no internal file is a program
    if frame.f_code.co_flags & GENERATES:
        for block, cursor, _ in reversed(since):
            if cursor is None or cursor.tape is not entered:
                remaining = (block, cursor, remaining)
    blocks_around.set(remaining)
    cursors.set(None if remaining is None else remaining[1])


#: flags of the code of generators, plain and asynchronous
GENERATES = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Block:
    """A `with` block that has a cursor of its own."""

    __slots__ = ()

    pauses = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and (cursor := cursors.get()) is not None:
            note_place(error, cursor.place)
        blocks = blocks_around.get()
        if blocks is not None and blocks[0] is self:  # as `leave_block` does, without a call
            blocks_around.set(outer := blocks[2])
            cursors.set(None if outer is None else outer[1])
        else:
            leave_block(self)


def rerecording() -> Recorder:
    """A tape for what is recorded again from the values of a record."""
    tape = Recorder()
    tape.snapshots = Trusted()
    return tape


class using(Block):
    """Record on `tape` (or on none) in a `with` block, at `place` in its model.

    Without a place it is that of now where `tape` is the current one, and nowhere elsewhere.
    """

    __slots__ = ("place", "tape")

    def __init__(self, tape: Recorder | None, place: Place | None = None):
        self.tape = tape
        self.place = place

    def __enter__(self) -> None:
        if self.tape is None:
            enter_block(self, None)
            return
        place = self.place
        if place is None:
            now = cursors.get()
            place = now.place if now is not None and now.tape is self.tape else NOWHERE
        cursor = Cursor(self.tape, place)  # and then as `enter_block` does, without a call
        blocks_around.set((self, cursor, blocks_around.get()))
        cursors.set(cursor)


INTERNAL_FILES.add(__file__)
