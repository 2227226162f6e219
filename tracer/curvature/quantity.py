"""Quantities: what they need, what they extract at a parameter, and how two shards' values merge.

```python
class DiagGGNExact(Quantity):
    name = "diag_ggn_exact"
    rows = ggn_exact

    def extract(self, cotangent, context):
        return cotangent.sum_of_squares()
```
"""

from __future__ import annotations

import copy
import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tracer import guarded, registry
from tracer.arrays.types import DType, Shape
from tracer.blame import place
from tracer.cotangents import Cotangent
from tracer.curvature.rows import Rows, gradient
from tracer.errors import PluginError, QuantityError, TracerError, TracingError
from tracer.record.node import Node


class Context(NamedTuple):
    """What a quantity may know besides the cotangent: the parameter, and how many samples."""

    name: str
    shape: Shape
    dtype: DType
    samples: int | None
    #: how many rows of its kind a quantity gets in all, in chunks or at once; None if not known
    rows: int | None = None


@dataclass(frozen=True)
class Shard:
    """The part of a data set that a state comes from.

    `samples` is its number of samples, `weight` the factor by which its objective enters that of
    the union: its share of the samples for a mean, 1 for a sum.
    """

    samples: int
    weight: float


#: what a quantity makes of a parameter's cotangent, an array or anything else that it joins
State: TypeAlias = Any
#: what it makes of the last state, for the caller
Value: TypeAlias = Any
#: name of a quantity -> a function of a parameter's name and value, whose result is kept instead
Reduce: TypeAlias = Mapping[str, Callable[[str, Value], Any]]
#: what is asked for: a name, an instance, a class, or several of these
Quantities: TypeAlias = (
    "str | Quantity | type[Quantity] | Iterable[str | Quantity | type[Quantity]]"
)


#: what plugins may override, and is called in a sweep
METHODS = {
    *("begin", "extract", "elements", "of_objective", "of_block"),
    *("finish", "combine", "join", "merge"),
}
#: what a quantity may have its values of
LEVELS = ("parameter", "layer", "model")


class Quantity:
    """Base of quantities; configured by the constructor where there is something to configure.

    `rows` is the kind of rows that it needs, or the name of a registered one; None if it is made of
    products with whole matrices (`of_objective`). `per_sample` says that its values are of single
    samples, so that it is undefined where samples are coupled, and `lists_samples` that they have
    an axis of samples, so that it is undefined where batches have several sizes (None: if it is
    `per_sample`). `needs_samples` is False only if the sum over samples is all that it reads.
    `factored` says that a weight has it only where samples are marked, `of_uses` that it is made of
    the uses that samples make of a parameter, without registered penalties on it, of which a
    warning tells. A quantity of a plugin that sums over samples says `lists_samples = False`;
    without a word, it is refused where the model's output has other samples than its input. A
    *state* is what `extract` returns: it merges with the state of another shard; `finish` makes the
    value of it.
    """

    name: str
    #: the name, if another plugin has it and this quantity is to stand in its place
    replaces: str | tuple[str, ...] = ()
    rows: Rows | None = gradient
    #: "parameter", or "layer" or "model" where `combine` makes one value of those of all parameters
    #: that a module holds, or that there are
    per: str = "parameter"
    per_sample = False
    lists_samples: bool | None = None
    needs_samples = True
    factored = False
    of_uses = False
    #: whether it is left out, without an error or a warning, where samples are coupled, not marked,
    #: not followed, or in batches of several sizes: `results[name].absent` then says why
    optional = False
    #: the same where it is undefined for the objective, as curvature that the loss has no rule for
    dispensable = False
    #: whether it extracts before the others, for which it may leave a `known_total` on a cotangent
    first = False
    #: whether `extract` reads all rows at once, as where it multiplies rows by each other: those
    #: that come in chunks are then kept until all are there. `gram()` says so by itself
    all_rows = False
    #: whether it reads inputs and rows apart, as Kronecker factors do, so that it does not matter
    #: which row meets which sample's input
    separates = False
    #: the names of what to use in its place where memory is short, for messages
    cheaper = ""
    #: a method `reference(self, brute)` gives the value at a parameter by its definition, from a
    #: `tracer.testing.BruteForce`: checks compare values with it
    reference: Callable[[Any], Value] | None = None

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if cls.__module__.startswith(registry.BUNDLED):
            return
        if "extract" in vars(cls):
            cls.extract = _given_to_read(cls.extract)  # type: ignore[method-assign]
        for name in METHODS & vars(cls).keys():
            if isinstance(vars(cls)[name], FunctionType):
                setattr(cls, name, guarded.blaming(vars(cls)[name], name))

    @property
    def of_chosen_samples(self) -> bool:
        """Whether `samples=` restricts it: it is of single samples, or lists them."""
        return self.per_sample or bool(self.lists_samples)

    @property
    def is_silent(self) -> bool:
        """Whether it is a plugin's and does not say whether it reads single samples or uses."""
        said = self.per_sample or self.of_uses or self.lists_samples is not None
        return not said and hasattr(type(self).extract, "__wrapped__")

    def begin(self, objective: Any) -> None:
        """Called with the objective before its sweep, while the record has its values."""

    def extract(self, cotangent: Cotangent, context: Context) -> State:
        """The state for one parameter, from the cotangent's contractions."""
        raise QuantityError(f"quantity {self.name!r} defines no extract")

    def elements(self, context: Context) -> int:
        """How many numbers the value for one parameter holds, for the plan of memory.

        As many as the parameter, unless overridden, as where there are some for each sample.
        """
        return math.prod(context.shape)

    def of_objective(self, objective: Any) -> Value:
        """The value for all parameters, of a quantity without rows."""
        raise QuantityError(f"quantity {self.name!r} defines no of_objective")

    def of_block(self, objective: Any, leaf: Node) -> State:
        """The state for a parameter for which signed rows of the Hessian are not exact."""
        raise QuantityError(f"quantity {self.name!r} defines no of_block")

    def finish(self, state: State, context: Context) -> Value:
        """The value, from the state of all data."""
        return state

    def combine(self, values: Mapping[str, Value]) -> Value:
        """The value of a layer or of the model, from those of its parameters, which are given by
        name. Their sum unless overridden.
        """
        return functools.reduce(operator.add, values.values())

    def join(self, first: State, second: State) -> State:
        """The state of two chunks of rows of the same samples. Additive unless overridden."""
        return first + second

    def merge(self, first: State, second: State, shards: tuple[Shard, Shard]) -> State:
        """The state of the union of two shards. Linear in the objective unless overridden."""
        return shards[0].weight * first + shards[1].weight * second

    def __repr__(self) -> str:
        return f"<quantity {self.name}>"


