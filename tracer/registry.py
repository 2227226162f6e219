"""What plugins provide, by name. An entry remembers the plugin that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from tracer import hooks
from tracer.blame import USER, place
from tracer.entries import Entries, Entry, Owner, owner_of, transaction
from tracer.errors import PluginError, RegistryError, suggestion
from tracer.extensions import Command, Overlay, Renderer, check_command, check_overlay
from tracer.folds import Fold, check_fold
from tracer.imports import ImportedOperator, Importer, check_imported, check_importer
from tracer.trainings import (
    Sampler,
    Team,
    Tracker,
    check_sampler,
    check_team,
    check_tracker,
)
from tracer.watching import Instrument, Sink, check_instrument, check_sink

__all__ = ["BY_HOOK", "Entry", "Registry", "defined", "load_plugins"]


class Registry(Mapping[str, Any]):
    """A mapping from name to object for one kind of thing, filled when plugins load.

    Looking up a name that is not there raises `RegistryError` with the nearest known name.
    `added` and `removed` are called with each object that comes or goes, and its owner; `removed`
    with None where it goes for all who registered it.
    `checks` are called with each object before it comes: they raise `PluginError` at what is wrong
    with it. A name that somebody else has is taken over only by an object that `replaces` it.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.added: list[Callable[[Any, Owner], None]] = []
        self.removed: list[Callable[[Any, Owner | None], None]] = []
        self.checks: list[Callable[[Any], None]] = []
        #: the place, "package.module:name", of what `trace-net check` tries a thing with, which
        #: gives a `tracer.testing.Report`; the kinds of the core have theirs in `tracer.testing`
        self.examined_by = ""
        self._type: type = object
        self._as_class = False
        self._taken = Entries(kind)
        self._entries = self._taken.now

    def holds(self, kind: type, *, as_class: bool = False) -> None:
        """Say what is registered here: instances of a class, or its subclasses."""
        self._type, self._as_class = kind, as_class

    def takes(self, value: object) -> bool:
        """Whether a value is of the type that is registered here."""
        if self._as_class:
            return isinstance(value, type) and issubclass(value, self._type)
        return isinstance(value, self._type)

    def nearly_takes(self, value: object) -> bool:
        """Whether a class is given for an instance, or an instance for a class."""
        if self._type is object:
            return False
        if isinstance(value, type):
            return issubclass(value, self._type)
        return isinstance(value, self._type)

    def add(self, value: Any, plugin: str = USER, module: str | None = None) -> Any:
        """Register `value` under `value.name`.

        A name that another plugin has, or that another module of a program registered, is a
        `PluginError` unless `value.replaces` names it; then the value stands in its place until it
        is removed. From the same plugin or module the name is registered anew.
        """
        name = self.check(value, plugin)
        owner = Owner(plugin, module or "") if plugin != USER else owner_of(module or "")
        new = Entry(value, owner, name in replaced_by(value), name)
        if new.replaces and owner.plugin == USER and not self._taken.stack(name):
            raise PluginError(
                f"{owner} registers the {self.kind} {name!r} to replace another, and none is "
                f"called so.{suggestion(name, self._entries)}{_at(value)}"
            )
        if self._taken.is_taken_here(name):
            raise PluginError(f"it registers the {self.kind} {name!r} twice{_at(value)}")
        with transaction():
            gone = self._taken.take(name, new, lambda old: self._conflict(name, new, old))
            for listener in self.added:
                listener(value, owner)
            for entry in gone:
                self._gone(entry.value)
        return value

    def check(self, value: Any, plugin: str) -> str:
        """The name that `value` is registered under; `PluginError` where it is nothing for here."""
        name = getattr(value, "name", None)
        by = f"plugin {plugin!r}" if plugin != USER else "this program"
        if not self.takes(value):
            raise PluginError(f"{by} registers {self._misfit(value)}")
        if not isinstance(name, str) or not name:
            raise PluginError(
                f"{by} registers {value!r} as {self.kind}, which has no `name`: "
                f"give it a non-empty string attribute `name`{_at(value)}"
            )
        replaced = replaced_by(value)
        if any(not isinstance(each, str) and not callable(each) for each in replaced):
            raise PluginError(
                f"the {self.kind} {name!r} replaces {replaced!r}: name what it replaces, as in "
                f"replaces = {name!r}{_at(value)}"
            )
        if self is not operations and (others := [r for r in replaced if r != name]):
            raise PluginError(
                f"the {self.kind} {name!r} replaces {others[0]!r}, and what replaces another has "
                f"its name: give it name = {others[0]!r}, or replaces = (){_at(value)}"
            )
        for check in self.checks:
            check(value)
        return name

    def _misfit(self, value: Any) -> str:
        """What is wrong with a value of another type than is registered here."""
        wanted = self._type.__name__
        instance = isinstance(value, type) and issubclass(value, self._type)
        if self._as_class:
            what = f"the {self.kind} {value!r}, where the class is expected"
            remedy = f"give {type(value).__name__} itself"
            if not isinstance(value, self._type):
                what = f"{value!r} as {self.kind}, which is no subclass of tracer.{wanted}"
                remedy = f"write class Mine(tracer.{wanted})"
        elif instance:
            what = f"the class {value.__name__} as {self.kind}, where an instance is expected"
            remedy = f"give {value.__name__}()"
        else:
            what = f"{value!r} as {self.kind}, which is no tracer.{wanted}"
            remedy = f"give an instance of a subclass of tracer.{wanted}"
            if self.kind == "operation":
                remedy = "make it with @tracer.operation(name)"
        unnamed = "" if getattr(value, "name", None) else ", and which has no `name`"
        return f"{what}{unnamed}: {remedy}{_at(value)}"

    def _conflict(self, name: str, new: Entry, old: Entry) -> PluginError:
        also = " to replace another" if old.replaces and new.replaces else ""
        places = ", ".join(filter(None, (_place(new.value), _place(old.value))))
        block = f", or block one with TRACER_DISABLE_PLUGINS={new.plugin}"
        return PluginError(
            f"{new.owner} registers the {self.kind} {name!r}, which {old.owner} has registered "
            f"already{also} ({places}): rename one, or give it replaces = {name!r} if it is to "
            f"stand in place of the other{'' if new.plugin == USER else block}"
        )

    def remove(self, name: str) -> None:
        """Forget an entry. What it had replaced counts again."""
        entry = self._entries.get(name)
        if entry is not None:
            self.forget(name, entry.value)

    def forget(self, name: str, value: Any, owner: Owner | None = None) -> bool:
        """Forget one value of a name, be it replaced by another or not. Whether it was there.

        Of an `owner`, it stays for the others who registered the same object.
        """
        if not any(entry.value is value for entry in self._taken.stack(name)):
            return False
        with transaction():
            self._taken.release(name, value, owner)
            self._gone(value, owner)
        return True

    def _gone(self, value: Any, owner: Owner | None = None) -> None:
        for listener in self.removed:
            listener(value, owner)

    def held(self, name: Any) -> tuple[Entry, ...]:
        """The entries of a name, what was replaced among them, without loading plugins."""
        return self._taken.stack(name)

    def registered(self) -> list[Any]:
        """The objects that count, in the order in which they came, without loading plugins."""
        return [entry.value for entry in self._entries.values()]

    def replaced(self, name: str) -> tuple[Entry, ...]:
        """The entries that the one of this name stands in place of."""
        hooks.load()
        return self._taken.stack(name)[:-1]

    def of_owner(self, owner: Owner) -> dict[str, Any]:
        """Names and values that one owner registered, those that others replaced among them."""
        found = {}
        for name in sorted(self._entries):
            for entry in self._taken.stack(name):
                if owner in entry.owners or (owner.plugin != USER and entry.is_of(owner.plugin)):
                    found[name] = entry.value
        return found

    def entry(self, name: str) -> Entry:
        """The entry with its plugin; `RegistryError` with a suggestion if there is none."""
        if name not in self._entries:
            hooks.load()
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(sorted(self._entries)) or "none"
            raise RegistryError(
                f"no {self.kind} is called {name!r}.{suggestion(name, self._entries)} "
                f"Known: {known}. `trace-net plugins` lists what is loaded"
            ) from None

    def __getitem__(self, name: str) -> Any:
        entry = self._entries.get(name)
        return (self.entry(name) if entry is None else entry).value

    def __contains__(self, name: object) -> bool:
        hooks.load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        hooks.load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        hooks.load()
        return len(self._entries)

    def provided_by(self, plugin: str) -> list[str]:
        """The names that one plugin registered."""
        hooks.load()
        return sorted(name for name, entry in self._entries.items() if entry.is_of(plugin))


