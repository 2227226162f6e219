"""Quantities that are undefined for some parameters: what a sweep leaves out and says of it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from tracer.curvature.quantity import Quantity
from tracer.errors import QuantityError, UndefinedWarning
from tracer.record.names import Names
from tracer.record.node import Node

#: names, reasons and uses that a message lists before it only counts
MOST_NAMES, MOST_REASONS, MOST_USES = 4, 4, 3


class Undefined:
    """What a sweep leaves out: which parameters of which quantities, and the error that says why.

    `policy` is "warn" (leave it out, and warn once at the end) or "raise" (the first error).
    `names` are those of the parameters that are asked for, `every` those of all.
    """

    def __init__(
        self,
        policy: str,
        names: Mapping[Node, str],
        every: Names,
        nodes: Sequence[Node],
    ):
        if policy not in ("warn", "raise"):
            raise QuantityError(f'undefined is "warn" or "raise", got {policy!r}')
        self.policy = policy
        self.names, self.every = names, every
        self.nodes = nodes
        self.errors: dict[str, dict[Node, QuantityError]] = {}

    def has(self, quantity: Quantity, leaf: Node) -> bool:
        """Whether the quantity is known to be undefined for the parameter."""
        return bool(self.errors) and leaf in self.errors.get(quantity.name, ())

    def add(self, quantity: Quantity, leaf: Node, error: QuantityError) -> None:
        """Leave a parameter out of a quantity, or raise the error, with the parameter's name."""
        if self.policy == "raise":
            raise QuantityError(self.why(quantity.name, leaf, error)) from error
        # the frames of what raised hold the rows of the sweep
        self.errors.setdefault(quantity.name, {})[leaf] = error.with_traceback(None)

    def why(self, quantity: str, leaf: Node, error: QuantityError) -> str:
        """The whole sentence for one parameter."""
        name = repr(self.names[leaf])
        if name in str(error):
            return str(error)
        uses = uses_of(leaf, self.nodes)
        used = f", used by {uses}" if uses and uses not in str(error) else ""
        return f"{quantity} is undefined for {name}{used}: {error}"

    def absent(self, quantity: str) -> dict[str, str]:
        """name -> why the quantity has no value of this parameter."""
        if not self.errors and self.names is self.every:
            return {}
        found = {}
        if self.names is not self.every:
            found = {
                name: f"{quantity} of {name!r} was not asked for: parameters= does not name it"
                for leaf, name in self.every.items()
                if leaf not in self.names
            }
        for leaf, error in self.errors.get(quantity, {}).items():
            found[self.names[leaf]] = self.why(quantity, leaf, error)
        return found

    def check(self) -> None:
        """Raise the first error of a quantity that no parameter has."""
        for quantity, found in self.errors.items():
            if len(found) == len(self.names):
                leaf, error = next(iter(found.items()))
                raise QuantityError(self.why(quantity, leaf, error)) from error

    def warn(self) -> None:
        """One warning, at the line that called `backward`, for all that was left out."""
        if not self.errors:
            return
        alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for quantity, found in self.errors.items():
            reasons = tuple(
                (name, _reason(found[leaf])) for leaf, name in self.names.items() if leaf in found
            )
            alike.setdefault(reasons, []).append(quantity)
        said = "; ".join(self._said(quantities, dict(r)) for r, quantities in alike.items())
        message = (
            f'{said}: these values are left out (undefined="raise" makes this an error, '
            f"parameters= restricts the sweep)"
        )
        warnings.warn(message, UndefinedWarning, stacklevel=_users_level())

    def _said(self, quantities: Sequence[str], reasons: Mapping[str, str]) -> str:
        groups: dict[str, list[str]] = {}
        for name, reason in reasons.items():
            groups.setdefault(reason, []).append(name)
        parts = [
            f"{_listed([repr(n) for n in names], MOST_NAMES)} ({reason})"
            for reason, names in groups.items()
        ]
        count = f"{len(reasons)} of {len(self.names)} parameters"
        verb = "are" if len(quantities) > 1 else "is"
        return (
            f"{_listed(quantities, MOST_NAMES)} {verb} undefined for {count}, "
            f"{_listed(parts, MOST_REASONS)}"
        )


def _reason(error: QuantityError) -> str:
    return getattr(error, "reason", None) or str(error)


def _listed(items: Sequence[str], most: int) -> str:
    """`a, b and c`, or the first ones and how many more there are."""
    if len(items) > most + 1:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return ", ".join(items[:-1]) + (" and " if items[:-1] else "") + items[-1]


def uses_of(leaf: Node, nodes: Sequence[Node]) -> str:
    """The operations that use a parameter, with their lines: `take (model.py:3) and ...`."""
    found = {
        f"{node.op.name} ({node.source})" if node.source else node.op.name: None
        for node in nodes
        if leaf in node.parents
    }
    return _listed(list(found), MOST_USES) if found else ""


def _users_level() -> int:
    """The `stacklevel` with which the caller of this function's caller warns at the user's line."""
    frame: Any = sys._getframe(1)
    level = 1
    ours = __name__.partition(".")[0]
    while frame.f_back is not None and _package(frame) == ours:
        frame, level = frame.f_back, level + 1
    return level


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]
