"""The pages that list what plugins build on: `tracer.extend`, and the checks of `tracer.testing`.

`python docs/listing.py` writes `docs/reference/extend.md` and `docs/reference/testing.md` from the
docstrings: groups and their order from that of the module, for each name its signature and what it
is. So they are read in a clone as on the site, and a test holds them to the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
WIDTH = 88

EXTEND = """\
# What plugins build on

All that a plugin may import of the core, `from tracer.extend import ...`, besides errors
(`tracer.errors`), registries (`tracer.registry`) and [checks](testing.md). Modules further inside
may move. How each is used: [write a plugin](../how-to/write-plugin.md).

Made by `python docs/listing.py` from the code.
"""
TESTING = """\
# Checks for authors of plugins

`from tracer.testing import ...`. Each check raises `AssertionError` with what differs, needs no
test framework, and returns a `Report` of what was compared with what, and of what could not be.
`trace-net check PLUGIN` makes them of all that a plugin registers.

Made by `python docs/listing.py` from the code.
"""

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


class Source(NamedTuple):
    """A file, and what it defines or imports at its top."""

    lines: list[str]
    tree: ast.Module
    defined: dict[str, Definition]
    imported: dict[str, tuple[str, str]]


def read(module: str) -> Source:
    """The source of a module by its dotted name."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    defined: dict[str, Definition] = {}
    imported = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(each, ast.Name):
                        defined[each.id] = node
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                imported[alias.asname or alias.name] = (node.module, alias.name)
    return Source(text.splitlines(), tree, defined, imported)


def found(module: str, name: str) -> tuple[Source, Definition | None]:
    """Where a name comes from, through all that pass it on; None for a module."""
    source = read(module)
    while name not in source.defined:
        if name not in source.imported:
            raise LookupError(f"{module} has no {name}")
        module, name = source.imported[name]
        if (ROOT / module.replace(".", "/") / f"{name}.py").exists():
            return read(f"{module}.{name}"), None
        source = read(module)
    return source, source.defined[name]


