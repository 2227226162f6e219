"""What a test problem is: a model at its initial values, a loss, data, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tracer.extend import Generator, Shape, Tensor
from tracer_layers import Module
from tracer_training.data import DataLoader
from tracer_training.kinds import Data, Inputs, LossFunction, StateDict, Targets
from tracer_training.loop.evaluation import divided
from tracer_training.loop.metrics import Metric

__all__ = ["Problem"]

#: samples that are recorded where a problem is looked at, not trained
SHOWN = 8


@dataclass
class Problem:
    """A model at its initial values, `loss(output, target)`, data, and settings to train with.

    `train` and `test` are data sets, or loaders where the order of batches belongs to the problem,
    as with a state that is carried along. `weight_decay` is the factor of a penalty `weight_decay /
    2 |w|^2` of the weights, without biases. `metrics` are those that tell how good it is, by name;
    none of a problem without classes. `source` says in words what the data are.

        problem = training.problems.mnist_logreg()
        optimizer = training.SGD(problem.groups(), lr=0.02, momentum=0.9)
        training.fit(
            problem.model, problem.loss, problem.loader(rng=0), problem.test,
            optimizer=optimizer, epochs=problem.epochs, metrics=problem.metrics,
        )
    """

    name: str
    model: Module
    loss: LossFunction
    train: Data
    test: Data
    batch_size: int
    epochs: int
    weight_decay: float = 0.0
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    source: str = ""

    def loader(self, rng: Generator | int | None = None) -> DataLoader:
        """Batches to train on, in an order drawn from `rng`; the problem's own loader as it is."""
        if isinstance(self.train, DataLoader):
            return self.train
        return DataLoader(self.train, self.batch_size, shuffle=True, rng=rng)

    def groups(self) -> list[StateDict]:
        """The parameters for an optimiser: weights with the problem's decay, biases without."""
        if not self.weight_decay:
            return [{"params": list(self.model.parameters())}]
        named = list(self.model.named_parameters())
        weights = [(name, p) for name, p in named if is_weight(p)]
        others = [(name, p) for name, p in named if not is_weight(p)]
        return [
            {"params": weights, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    # -- what a TARGET of the command line defines -------------------------------------------------

    def datasets(self) -> tuple[Data, Data]:
        """What to train on, and to test with."""
        return self.train, self.test

    def example_inputs(self) -> Inputs:
        """What the model is called with, for the first samples."""
        return self._first()[0]

    def targets(self) -> Targets:
        """What the outputs for these are compared with."""
        return (self._first()[1],)

    def _first(self) -> tuple[Inputs, Targets]:
        dataset = self.train.dataset if isinstance(self.train, DataLoader) else self.train
        return divided(dataset[: min(SHOWN, len(dataset))])

    def __repr__(self) -> str:
        size = sum(p.data.size for p in self.model.parameters())
        return (
            f"Problem({self.name!r}, {size:,} parameters, {self.source}, batches of "
            f"{self.batch_size}, {self.epochs} epochs, weight_decay={self.weight_decay:g})"
        )


def is_weight(parameter: Tensor) -> bool:
    """Whether a parameter is a weight, which has two axes or more, and no bias."""
    shape: Shape = parameter.shape
    return len(shape) > 1
