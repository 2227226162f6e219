"""`trace-net new-plugin`: a distribution with an example of each kind of thing asked for."""

from __future__ import annotations

import builtins
import importlib.util
import keyword
import re
import shlex
import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from trace_net import streams
from trace_net.errors import UsageError

#: the distribution that plugins are for
OURS = "trace-net"
#: classes of the examples' own, which a plugin's would hide
RESERVED = (
    "Command",
    "Elementwise",
    "Instrument",
    "None",
    "Overlay",
    "Quantity",
    "Renderer",
    "Sink",
    "True",
    "False",
)
#: the plugin that the templates are, whose name is replaced
TEMPLATE, TEMPLATE_CLASS = "softclip", "SoftClip"


class Kind(NamedTuple):
    """One kind of thing: the file it is in, what that defines, and the hook that returns it."""

    file: str
    defines: str
    hook: str | None
    returns: str


KINDS = {
    "operation": Kind("operations", "SoftClip", "register_operations", "[SoftClip]"),
    "layer": Kind("layers", "SoftClipLayer", None, ""),
    "quantity": Kind("quantities", "SoftClipL1", "register_quantities", "[SoftClipL1]"),
    "overlay": Kind("overlays", "SoftClipOverlay", "register_overlays", "[SoftClipOverlay()]"),
    "renderer": Kind("renderers", "SoftClipRenderer", "register_renderers", "[SoftClipRenderer()]"),
    "instrument": Kind(
        "instruments", "SoftClipInstrument", "register_instruments", "[SoftClipInstrument]"
    ),
    "sink": Kind("sinks", "SoftClipSink", "register_sinks", "[SoftClipSink]"),
    "command": Kind(
        "commands", "softclip", "register_commands", '[Command("softclip", commands.softclip)]'
    ),
}  # fmt: skip


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, as in softclip.")],
    folder: Annotated[
        str | None, typer.Argument(metavar="[DIR]", help="Where to write it. Default: ./NAME")
    ] = None,
    kinds: Annotated[
        str,
        typer.Option(
            "--with", metavar="KIND,...", help=f"What to give an example of: {', '.join(KINDS)}."
        ),
    ] = "operation,quantity",
) -> None:
    """Write a plugin: a distribution that installs, tests itself and is listed."""
    asked = _kinds(kinds)
    package = _package(name, asked)
    place = Path(folder or name)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"{place} exists, and is no empty folder", hint="choose another DIR")
    written = files(name, package, asked)
    try:
        for path, text in written.items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    for path in written:
        print(place / path)
    there, installed = shlex.quote(str(place)), shlex.quote(f"{place}[test]")
    streams.note(f"now: pip install -e {installed} && pytest {there} && trace-net check {name}")


def files(name: str, package: str, kinds: list[str]) -> dict[str, str]:
    """By path, the files of a distribution with an example of each of these kinds."""
    template = resources.files("trace_net").joinpath("plugin_template")
    paths = {
        "pyproject.toml": "pyproject.toml",
        ".gitignore": "gitignore",
        ".github/workflows/tests.yml": "workflow.yml",
        "tests/test_plugin.py": "test_plugin.py",
    }
    for kind in kinds:
        file = f"{KINDS[kind].file}.py"
        paths |= {f"{package}/{file}": file, f"tests/test_{file}": f"test_{file}"}
    found = {path: template.joinpath(file).read_text("utf-8") for path, file in paths.items()}
    found |= {f"{package}/__init__.py": _hooks(kinds), "README.md": _readme(kinds)}
    return {path: _renamed(text, name, package) for path, text in sorted(found.items())}


def _kinds(text: str) -> list[str]:
    asked = [kind.strip() for kind in text.split(",") if kind.strip()]
    wrong = [kind for kind in asked if kind not in KINDS]
    if wrong or not asked:
        from tracer.errors import suggestion

        nearest = suggestion(wrong[0], KINDS) if wrong else ""
        raise UsageError(
            f"--with takes {', '.join(KINDS)}, got {text!r}.{nearest}",
            hint="several with commas between them: --with operation,quantity",
        )
    return [kind for kind in KINDS if kind in asked]


