"""What a module does around its forward: hooks, and attributes that are computed once in a call.

A module that has such carries a `forward` of its own, which stands before that of its class, so
that all others are called as if there were none of this.
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

from tracer.errors import TracerError
from tracer.extend import Params, TensorLike, users_frame
from tracer_layers.module.naming import Named, joined

#: what modules are called with, and what they give
Inputs: TypeAlias = "tuple[Any, ...]"
Output: TypeAlias = Any
#: what is called at a hook, with arguments as `torch.nn.Module` gives them
Hook: TypeAlias = Callable[..., Output]

_numbers = itertools.count()


class Computed(Protocol):
    """An attribute of a module that is computed of others, as a normalised weight."""

    def compute(self, module: Hooked, calling: bool) -> TensorLike:
        """Its value; `calling` is whether that is asked for in a call of the module."""
        ...

    def assign(self, module: Hooked, value: object) -> None:
        """Give what it is computed of other values, or refuse that."""
        ...


class Hooked(Named, Protocol):
    """What has hooks here: a module."""

    _hooks: Hooks | None
    _computed: Mapping[str, Computed]


class Hooks:
    """The hooks of a module by kind, each in the order in which they are called."""

    def __init__(self) -> None:
        self.before: OrderedDict[int, Hook] = OrderedDict()
        self.after: OrderedDict[int, Hook] = OrderedDict()
        self.saved: OrderedDict[int, Hook] = OrderedDict()
        self.loaded: OrderedDict[int, Hook] = OrderedDict()
        #: numbers of those that take keyword arguments, and that are called after errors, too
        self.with_kwargs: set[int] = set()
        self.always: set[int] = set()


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away, and so does a `with` block.

    It does not keep the module alive. A copy of it removes nothing.
    """

    def __init__(self, module: Hooked, hooks: OrderedDict[int, Hook]):
        self.id = next(_numbers)
        self._hooks: weakref.ref[OrderedDict[int, Hook]] | None = weakref.ref(hooks)
        self._module = weakref.ref(module)

    def remove(self) -> None:
        hooks = None if self._hooks is None else self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)
            if (module := self._module()) is not None:
                stand_before(module)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def __getstate__(self) -> dict[str, int]:
        return {"id": self.id}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.id, self._hooks = state["id"], None  # a copy of a model has hooks of its own


