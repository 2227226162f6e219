"""NumPy's functions on tensors: which operation or derived function stands for each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tracer import registry
from tracer.arrays import backend
from tracer.blame import USER, place
from tracer.entries import Entries, Entry, Owner, Replaced, owner_of, transaction
from tracer.errors import PluginError, ShapeError, TracingError
from tracer.record.frames import INTERNAL_FILES

#: a function of NumPy, or what takes its place
Function: TypeAlias = Callable[..., Any]
#: a function of NumPy, or the name of a ufunc of `scipy.special`
Key: TypeAlias = Function | str
K = TypeVar("K")

#: ufunc -> what is called in its place, with the same inputs
UFUNCS: dict[Function, Function] = {}
#: NumPy function -> what is called in its place, with the same arguments
FUNCTIONS: dict[Function, Function] = {}
#: name of a ufunc of `scipy.special` -> what is called in its place
SPECIAL: dict[str, Function] = {}
#: ufunc whose `at` writes into an array -> the method of `tracer.at(x)[index]` that does it
AT = {"add": "add", "multiply": "multiply", "minimum": "min", "maximum": "max"}
#: (ufunc, method) -> what is called in its place
METHODS: dict[tuple[np.ufunc, str], Function] = {}
#: method of every ufunc -> what is called in its place, with the ufunc first
GENERAL: dict[str, Function] = {}

REGISTER = (
    "write a rule with @tracer.operation(name, numpy=function) and tracer.register(operation), or "
    "compose it of known functions with @tracer.implements(function)"
)

_SET = "it writes into an array: write x = tracer.at(x)[index].set(values)"
#: function without a rule -> what to write in its place
INSTEAD: dict[Function, str] = {
    np.put: _SET,
    np.put_along_axis: _SET,
    np.place: "it writes into an array: write x = tracer.at(x)[mask].set(values)",
    np.putmask: "it writes into an array: write x = np.where(mask, values, x)",
    np.fill_diagonal: "it writes into an array: write i = np.arange(n), and then "
    "x = tracer.at(x)[i, i].set(values)",
}


def in_numpy(name: str) -> Function | None:
    """NumPy's function of this name, or None where the installed version has none.

    For functions that came after NumPy 2.0, and for those that NumPy is about to remove: a look
    into its names, unlike an access, never warns.
    """
    return vars(np).get(name)


def implements(*functions: Key | None, replaces: Replaced = ()) -> Callable[[Function], Function]:
    """Decorator: calls of these NumPy functions on tensors call the decorated function instead.

    For functions that are written in terms of others, and so need no rule of their own. A ufunc of
    `scipy.special` is given by its name. None stands for a function that the installed NumPy lacks
    (`in_numpy`). A function that somebody else has is a `PluginError` unless `replaces` names it.
    """

    def bind(handler: Function) -> Function:
        module = getattr(handler, "__module__", "")
        owner = CORE if module.startswith("tracer.") else owner_of(module)
        with transaction():
            for function in functions:
                if function is not None:
                    take(function, handler, handler, owner, replaces)
        return handler

    return bind


#: who implements the functions of the core, before plugins load
CORE = Owner("tracer", "tracer")


def _refresh(function: Key) -> None:
    """Let calls go to what counts now."""
    entry = TAKEN.now.get(function)
    if isinstance(function, str):
        _enter(SPECIAL, function, entry)
    else:
        _enter(UFUNCS if isinstance(function, np.ufunc) else FUNCTIONS, function, entry)
    for listener in changed:
        listener(function)


def _enter(table: dict[K, Function], key: K, entry: Entry | None) -> None:
    if entry is None:
        table.pop(key, None)
    else:
        table[key] = entry.value


#: who has which NumPy function, and the names of which functions of `scipy.special`
TAKEN = Entries("NumPy function", _refresh)
#: called with each function for which something else is called than before
changed: list[Callable[[Key], None]] = []


def take(function: Key, handler: Function, thing: object, owner: Owner, replaces: Replaced) -> None:
    """Let `handler` stand for a function. `thing` is what messages name.

    Raises `PluginError` where somebody else has the function and `replaces` does not name it.
    """
    said = any(_is_named(function, each) for each in _listed(replaces))

    def conflict(old: Entry) -> PluginError:
        known = repr(function) if isinstance(function, str) else shown(function, "np")
        also = " to replace another" if old.replaces and said else ""
        has = "it" if old.owner == owner else str(old.owner)
        return PluginError(
            f"{owner} takes {shown(function)} on tensors for {_name(thing)!r} ({place(thing)}), "
            f"which {has} has for {old.name!r} already{also}: say replaces={known} if it is to "
            f"stand in place of the other, or leave numpy= out and call it by its name"
            + _way_back(old)
        )

    TAKEN.take(function, Entry(handler, owner, said, _name(thing)), conflict)


def _way_back(old: Entry) -> str:
    """How to take back an operation of the program's own, which its code may not have any more."""
    if old.plugin != USER or old.name not in registry.operations:
        return ""
    return f"; tracer.unregister(tracer.registry.operations[{old.name!r}]) takes that one back"


