"""What instruments keep of a training from one step to the next."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracer import Tensor
from tracer.extend import Array, raw
from tracer_experiments.instruments.observation import Observation


@dataclass
class Following:
    """One training, which is told from others by its parameters.

    The same instruments may measure one training after the other, or several in turn.
    """

    before: Observation | None = None
    #: a step that was measured, and what was kept of the one before it
    at_step: tuple[int, Observation | None] | None = None
    #: parameters where they were first seen
    initial: dict[str, Array] = field(default_factory=dict)
    #: arrays of parameters of two steps before, to be written into
    spare: dict[str, Array] = field(default_factory=dict)
    #: whether the objective was a mean over samples when its losses last told
    is_mean: bool = True
    #: what single instruments keep of it
    memory: dict[str, Any] = field(default_factory=dict)
    _tensors: dict[str, weakref.ref[Tensor]] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether none of its parameters is there any more."""
        return bool(self._tensors) and not any(ref() is not None for ref in self._tensors.values())

    def has_any(self, parameters: Mapping[str, Tensor]) -> bool:
        """Whether it is the training of one of these."""
        return any(self._is_known(name, p) for name, p in parameters.items())

    def _is_known(self, name: str, parameter: Tensor) -> bool:
        return name in self._tensors and self._tensors[name]() is parameter

    def meet(self, parameters: Mapping[str, Tensor]) -> None:
        """Forget what was kept of other parameters of these names, as of a layer put in place."""
        for name, parameter in parameters.items():
            if not self._is_known(name, parameter):
                self._tensors[name] = weakref.ref(parameter)
                self.initial.pop(name, None)
                self.spare.pop(name, None)
                if self.before is not None:
                    self.before.arrays.pop(name, None)

    def note_initial(self, parameters: Mapping[str, Tensor]) -> None:
        """Keep what is seen for the first time."""
        for name, parameter in parameters.items():
            if name not in self.initial:
                self.initial[name] = raw(parameter).copy()

    def step_before(self, step: int) -> Observation | None:
        """What was kept of the step before this one; again if this one is measured again."""
        if self.at_step is None or self.at_step[0] != step:
            found = self.before
            self.at_step = (step, found if found is not None and found.step == step - 1 else None)
        else:
            self.spare = {}  # of what is looked at again
        return self.at_step[1]


def followed(known: list[Following], parameters: Mapping[str, Tensor]) -> Following:
    """The training of these parameters among those that are known, or a new one of them."""
    known[:] = [each for each in known if not each.is_over]
    for each in known:
        if each.has_any(parameters):
            break
    else:
        each = Following()
        known.append(each)
    each.meet(parameters)
    return each
