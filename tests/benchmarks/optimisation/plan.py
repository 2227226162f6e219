"""What is run: problems, and how much of the paper's experiment on each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .methods import METHODS, Choice, Method

#: the seed of tuning is the first of these
SEEDS = 10


@dataclass(frozen=True)
class Setting:
    """A single training: all that its record depends on."""

    problem: str
    method: str
    choice: Choice
    seed: int
    epochs: int

    @property
    def name(self) -> str:
        """A name for a run, and for a file."""
        return f"{self.problem}/{self.method}/{self.choice},seed={self.seed},epochs={self.epochs}"


@dataclass(frozen=True)
class Part:
    """What of the experiment is run with a method that takes longer: as in `Plan`."""

    epochs: int
    every: int


@dataclass(frozen=True)
class Plan:
    """What of the experiment is run on a problem.

    `epochs` are DeepOBS's, or fewer. `every` is the step in decades of the grid; 0 takes the
    paper's best choices alone, and tunes nothing. `less` has what methods that take longer are run
    with, by their names; `left_out` are those that take too long. `name` is the plan's own
    where a problem has several.
    """

    problem: str
    epochs: int
    all_epochs: int
    every: int = 1
    seeds: int = SEEDS
    left_out: tuple[str, ...] = ()
    less: Mapping[str, Part] = field(default_factory=dict, hash=False)
    name: str = ""

    @property
    def methods(self) -> list[Method]:
        return [
            method
            for method in METHODS.values()
            if method.name not in self.left_out and (self.every or self.problem in method.paper)
        ]

    def of(self, methods: Sequence[str]) -> Plan:
        """The same of these methods alone."""
        others = (name for name in METHODS if name not in methods)
        return replace(self, left_out=(*self.left_out, *others))

    def tuning(self, method: Method) -> list[Setting]:
        """The trainings that a method is tuned by; those of one seed."""
        part = self.less.get(method.name, Part(self.epochs, self.every))
        choices = method.grid(part.every) if part.every else [method.paper[self.problem]]
        return [Setting(self.problem, method.name, each, 0, part.epochs) for each in choices]

    def repeated(self, best: Setting) -> Iterator[Setting]:
        """The best setting with all seeds."""
        return (replace(best, seed=seed) for seed in range(self.seeds))


#: in full where it is small; the largest networks only by `--quick` on a small machine
PLANS = {
    plan.name or plan.problem: plan
    for plan in (
        # where there is one linear map, KFRA's factors are KFLR's
        Plan("quadratic_deep", 100, 100, left_out=("kfra",)),
        Plan("mnist_logreg", 50, 50),
        Plan(
            *("mnist_mlp", 100, 100),
            less=dict.fromkeys(
                ("diag_ggn_exact", "diag_ggn_mc", "kfac", "kflr", "kfra"), Part(100, 2)
            ),
        ),
        Plan("mnist_mlp", 5, 100, every=2, name="mnist_mlp_short"),
        Plan(
            *("fmnist_2c2d", 5, 100),
            every=2,
            seeds=5,
            left_out=("diag_ggn_exact", "kflr", "kfra"),
        ),
        Plan("cifar10_3c3d", 100, 100, left_out=("kfra",)),
        Plan("cifar100_allcnnc", 350, 350, left_out=("diag_ggn_exact", "kflr", "kfra")),
    )
}


def quick(plan: Plan) -> Plan:
    """So little that it shows no more than that it runs, and where it begins to go.

    An epoch at the paper's best choices with three seeds; where the paper has none, a coarse grid
    over a twentieth of the epochs.
    """
    if any(plan.problem in method.paper for method in METHODS.values()):
        epochs = 10 if plan.problem == "mnist_logreg" else 1
        return replace(plan, epochs=epochs, every=0, seeds=3, left_out=(), less={})
    return replace(plan, epochs=max(1, plan.all_epochs // 20), every=3, seeds=3, less={})
