"""What plugins provide, by name. An entry remembers the plugin that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tracer import hooks
from tracer.errors import PluginError, RegistryError, suggestion


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered object and the name of the plugin that registered it."""

    value: Any
    plugin: str


class Registry(Mapping[str, Any]):
    """A mapping from name to object for one kind of thing, filled when plugins load.

    Looking up a name that is not there raises `RegistryError` with the nearest known name.
    `added` and `removed` are called with each object that comes or goes.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.added: list[Callable[[Any], None]] = []
        self.removed: list[Callable[[Any], None]] = []
        self._entries: dict[str, Entry] = {}

    def add(self, value: Any, plugin: str = "user") -> Any:
        """Register `value` under `value.name`. The same name from another object is an error."""
        name = self.check(value, plugin)
        self._entries[name] = Entry(value, plugin)
        for listener in self.added:
            listener(value)
        return value

    def check(self, value: Any, plugin: str) -> str:
        """The name under which `value` would be registered; `PluginError` if it cannot be."""
        name = getattr(value, "name", None)
        if not isinstance(name, str) or not name:
            raise PluginError(
                f"plugin {plugin!r} registers {value!r} as {self.kind}, which has no `name`: "
                f"give it a non-empty string attribute `name`"
            )
        present = self._entries.get(name)
        if present is not None and present.value is not value:
            raise PluginError(
                f"plugin {plugin!r} registers the {self.kind} {name!r}, which plugin "
                f"{present.plugin!r} has registered already: rename one, or block one with "
                f"TRACER_DISABLE_PLUGINS={plugin}"
            )
        return name

    def remove(self, name: str) -> None:
        """Forget an entry (for tests and interactive work)."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            for listener in self.removed:
                listener(entry.value)

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
        return sorted(name for name, entry in self._entries.items() if entry.plugin == plugin)


operations = Registry("operation")
quantities = Registry("quantity")
rows = Registry("row kind")
backends = Registry("array backend")
renderers = Registry("renderer")
overlays = Registry("overlay")
commands = Registry("command")

#: hook name -> the registry that its results go to
BY_HOOK: dict[str, Registry] = {
    "register_operations": operations,
    "register_quantities": quantities,
    "register_rows": rows,
    "register_backends": backends,
    "register_renderers": renderers,
    "register_overlays": overlays,
    "register_commands": commands,
}


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
