"""Functions with derivatives of the user's own, in the shortest form: a rule for each argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from tracer.api.opaque import Call, Cotangents, Leaves, Site, is_of_floats
from tracer.arrays.trees import flatten
from tracer.arrays.types import Shape, Tree
from tracer.errors import ShapeError, TracingError
from tracer.record.describe import describe
from tracer.record.frames import INTERNAL_FILES
from tracer.record.tensor import Tensor, TensorLike

INTERNAL_FILES.add(__file__)

#: a rule for one argument: None says that there is no gradient by it
Rule: TypeAlias = "Callable[..., Tree] | None"


HOW_VJP, HOW_JVP = "defvjp(lambda g, y, ...: ...)", "defjvp(lambda t, y, ...: ...)"


class Primitive:
    """A function that is recorded as one operation. `tracer.primitive` makes it."""

    def __init__(self, function: Callable[..., Tree]):
        self._function = function
        self._vjps: tuple[Rule, ...] = ()
        self._jvps: tuple[Rule, ...] = ()
        self.__name__ = getattr(function, "__name__", "primitive")
        self.__doc__, self.__wrapped__ = function.__doc__, function

    def __repr__(self) -> str:
        return f"<primitive {self.__name__}>"

    def __call__(self, *args: Tree, **options: Tree) -> Tree:
        for name, value in options.items():
            if any(isinstance(leaf, Tensor) for leaf in flatten(value)[0]):
                raise TracingError(
                    f"{self.__name__} got a tensor as {name}=, and rules are for arguments by "
                    f"position: give it by position, or {name}=tensor.data for a constant"
                )
        push = self._push if self._jvps else None
        call = Call(self.__name__, self._compute, (*args, options), self._pull, (), push)
        return call.run()

    def defvjp(self, *rules: Rule) -> Primitive:
        """Take `rule(g, y, *args, **options)` for each argument: the cotangent of that argument.

        `g` is the cotangent of the value `y`, of its shape, and the arguments are those of the
        call: arrays, or tensors where derivatives of derivatives are taken. So rules are written in
        NumPy's functions. What a rule returns has the shape of its argument; where that was
        broadcast, it is summed. None in place of a rule says that there is no gradient.
        """
        self._vjps = _rules(self.__name__, "defvjp", "g", rules)
        return self

    def defjvp(self, *rules: Rule) -> Primitive:
        """Take `rule(t, y, *args, **options)` for each argument: what its tangent `t` adds to y's.

        Without these, forward mode transposes the rules for cotangents.
        """
        self._jvps = _rules(self.__name__, "defjvp", "t", rules)
        return self

    # -- how it is recorded -----------------------------------------------------------------------

    def _compute(self, *given: Tree) -> Tree:
        *args, options = given
        value = self._function(*args, **options)  # type: ignore[arg-type]
        if type(value) is not np.ndarray and any(
            isinstance(leaf, Tensor) for leaf in flatten(value)[0]
        ):
            raise TracingError(
                f"{self.__name__} computes with a tensor that is not among its arguments, whose "
                f"derivative its rules do not know of: give it as an argument, or its .data"
            )
        return value

    def _rule(self, rules: Sequence[Rule], i: int, how: str) -> Rule:
        if i < len(rules):
            return rules[i]
        raise TracingError(
            f"{self.__name__} has no rule for its argument {i}: write "
            f"{self.__name__}.{how} with {i + 1} rules, None where there is no gradient"
        )

    def _ask(self, rule: Callable[..., Tree], first: Tree, site: Site) -> Tree:
        """What a rule returns. Raises `TracingError` where it takes other arguments."""
        *args, options = site.args
        given = (first, site.value, *args)
        try:
            return rule(*given, **options)  # type: ignore[arg-type]
        except TypeError:
            self._refuse_other_arguments(rule, given, options)  # type: ignore[arg-type]
            raise

    def _refuse_other_arguments(
        self, rule: Callable[..., Tree], given: Sequence[Tree], options: dict[str, Tree]
    ) -> None:
        try:
            inspect.signature(rule).bind(*given, **options)
        except TypeError as error:
            names = ", ".join(list(inspect.signature(self._function).parameters))
            raise TracingError(
                f"a rule of {self.__name__} takes (g, y, {names}), the cotangent, the value and "
                f"the arguments, got one that takes {inspect.signature(rule)}: {error}"
            ) from None
        except ValueError:  # a function of C, which has no signature
            pass

    def _pull(self, site: Site, cotangents: Leaves) -> Cotangents:
        *args, _ = site.args
        g = site.call.structure.build(cotangents)
        found: list[TensorLike | None] = []
        wanted = iter(site.wanted)
        for i, arg in enumerate(args):
            leaves, structure = flatten(arg)
            wants = [is_of_floats(leaf) and next(wanted) for leaf in leaves]
            rule = self._rule(self._vjps, i, HOW_VJP) if any(wants) else None
            if rule is None:
                found += [None for leaf in leaves if is_of_floats(leaf)]
                continue
            made = structure.match(self._ask(rule, g, site), "cotangent", "argument")
            for leaf, entry in zip(leaves, made, strict=True):
                if is_of_floats(leaf):
                    found.append(_summed(entry, np.shape(leaf), self.__name__, i))
        return found

    def _push(self, site: Site, tangents: Cotangents) -> Leaves:
        *args, _ = site.args
        total: list[TensorLike] = [np.zeros_like(y) for y in site.outputs]
        given = iter(tangents)
        for i, arg in enumerate(args):
            leaves, structure = flatten(arg)
            moved = [next(given) if is_of_floats(leaf) else None for leaf in leaves]
            wants = any(t is not None for t in moved)
            rule = self._rule(self._jvps, i, HOW_JVP) if wants else None
            if rule is None:
                continue
            t = structure.build(
                [np.zeros_like(x) if t is None else t for x, t in zip(leaves, moved, strict=True)]
            )
            made = site.call.structure.match(self._ask(rule, t, site), "tangent", "value")
            total = [a + b for a, b in zip(total, made, strict=True)]
        return total


def primitive(function: Callable[..., Tree]) -> Primitive:
    """`@tracer.primitive` above a function of arrays: its derivatives are rules of your own.

    ```python
    @tracer.primitive
    def log1mexp(x):
        return np.log(-np.expm1(-x))


    log1mexp.defvjp(lambda g, y, x: g / np.expm1(x))
    ```

    The function gets plain arrays and gives one array, or several, nested; it may do anything
    inside, call a solver or a compiled library. `defvjp` takes one rule for each argument, `defjvp`
    those for tangents. Derivatives of all orders follow from rules that are written in NumPy's
    functions. Check them with `tracer.testing.check_gradients(log1mexp)(x)`.

    What it costs: a rule is called for each row of a sweep, and where samples are in its output is
    not known. An operation of `tracer.operation` says that, and takes all rows at once.
    """
    if not callable(function):
        raise TracingError(
            f"@tracer.primitive stands above a function, got {describe(function)}: give its rules "
            f"to what it makes, f.defvjp(lambda g, y, x: ...)"
        )
    return Primitive(function)


def _rules(name: str, how: str, first: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    wrong = [rule for rule in rules if not (rule is None or callable(rule))]
    if wrong or not rules:
        what = describe(wrong[0]) if wrong else "none"
        raise TracingError(
            f"{name}.{how} takes a function for each argument, lambda {first}, y, x: ..., or None "
            f"for no gradient, got {what}"
        )
    return tuple(rules)


def _summed(entry: TensorLike, shape: Shape, name: str, i: int) -> TensorLike:
    """A cotangent of an argument's shape, summed where the argument was broadcast."""
    given = np.shape(entry)  # type: ignore[arg-type]  # of tensors, too
    if given == shape:
        return entry
    lead = len(given) - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, given[lead:], strict=True)):
        raise ShapeError(
            f"the rule of {name} for argument {i} returned {describe(entry)}, where the argument "
            f"is of shape {list(shape)}: return a cotangent of that shape"
        )
    axes = tuple(i for i, m in enumerate(given) if i < lead or shape[i - lead] != m)
    return np.sum(entry, axis=axes, keepdims=True).reshape(shape)