def replaced_by(value: Any) -> tuple[Any, ...]:
    """What a thing says that it replaces: a name or a function, or several in a tuple."""
    replaces = getattr(value, "replaces", ())
    return tuple(replaces) if isinstance(replaces, tuple | list) else (replaces,)


def _place(value: Any) -> str:
    return value.place if isinstance(value, Command) else place(value)


def _at(value: Any) -> str:
    """` (file:line)` of what a plugin registers, where that is known."""
    return f" ({found})" if (found := _place(value)) else ""


operations = Registry("operation")
quantities = Registry("quantity")
rows = Registry("row kind")
backends = Registry("array backend")
kernels = Registry("compiled kernels")
renderers = Registry("renderer")
overlays = Registry("overlay")
commands = Registry("command")
instruments = Registry("instrument")
sinks = Registry("sink")
trackers = Registry("tracker")
samplers = Registry("sampler")
teams = Registry("team")
folds = Registry("fold")
imports = Registry("imported operator")
importers = Registry("importer")

renderers.holds(Renderer)
overlays.holds(Overlay)
commands.holds(Command)
instruments.holds(Instrument, as_class=True)
sinks.holds(Sink, as_class=True)
trackers.holds(Tracker)
samplers.holds(Sampler, as_class=True)
teams.holds(Team)
folds.holds(Fold)
imports.holds(ImportedOperator)
importers.holds(Importer)
overlays.checks.append(check_overlay)
commands.checks.append(check_command)
instruments.checks.append(check_instrument)
sinks.checks.append(check_sink)
trackers.checks.append(check_tracker)
samplers.checks.append(check_sampler)
teams.checks.append(check_team)
folds.checks.append(check_fold)
imports.checks.append(check_imported)
importers.checks.append(check_importer)