def _package(name: str, kinds: list[str]) -> str:
    """The import name; `UsageError` for a name that is none, or is taken."""
    if not re.fullmatch(r"[a-z]([a-z0-9_-]{0,38}[a-z0-9])?", name):
        raise UsageError(
            f"NAME is at most 40 small letters, digits, - and _, begins with a letter, and ends "
            f"with one or a digit, got {name!r:.60}",
            hint="as in trace-net new-plugin softclip",
        )
    word, class_name = name.replace("-", "_"), _class_name(name)
    if keyword.iskeyword(word) or hasattr(builtins, word) or class_name in RESERVED:
        raise UsageError(
            f"{name!r} cannot be the name of a function and {class_name!r} that of a class: Python "
            f"or tracer.extend has them",
            hint="choose another NAME",
        )
    from trace_net.main import app
    from tracer import plugins, registry

    found = {plugin.name: plugin for plugin in plugins.loaded()}
    if name in found:
        raise UsageError(
            f"the plugin {name!r} is there already, of the distribution "
            f"{found[name].distribution!r}",
            hint="choose another NAME",
        )
    _refuse_modules(name, word)
    built_in = {(each.name or each.callback.__name__) for each in app.registered_commands}
    taken = {
        "operation": (word, registry.operations),
        "quantity": (f"{word}_l1", registry.quantities),
        "overlay": (word, registry.overlays),
        "renderer": (word, registry.renderers),
        "instrument": (word, registry.instruments),
        "sink": (word, registry.sinks),
        "command": (word, {*registry.commands, *built_in}),
    }
    for kind in kinds:
        example, present = taken.get(kind, ("", ()))
        if example in present:
            raise UsageError(
                f"the {kind} {example!r} is there already, and the example is called so",
                hint="choose another NAME, or leave it out of --with",
            )
    return f"tracer_{word}"


def _refuse_modules(name: str, word: str) -> None:
    """Raise `UsageError` where the package `tracer_WORD`, or what is called WORD, would hide one.

    The examples are functions and files of this name, beside imports of the same one.
    """
    from tracer import registry

    package, hint = f"tracer_{word}", "choose another NAME"
    if word in ("tracer", "trace_net") or word.startswith(("tracer_", "trace_net_")):
        raise UsageError(
            f"NAME is without {word.partition('_')[0]!r}, since the package is called tracer_NAME, "
            f"got {name!r}",
            hint="as in trace-net new-plugin softclip, whose package is tracer_softclip",
        )
    if f"{package}." in registry.BUNDLED:
        raise UsageError(f"{name!r} is a plugin of trace-net's own, {package}", hint=hint)
    if importlib.util.find_spec(package) is not None:
        raise UsageError(f"a package {package!r} is there already", hint=hint)
    if word in sys.stdlib_module_names:
        raise UsageError(f"{name!r} is a module of Python's standard library", hint=hint)
    if word in _dependencies():
        raise UsageError(f"{name!r} is a package that trace-net needs or uses", hint=hint)


def _dependencies() -> set[str]:
    """The names of what trace-net requires, for its extras among them, as modules are written."""
    try:
        requirements = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:  # where it runs from its source alone
        requirements = []
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in requirements]
    return {"numpy", "scipy", "cupy", *(each.lower().replace("-", "_") for each in names)}


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[-_]", name))


def _hooks(kinds: list[str]) -> str:
    """The plugin's module: what it registers, kind by kind."""
    imports = [
        f"from tracer_softclip.{KINDS[kind].file} import {KINDS[kind].defines}"
        for kind in kinds
        if kind != "command"
    ]
    named = [KINDS[kind].defines for kind in kinds if kind != "command"]
    extend = ["hookimpl"]
    if "command" in kinds:
        extend.insert(0, "Command")
        imports.append("from tracer_softclip import commands")
    hooks = [
        f"@hookimpl\ndef {each.hook}():\n    return {each.returns}\n"
        for each in (KINDS[kind] for kind in kinds)
        if each.hook
    ]
    names = ", ".join(f'"{each}"' for each in sorted(named))
    lines = [
        '"""What this plugin registers: hooks, which are called when plugins load."""',
        "",
        f"from tracer.extend import {', '.join(extend)}",
        "",
        *sorted(imports, key=lambda line: ("import commands" not in line, line)),
        *(["", f"__all__ = [{names}]"] if named else []),
        "",
        "",
        "",
    ]
    return "\n".join(lines) + "\n\n".join(hooks)


def _readme(kinds: list[str]) -> str:
    rows = "".join(
        f"| {kind} | [`{KINDS[kind].file}.py`](tracer_softclip/{KINDS[kind].file}.py) "
        f"| [`test_{KINDS[kind].file}.py`](tests/test_{KINDS[kind].file}.py) |\n"
        for kind in kinds
    )
    return f"""# tracer-softclip

A plugin of trace-net. What it registers stands in [`tracer_softclip`](tracer_softclip/__init__.py).

| example of | file | tests |
|---|---|---|
{rows}
```bash
pip install -e '.[test]'
pytest
trace-net plugins
trace-net check softclip
```
"""


def _renamed(text: str, name: str, package: str) -> str:
    """A text of the template, with this plugin's names."""
    word = package.removeprefix("tracer_")
    text = text.replace(f"tracer-{TEMPLATE}", f"tracer-{name}")
    for command in ("check",):
        text = text.replace(f"trace-net {command} {TEMPLATE}", f"trace-net {command} {name}")
    text = text.replace(f'{TEMPLATE} = "tracer_{TEMPLATE}"', f'{name} = "{package}"')
    text = text.replace(f'found["{TEMPLATE}"]', f'found["{name}"]')
    return text.replace(TEMPLATE_CLASS, _class_name(name)).replace(TEMPLATE, word)
