"""The table of NumPy's and SciPy's functions: `python tests/tracer/functions_table.py > PAGE`.

Each public function of a module is once in it: differentiable, flat or refused, as the tables of
what is called in place of NumPy's functions say. Tests hold these tables to derivatives and to
refusals.
"""

import importlib
import inspect
import textwrap

import numpy as np
import scipy

import tracer
from tracer.operations.flat import NOT_DIFFERENTIABLE
from tracer.operations.special import OF_LAST
from tracer.record import dispatch, leaving
from tracer.scipy import fft, integrate, linalg, signal, special, stats

tracer.registry.load_plugins()
MODULES = (
    *("numpy", "numpy.linalg", "numpy.fft"),
    *(
        "scipy.special",
        "scipy.stats",
        "scipy.fft",
        "scipy.linalg",
        "scipy.integrate",
        "scipy.signal",
    ),
)

DIFFERENTIABLE, FLAT = "differentiable", "flat"
MIRRORED = "differentiable by the same names in tracer.{module}"
BY_LAST = "differentiable by the last argument, refused by others that want a gradient"
NO_RULE = "refused: there is no rule"
PLAIN = "refused where it would convert a tensor: it makes plain arrays of what it takes"

#: functions with a rule that is zero, and one whose rule is to refuse
FLAT_RULES = {"round", "around", "fix"}
REFUSED_BY_RULE = {"copyto": "refused: write np.where(mask, t, a)"}

PAGE = """---
hide:
  - toc
---

# NumPy and SciPy

What each public function of NumPy and SciPy is to tensors. The tests make this page from the rules
that there are, and hold these to central differences.

```console
$ python tests/tracer/functions_table.py > docs/reference/functions.md
```

- differentiable: recorded, with derivatives of every order, forward and reverse.
- flat: its value is right, and no gradient flows through it (comparisons, `np.argmax`, `np.floor`).
- refused: an error that says what to write; where there is no rule, one can be
  [written](../how-to/add-operation.md), or the function composed of others, with
  `@tracer.implements`.

Plain arrays go through all of them as ever. Made with NumPy {numpy} and SciPy {scipy}.
"""


def functions(module):
    """The public functions of a module by name, each once; and their other names."""
    names = sorted(set(getattr(module, "__all__", dir(module))))
    found, aliases = {}, {}
    for name in names:
        value = getattr(module, name, None)
        if not callable(value) or inspect.isclass(value) or name.startswith("_"):
            continue
        first = next((other for other, known in found.items() if known is value), None)
        own = getattr(value, "__name__", name)
        if first is None:
            found[name] = value
        elif own == name:  # that by which it calls itself stands first
            aliases[name] = [first, *aliases.pop(first, [])]
            found = {name if other == first else other: v for other, v in found.items()}
        else:
            aliases.setdefault(first, []).append(name)
    return found, aliases


def kind(module, name, function):
    """What a function is to tensors."""
    if module.startswith("numpy"):
        return _of_numpy(name, function)
    if module == "scipy.special" and isinstance(function, np.ufunc):
        return _of_ufunc(function)
    short = module.removeprefix("scipy.")
    mirrors = {"fft": fft, "integrate": integrate, "linalg": linalg, "special": special}
    mirror = (mirrors | {"signal": signal, "stats": stats}).get(short)
    if mirror is not None and name in mirror.__all__:
        return MIRRORED.format(module=module)
    return PLAIN


def _of_numpy(name, function):
    if name in REFUSED_BY_RULE:
        return REFUSED_BY_RULE[name]
    handler = dispatch.UFUNCS.get(function) or dispatch.FUNCTIONS.get(function)
    if handler is not None:
        return FLAT if handler in NOT_DIFFERENTIABLE or _is_flat(name, function) else DIFFERENTIABLE
    if function in dispatch.INSTEAD:
        return f"refused: {dispatch.INSTEAD[function]}"
    if isinstance(function, np.ufunc) or hasattr(function, "_implementation"):
        return NO_RULE
    way = leaving.FUNCTIONS.get(f"numpy.{name}")
    return PLAIN if way is None else f"refused: {way}"


def _is_flat(name, function):
    ops = (op for op in tracer.registry.operations.values() if function in op.numpy)
    zero = any((op.vjp.__doc__ or "").startswith("Zero") for op in ops)
    return zero or name in FLAT_RULES


def _of_ufunc(function):
    name = function.__name__
    if name in OF_LAST:
        return BY_LAST
    if name not in dispatch.SPECIAL:
        return NO_RULE
    return FLAT if _is_flat(name, name) else DIFFERENTIABLE


def table(module):
    """Kind -> the names of the module's functions of this kind, with aliases."""
    found, aliases = functions(importlib.import_module(module))
    kinds = {}
    for name, function in sorted(found.items()):
        kinds.setdefault(kind(module, name, function), []).append((name, aliases.get(name, [])))
    order = (DIFFERENTIABLE, "differentiable", FLAT)
    return dict(sorted(kinds.items(), key=lambda each: _rank(each[0], order)))


def _rank(text, order):
    return next((i for i, start in enumerate(order) if text.startswith(start)), len(order)), text


def listed(text):
    """(module, function) -> kind, as a page has it."""
    found, module = {}, None
    for line in text.splitlines():
        if line.startswith("## "):
            module = line[4:-1]
        elif line.startswith("**"):
            now = line[2:].partition(".**")[0]
        elif module and line.startswith(("`", "(`")):
            for part in line.split("`")[1::2]:
                found[module, part] = now
    return found


def page():
    text = [PAGE.format(numpy=np.__version__, scipy=scipy.__version__)]
    for module in MODULES:
        text.append(f"## `{module}`\n")
        for named, members in table(module).items():
            names = ", ".join(
                f"`{name}`" + (f" ({', '.join(f'`{a}`' for a in others)})" if others else "")
                for name, others in members
            )
            text.append(f"**{named}.** {len(members)}:\n")
            text.append(textwrap.fill(names, 110, break_long_words=False) + "\n")
    return "\n".join(text).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
