"""Settings chosen by optuna, from what came of those before (extra `optuna`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracer.errors import UsageError
from tracer.extend import Choices, Range, Sampler, Space
from tracer_experiments.sweeps.samplers import check_drawn
from tracer_experiments.sweeps.spaces import typed


class Optuna(Sampler):
    """optuna's tree-structured Parzen estimator: trials are drawn where those before were good."""

    name = "optuna"

    def __init__(self, space: Space, seed: int, trials: int | None, minimise: bool):
        super().__init__(space, seed, trials, minimise)
        check_drawn(self)
        try:
            import optuna
        except ImportError as error:
            raise UsageError(
                "the sampler 'optuna' needs optuna", "pip install 'trace-net[optuna]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._study = optuna.create_study(
            direction="minimize" if minimise else "maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
        )
        self._asked: dict[int, Any] = {}

    def ask(self, number: int) -> dict[str, str] | None:
        assert self.trials is not None
        if number >= self.trials:
            return None
        trial = self._asked[number] = self._study.ask(self._distributions())
        return {name: _text(self.space[name], trial.params[name]) for name in self.space}

    def tell(self, number: int, settings: Mapping[str, str], value: float | None) -> None:
        state = self._optuna.trial.TrialState.FAIL if value is None else None
        trial = self._asked.pop(number, None)
        if trial is not None:
            self._study.tell(trial, value, state=state)
        elif value is not None:  # of before an interruption
            self._study.add_trial(
                self._optuna.trial.create_trial(
                    params={name: _value(self.space[name], settings[name]) for name in self.space},
                    distributions=self._distributions(),
                    value=value,
                )
            )

    def _distributions(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        found: dict[str, Any] = {}
        for name, values in self.space.items():
            if isinstance(values, Choices):
                found[name] = kinds.CategoricalDistribution(values.values)
            elif values.whole:
                found[name] = kinds.IntDistribution(
                    round(values.low), round(values.high), log=values.log
                )
            else:
                found[name] = kinds.FloatDistribution(values.low, values.high, log=values.log)
        return found


def _text(of: Choices | Range, value: Any) -> str:
    return value if isinstance(of, Choices) else typed(of, value)


def _value(of: Choices | Range, text: str) -> Any:
    if isinstance(of, Choices):
        return text
    return round(float(text)) if of.whole else float(text)