def register(
    module: Hooked,
    kind: str,
    hook: Hook,
    *,
    prepend: bool = False,
    with_kwargs: bool = False,
    always_call: bool = False,
) -> RemovableHandle:
    """Add a hook of a kind, an attribute of `Hooks`."""
    if not callable(hook):
        raise TracerError(f"a hook is a function, got a {type(hook).__name__}")
    if module._hooks is None:
        vars(module)["_hooks"] = Hooks()
    all_hooks: Hooks = vars(module)["_hooks"]
    hooks = getattr(all_hooks, kind)
    handle = RemovableHandle(module, hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    if with_kwargs:
        all_hooks.with_kwargs.add(handle.id)
    if always_call:
        all_hooks.always.add(handle.id)
    if kind in ("before", "after"):
        stand_before(module)
    return handle


def compute(module: Hooked, name: str, computed: Computed | None) -> None:
    """Make an attribute a computed one, or (None) no longer so."""
    known = {key: each for key, each in module._computed.items() if key != name}
    vars(module)["_computed"] = known if computed is None else known | {name: computed}
    stand_before(module)


def of_tree(module: Hooked, kind: str) -> list[tuple[str, Hooked, Hook]]:
    """Path, module and hook of a kind, of all modules below it, and last of itself."""
    found: list[tuple[str, Hooked]] = []
    waiting = [("", module)]
    while waiting:
        path, each = waiting.pop()
        found.append((path, each))
        waiting += [(joined(path, name), child) for name, child in each._held("module")]
    return [
        (path, each, hook)
        for path, each in reversed(found)
        if each._hooks is not None
        for hook in getattr(each._hooks, kind).values()
    ]


# -- calls -----------------------------------------------------------------------------------------

#: the module whose hooks are running: what they call of it runs none
_in_hooks: ContextVar[Hooked | None] = ContextVar("tracer_layers_in_hooks", default=None)
#: the module whose forward is running, and which of its attributes have been computed in it
_values: ContextVar[tuple[Hooked, dict[str, TensorLike]] | None] = ContextVar(
    "tracer_layers_values", default=None
)


class Forward:
    """The `forward` of a module that has hooks or computed attributes.

    `inner` is what stood in its place on the module itself, if anything did.
    """

    __slots__ = ("inner", "reference")

    def __init__(self, module: Hooked, inner: Hook | None):
        self.reference = weakref.ref(module)
        self.inner = inner

    def __call__(self, *inputs: object, **options: object) -> Output:
        module = self.reference()
        assert module is not None  # who calls it holds it
        hooks = module._hooks
        if hooks is None or _in_hooks.get() is module or not (hooks.before or hooks.after):
            return self._plain(module, inputs, options)
        return self._hooked(module, hooks, inputs, options)

    def _plain(self, module: Hooked, inputs: Inputs, options: Params) -> Output:
        forward: Hook = type(module).forward.__get__(module) if self.inner is None else self.inner  # type: ignore[attr-defined]
        if not module._computed:
            return forward(*inputs, **options)
        token = _values.set((module, {}))
        try:
            return forward(*inputs, **options)
        finally:
            _values.reset(token)

    def _hooked(self, module: Hooked, hooks: Hooks, inputs: Inputs, options: Params) -> Output:
        done: set[int] = set()
        output = None
        try:
            for number, hook in list(hooks.before.items()):
                inputs, options = _before(
                    module, hook, number in hooks.with_kwargs, inputs, options
                )
            output = self._plain(module, inputs, options)
            for number, hook in list(hooks.after.items()):
                done.add(number)
                output = _after(module, hook, number in hooks.with_kwargs, inputs, options, output)
            return output
        except Exception:
            for number, hook in list(hooks.after.items()):
                if number in hooks.always and number not in done:
                    _after_error(module, hook, number in hooks.with_kwargs, inputs, options, output)
            raise


def _called(module: Hooked, hook: Hook, *arguments: object) -> Output:
    token = _in_hooks.set(module)
    try:
        return hook(module, *arguments)
    finally:
        _in_hooks.reset(token)


def _before(
    module: Hooked, hook: Hook, with_kwargs: bool, inputs: Inputs, options: Params
) -> tuple[Inputs, Params]:
    """The arguments as a hook leaves them."""
    if not with_kwargs:
        found = _called(module, hook, inputs)
        if found is None:
            return inputs, options
        return (found if isinstance(found, tuple) else (found,)), options
    found = _called(module, hook, inputs, options)
    if found is None:
        return inputs, options
    if not isinstance(found, tuple) or len(found) != 2:
        raise TracerError(
            f"a forward pre-hook with keyword arguments returns None or (args, kwargs), got a "
            f"{type(found).__name__}"
        )
    return found


def _after(
    module: Hooked,
    hook: Hook,
    with_kwargs: bool,
    inputs: Inputs,
    options: Params,
    output: Output,
) -> Output:
    """The output as a hook leaves it."""
    arguments = (inputs, options, output) if with_kwargs else (inputs, output)
    found = _called(module, hook, *arguments)
    return output if found is None else found


def _after_error(module: Hooked, hook: Hook, *arguments: object) -> None:
    """Call a hook after an error, which goes on; one of the hook itself is a warning."""
    try:
        _after(module, hook, *arguments)
    except Exception as error:
        frame = users_frame()
        warnings.warn_explicit(
            f"a forward hook of {type(module).__name__} with always_call=True raised "
            f"{type(error).__name__}({error}), after another error, which goes on",
            UserWarning,
            frame.f_code.co_filename,
            frame.f_lineno,
        )


def stand_before(module: Hooked) -> None:
    """Give a module that has hooks or computed attributes its own `forward`; others none."""
    inner = vars(module).pop("forward", None)
    if isinstance(inner, Forward):
        inner = inner.inner
    hooks = module._hooks
    if module._computed or (hooks is not None and (hooks.before or hooks.after)):
        vars(module)["forward"] = Forward(module, inner)
    elif inner is not None:
        vars(module)["forward"] = inner


def value_of(module: Hooked, name: str) -> TensorLike:
    """A computed attribute, the same wherever it is used in one call."""
    calling = _values.get()
    if calling is None or calling[0] is not module:
        return module._computed[name].compute(module, False)
    found = calling[1]
    if name not in found:
        found[name] = module._computed[name].compute(module, True)
    return found[name]
