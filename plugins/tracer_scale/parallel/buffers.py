"""Buffers that parts of a batch change, as the running statistics of batch normalisation.

Each part begins with what they were before the batch. Afterwards they are the means over the parts,
by samples: a running mean is then that of the whole batch; a running variance is the mean of those
within the parts, which have normalised by their own, as on PyTorch's ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracer.extend import Array, backend
from tracer_scale.parallel.communicator import Communicator
from tracer_scale.parallel.exchange import of_all
from tracer_training.kinds import Model


class Buffers:
    """The buffers of a model while parts of a batch are computed."""

    def __init__(self, model: Model):
        modules = model.modules() if hasattr(model, "modules") else ()
        self._places = [
            (module, name)
            for module in modules
            if hasattr(module, "named_buffers")
            for name, _ in module.named_buffers(recurse=False)
        ]
        self._before = [array.copy() for array in self._arrays()]
        #: part -> samples, and place -> the new array
        self._changed: dict[int, tuple[int, dict[int, Array]]] = {}

    def begin(self) -> None:
        """Let the next part begin with what was before the batch."""
        if self._changed:
            self._set(dict(enumerate(self._before)))

    def keep(self, part: int, samples: int) -> None:
        """Note what a part has changed."""
        arrays = self._arrays()
        same = _same(arrays, self._before)
        changed = {place: array.copy() for place, array in enumerate(arrays) if not same[place]}
        self._changed[part] = samples, changed

    def unite(self, comm: Communicator) -> None:
        """Set what the parts of all ranks have made of them."""
        if not self._places:
            return
        every = of_all(comm.allgather(self._changed))
        total = sum(samples for samples, _ in every.values())
        places = {place for _, changed in every.values() for place in changed}
        self._set(dict(enumerate(self._before)))
        self._set({place: self._mean(place, every, total) for place in sorted(places)})

    def _mean(
        self, place: int, every: dict[int, tuple[int, dict[int, Array]]], total: int
    ) -> Array:
        """By samples, in the order of the parts; of what is no float, the first part's."""
        before = self._before[place]
        found = [
            (samples, changed.get(place, before)) for _, (samples, changed) in sorted(every.items())
        ]
        if before.dtype.kind != "f":
            return found[0][1]
        mean = sum(array.astype(np.float64) * (samples / total) for samples, array in found)
        return backend.namespace(before).asarray(mean, dtype=before.dtype)

    def _arrays(self) -> list[Array]:
        return [module.get_buffer(name) for module, name in self._places]

    def _set(self, arrays: Mapping[int, Array]) -> None:
        for place, array in arrays.items():
            module, name = self._places[place]
            setattr(module, name, array.copy())


def _same(arrays: Sequence[Array], others: Sequence[Array]) -> list[bool]:
    """Whether each array is as its other one; a device is asked once for all."""
    found, asked = [False] * len(arrays), {}
    for place, (array, other) in enumerate(zip(arrays, others, strict=True)):
        if array.shape == other.shape and array.dtype == other.dtype:
            asked[place] = (array == other).all()
    if asked:
        told = backend.to_host(np.stack(list(asked.values())))
        for place, same in zip(asked, told, strict=True):
            found[place] = bool(same)
    return found
