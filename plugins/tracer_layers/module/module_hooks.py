"""Functions that are called around a module's `forward`, as PyTorch's hooks are.

A module with hooks has a `forward` of its own, `Hooked`, in place of its class's: the others are
called as if there were no hooks at all.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias

from tracer.errors import TracerError
from tracer.extend import Params, Value

#: what a hook is given depends on which it is; see `Module.register_forward_hook`
Function: TypeAlias = Callable[..., Any]
#: what a module is called with, without keywords
Inputs: TypeAlias = tuple[Any, ...]


class Hook(NamedTuple):
    """A function, and what it is given: keywords besides; and whether after errors, too."""

    function: Function
    with_kwargs: bool
    always_call: bool = False


class Hooks(NamedTuple):
    """Those of one module, by number, in the order in which they are called."""

    before: dict[int, Hook]
    after: dict[int, Hook]


class Holder(Protocol):
    """A module, by its hooks."""

    _hooks: Hooks | None


class Handle:
    """Takes a hook away again: `handle.remove()`, or at the end of a `with` block."""

    def __init__(self, module: Holder, hooks: dict[int, Hook], number: int):
        self._module, self._hooks, self._number = module, hooks, number

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        self._hooks.pop(self._number, None)
        install(self._module)

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


class Hooked:
    """The `forward` of a module with hooks."""

    def __init__(self, module: Value, hooks: Hooks):
        self.module, self.hooks = module, hooks

    def __call__(self, *inputs: Value, **options: Value) -> Value:
        module = self.module
        called: set[int] = set()
        for hook in list(self.hooks.before.values()):
            inputs, options = _before(hook, module, inputs, options)
        try:
            output = type(module).forward(module, *inputs, **options)
            for number, hook in list(self.hooks.after.items()):
                called.add(number)
                changed = _after(hook, module, inputs, options, output)
                output = output if changed is None else changed
        except Exception:
            for number, hook in list(self.hooks.after.items()):
                if hook.always_call and number not in called:
                    _after(hook, module, inputs, options, None)
            raise
        return output


def _before(hook: Hook, module: Holder, inputs: Inputs, options: Params) -> tuple[Inputs, Params]:
    """What a module is called with after one of the hooks before it."""
    if not hook.with_kwargs:
        changed = hook.function(module, inputs)
        if changed is None:
            return inputs, options
        return (changed if isinstance(changed, tuple) else (changed,)), options
    changed = hook.function(module, inputs, options)
    if changed is None:
        return inputs, options
    if not (isinstance(changed, tuple) and len(changed) == 2):
        raise TracerError(
            f"a forward pre-hook with keywords returns None or (args, kwargs), got {changed!r}"
        )
    return changed


def _after(hook: Hook, module: Holder, inputs: Inputs, options: Params, output: Value) -> Value:
    given = (options,) if hook.with_kwargs else ()
    return hook.function(module, inputs, *given, output)


def add(module: Holder, after: bool, hook: Hook, prepend: bool) -> Handle:
    """Let a module have a hook, before or after its `forward`."""
    if not callable(hook.function):
        raise TracerError(f"a hook is a function, got {hook.function!r}")
    hooks = module._hooks or Hooks({}, {})
    held = hooks.after if after else hooks.before
    number = max([*hooks.before, *hooks.after], default=-1) + 1
    before = dict(held) if prepend else {}
    if prepend:
        held.clear()
    held[number] = hook
    held.update(before)
    vars(module)["_hooks"] = hooks
    install(module)
    return Handle(module, held, number)


def install(module: Holder) -> None:
    """Give a module with hooks its own `forward`, and that of its class to one without."""
    hooks = module._hooks
    if hooks is not None and any(hooks):
        vars(module)["forward"] = Hooked(module, hooks)
    else:
        vars(module).pop("forward", None)
