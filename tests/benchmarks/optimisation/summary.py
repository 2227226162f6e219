"""What came of a study, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from ..tables import aligned
from .plan import Plan
from .study import Outcome

HEADER = (
    *("optimiser", "epochs", "lr", "damping", "in the paper"),
    *("training loss", "test loss", "training accuracy", "test accuracy", "CPU s", "diverged"),
)


def tables(found: Sequence[tuple[Plan, Sequence[Outcome]]]) -> str:
    """A table for each problem, in Markdown, with a line above of what was run."""
    return "\n\n".join(f"{heading(*each)}\n\n{table(each[1])}" for each in found if each[1])


def heading(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """What was run: the problem, its data, epochs, seeds, and when."""
    dates = sorted(curves.date for each in outcomes for curves in each.curves)
    of = "" if plan.epochs == plan.all_epochs else f" of {plan.all_epochs}"
    return (
        f"{plan.problem}: {outcomes[0].curves[0].source}, {plan.epochs}{of} epochs, "
        f"{plan.seeds} seeds, {dates[-1]}"
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """The best setting of each optimiser, and its values at the end: median (quartiles)."""
    lines = [line(each) for each in outcomes]
    differ = len({each.best.epochs for each in outcomes}) > 1
    kept = [
        i
        for i, name in enumerate(HEADER)
        if any(each[i] for each in lines) and (differ or name != "epochs")
    ]
    rows = [[each[i] for i in kept] for each in (HEADER, *lines)]
    return aligned(rows, range(1, len(kept)))


def line(outcome: Outcome) -> tuple[str, ...]:
    """The cells of an optimiser."""
    choice, paper = outcome.best.choice, outcome.method.paper.get(outcome.best.problem)
    return (
        outcome.method.label,
        str(outcome.best.epochs),
        f"{choice.lr:.2g}",
        "" if choice.damping is None else f"{choice.damping:g}",
        ""
        if paper is None
        else f"{paper.lr:.2g}" + (f", {paper.damping:g}" if paper.damping else ""),
        *(at_the_end(outcome, name) for name in ("train_loss", "test_loss")),
        *(at_the_end(outcome, name) for name in ("train_accuracy", "test_accuracy")),
        f"{outcome.seconds()[-1]:.1f}",
        f"{outcome.diverged} of {len(outcome.tuned)}",
    )


def at_the_end(outcome: Outcome, name: str) -> str:
    """`median (lower to upper quartile)` after the last epoch; accuracies in per cent."""
    if not outcome.has(name):
        return ""
    low, median, high = outcome.quartiles(name)[:, -1]
    if name.endswith("accuracy"):
        return f"{100 * median:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"{median:.3g} ({low:.3g} to {high:.3g})"
