"""What is taken, and by whom. The one place where a name or a function changes hands.

Of each key there is a stack of entries: the last one counts, and those below are what it replaced,
which count again when it goes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from tracer.blame import USER, described
from tracer.errors import PluginError

#: what something replaces: names, and functions of NumPy
Replaced: TypeAlias = "str | Callable[..., Any] | tuple[str | Callable[..., Any], ...]"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who takes something: a plugin, or for `USER` the module of a script or notebook."""

    plugin: str = USER
    module: str = ""

    def is_same(self, other: Owner) -> bool:
        """Whether the other may be what this one was before: a module that runs again, a plugin."""
        if self.plugin == other.plugin:
            return self.plugin != USER or self.module == other.module
        packages = {owner.module.partition(".")[0] for owner in (self, other)}
        return USER in (self.plugin, other.plugin) and len(packages) == 1 and "" not in packages

    def __str__(self) -> str:
        if self.plugin != USER:
            return f"plugin {self.plugin!r}"
        return f"the module {self.module!r}" if self.module else "this program"

    def described(self) -> str:
        """The same with the distribution of a plugin."""
        return str(self) if self.plugin == USER else described(self.plugin)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A registered object, who registered it, and whether it may replace others'.

    `name` is what it is called among those of one owner: one of the same name is the same thing,
    written anew. `others` are those who have registered the same object besides.
    """

    value: Any
    owner: Owner
    replaces: bool = False
    name: str = ""
    others: tuple[Owner, ...] = ()

    @property
    def plugin(self) -> str:
        return self.owner.plugin

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.owner, *self.others)

    def is_of(self, plugin: str) -> bool:
        """Whether a plugin is among those who registered it."""
        return any(owner.plugin == plugin for owner in self.owners)

    def of(self, owners: list[Owner]) -> Entry:
        """The same of these owners, of which a plugin is first, since errors are then its."""
        first, *others = sorted(owners, key=lambda owner: owner.plugin == USER)
        return replace(self, owner=first, others=tuple(others))


@dataclass
class Transaction:
    """What was taken in a block, to be undone if the block fails."""

    owner: Owner | None
    undo: list[Callable[[], None]] = field(default_factory=list)
    taken: set[tuple[int, Hashable]] = field(default_factory=set)


#: held by whoever changes what is registered
changing = threading.RLock()


class _Current(threading.local):
    transaction: Transaction | None = None


_current = _Current()


@contextmanager
def transaction(owner: Owner | None = None) -> Iterator[Transaction]:
    """Everything that is taken in the block is taken, by `owner`, or nothing if it raises."""
    outer = _current.transaction
    if owner is None and outer is not None:
        owner = outer.owner
    _current.transaction = mine = Transaction(owner)
    try:
        yield mine
    except BaseException:
        _current.transaction = None
        for undo in reversed(mine.undo):
            undo()
        raise
    else:
        if outer is not None:
            outer.undo += mine.undo
            outer.taken |= mine.taken
    finally:
        _current.transaction = outer


def owner_of(module: str) -> Owner:
    """Who takes what this module registers: the plugin that is being loaded, or the module."""
    now = _current.transaction
    if now is not None and now.owner is not None:
        return now.owner
    return Owner(USER, module)


class Entries:
    """Who has which key, among those of one `kind`.

    `now` maps a key to the entry that counts. `changed` is called with each key whose entry is
    another one than before.
    """

    def __init__(self, kind: str, changed: Callable[[Any], None] = lambda key: None):
        self.kind, self.changed = kind, changed
        self.now: dict[Any, Entry] = {}
        self._stacks: dict[Any, tuple[Entry, ...]] = {}

    def stack(self, key: Hashable) -> tuple[Entry, ...]:
        """The entries of a key: what was replaced, and last what counts."""
        return self._stacks.get(key, ())

    def take(
        self, key: Hashable, new: Entry, conflict: Callable[[Entry], PluginError]
    ) -> list[Entry]:
        """Enter a value for a key. Returns those that go for good: its owner's own before.

        Where another owner has the key, or the same one by another name, `conflict` makes the error
        from its entry, unless one of both says that it replaces.
        """
        with changing:
            stack = self.stack(key)
            if any(entry.value is new.value for entry in stack):
                self._set(key, tuple(_shared(e, new) if e.value is new.value else e for e in stack))
                return []
            now = _current.transaction
            own, stack = _own(stack, new)
            if own:
                others = tuple(new if entry is own[-1] else entry for entry in stack)
                self._set(key, tuple(e for e in others if e not in own))
            elif not stack:
                self._set(key, (new,))
            elif new.replaces and (not stack[-1].replaces or new.plugin == USER):
                self._set(key, (*stack, new))
            elif stack[0].replaces and not new.replaces:
                self._set(key, (new, *stack))  # as if it had been there first
            else:
                raise conflict(stack[-1])
            if now is not None:
                now.taken.add((id(self), key))
            return own

    def is_taken_here(self, key: Hashable) -> bool:
        """Whether the key was taken in the same transaction of one owner."""
        now = _current.transaction
        return now is not None and now.owner is not None and (id(self), key) in now.taken

    def release(self, key: Hashable, value: Any, owner: Owner | None = None) -> Entry | None:
        """Forget a value of a key, be it replaced or not. What it replaced counts again.

        Where an `owner` lets go of what others have registered, too, it stays theirs. Returns the
        entry if it is gone.
        """
        with changing:
            stack = self.stack(key)
            found = next((entry for entry in stack if entry.value is value), None)
            if found is None:
                return None
            left = [each for each in found.owners if owner is not None and each != owner]
            kept = [found.of(left)] if left else []
            at = stack.index(found)
            self._set(key, (*stack[:at], *kept, *stack[at + 1 :]))
        return None if kept else found

    def _set(self, key: Hashable, stack: tuple[Entry, ...]) -> None:
        before = self.stack(key)
        if stack == before:
            return
        if _current.transaction is not None:
            _current.transaction.undo.append(lambda: self._set(key, before))
        if stack:
            self._stacks[key] = stack
            self.now[key] = stack[-1]
        else:
            self._stacks.pop(key, None)
            self.now.pop(key, None)
        if stack[-1:] != before[-1:]:
            self.changed(key)


def _shared(entry: Entry, again: Entry) -> Entry:
    """The entry of an object, which is registered again: by the same owner, or by another, too."""
    if again.owner in entry.owners:
        return entry
    same = entry.owner.is_same(again.owner)  # as of a plugin whose module was imported before
    return again if same and again.plugin != USER else entry.of([*entry.owners, again.owner])


def _own(stack: tuple[Entry, ...], new: Entry) -> tuple[list[Entry], tuple[Entry, ...]]:
    """What a new entry is another version of, and the stack without its owner's share of others."""
    own, left = [], []
    for entry in stack:
        theirs = [owner for owner in entry.owners if not owner.is_same(new.owner)]
        if entry.name == new.name and not theirs:
            own.append(entry)
        shared = entry.name == new.name and 0 < len(theirs) < len(entry.owners)
        left.append(entry.of(theirs) if shared else entry)
    return own, tuple(left)
