"""Nested containers of arrays: their leaves in order, and other containers matched with them.

Dicts, lists, tuples and named tuples are containers, and None is one without leaves. Everything
else is a leaf.
"""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tracer.arrays.types import Tree
from tracer.errors import ShapeError

#: what is no leaf
CONTAINERS = (dict, list, tuple, type(None))


class Container(NamedTuple):
    """One container: what it is, where its children are, and how it is made of new ones."""

    kind: str
    keys: tuple[Any, ...]
    #: what stands behind a name to say which child: `['w']`, `[0]`, `.w`
    steps: tuple[str, ...]
    children: tuple[Tree, ...]
    make: Callable[[list[Tree]], Tree]


def opened(tree: Tree) -> Container | None:
    """The outermost container of a tree; None for a leaf."""
    if not isinstance(tree, CONTAINERS):
        return None
    if isinstance(tree, dict):
        keys = tuple(tree)
        steps = tuple(f"[{key!r}]" for key in keys)
        return Container("dict", keys, steps, tuple(tree.values()), _dict_maker(tree))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        fields = tuple(tree._fields)
        steps = tuple(f".{field}" for field in fields)
        make = type(tree)._make  # type: ignore[attr-defined]  # of every named tuple
        return Container(type(tree).__name__, fields, steps, tuple(tree), make)
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        make = _list_maker(tree) if isinstance(tree, list) else _tuple_maker(type(tree))
        return Container(kind, *_numbered(len(tree)), tuple(tree), make)
    return Container("None", (), (), (), lambda children: None)


@functools.lru_cache(64)
def _numbered(count: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Keys and steps of a list."""
    return tuple(range(count)), tuple([f"[{i}]" for i in range(count)])


def _dict_maker(tree: dict[Any, Tree]) -> Callable[[list[Tree]], Tree]:
    keys, empty = tuple(tree), _emptied(tree, dict)

    def make(children: list[Tree]) -> Tree:
        made = {} if empty is None else copy.copy(empty)
        for key, child in zip(keys, children, strict=True):
            made[key] = child
        return made

    return make


def _list_maker(tree: list[Tree]) -> Callable[[list[Tree]], Tree]:
    empty = _emptied(tree, list)

    def make(children: list[Tree]) -> Tree:
        if empty is None:
            return children
        made = copy.copy(empty)
        made += children
        return made

    return make


def _emptied(tree: Tree, plain: type) -> Tree:
    """A container of the same subclass without its children, to be copied and filled; or None.

    It is made by copying, since a constructor of a subclass may take anything. Where a subclass
    cannot be copied, the plain class takes its place.
    """
    if type(tree) is plain:
        return None
    if isinstance(tree, defaultdict):
        return type(tree)(tree.default_factory)
    try:
        empty = copy.copy(tree)
        empty.clear()
    except Exception:
        return None
    return empty


def _tuple_maker(kind: type) -> Callable[[list[Tree]], Tree]:
    def make(children: list[Tree]) -> Tree:
        try:
            return tuple.__new__(kind, children)
        except TypeError:  # a type of C, which only its library makes
            return tuple(children)

    return tuple if kind is tuple else make


class Structure:
    """The containers of a tree, without its leaves."""

    __slots__ = ("_form", "count")

    def __init__(self, form: Container | None, count: int):
        self._form = form
        #: the number of leaves
        self.count = count

    @property
    def is_leaf(self) -> bool:
        """Whether there is no container at all."""
        return self._form is None

    @property
    def paths(self) -> list[str]:
        """Where each leaf is, as `['layer']['w']`."""
        return [""] if self._form is None else list(_paths(self._form, ""))

    def build(self, leaves: Sequence[Tree]) -> Tree:
        """The containers anew, with these leaves."""
        return leaves[0] if self._form is None else _filled(self._form, iter(leaves))

    def match(self, tree: Tree, what: str, of: str) -> list[Tree]:
        """The leaves of another tree of this structure, in the order of this one.

        Entries of dicts are matched by key, whatever their order, and a subclass is as good as the
        class. `what` says what the tree holds (tangents), and `of` what it is held against
        (primals). Raises `ShapeError` that names the place where the two differ.
        """
        if self._form is None and not isinstance(tree, CONTAINERS):
            return [tree]
        return list(_matched(self._form, tree, what, of, ""))


LEAF = Structure(None, 1)
#: of an empty dict, as most calls have for their options
EMPTY = Structure(opened({}), 0)


def flatten(tree: Tree) -> tuple[list[Tree], Structure]:
    """The leaves of a tree, and its structure."""
    if not isinstance(tree, CONTAINERS):
        return [tree], LEAF
    if type(tree) is dict and not tree:
        return [], EMPTY
    leaves: list[Tree] = []
    form = _form(tree, leaves)
    return leaves, Structure(form, len(leaves))


def _form(tree: Tree, leaves: list[Tree]) -> Container | None:
    if not isinstance(tree, CONTAINERS):
        leaves.append(tree)
        return None
    kind, keys, steps, children, make = opened(tree)  # type: ignore[misc]  # no leaf
    return Container(kind, keys, steps, tuple([_form(child, leaves) for child in children]), make)


def _filled(form: Container | None, leaves: Iterator[Tree]) -> Tree:
    if form is None:
        return next(leaves)
    return form.make([_filled(child, leaves) for child in form.children])


def _paths(form: Container | None, path: str) -> Iterator[str]:
    if form is None:
        yield path
        return
    for step, child in zip(form.steps, form.children, strict=True):
        yield from _paths(child, path + step)


def _matched(form: Container | None, tree: Tree, what: str, of: str, path: str) -> Iterator[Tree]:
    container = opened(tree)
    if form is None and container is None:
        yield tree
        return
    at = f" at {path}" if path else ""
    if form is None or container is None or form.kind != container.kind:
        here = "an array" if form is None else _named(form, of)
        there = type(tree).__name__ if container is None else _named(container, what)
        raise ShapeError(
            f"{what}s have the structure of the {of}s, which{at} is {here}, got {there}"
        )
    if form.kind in ("list", "tuple"):
        if len(form.keys) != len(container.keys):
            raise ShapeError(
                f"{what}s have the structure of the {of}s, which{at} is a {form.kind} of "
                f"{len(form.keys)}, so that it takes {len(form.keys)} {what}s, got "
                f"{len(container.keys)}"
            )
    else:
        _same_keys(form, container, what, of, path)
    given = dict(zip(container.keys, container.children, strict=True))
    for key, step, child in zip(form.keys, form.steps, form.children, strict=True):
        yield from _matched(child, given[key], what, of, path + step)


def _named(container: Container, what: str) -> str:
    if container.kind == "None":
        return "None"
    return f"a {container.kind} of {len(container.keys)} {what}s"


def _same_keys(form: Container, container: Container, what: str, of: str, path: str) -> None:
    """Raise `ShapeError` for the first entry that one of two dicts or named tuples lacks."""
    missing = _beside(form, container, path)
    extra = _beside(container, form, path)
    if missing:
        but = f", but one {extra[0]}, which they do not" if extra else ""
        raise ShapeError(f"there is no {what} {missing[0]}, which the {of}s have{but}")
    if extra:
        raise ShapeError(f"there is a {what} {extra[0]}, which the {of}s do not have")


def _beside(container: Container, other: Container, path: str) -> list[str]:
    """Where the entries are that another container does not have."""
    known = set(other.keys)
    pairs = zip(container.keys, container.steps, strict=True)
    return [path + step for key, step in pairs if key not in known]
