"""The base of optimisers: what a step is given, and what is saved of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from tracer import Tensor
from tracer.errors import HintError, ShapeError, TracerError
from tracer.extend import Array, Quantity, Shape, backend, widened, working
from tracer_training.optimizers.groups import (
    OF_PYTORCH,
    OF_SCHEDULES,
    Given,
    Group,
    State,
    States,
    completed,
    groups_of,
    options,
)

__all__ = ["Optimizer"]

#: options that states of older versions of PyTorch lack
OF_LATER = {"maximize", "decoupled_weight_decay"}

#: what `Tape.backward` returns: quantity -> parameter or its name -> value
Results: TypeAlias = Mapping[str, Any]
#: records and sweeps again where the parameters are now
Closure: TypeAlias = Callable[[], Results]


class Optimizer:
    """Base of optimisers, with the interface of `torch.optim.Optimizer`.

    `params` are parameters, (name, parameter) pairs, or dicts `{"params": [...], option: value}`.
    `quantities` is what the next step needs of a sweep; `step` takes its results, since gradients
    are not kept on parameters.

    A step never writes into an array that others refer to: what was read as `parameter.data`, and
    what a tape has recorded, stay as they were. A thread that reads parameters while another one
    steps them may see a part of the step: let it have a copy of the model, or hold a lock.
    """

    def __init__(self, params: Given, defaults: Mapping[str, Any]):
        self.defaults = dict(defaults)
        self.state = States()
        #: what is kept of all parameters together: numbers, as of steps
        self.shared = self.initial_shared()
        self.param_groups: list[Group] = []
        for group in groups_of(self._kind, params):
            self.add_param_group(group)

    @property
    def _kind(self) -> str:
        return type(self).__name__

    @property
    def quantities(self) -> tuple[str | Quantity, ...]:
        """What the next step needs: give it to `Tape.backward`."""
        return ("grad",)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own; what is not given is as for the others."""
        new = completed(self._kind, dict(group), self.defaults)
        self.check(options(new))
        taken = {id(p) for other in [*self.param_groups, new] for p in other["params"]}
        if len(taken) < sum(len(other["params"]) for other in [*self.param_groups, new]):
            raise TracerError(f"{self._kind} is given a parameter twice: each is stepped once")
        self.param_groups.append(new)

    def check(self, o: SimpleNamespace) -> None:
        """Raise `TracerError` for options of a group that make no sense."""

    # -- a step --------------------------------------------------------------------------------

    def step(self, results: Results, closure: Closure | None = None) -> None:
        """Step all parameters that have a gradient in `results`, those of `Tape.backward`.

        `closure` records and sweeps again, for optimisers that look at more than one point.
        Raises `TracerError` where results lack what `quantities` names, or have gradients of none
        of the parameters.
        """
        raise NotImplementedError(
            f"{self._kind} takes no steps: define step(self, results, closure=None)"
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        raise HintError(
            f"{self._kind} has no gradients to be zeroed: they are what tape.backward(loss, "
            f"optimizer.quantities) returns, and are given to optimizer.step(results)"
        )

    def given(
        self, results: Results, quantity: str = "grad"
    ) -> Iterator[tuple[Group, Tensor, Any]]:
        """Group, parameter and value of each parameter that `results` have a value for."""
        return (
            (group, parameter, value)
            for group, parameter, _, value in self.named(results, quantity)
        )

    def named(
        self, results: Results, quantity: str = "grad"
    ) -> Iterator[tuple[Group, Tensor, Any, Any]]:
        """Group, parameter, its name in `results` (or what is the key there), and its value."""
        values = self.value(results, quantity)
        if not isinstance(values, Mapping):
            raise TracerError(
                f"{self._kind}.step expects results[{quantity!r}] to map parameters or their names "
                f"to arrays, got a {type(values).__name__}: tape.backward(loss, "
                f"optimizer.quantities) gives it"
            )
        found = False
        # another model's parameters may have the same names
        name_of = _naming(values)
        for group in self.param_groups:
            names = group.get("param_names") if name_of is None else None
            for i, parameter in enumerate(group["params"]):
                key = parameter if name_of is None else name_of(parameter)
                value = values.get(key)
                if value is None and names is not None:
                    value = values.get(key := names[i])
                if value is not None:
                    found = True
                    yield group, parameter, key, value
        if not found:
            known = ", ".join(map(str, list(values)[:5])) or "none"
            raise TracerError(
                f"{self._kind} has no parameter that results[{quantity!r}] are of ({known}): make "
                f"it of the parameters of the model that is trained"
            )

    def value(self, results: Results, quantity: str) -> Any:
        """What results have of a quantity; `TracerError` if they do not."""
        if callable(results) or not isinstance(results, Mapping):
            raise TracerError(
                f"{self._kind}.step expects the results of a sweep, got a "
                f"{type(results).__name__}: optimizer.step(tape.backward(loss, "
                f"optimizer.quantities))"
            )
        if quantity not in results:
            raise TracerError(
                f"{self._kind}.step needs {quantity!r}, and the results are of "
                f"{', '.join(map(repr, results)) or 'nothing'}: ask for it with "
                f"tape.backward(loss, optimizer.quantities)"
            )
        return results[quantity]

    # -- what is saved -------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """`{"state": {number: state}, "param_groups": [...]}`, as PyTorch's; arrays are copies.

        Parameters are numbered in the order of the groups. Where something is kept of all of them
        together, it stands under "shared".
        """
        every = [p for group in self.param_groups for p in group["params"]]
        groups, count = [], 0
        for group in self.param_groups:
            numbers = list(range(count, count := count + len(group["params"])))
            groups.append({**group, "params": numbers})
        states = {i: _copied(self.state[p]) for i, p in enumerate(every) if p in self.state}
        shared = {"shared": dict(self.shared)} if self.shared else {}
        return {"state": {i: s for i, s in states.items() if s}, "param_groups": groups, **shared}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, this library's or PyTorch's, of the same groups of parameters.

        Raises `TracerError` for that of other parameters, or of another optimiser, and changes
        nothing then.
        """
        saved = _part(state_dict, "param_groups"), _part(state_dict, "state")
        shared = dict(_part(state_dict, "shared")) if self.shared else state_dict.get("shared", {})
        if shared.keys() != self.shared.keys():
            raise TracerError(
                f"the state has {', '.join(sorted(shared)) or 'nothing'} in 'shared', where "
                f"{self._kind} keeps {', '.join(sorted(self.shared)) or 'nothing'}: it is of "
                f"another optimiser"
            )
        groups = [dict(group) for group in saved[0]]
        sizes = [[len(group["params"]) for group in some] for some in (groups, self.param_groups)]
        if sizes[0] != sizes[1]:
            raise TracerError(
                f"the state is of groups of {sizes[0]} parameters, and this {self._kind} has "
                f"{sizes[1]}: make it of the same parameters, in the same groups"
            )
        taken = [
            self._options_of(group, own)
            for group, own in zip(groups, self.param_groups, strict=True)
        ]
        new = States()
        for group, own, taking in zip(groups, self.param_groups, taken, strict=True):
            for number, parameter in zip(group["params"], own["params"], strict=True):
                state = saved[1].get(number, saved[1].get(str(number)))  # JSON's keys are texts
                if state:
                    new[parameter] = self._loaded(parameter, dict(state), {**own, **taking})
        for own, taking in zip(self.param_groups, taken, strict=True):
            own.update(taking)
        self.state, self.shared = new, {key: _plain(value) for key, value in shared.items()}

    def _options_of(self, saved: Group, own: Group) -> Group:
        """The options of a saved group; `TracerError` if they are of another optimiser."""
        names = {"params", "param_names"}
        lacking = self.defaults.keys() - saved.keys() - OF_LATER
        unknown = saved.keys() - own.keys() - names - OF_SCHEDULES - OF_PYTORCH
        if lacking or unknown:
            what = f"lacks {sorted(lacking)[0]!r}" if lacking else f"has {sorted(unknown)[0]!r}"
            raise TracerError(
                f"the state is of another optimiser than {self._kind}: its group {what}"
            )
        taking = {
            key: _plain(value)
            for key, value in saved.items()
            if key not in names and key not in OF_PYTORCH
        }
        self.check(options({**own, **taking}))
        return taking

    def _loaded(self, parameter: Tensor, state: State, group: Group) -> State:
        """A state for a parameter, in its library and dtype."""
        expected = self.begun(widened(parameter.data), options(group))
        lacking = expected.keys() - state.keys()
        if lacking:
            raise TracerError(
                f"the state lacks {sorted(lacking)[0]!r}, which {self._kind} keeps: it is of "
                f"another optimiser, or of other options"
            )
        return {key: self._fitted(key, value, parameter, expected) for key, value in state.items()}

    def _fitted(self, key: str, value: Any, parameter: Tensor, expected: State) -> Any:
        if isinstance(value, list | tuple):
            return [self._fitted(key, each, parameter, {}) for each in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        like, wanted = parameter.data, expected.get(key)
        array: Array = value if backend.is_array(value) else np.asarray(value)
        if not array.ndim and wanted is not None and not backend.is_array(wanted):
            return _plain(array)
        shape = self.state_shape(parameter) if wanted is None else wanted.shape
        if shape is not None and shape != array.shape:
            raise ShapeError(
                f"the state {key!r} is of shape {list(array.shape)}, and the parameter "
                f"{parameter.name or ''}{list(like.shape)} needs {list(shape)}: it is of another "
                f"model"
            )
        array = backend.moved(backend.as_array(array), backend.of(like))
        kind = array.dtype if wanted is None else wanted.dtype
        kind = working(like.dtype) if wanted is None and array.dtype.kind == "f" else kind
        return array.astype(kind, copy=True)

    def initial(self, p: Array, o: SimpleNamespace) -> State:
        """The state of a parameter before its first step."""
        return {}

    def begun(self, p: Array, o: SimpleNamespace) -> State:
        """The same, with what only some options need."""
        return self.initial(p, o)

    def state_shape(self, parameter: Tensor) -> Shape | None:
        """The shape of arrays in its state that are not there from the first step on, if known."""
        return None

    def initial_shared(self) -> dict[str, float]:
        """What is kept of all parameters together, before the first step."""
        return {}

    def __repr__(self) -> str:
        lines = [f"{self._kind} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params"]
        return "\n".join([*lines, ")"])


def _naming(values: object) -> Callable[[Tensor], Any] | None:
    """What says how values that know tensors call them; None of other values."""
    return getattr(values, "name_of", None) if getattr(values, "knows_tensors", False) else None


def _part(state: Mapping[str, Any], key: str) -> Any:
    if not isinstance(state, Mapping) or key not in state:
        raise TracerError(
            f"the state of an optimiser has 'state' and 'param_groups', and this lacks {key!r}"
        )
    return state[key]


def _copied(state: State) -> State:
    return {
        key: value.copy(order="K")
        if hasattr(value, "copy") and hasattr(value, "shape")
        else [each.copy(order="K") if hasattr(each, "shape") else each for each in value]
        if isinstance(value, list)
        else value
        for key, value in state.items()
    }


def _plain(value: Any) -> Any:
    """A number of an array or tensor without axes; lists become tuples, as of betas from JSON."""
    if isinstance(value, list):
        return tuple(value)
    if hasattr(value, "item") and not getattr(value, "ndim", 0):
        number = value.item()
        return int(number) if isinstance(number, float) and number.is_integer() else number
    return value


# -- options ---------------------------------------------------------------------------------------


def within(kind: str, name: str, value: object, low: float, high: float | None = None) -> None:
    """Raise `TracerError` unless `low <= value`, and `value < high` if there is an upper bound."""
    number = isinstance(value, Real | np.number) and not isinstance(value, bool)
    if number and low <= value and (high is None or value < high):  # type: ignore[operator]
        return
    bound = f"of at least {low}" if high is None else f"from {low} to below {high}"
    raise TracerError(f"{kind} expects {name} as a number {bound}, got {value!r}")


def whole(kind: str, name: str, value: object, low: int) -> int:
    """A number that counts; `TracerError` if it is no whole number from `low` on."""
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not number or value < low:  # type: ignore[operator]
        raise TracerError(f"{kind} expects {name} as a whole number from {low}, got {value!r}")
    return int(value)  # type: ignore[call-overload]


def several(kind: str, name: str, value: Any, count: int) -> tuple[Any, ...]:
    """The numbers of an option that has some; `TracerError` if there are not so many."""
    if not isinstance(value, tuple | list) or len(value) != count:
        raise TracerError(f"{kind} expects {name} as {count} numbers, got {value!r}")
    return tuple(value)


def accept(kind: str, **ways: object) -> None:
    """Refuse arguments of PyTorch's that would change what a step is.

    Those that only choose how it is computed (`foreach`, `fused`) are accepted and ignored.
    """
    for name in ("capturable", "differentiable"):
        if ways.get(name):
            raise TracerError(
                f"{kind}({name}=True) is not supported: leave it out"
                + (", and write the step in NumPy inside a tape" * (name == "differentiable"))
            )
