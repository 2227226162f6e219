"""What the parts of a training are, to be named in signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tracer import Tensor
from tracer.extend import Quantity

#: a module, or a function of a batch's inputs
Model: TypeAlias = Any
#: the loss of outputs and targets
LossFunction: TypeAlias = Callable[[Any, Any], Tensor]
#: a loader, a data set, or another iterable of batches
Data: TypeAlias = Any
#: arrays, the last of which is the target, or one that is both
Batch: TypeAlias = Any
#: arrays that a model is called with
Inputs: TypeAlias = tuple[Any, ...]
#: what the outputs of a batch are compared with: an array, or several in a container
Targets: TypeAlias = Any
#: what a sweep is asked for
Asked: TypeAlias = tuple[str | Quantity, ...]
#: what `Tape.backward` returns: quantity -> parameter or its name -> value
Results: TypeAlias = Mapping[str, Any]
#: what is saved of something: numbers, texts, arrays, and containers of these
StateDict: TypeAlias = dict[str, Any]
#: the same, to be read
Saved: TypeAlias = Mapping[str, Any]
#: the values of an epoch, by name
Record: TypeAlias = dict[str, Any]
#: an array without axes, or a number
Scalar: TypeAlias = Any
#: a value of any kind: of a state, or of a quantity
Value: TypeAlias = Any