def _listed(replaces: Replaced) -> tuple[str | Function, ...]:
    return tuple(replaces) if isinstance(replaces, tuple | list) else (replaces,)


def _is_named(function: Key, name: str | Function) -> bool:
    """Whether a function is named by itself, by its name, or by that of who has it."""
    names = {shown(function), shown(function).rpartition(".")[2]}
    names |= {entry.name for entry in TAKEN.stack(function)}
    return name in names if isinstance(name, str) else name is function


def shown(function: Key, numpy: str = "numpy") -> str:
    """The name of a function, as in `numpy.sin`."""
    if isinstance(function, str):
        return f"scipy.special.{function}"
    if isinstance(function, np.ufunc):
        return f"{numpy}.{function.__name__}"
    module, name = getattr(function, "__module__", ""), getattr(function, "__name__", "?")
    return f"{module}.{name}".replace("numpy.", f"{numpy}.", 1) if module else name


def _name(handler: object) -> str:
    return str(getattr(handler, "name", None) or getattr(handler, "__name__", handler))


def bind(op: Any, owner: Owner) -> None:
    """Let a registered operation stand for the NumPy functions that it names."""
    named = _listed(op.replaces)
    taken = [r for r in named if r == op.name or any(_is_named(each, r) for each in op.numpy)]
    if named and not taken:
        raise PluginError(
            f"the operation {op.name!r} replaces {op.replaces!r}, and takes nothing of it: name "
            f"the function in numpy=, too, or give it the name that it replaces ({place(op)})"
        )
    for function in op.numpy:
        take(function, op.fast.get(function, op), op, owner, op.replaces)


def unbind(op: Any, owner: Owner | None = None) -> None:
    """Undo `bind` of an owner, or all: what it had replaced stands for these functions again."""
    for function in op.numpy:
        TAKEN.release(function, op.fast.get(function, op), owner)


def forget(owner: Owner) -> None:
    """Undo all `implements` of a plugin."""
    for function in list(TAKEN.now):
        for entry in TAKEN.stack(function):
            if owner in entry.owners:
                TAKEN.release(function, entry.value, owner)


def replacements(plugin: str) -> list[tuple[str, str]]:
    """The names of functions that a plugin took from others, and from whom."""
    return [
        (shown(function), str(TAKEN.stack(function)[-2].owner.plugin))
        for function, entry in TAKEN.now.items()
        if entry.plugin == plugin and len(TAKEN.stack(function)) > 1
    ]


def ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A ufunc call on tensors that is not the plain one: a method, options, another library's."""
    name = ufunc.__name__
    for out in kwargs.get("out") or ():
        refuse_out(name, out)
    if method == "at":
        raise TracingError(
            f"np.{name}.at writes into an array: write x = tracer.at(x)[index]."
            f"{AT.get(name, 'set')}(values)"
        )
    if method != "__call__":
        handler = METHODS.get((ufunc, method))
        if handler is None and method in GENERAL and (ufunc in UFUNCS or name in SPECIAL):
            handler = functools.partial(GENERAL[method], ufunc)
        if handler is None:
            raise no_rule(ufunc, f"{name}.{method}")
        return handler(*inputs, **{k: v for k, v in kwargs.items() if k != "out"})
    if kwargs.pop("out", None) and not kwargs:
        return UFUNCS[ufunc](*inputs)
    handler = UFUNCS.get(ufunc)
    if handler is None:
        handler = SPECIAL.get(name)
        inputs = [backend.as_array(x) if isinstance(x, list | tuple) else x for x in inputs]
    if handler is None:
        raise no_rule(ufunc)
    dtype = kwargs.pop("dtype", None)
    if kwargs:
        instead = "move axes with np.moveaxis before, or write np.einsum"
        if not kwargs.keys() & {"axis", "axes", "keepdims"}:
            instead = "select with np.where afterwards"
        raise TracingError(
            f"{_home(ufunc)}.{name} on tensors takes no {', '.join(kwargs)}: {instead}"
        )
    if dtype is not None:
        _check_dtype(ufunc, dtype)
        inputs = [np.astype(x, dtype) if hasattr(x, "dtype") else x for x in inputs]
    return handler(*inputs)


def _check_dtype(ufunc: np.ufunc, dtype: Any) -> None:
    """Raise `TracingError` unless the ufunc computes in this float dtype."""
    try:
        found = ufunc(*(np.ones(1, dtype),) * ufunc.nin, dtype=dtype).dtype
    except (AttributeError, TypeError, ValueError):  # the first of those with several results
        found = None
    if found is None or found != np.dtype(dtype) or found.kind != "f":
        raise TracingError(
            f"np.{ufunc.__name__} on tensors takes as `dtype` a float dtype that it computes in, "
            f"got {np.dtype(dtype)}: use astype"
        )


def refuse_out(name: str, out: object) -> None:
    """Raise `TracingError` if NumPy's function `name` is given an array to write into."""
    if out is not None:
        raise TracingError(
            f"np.{name} is asked to write a tensor's values into an existing array (`+=` into an "
            f"array, or `out=`), where its history would be lost: write `a = np.{name}(...)`"
        )


def named(error: Exception, function: Function, args: Sequence[Any]) -> Exception | None:
    """NumPy's own error about arguments, with the function's name and shapes; None for others."""
    kinds = (ValueError, IndexError, np.exceptions.AxisError)
    if type(error) not in kinds and "is unsupported in linalg" not in str(error):
        return None
    given = ", ".join(
        f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else f"{x!r:.40}" for x in args
    )
    return ShapeError(f"np.{function.__name__} got {given}: {error}")


def _home(ufunc: np.ufunc) -> str:
    """The package that a ufunc is of."""
    return "np" if vars(np).get(ufunc.__name__) is ufunc else "scipy.special"


def no_rule(function: Function, name: str | None = None) -> TracingError:
    """The error for a function that cannot be differentiated."""
    module = getattr(function, "__module__", None)
    name = name or getattr(function, "__name__", repr(function))
    full = f"{_home(function)}.{name}" if isinstance(function, np.ufunc) else f"{module}.{name}"
    if function in INSTEAD and name == getattr(function, "__name__", None):
        way = INSTEAD[function]
        return TracingError(f"{shown(function, 'np')} is not recorded on tensors: {way}")
    return TracingError(
        f"{full} has no rule, so it cannot be recorded on tensors: {REGISTER}; tensor.data gives "
        f"the plain array where no derivative is wanted"
    )


registry.operations.added.append(bind)
registry.operations.removed.append(unbind)

INTERNAL_FILES.add(__file__)  # the line of a recorded operation is not here