def groups(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """The title and the names of each group that a module's docstring lists."""
    for title, names in re.findall(r"^([A-Z][^\n]*):\n((?: {4}.*\n?)+)", docstring, re.MULTILINE):
        yield title.partition(" (`")[0], re.findall(r"`(\w+)`", names)


# -- an entry ------------------------------------------------------------------------------------


def entry(module: str, name: str) -> str:
    """The section of a name: its signature, what it is, and of a class its methods."""
    source, node = found(module, name)
    if node is None:
        return _section(name, f"import {name}", ast.get_docstring(source.tree) or "")
    if isinstance(node, ast.FunctionDef):
        return _section(name, _call(node), ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        if "operation" in map(_name, node.decorator_list):
            return _section(name, _operation(node), ast.get_docstring(node) or "")
        methods = "\n".join(_members(node))
        return _section(name, _class(node), ast.get_docstring(node) or _as_base(node), methods)
    return _section(name, _value(node, source), _comment(node, source))


def _section(name: str, signature: str, text: str, more: str = "") -> str:
    parts = [f"### `{name}`", f"```py\n{signature}\n```", text, more]
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _name(node: ast.expr) -> str:
    """The last part of a name, called or not."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _call(node: ast.FunctionDef, name: str = "") -> str:
    """`name(a, b=1) -> type`, an argument on each line where it is long."""
    arguments = _arguments(node.args)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return _wrapped(name or node.name, arguments, returns.replace("'", ""))


def _arguments(args: ast.arguments) -> list[str]:
    given = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(given) - len(args.defaults)) + list(args.defaults)
    texts = [_argument(a, d) for a, d in zip(given, defaults, strict=True)]
    if args.posonlyargs:
        texts.insert(len(args.posonlyargs), "/")
    if args.vararg:
        texts.append(f"*{_argument(args.vararg, None)}")
    elif args.kwonlyargs:
        texts.append("*")
    texts += [_argument(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        texts.append(f"**{_argument(args.kwarg, None)}")
    return [text for text in texts if text.partition(":")[0] not in ("self", "cls")]


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    if default is None:
        return argument.arg + kind
    return f"{argument.arg}{kind}{' = ' if kind else '='}{ast.unparse(default)}"


def _wrapped(name: str, arguments: list[str], returns: str) -> str:
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {each}," for each in arguments), f"){returns}"])


def _class(node: ast.ClassDef) -> str:
    """As it is called: by its `__init__`, or the fields of what is a tuple or a dataclass."""
    bases = [_name(base) for base in node.bases if _name(base) not in ("ABC", "Protocol")]
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name in ("__init__", "__new__"):
            return f"class {_call(method, node.name)}"
    decorators = [_name(d) for d in node.decorator_list]
    if "NamedTuple" in bases or "dataclass" in decorators:
        fields = [
            ast.unparse(field) for field in node.body
            if isinstance(field, ast.AnnAssign) and not ast.unparse(field).startswith("_")
        ]  # fmt: skip
        return f"class {_wrapped(node.name, fields, '')}"
    return f"class {node.name}({', '.join(bases)})" if bases else f"class {node.name}"


def _as_base(node: ast.ClassDef) -> str:
    return f"As `{_name(node.bases[0])}`." if node.bases else ""


def _operation(node: ast.ClassDef) -> str:
    """An operation is called like its forward."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name.startswith("forward"):
            return _wrapped(node.name, _arguments(method.args), "")
    return node.name


def _members(node: ast.ClassDef) -> Iterator[str]:
    """A line for each public method with a docstring."""
    for method in node.body:
        if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
            continue
        text = (ast.get_docstring(method) or "").partition("\n\n")[0]
        if text:
            is_value = any("property" in _name(d) for d in method.decorator_list)
            names = [re.split(r"[:=]", each)[0].strip() for each in _arguments(method.args)]
            call = "" if is_value else f"({', '.join(names)})"
            yield f"- `{method.name}{call}`: {' '.join(text.split())}"


def _value(node: ast.Assign | ast.AnnAssign, source: Source) -> str:
    """The statement that makes it, where that is one line."""
    line = source.lines[node.lineno - 1]
    return re.sub(r": TypeAlias", "", line) if node.end_lineno == node.lineno else line + " ..."


def _comment(node: ast.Assign | ast.AnnAssign, source: Source) -> str:
    """What the comment above says (`#:`), or, of an instance of a class of that file, the class."""
    lines: list[str] = []
    number = node.lineno - 2
    while number >= 0 and source.lines[number].startswith("#: "):
        lines.insert(0, source.lines[number].removeprefix("#: "))
        number -= 1
    if lines:
        text = "\n".join(lines)
        return text[0].upper() + text[1:].rstrip(".") + "."
    of = node.value
    kind = source.defined.get(_name(of) if of else "")
    return (ast.get_docstring(kind) or "") if isinstance(kind, ast.ClassDef) else ""


# -- the pages -----------------------------------------------------------------------------------


def extend() -> str:
    """The page on `tracer.extend`."""
    docstring = ast.get_docstring(read("tracer.extend").tree) or ""
    parts = [EXTEND.strip()]
    for title, names in groups(docstring):
        parts.append(f"## {title}")
        parts += [entry("tracer.extend", name) for name in names]
    return "\n\n".join(parts) + "\n"


def testing() -> str:
    """The page on `tracer.testing`: the checks, and then what they are given and give."""
    names = list(read("tracer.testing").imported)
    checks = [name for name in names if name.startswith("check_")]
    others = [name for name in names if name not in checks]
    parts = [TESTING.strip(), "## Checks", *(entry("tracer.testing", n) for n in checks)]
    parts += ["## What they take and give", *(entry("tracer.testing", n) for n in others)]
    return "\n\n".join(parts) + "\n"


PAGES = {"extend.md": extend, "testing.md": testing}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        print(REFERENCE / name)
