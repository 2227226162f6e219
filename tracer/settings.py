"""Settings of plugins: from `pyproject.toml` and from environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tracer.blame import PLUGINS
from tracer.errors import SettingsError, suggestion

FILE = "pyproject.toml"
#: variables that are no plugin's
OWN = ("TRACER_PLUGINS", "TRACER_DISABLE_PLUGINS")
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

#: plugin -> the settings that it has asked for, with their defaults
declared: dict[str, dict[str, Any]] = {}


class Setting(NamedTuple):
    """A setting as it is now, and where from: the file, a variable, or "default"."""

    key: str
    value: Any
    default: Any
    source: str


def settings(plugin: str, **defaults: Any) -> dict[str, Any]:
    """The settings of a plugin by its name, each of the type of its default.

    A setting is that of the environment variable `TRACER_PLUGIN_KEY`, else that under
    `[tool.tracer.plugin]` in the `pyproject.toml` of the working directory, else the default; a
    default of None takes any type. They are read anew at each call. Raises `SettingsError`, with
    the variable or the file, for a value of another type and for a key that has no default.
    """
    declared.setdefault(plugin, {}).update(defaults)
    return {setting.key: setting.value for setting in _found(plugin, defaults)}


def settings_of(plugin: str) -> list[Setting]:
    """All settings that a plugin has asked for so far, as they are now."""
    return _found(plugin, declared.get(plugin, {}))


def _found(plugin: str, defaults: Mapping[str, Any]) -> list[Setting]:
    written, variables = _written(plugin), _variables(plugin)
    _refuse_unknown(plugin, defaults, written, variables)
    found = []
    for key, default in defaults.items():
        value, source = default, "default"
        if key in variables:
            source, text = variables[key]
            value = _parsed(text, default, f"{source}={text!r}", plugin, key)
        elif key in written:
            source = f"[tool.tracer.{plugin}] of {FILE}"
            value = _of_type(written[key], default, f"{key} = {written[key]!r} in {source}", plugin)
        found.append(Setting(key, value, default, source))
    return found


def _written(plugin: str) -> dict[str, Any]:
    """What the file has on a plugin."""
    import tomllib  # which takes its time

    path = Path(FILE)
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"{path.absolute()} cannot be read for the settings of plugin {plugin!r}: {error}"
        ) from error
    for name in ("tool", "tracer", plugin):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise SettingsError(
                f"{name!r} in {path.absolute()} is {table!r}, where a table [tool.tracer.{plugin}] "
                f"is expected"
            )
    return {str(key): value for key, value in table.items()}


def _prefix(plugin: str) -> str:
    return f"TRACER_{plugin.upper().replace('-', '_').replace('.', '_')}_"


def _variables(plugin: str) -> dict[str, tuple[str, str]]:
    """key -> (variable, text) of a plugin; not of one whose name goes on from this one's."""
    longer = tuple(
        _prefix(other) for other in {*PLUGINS, *declared}
        if len(_prefix(other)) > len(_prefix(plugin))
    )  # fmt: skip
    return {
        name.removeprefix(_prefix(plugin)).lower(): (name, text)
        for name, text in os.environ.items()
        if name.startswith(_prefix(plugin)) and not name.startswith(longer) and name not in OWN
    }


def _refuse_unknown(
    plugin: str,
    defaults: Mapping[str, Any],
    written: Mapping[str, Any],
    variables: Mapping[str, tuple[str, str]],
) -> None:
    known = {**declared.get(plugin, {}), **defaults}
    places = dict.fromkeys(written, f"[tool.tracer.{plugin}] of {FILE}")
    places |= {key: variable for key, (variable, _) in variables.items()}
    for key, place in places.items():
        if key not in known:
            raise SettingsError(
                f"the plugin {plugin!r} has no setting {key!r}, which {place} gives."
                f"{suggestion(key, known)} It has: {', '.join(known) or 'none'}"
            )


def _parsed(text: str, default: Any, given: str, plugin: str, key: str) -> Any:
    """The text of a variable as a value of the default's type."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool) and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    import tomllib

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return _of_type(value, default, given, plugin)


def _of_type(value: Any, default: Any, given: str, plugin: str) -> Any:
    """The value, of the default's type; an integer serves as a float."""
    wanted = type(default)
    if default is None or type(value) is wanted:
        return value
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is tuple and isinstance(value, list):
        return tuple(value)
    raise SettingsError(
        f"{given} is {type(value).__name__}, where the plugin {plugin!r} takes {wanted.__name__}, "
        f"as in {default!r}"
    )
