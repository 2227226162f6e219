"""Whose a module is, and where it is in that model: the paths of names and of scopes.

A module knows its owners by weak references, with the names that they hold it under; the first that
still holds it so counts. Modules in plain lists and dictionaries are found by a search, once for
each change of what modules hold.
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

from tracer import Tensor
from tracer.extend import Array, Params, is_users, users_frame
from tracer_layers.module.state import is_parameter

#: what is held under a name: a parameter, an array, a module, or None
Content: TypeAlias = Any


class Named(Protocol):
    """What is named here: a module, by what it holds and who holds it."""

    _registered: dict[str, str]
    _behind: Mapping[str, Content]
    _owners: list[tuple[weakref.ref[Any], str]]
    _serial_number: int
    _found: dict[str, tuple[object, list[Any]]]

    def _value(self, name: str) -> Content: ...

    def _held(self, *kinds: str) -> Iterator[tuple[str, Any]]: ...

    def _once(self, what: str, find: Callable[[], list[Any]]) -> list[Any]: ...

    def forward(self, *inputs: Any) -> Any: ...

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]: ...

    def _made_parameters(self) -> list[Tensor]: ...

    def buffers(self, recurse: bool = True) -> Iterator[Array]: ...

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]: ...


#: of a plain list or dictionary, how many entries are looked at for modules
ENTRIES = 1000
#: attributes of modules that hold what was looked for
SKIPPED = frozenset(("_behind", "_found", "_owners", "_place", "_registered"))

#: by number, the modules that were given lists or dictionaries which may hold modules
_holders: dict[int, weakref.ref[Named]] = {}
#: number and attribute of the plain lists that were warned of
_warned: set[tuple[int, str]] = set()


# -- whose it is ---------------------------------------------------------------------------------


def own_module(module: Named, owner: Named, name: str) -> None:
    """Note that `owner` holds a module under a name."""
    alive = [entry for entry in module._owners if entry[0]() is not None]
    if not any(reference() is owner and known == name for reference, known in alive):
        alive.append((weakref.ref(owner), name))
    module._owners = alive


def own_parameter(params: Params, owner: Named) -> None:
    """Note that `owner` holds the parameter whose leaf has these options."""
    alive = [reference for reference in params.get("owners", ()) if reference() is not None]
    if not any(reference() is owner for reference in alive):
        alive.append(weakref.ref(owner))
    params["owners"] = alive


def note_container(holder: Named) -> None:
    """Note that a module has a list or dictionary, in which modules may be searched for."""
    number = holder._serial_number
    # no frame of Python runs as it dies, so that no interruption is lost there
    _holders[number] = weakref.ref(holder, partial(_holders.pop, number))


def registered_owner(module: Named) -> Named | None:
    """The module that holds this one as its own, first of all that do."""
    for reference, name in module._owners:
        owner = reference()
        if owner is None or name not in owner._registered:
            continue
        held = owner._behind if name in owner._behind else vars(owner)
        if held.get(name) is module:
            return owner
    return None


def owner_of(module: Named) -> Named | None:
    """The module that holds this one, as its own or in a plain list or dictionary."""
    owner = registered_owner(module) if module._owners else None
    if owner is None and _holders:
        found = module._once("holder", partial(_search, module))
        owner = found[0]() if found else None
    return owner


def _search(module: Named) -> list[weakref.ref[Named]]:
    for reference in list(_holders.values()):
        holder = reference()
        if holder is not None and any(child is module for _, _, child in unregistered(holder)):
            around: Named | None = holder
            while around is not None and around is not module:
                around = registered_owner(around)
            if around is None:  # else it is one of its own modules that refers to it
                return [reference]
    return []


def top_of(module: Named) -> Named:
    """The model that a module is part of."""
    owner = owner_of(module) if module._owners or _holders else None
    if owner is None:
        return module
    top, seen = module, {module._serial_number}
    while owner is not None and owner._serial_number not in seen:
        top = owner
        seen.add(top._serial_number)
        owner = owner_of(top)
    return top


# -- where it is ---------------------------------------------------------------------------------


class Container(NamedTuple):
    """A plain list, tuple or dictionary with modules: an attribute of a module of a class."""

    number: int
    kind: str
    attribute: str
    type: str


class Located(NamedTuple):
    """Where a module is in a model: its path, and the classes along it.

    `container` is the plain one that holds it or a module around it; None if all are registered.
    """

    path: str
    kinds: tuple[str, ...]
    container: Container | None = None


class Entry(NamedTuple):
    """The scope inside of a module that is called, and the classes that are added to those around.

    They are added to those around the model if it is called `beside` the modules that hold it.
    `container` is a plain one, to be warned of.
    """

    scope: str
    kinds: tuple[str, ...]
    beside: bool
    container: Container | None


class Naming:
    """The modules of a model, each at its first path; those in plain lists come last.

    Modules are known by their numbers, so that nothing here refers to them.
    """

    def __init__(self, top: Named):
        self.located: dict[int, Located] = {}
        #: what `enter` worked out
        self.entries: dict[tuple[str, str, int], Entry] = {}
        found = self._add(top, Located("", ()))
        for holder in found:  # which grows
            around = self.located[holder._serial_number]
            for attribute, name, child in unregistered(holder):
                if child._serial_number in self.located or registered_owner(child) is not None:
                    continue
                made = type(vars(holder)[attribute]).__name__
                kind = type(holder).__name__
                container = Container(holder._serial_number, kind, attribute, made)
                levels = (*(made for _ in name.split(".")[:-1]), type(child).__name__)
                path = joined(around.path, name)
                found += self._add(child, Located(path, (*around.kinds, *levels), container))
        self.paths = {located.path for located in self.located.values()}

    def _add(self, module: Named, located: Located) -> list[Named]:
        """Locate a module and those that are registered below it, depth first."""
        added = []
        waiting = [(module, located)]
        while waiting:
            module, at = waiting.pop()
            if module._serial_number in self.located:
                continue
            self.located[module._serial_number] = at
            added.append(module)
            for name, child in reversed(list(module._held("module"))):
                path, kinds = joined(at.path, name), (*at.kinds, type(child).__name__)
                waiting.append((child, Located(path, kinds, at.container)))
        return added

    def enter(self, above: str, scope: str, number: int) -> Entry | None:
        """How a module is entered in `scope`, the model being called in `above`.

        Its path counts from there, and has the scopes of the user between its parts that `scope`
        has. Called by a module that does not hold it, it is at its own path. None for a module that
        is not in this model.
        """
        located = self.located.get(number)
        if located is None:
            return None
        here = scope.split(".") if scope else []
        outside = len(above.split(".")) if above else 0
        inside, path = here[outside:], located.path.split(".") if located.path else []
        alike = 0
        while alike < min(len(inside), len(path)) and inside[alike] == path[alike]:
            alike += 1
        beside = alike < len(inside) and ".".join(inside) in self.paths
        if beside:
            here, alike = here[:outside], 0
        entry = Entry(
            ".".join([*here, *path[alike:]]), located.kinds[alike:], beside, located.container
        )
        self.entries[above, scope, number] = entry
        return entry


def of(top: Named, module: Named) -> Naming:
    """Where the modules of a model are now; `module` is one of them."""
    naming = top._once("naming", partial(_naming, top))[0]
    if module._serial_number not in naming.located:  # a plain list has grown, or let go of it
        top._found.pop("naming", None)
        naming = top._once("naming", partial(_naming, top))[0]
        naming.located.setdefault(module._serial_number, Located("", ()))
    return naming


def _naming(top: Named) -> list[Naming]:
    return [Naming(top)]


def joined(path: str, name: str) -> str:
    """A dotted path, either part of which may be empty."""
    return f"{path}.{name}" if path and name else path or name


# -- modules in plain lists ----------------------------------------------------------------------


def unregistered(holder: Named) -> Iterator[tuple[str, str, Named]]:
    """Attribute, path and module of what a module holds in lists, tuples and dictionaries."""
    for attribute, value in list(vars(holder).items()):
        if isinstance(value, list | tuple | dict) and attribute not in SKIPPED:
            for name, child in _within(value, attribute, _is_module):
                yield attribute, name, child


def with_plain_lists(top: Named) -> Iterator[Named]:
    """The modules that a module holds as its own or in plain lists, itself first.

    None where no module has a list, of which there are few.
    """
    if not _holders:
        return
    waiting, seen = [top], {top._serial_number}
    for module in waiting:  # which grows
        yield module
        below = [child for _, child in module._held("module")]
        below += [child for _, _, child in unregistered(module)]
        waiting += [child for child in below if child._serial_number not in seen]
        seen.update(child._serial_number for child in below)


def plain_parameters(holder: Named) -> Iterator[tuple[Container, str, Tensor]]:
    """Container, path and parameter of what a module holds in lists, tuples and dictionaries."""
    for attribute, value in list(vars(holder).items()):
        if isinstance(value, list | tuple | dict) and attribute not in SKIPPED:
            made, kind = type(value).__name__, type(holder).__name__
            container = Container(holder._serial_number, kind, attribute, made)
            for name, parameter in _within(value, attribute, is_parameter):
                yield container, name, parameter


def _is_module(value: object) -> bool:
    return hasattr(type(value), "named_parameters") and hasattr(value, "_serial_number")


def _within(value: Any, path: str, wanted: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    waiting: list[tuple[str, Any]] = [(path, value)]
    seen: set[int] = set()
    while waiting:
        path, value = waiting.pop()
        if wanted(value):
            yield path, value
        elif isinstance(value, list | tuple | dict) and id(value) not in seen:
            seen.add(id(value))
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            some = list(itertools.islice(pairs, ENTRIES))
            waiting += [(f"{path}.{key}", item) for key, item in reversed(some)]


def warn_of(container: Container, module: Named) -> None:
    """Warn once, at the user's line, that what is trained is in a plain container."""
    if _is_trained(module):
        remedy = "nn.ModuleDict" if container.type == "dict" else "nn.ModuleList"
        _warn(
            container,
            f"parameters(), state_dict(), train() and to() do not see the modules in it. Write "
            f"{remedy} in its place",
        )


def warn_of_parameters(container: Container) -> None:
    """The same of parameters."""
    remedy = "nn.ParameterDict" if container.type == "dict" else "nn.ParameterList"
    _warn(
        container,
        f"parameters(), state_dict() and to() do not see the parameters in it. Write {remedy} in "
        f"its place",
    )


def _warn(container: Container, said: str) -> None:
    key = container.number, container.attribute
    if key in _warned:
        return
    _warned.add(key)
    frame = users_frame()
    while not is_users(frame) and frame.f_back is not None:  # the sweep that asks for names
        frame = frame.f_back
    warnings.warn_explicit(
        f"{container.kind}.{container.attribute} is a plain {container.type}: {said}",
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_trained(module: Named) -> bool:
    """Whether it matters that a module is registered: not if it is frozen or has no state."""
    parameters = list(module.parameters())
    if parameters:
        return any(parameter.requires_grad for parameter in parameters)
    return any(map(_has_mode, module.modules())) or any(True for _ in module.buffers())


def _has_mode(module: Named) -> bool:
    forward: Callable[..., Any] = type(module).forward
    return "training" in getattr(getattr(forward, "__code__", None), "co_names", ())
