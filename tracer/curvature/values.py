"""What `Tape.backward` gives for a quantity: values by parameter."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import DType
from tracer.curvature import tables
from tracer.curvature.quantity import Value
from tracer.errors import ParameterError, TracerError, UndefinedError, suggestion
from tracer.record.describe import describe
from tracer.record.freezing import origin_of
from tracer.record.names import Names
from tracer.record.tensor import Tensor

_MISSING: Any = object()


class Values(dict[str, Any]):
    """Values by parameter name; the parameter's tensor is accepted as a key, too.

    That holds for `[]`, `in`, `get` and `pop`. Copies know the same tensors. A pickle knows names
    alone, as do `dict(values)` and what is iterated over.

    `[]` and `pop` raise `ParameterError`, a `KeyError`, for what is not there.
    """

    def __init__(
        self,
        names: Names | None = None,
        values: Mapping[str, Value] | None = None,
        absent: Mapping[str, str] | None = None,
    ):
        super().__init__(values or {})
        self._names = names
        #: parameters of which there is no value, and why
        self.absent = absent or {}

    @classmethod
    def of_parameters(
        cls,
        parameters: Iterable[tuple[str, Tensor]],
        values: Mapping[str, Value],
        absent: Mapping[str, str] | None = None,
    ) -> Values:
        """Values by the names of a model's parameters, as `named_parameters` gives them."""
        names = Names({origin_of(p.node): name for name, p in parameters if p.node is not None})
        names.frozen = {}
        return cls(names, values, absent)

    @property
    def knows_tensors(self) -> bool:
        """Whether a parameter's tensor is a key: not of values from a pickle."""
        return self._names is not None

    def name_of(self, parameter: Tensor) -> Any:
        """The name that these values have for a parameter's tensor; itself, if they know none."""
        return self._name(parameter)

    def _name(self, key: object) -> Any:
        if not isinstance(key, Tensor):
            return key
        if key.node is None or self._names is None:
            return key
        return self._names.get(origin_of(key.node), key)

    def __getitem__(self, key: Any) -> Value:
        try:
            return super().__getitem__(self._name(key) if isinstance(key, Tensor) else key)
        except TypeError as error:
            if isinstance(error, TracerError):
                raise
            raise ParameterError(
                f"{describe(key)} is no key of results: give the parameter's tensor, and not its "
                f"data, or its name"
            ) from error

    def __setitem__(self, key: object, value: Value) -> None:
        super().__setitem__(self._name(key), value)

    def __delitem__(self, key: object) -> None:
        if key not in self:
            self.__missing__(key)
        super().__delitem__(self._name(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._name(key))

    def get(self, key: object, default: Any = None) -> Value:
        """The value of a parameter, by name or tensor, or the default."""
        return super().get(self._name(key), default)

    def pop(self, key: object, default: Any = _MISSING) -> Value:
        """The same, and it is there no more."""
        if default is _MISSING and key not in self:
            self.__missing__(key)
        return super().pop(self._name(key), default)

    def setdefault(self, key: object, default: Any = None) -> Value:
        """The value of a parameter, by name or tensor; the default is put in if it is missing."""
        return super().setdefault(self._name(key), default)

    def united(self, other: Mapping[str, Value]) -> Values:
        """These values, and what they know of parameters together with the others.

        Raises `ParameterError` where the same name is of one parameter here and another there.
        """
        theirs = getattr(other, "_names", None)
        if self._names is None or theirs is None:
            return self.copy()
        names = Names({**theirs, **self._names})
        names.frozen = {**theirs.frozen, **self._names.frozen}
        if len(set(names.values())) < len(names):
            several = Counter(names.values()).most_common(1)[0][0]
            raise ParameterError(
                f"{several!r} is one parameter in these results and another in those: put the "
                f"modules into one model and call that, whose names are the same in every record"
            )
        return Values(names, self, {**getattr(other, "absent", {}), **self.absent})

    def __missing__(self, key: object) -> Any:
        name = self._name(key)
        if not isinstance(name, Tensor) and name in self.absent:
            raise UndefinedError(self.absent[name])
        known = ", ".join(self) or "none"
        raise ParameterError(f"{self._problem(key)} Parameters: {known}")

    def _problem(self, key: object) -> str:
        """Why there is nothing for a key, in a sentence."""
        frozen = {} if self._names is None else self._names.frozen
        if not isinstance(key, Tensor):
            if key in frozen.values():
                return f"the parameter {key!r} {FROZEN}"
            known = (*self, *frozen.values())
            hint = suggestion(key, known) if isinstance(key, str) else ""
            return f"no parameter is called {key!r}.{hint}"
        what = f"the tensor {key.name!r}, {describe(key)}," if key.name else f"this {describe(key)}"
        if not key.is_parameter:
            return f"{what} is no parameter: tracer.grad and tracer.vjp differentiate by others."
        if self._names is None:
            return "values from a pickle are known by name alone, and not by tensors."
        leaf = origin_of(key.node)
        if leaf in frozen:
            return f"the parameter {frozen[leaf]!r} {FROZEN}"
        return f"{what} was not used in this record, as itself or in a model."

    def _repr_html_(self) -> str:
        """A table for notebooks: each parameter's shape and norm, or what else the value is."""
        return tables.by_parameter({"": self})

    # -- copies and pickles ---------------------------------------------------------------------

    def copy(self) -> Values:
        """A shallow copy."""
        return Values(self._names, self, self.absent)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Values:
        return Values(self._names, copy.deepcopy(dict(self), memo), self.absent)

    def __reduce__(self) -> tuple[Any, ...]:
        return Values, (None, dict(self), self.absent)


#: what is said of a frozen parameter
FROZEN = (
    "is frozen, or was when it was recorded, and has no results: let it want a gradient with "
    "parameter.requires_grad_() before the trace."
)


class LayerValues(dict[str, Any]):
    """Values by the path of a layer, the module that holds parameters; "" is the outermost one.

    `[]` raises `ParameterError`, a `KeyError`, for what is not there.
    """

    def __init__(
        self, values: Mapping[str, Value] | None = None, absent: Mapping[str, str] | None = None
    ):
        super().__init__(values or {})
        #: layers of which there is no value, and why
        self.absent = absent or {}

    def __missing__(self, key: object) -> Value:
        if isinstance(key, str) and key in self.absent:
            raise UndefinedError(self.absent[key])
        hint = suggestion(key, self) if isinstance(key, str) else ""
        known = ", ".join(map(repr, self)) or "none"
        what = f"{key!r}" if isinstance(key, str) else describe(key)
        raise ParameterError(
            f"the values are of layers, by their paths, and none is of {what}.{hint} "
            f"Layers: {known}"
        )

    def _repr_html_(self) -> str:
        """A table for notebooks: each layer's shape and norm, or what else the value is."""
        return tables.by_parameter({"": self})

    def copy(self) -> LayerValues:
        """A shallow copy."""
        return LayerValues(self, self.absent)

    __copy__ = copy


def raw_value(value: Value, dtype: DType) -> Value:
    """Arrays of the parameter's dtype without history; other objects as they are."""
    if type(value) is np.ndarray and value.dtype == dtype:
        return value
    if isinstance(value, Tensor):
        return raw_value(value._value, dtype)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if backend.is_array(value) and value.dtype != dtype and value.dtype.kind == "f":
        return value.astype(dtype)
    return value