#: hook name -> the registry that its results go to
BY_HOOK: dict[str, Registry] = {
    "register_operations": operations,
    "register_quantities": quantities,
    "register_rows": rows,
    "register_backends": backends,
    "register_kernels": kernels,
    "register_renderers": renderers,
    "register_overlays": overlays,
    "register_commands": commands,
    "register_instruments": instruments,
    "register_sinks": sinks,
    "register_trackers": trackers,
    "register_samplers": samplers,
    "register_teams": teams,
    "register_folds": folds,
    "register_imports": imports,
    "register_importers": importers,
}


#: what the names of modules of this distribution begin with
BUNDLED = (
    "tracer.",
    *(
        f"tracer_{name}."
        for name in (
            *("layers", "quantities", "render", "training", "experiments"),
            *("import", "scale", "native"),
        )
    ),
)


def defined(kind: type, *modules: ModuleType) -> list[Any]:
    """The subclasses of `kind` with a `name` that these modules define, each once, in their order.

    A plugin that registers these has nothing else to change where one is added to a module.
    """
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, kind)
        and value.__module__ == module.__name__
        and hasattr(value, "name")
    ]
    return list(dict.fromkeys(found))


def load_plugins() -> None:
    """Load all plugins, once; see `tracer.plugins`."""
    hooks.load()