def _check(kind: type[Quantity]) -> None:
    """Raise `PluginError` for a quantity whose `rows` are no kind of rows, or `per` no level."""
    rows = getattr(kind, "rows", None)
    if isinstance(kind.per, str) and kind.per not in LEVELS:
        raise PluginError(f"{_wrong_level(kind)} ({place(kind)})")
    if isinstance(rows, type):
        raise PluginError(
            f"the quantity {kind.name!r} has the class {rows.__name__} as rows, where an instance "
            f"is expected: give {rows.__name__}() ({place(kind)})"
        )
    if rows is not None and not isinstance(rows, Rows | str) and not hasattr(rows, "__get__"):
        raise PluginError(
            f"the quantity {kind.name!r} has {rows!r} as rows, where an instance of tracer.Rows, "
            f"the name of a registered one, or None is expected ({place(kind)})"
        )


def _wrong_level(kind: Quantity | type[Quantity]) -> str:
    known = ", ".join(map(repr, LEVELS))
    return f"the quantity {kind.name!r} has per = {kind.per!r}, where one of {known} is expected"


registry.quantities.holds(Quantity, as_class=True)
registry.quantities.checks.append(_check)


def _given_to_read(extract: Callable[..., State]) -> Callable[..., State]:
    """The method, given a cotangent that cannot be written into: other quantities read it, too."""

    @functools.wraps(extract)
    def method(self: Quantity, cotangent: Cotangent, context: Context) -> State:
        read = _to_read(cotangent)
        try:
            state = extract(self, read, context)
        except ValueError as error:
            if isinstance(error, TracerError) or "read-only" not in str(error):
                raise
            raise TracingError(
                f"extract of {self.name!r} writes into what its cotangent gave for {context.name}, "
                f"which others read as well: make a new array, or copy it first ({error})"
            ) from error
        cotangent.known_total = read.known_total
        read_only = type(state) is np.ndarray and not state.flags.writeable
        return state.copy() if read_only else state

    return method


def _to_read(value: Any) -> Any:
    """A cotangent around the same arrays, as views that are not written into."""
    if type(value) is np.ndarray:
        value = value.view()
        value.flags.writeable = False
    elif type(value) is list:
        value = [_to_read(each) for each in value]
    elif isinstance(value, Cotangent):
        value = copy.copy(value)
        for name, field in vars(value).items():
            setattr(value, name, _to_read(field))
    return value


#: types of what is asked for by itself: a union of these, made anew, takes three times as long
_ONE = (str, Quantity, type)


def resolve(quantities: Quantities) -> dict[str, Quantity]:
    """Names and configured objects as instances, by name."""
    if isinstance(quantities, _ONE):
        quantities = (quantities,)  # type: ignore[assignment]  # a tuple of one of these
    if type(quantities) is not tuple and not isinstance(quantities, Iterable):
        raise QuantityError(
            f"quantities are registered names or tracer.Quantity objects, as in ('grad', 'kfac'), "
            f"got {quantities!r}"
        )
    found: dict[str, Quantity] = {}
    for quantity in quantities:
        if isinstance(quantity, str):
            quantity = registry.quantities[quantity]
        if isinstance(quantity, type):
            quantity = guarded.constructed(quantity)
        if not isinstance(quantity, Quantity):
            raise QuantityError(
                f"a quantity is a registered name or a tracer.Quantity, got {quantity!r}"
            )
        if quantity.per not in LEVELS:
            raise QuantityError(_wrong_level(quantity))
        if quantity.name in found:
            raise QuantityError(f"the quantity {quantity.name!r} is asked for twice")
        kind: Any = quantity.rows
        if isinstance(kind, str):  # the name of a registered one
            quantity = copy.copy(quantity)
            quantity.rows = registry.rows[kind]
        found[quantity.name] = quantity
    return found
