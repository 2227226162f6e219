"""Sizes that are symbols: numbers, names, and expressions of them, parsed and never evaluated.

PyTorch writes them as SymPy does, `Symbol('s77', positive=True)`, or as text, `2*s77 + 1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

#: how long an expression may be, of how many parts
LONGEST, MOST = 2_000, 100
#: the name of a size that could not be read, and is only shown
UNKNOWN = "?"
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)|'(?P<text>\w*)'|(?P<sign>\*\*|//|[-+*%(),=]))"
)


class Expression(NamedTuple):
    """A function of sizes, by its name, or a symbol where it has no arguments."""

    name: str
    arguments: tuple[Size, ...] = ()

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        if self.name in SIGNS:
            return f"({SIGNS[self.name].join(map(str, self.arguments))})"
        return f"{self.name}({', '.join(map(str, self.arguments))})"


Size: TypeAlias = "int | Expression"

SIGNS = {"Add": " + ", "Mul": "*", "Pow": "**", "FloorDiv": "//", "Mod": "%"}


def _product(*factors: int) -> int:
    total = 1
    for factor in factors:
        total *= factor
    return total


def _power(base: int, exponent: int) -> int:
    if not 0 <= exponent <= 8 or abs(base) > 2**62:
        raise ValueError("a power of sizes that is too large")
    return base**exponent


#: what an expression may call, by SymPy's and PyTorch's names
FUNCTIONS: dict[str, Callable[..., int]] = {
    "Add": lambda *terms: sum(terms),
    "Mul": _product,
    "Pow": _power,
    "PowByNatural": _power,
    "FloorDiv": lambda a, b: a // b,
    "CleanDiv": lambda a, b: a // b,
    "CeilDiv": lambda a, b: -(-a // b),
    "Mod": lambda a, b: a % b,
    "PythonMod": lambda a, b: a % b,
    "Max": max,
    "Min": min,
    "Abs": abs,
}
ALIASES = {"floor": "FloorDiv"}


def parsed(text: str) -> Size:
    """The size that a text says. Raises `ValueError` where it says none."""
    if len(text) > LONGEST:
        raise ValueError(f"an expression of {len(text)} characters for a size")
    parser = _Parser(text)
    size = parser.sum()
    if parser.peek() != ("", ""):
        raise ValueError(f"{text!r} goes on after a size")
    return size


def known(size: Size, symbols: Mapping[str, int]) -> int | None:
    """The number that a size is where these symbols have numbers; None if others are in it."""
    if isinstance(size, int):
        return size
    if not size.arguments:
        return symbols.get(size.name)
    numbers = [known(each, symbols) for each in size.arguments]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        return None
    try:
        return FUNCTIONS[size.name](*found)
    except (ArithmeticError, ValueError, TypeError):
        return None


def symbols_in(size: Size) -> set[str]:
    """The symbols of a size."""
    if isinstance(size, int):
        return set()
    if not size.arguments:
        return {size.name}
    return set().union(*map(symbols_in, size.arguments))


class _Parser:
    """Reads a size from the left."""

    def __init__(self, text: str):
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"{text[:80]!r} is no size")
            assert match.lastgroup is not None
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()
        self.place = 0
        self.parts = 0

    def count(self) -> None:
        """Another part, of which an expression has not too many: neither is it nested deeply."""
        self.parts += 1
        if self.parts > MOST:
            raise ValueError(f"a size of more than {MOST} parts")

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("", "")

    def take(self, sign: str = "") -> tuple[str, str]:
        kind, text = self.peek()
        if not kind or (sign and (kind, text) != ("sign", sign)):
            raise ValueError(f"{self.text[:80]!r} is no size")
        self.place += 1
        return kind, text

    def sum(self) -> Size:
        terms = [self.product()]
        while self.peek() in (("sign", "+"), ("sign", "-")):
            _, sign = self.take()
            term = self.product()
            terms.append(term if sign == "+" else made("Mul", -1, term))
        return terms[0] if len(terms) == 1 else made("Add", *terms)

    def product(self) -> Size:
        found = self.factor()
        names = {"*": "Mul", "//": "FloorDiv", "%": "Mod"}
        while self.peek()[0] == "sign" and self.peek()[1] in names:
            _, sign = self.take()
            found = made(names[sign], found, self.factor())
        return found

    def factor(self) -> Size:
        self.count()
        if self.peek() == ("sign", "-"):
            self.take()
            return made("Mul", -1, self.factor())
        base = self.atom()
        if self.peek() == ("sign", "**"):
            self.take()
            return made("Pow", base, self.atom())
        return base

    def atom(self) -> Size:
        kind, text = self.take()
        if kind == "number":
            return _number(text)
        if (kind, text) == ("sign", "("):
            inner = self.sum()
            self.take(")")
            return inner
        if kind != "name":
            raise ValueError(f"{self.text[:80]!r} is no size")
        if self.peek() != ("sign", "("):
            return Expression(text)
        self.take("(")
        if text in ("Symbol", "Integer"):
            return self.leaf(text)
        arguments = [self.sum()]
        while self.peek() == ("sign", ","):
            self.take()
            if self._is_option():
                self._skip_option()
            else:
                arguments.append(self.sum())
        self.take(")")
        return made(text, *arguments)

    def leaf(self, name: str) -> Size:
        """`Symbol('s77', positive=True)` or `Integer(-2)`, after its bracket."""
        negative = name == "Integer" and self.peek() == ("sign", "-")
        if negative:
            self.take()
        kind, text = self.take()
        while self.peek() == ("sign", ","):
            self.take()
            self._skip_option()
        self.take(")")
        if (name, kind) == ("Symbol", "text"):
            return Expression(text)
        if (name, kind) == ("Integer", "number"):
            return -_number(text) if negative else _number(text)
        raise ValueError(f"{self.text[:80]!r} is no size")

    def _is_option(self) -> bool:
        following = self.tokens[self.place + 1 : self.place + 2]
        return self.peek()[0] == "name" and following == [("sign", "=")]

    def _skip_option(self) -> None:
        self.take()
        self.take("=")
        self.take()


def _number(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number of more than 20 digits for a size")
    return int(text)


def made(name: str, *arguments: Size) -> Size:
    """A function of sizes, or its number where these are numbers."""
    if name not in FUNCTIONS:
        raise ValueError(f"{name} is no function of sizes")
    expression = Expression(name, arguments)
    number = known(expression, {})
    return expression if number is None else number
