"""The errors that users meet. Each message says what was expected, what came and what to do."""

import difflib
import re
from collections.abc import Iterable

#: the words of a name in any style: of snake_case, of CamelCase and of abbreviations, and numbers
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


class TracerError(Exception):
    """Base of every error raised by trace-net."""


class TracingError(TracerError, TypeError):
    """Something that cannot be recorded: a write into a tensor, a function without a rule."""


class ShapeError(TracerError, ValueError):
    """Shapes, dtypes or arguments that an operation does not take."""


class ChangedArrayError(TracerError, ValueError):
    """An array that a record still needs was written into."""


class HintError(TracerError, AttributeError):
    """A name of another library, with what stands for it here."""


class BatchError(TracerError, ValueError):
    """A per-sample quantity where samples are not known or not independent."""


class QuantityError(TracerError, ValueError):
    """A quantity that is unknown, or undefined for this parameter or objective."""


class ParameterError(TracerError, KeyError):
    """A parameter that results are asked for and do not have."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class UndefinedError(QuantityError, KeyError):
    """A value that a result does not have, and why: the quantity is undefined for the parameter."""

    def __str__(self) -> str:
        return str(self.args[0])


class UndefinedWarning(QuantityError, UserWarning):
    """A quantity that is undefined for some parameters, which were left out.

    Where warnings are errors, it is one of quantities.
    """


class RegistryError(TracerError, LookupError):
    """A name that is not registered, or registered twice."""


class ResultError(TracerError, KeyError):
    """A quantity that was not asked for."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class PluginError(TracerError):
    """A plugin that does not load, breaks a rule of the registry, or fails at its part.

    `message` says which and where, `remedy` what to do about it; `plugin` is its name, if known.
    """

    def __init__(self, message: str, remedy: str = "", plugin: str = ""):
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.message, self.remedy, self.plugin = message, remedy, plugin


class SettingsError(TracerError, ValueError):
    """A setting that a plugin does not have, or of another type than it takes."""


class UsageError(TracerError, ValueError):
    """What a command was asked for is not there or cannot be done; `hint` says what helps.

    A command of a plugin that raises it ends with `message`, the hint and exit code 2.
    """

    def __init__(self, message: str, hint: str = ""):
        super().__init__(f"{message}: {hint}" if hint else message)
        self.message, self.hint = message, hint


class GraphError(TracerError, ValueError):
    """A graph that cannot be built, folded or unrolled."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'kfac'?"` for the nearest of the known names, or the empty string.

    Nearest is a name of the same words, however they are joined: of `BatchGrad` it is `grad_batch`;
    then one that has them all, or begins alike, as `variance` does for `var`; then one whose
    letters are close.
    """
    known, words = list(known), _words(name)
    same = [other for other in known if words and _words(other) == words]
    longer = [other for other in known if len(words) > 1 and set(words) < set(_words(other))]
    begun = [other for other in known if len(name) > 2 and other.startswith(name)]
    close = same or longer or begun or _close(name, known)
    return f" Did you mean {close[0]!r}?" if close else ""


def _close(name: str, known: list[str]) -> list[str]:
    """Names that are spelled nearly like it; of equally near ones that which begins alike first."""

    def nearness(other: str) -> tuple[float, int]:
        alike = [a == b for a, b in zip(name, other, strict=False)]
        return difflib.SequenceMatcher(None, other, name).ratio(), (*alike, False).index(False)

    return sorted(difflib.get_close_matches(name, known), key=nearness, reverse=True)


def _words(name: str) -> list[str]:
    """The words of a name in order of the alphabet: batch, grad of `grad_batch` and `BatchGrad`."""
    return sorted(word.lower() for word in WORD.findall(name))
