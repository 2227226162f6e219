"""Averages of weights over the steps of a training, which often do better than the last ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array, backend, raw, rebind, widened, working
from tracer_layers import BatchNorm1d, BatchNorm2d, BatchNorm3d
from tracer_training.kinds import Data, Model, Saved, StateDict, Value

__all__ = [
    "AveragedModel",
    "ExponentialMovingAverage",
    "get_ema_avg_fn",
    "get_swa_avg_fn",
    "update_bn",
]

#: layers whose running statistics are of batches
BATCH_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)

#: the new average, of the average, the weights as they are, and how many were averaged before
Average: TypeAlias = Callable[[Array, Array, int], Array]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """`decay average + (1 - decay) weights`. Raises `TracerError` unless decay is from 0 to 1."""
    if not 0 <= decay <= 1:
        raise TracerError(f"decay is a number from 0 to 1, got {decay!r}")
    return partial(_moved, decay)


def get_swa_avg_fn() -> Average:
    """The mean of all weights so far (Izmailov et al. 2018)."""
    return _mean


def _moved(decay: float, average: Array, weights: Array, count: int) -> Array:
    return average + (1 - decay) * (weights - average)


def _mean(average: Array, weights: Array, count: int) -> Array:
    return average + (weights - average) / (count + 1)


class AveragedModel:
    """A copy of a model, `module`, whose weights are averages: mirrors `torch.optim.swa_utils`.

    `update_parameters(model)` takes the weights as they are into the average, by default their
    mean; the first are copied. Averages of half precision are kept in float32, and rounded to what
    `module` has: a small part of a difference is none in half precision. With `use_buffers`,
    buffers of floats are averaged, too; else those of the model are copied. It is called as the
    copy is. Given to `fit` as a callback, it is updated after every step.
    """

    def __init__(self, model: Model, avg_fn: Average | None = None, use_buffers: bool = False):
        if not hasattr(model, "named_parameters"):
            raise TracerError(
                f"averages are of the weights of a module, got a {type(model).__name__}"
            )
        self.module = copy.deepcopy(model)
        self.n_averaged = 0
        self.avg_fn = avg_fn or get_swa_avg_fn()
        self.use_buffers = use_buffers
        #: place -> the array of half precision that `module` has, and the average that it is of
        self._wide: dict[str, tuple[Array, Array]] = {}

    def __call__(self, *inputs: Value, **options: Value) -> Value:
        return self.module(*inputs, **options)

    def __getattr__(self, name: str) -> Value:
        """What a module has, as `eval()`, `parameters()` and `training`, is that of the copy."""
        if name == "module":  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.module, name)

    def update_parameters(self, model: Model) -> None:
        """Take the weights of a model into the average. No device is waited for."""
        with np.errstate(over="ignore", invalid="ignore"):
            pairs = zip(self.module.parameters(), model.parameters(), strict=True)
            for number, (own, other) in enumerate(pairs):
                if not self.n_averaged:
                    rebind(own, other.data.copy(order="K"))
                    continue
                found = self._averaged(str(number), raw(own), other.data)
                rebind(own, found.astype(own.dtype, copy=False))
                self._keep(str(number), raw(own), found)
        self._update_buffers(model)
        self.n_averaged += 1

    def _averaged(self, place: str, average: Array, new: Array) -> Array:
        """The new average, half precision in float32."""
        rounded, wide = self._wide.get(place, (average, widened(average)))
        if rounded is not average:  # others were loaded into the module
            wide = widened(average)
        return self.avg_fn(wide, widened(new), self.n_averaged)

    def _keep(self, place: str, rounded: Array, average: Array) -> None:
        """Keep an average that `module` has in half precision."""
        if rounded.dtype != working(rounded.dtype):
            self._wide[place] = rounded, average.astype(working(rounded.dtype), copy=False)

    def _update_buffers(self, model: Model) -> None:
        modules = zip(self.module.modules(), model.modules(), strict=True)
        for number, (own, other) in enumerate(modules):
            for name, value in other.named_buffers(recurse=False):
                average = own.get_buffer(name)
                if not (self.use_buffers and self.n_averaged and value.dtype.kind == "f"):
                    setattr(own, name, value)
                    continue
                found = self._averaged(f"{number}.{name}", average, value)
                setattr(own, name, found.astype(average.dtype, copy=False))
                self._keep(f"{number}.{name}", own.get_buffer(name), found)

    def end_step(self, run: Value) -> None:
        """What `fit` tells a callback."""
        self.update_parameters(run.model)

    @contextmanager
    def applied(self, model: Model) -> Iterator[None]:
        """In it, a model has the averaged weights, and the buffers of the average; afterwards its
        own. Weights are not copied.
        """
        kept = [(p, p.data) for p in model.parameters()]
        buffers = [
            (module, name, value, own.get_buffer(name))
            for module, own in zip(model.modules(), self.module.modules(), strict=True)
            for name, value in module.named_buffers(recurse=False)
        ]
        try:
            for (parameter, _), own in zip(kept, self.module.parameters(), strict=True):
                rebind(parameter, own.data)
            for module, name, _, averaged in buffers:
                setattr(module, name, averaged)
            yield
        finally:
            for parameter, array in kept:
                rebind(parameter, array)
            for module, name, value, _ in buffers:
                setattr(module, name, value)

    def state_dict(self) -> StateDict:
        state = {"n_averaged": self.n_averaged, "module": self.module.state_dict()}
        wide = {place: average for place, (_, average) in self._wide.items()}
        return {**state, "wide": wide} if wide else state

    def load_state_dict(self, state: Saved) -> None:
        """Take over a saved average; `TracerError` for that of another model."""
        if not isinstance(state, Mapping) or not {"n_averaged", "module"} <= state.keys():
            raise TracerError("the state of an average has n_averaged and module")
        self.module.load_state_dict(state["module"])
        self.n_averaged = state["n_averaged"]
        arrays = self._arrays()
        self._wide = {
            place: (arrays[place], backend.moved(wide, backend.of(arrays[place])))
            for place, wide in state.get("wide", {}).items()
        }

    def _arrays(self) -> dict[str, Array]:
        """What is averaged, by its place."""
        found = {str(i): raw(p) for i, p in enumerate(self.module.parameters())}
        for i, module in enumerate(self.module.modules()):
            found |= {f"{i}.{name}": array for name, array in module.named_buffers(recurse=False)}
        return found


class ExponentialMovingAverage(AveragedModel):
    """The average in which weights of t steps ago weigh `decay^t` (Polyak and Juditsky 1992).

    ```python
    average = training.ExponentialMovingAverage(model, decay=0.999)
    training.fit(model, loss, train, optimizer=optimizer, epochs=10, callbacks=[average])
    with average.applied(model):
        training.evaluate(model, loss, test)
    ```
    """

    def __init__(self, model: Model, decay: float = 0.999, use_buffers: bool = False):
        super().__init__(model, get_ema_avg_fn(decay), use_buffers)


def update_bn(loader: Iterable[Data], model: Model) -> None:
    """The running statistics of batch normalisation anew, as means over the batches of a loader.

    For averaged weights, which were never called with the data. Of a batch that is a tuple, the
    first array is what the model is called with.
    """
    model = getattr(model, "module", model)
    # instance normalisation counts no batches, and has no mean over them, as in PyTorch
    found = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    normalising = [module for module in found if module.running_mean is not None]
    if not normalising:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [module.momentum for module in normalising]
    try:
        for module in normalising:
            module.running_mean = np.zeros_like(module.running_mean)
            module.running_var = np.ones_like(module.running_var)
            module.num_batches_tracked = np.zeros_like(module.num_batches_tracked)
            module.momentum = None
        model.train()
        for batch in loader:
            model(batch[0] if isinstance(batch, tuple | list) else batch)
    finally:
        for module, momentum in zip(normalising, momenta, strict=True):
            module.momentum = momentum
        for module, mode in modes:
            module.training = mode
