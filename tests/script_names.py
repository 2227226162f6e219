"""The names in a script of the page: which it declares, and which it uses.

No parser: tokens and matching brackets, which is enough for how these scripts are written. A name
counts as declared in the whole file, wherever it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

KEYWORDS = frozenset(
    "async await break case catch class const continue default delete do else export extends false "
    "finally for function get if import in instanceof let new null return set static super "
    "switch this throw true try typeof undefined var void while yield".split()
)
TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*|/\*.*?\*/)|(?P<name>[A-Za-z_$][\w$]*)|(?P<number>\d[\w.]*)"
    r"|(?P<text>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')|(?P<sign>=>|\.\.\.|\?\.|\S)",
    re.DOTALL,
)
REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\[\n])+/[a-z]*")
CLOSING = {"(": ")", "[": "]", "{": "}"}


class Token(NamedTuple):
    kind: str
    text: str


class Names(NamedTuple):
    """How often each name stands alone, no key and no property; which are declared."""

    used: Counter[str]
    declared: set[str]


def names(script: str) -> Names:
    """The names of a script."""
    tokens = list(tokenised(script))
    ends = matching(tokens)
    used = Counter(
        token.text for at, token in enumerate(tokens) if token.kind == "name"
        and token.text not in KEYWORDS and not is_property(tokens, at, ends)
    )  # fmt: skip
    return Names(used, set(declarations(tokens, ends)))


def tokenised(script: str) -> Iterator[Token]:
    """The tokens, without spaces and comments; of templates, those of what they hold."""
    at, before = 0, Token("sign", ";")
    while at < len(script):
        if script[at] == "`":
            inner, at = template(script, at + 1)
            yield Token("text", "``")
            for part in inner:
                yield Token("sign", "(")
                yield from tokenised(part)
                yield Token("sign", ")")
            before = Token("text", "``")
            continue
        value = before.kind in ("name", "number", "text") or before.text in (")", "]")
        starts = script[at] == "/" and script[at + 1] not in "/*"
        if starts and (not value or before.text == "return"):
            found = REGEX.match(script, at)
            before, at = Token("text", "//"), found.end()
            yield before
            continue
        found = TOKEN.match(script, at)
        at = found.end()
        if found.lastgroup != "space":
            before = Token(found.lastgroup, found.group())
            yield before


def template(script: str, at: int) -> tuple[list[str], int]:
    """The expressions in a template that begins here, and where it ends."""
    inner = []
    while script[at] != "`":
        if script[at] == "\\":
            at += 2
        elif script.startswith("${", at):
            start, depth = at + 2, 1
            at = start
            while depth:
                if script[at] == "`":
                    at = template(script, at + 1)[1]
                    continue
                depth += {"{": 1, "}": -1}.get(script[at], 0)
                at += 1
            inner.append(script[start : at - 1])
        else:
            at += 1
    return inner, at + 1


def matching(tokens: list[Token]) -> dict[int, int]:
    """Where each bracket's other one is; `ValueError` where they do not match."""
    ends, open_ = {}, []
    for at, (kind, text) in enumerate(tokens):
        if kind == "sign" and text in CLOSING:
            open_.append(at)
        elif kind == "sign" and text in CLOSING.values():
            if not open_ or CLOSING[tokens[open_[-1]].text] != text:
                raise ValueError(f"{text} closes nothing")
            start = open_.pop()
            ends[start], ends[at] = at, start
    if open_:
        raise ValueError("a bracket is not closed")
    return ends


def is_property(tokens: list[Token], at: int, ends: dict[int, int]) -> bool:
    """Whether a name is one of something: after a point, a key, or a method's."""
    before, after = tokens[at - 1].text, tokens[at + 1].text if at + 1 < len(tokens) else ""
    if before in (".", "?.") or (before in ("{", ",") and after == ":"):
        return True
    return after == "(" and before in ("{", "}", ";", "get") and is_body(tokens, ends[at + 1] + 1)


def is_body(tokens: list[Token], at: int) -> bool:
    return at < len(tokens) and tokens[at].text == "{"


def declarations(tokens: list[Token], ends: dict[int, int]) -> Iterator[str]:
    """The names that are declared: variables, functions, classes, parameters."""
    for at, (kind, text) in enumerate(tokens):
        if text in ("const", "let", "var") and kind == "name":
            yield from variables(tokens, ends, at + 1)
        elif text in ("function", "class") and tokens[at + 1].kind == "name":
            yield tokens[at + 1].text
        elif text == "=>" and kind == "sign":
            start = ends[at - 1] if tokens[at - 1].text == ")" else at - 1
            yield from pattern(tokens[start:at])
        elif text == "(" and kind == "sign" and is_body(tokens, ends[at] + 1):
            before = tokens[at - 1]
            if before.kind == "name" and before.text not in ("if", "for", "while", "switch"):
                yield from pattern(tokens[at : ends[at] + 1])


def variables(tokens: list[Token], ends: dict[int, int], at: int) -> Iterator[str]:
    """The names of a declaration whose first pattern is here."""
    while True:
        end = ends.get(at, at) + 1
        yield from pattern(tokens[at:end])
        at = end
        while at < len(tokens) and tokens[at].text not in (",", ";", ")", "of", "in"):
            at = ends.get(at, at) + 1
        if at >= len(tokens) or tokens[at].text != ",":
            return
        at += 1


def pattern(tokens: list[Token]) -> Iterator[str]:
    """The names that a pattern binds, or a list of parameters in brackets."""
    if len(tokens) == 1:
        yield tokens[0].text
        return
    for part in separated(tokens[1:-1]):
        signs = [each.text if each.kind == "sign" else "" for each in part]
        if part and signs[0] == "...":
            part, signs = part[1:], signs[1:]
        if tokens[0].text == "{" and ":" in signs[:2]:
            part = part[signs.index(":") + 1 :]
        if part:
            inner = matching(part)
            yield from pattern(part[: inner.get(0, 0) + 1])


def separated(tokens: list[Token]) -> Iterable[list[Token]]:
    """The parts between commas outside of brackets."""
    ends, parts, at = matching(tokens), [[]], 0
    while at < len(tokens):
        if tokens[at].text == "," and tokens[at].kind == "sign":
            parts.append([])
            at += 1
            continue
        end = ends.get(at, at) + 1
        parts[-1] += tokens[at:end]
        at = end
    return parts
