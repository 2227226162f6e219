"""Words that differ in whole numbers alone, such as `t = 17`: one text for all, and the numbers.

`wordsOf` in assets/data.js makes the words again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

#: The texts before, between and behind the numbers of a word's JSON text.
Pieces: TypeAlias = tuple[str, ...]

#: So many words, at least, are a series.
FEWEST = 32
#: A whole number, as `str` writes it or with commas, that is no part of a word or of a fraction.
_NUMBER = re.compile(
    r"(?<![\w.,\\])([1-9]\d{0,2}(?:,\d{3}){1,2}|[1-9]\d{0,8}|0)(?![\w]|[.,]\d)", re.ASCII
)
#: From this number on, commas are seen.
_LONG = 1000


class Form(NamedTuple):
    """A word: its pieces, the numbers between them, and which of those are seen to have commas."""

    pieces: Pieces
    numbers: tuple[int, ...]
    commas: tuple[bool, ...]


class Series(NamedTuple):
    """The forms of several words that share their pieces; `commas` says which numbers have some."""

    pieces: Pieces
    numbers: list[tuple[int, ...]]
    commas: list[bool]


def forms(words: Sequence[object]) -> list[Form | None]:
    """The form of each word that is one of many in a series, else None."""
    found = [_form(word) for word in words]
    counts = Counter(form.pieces for form in found if form)
    written: dict[tuple[Pieces, int], set[bool]] = {}
    for form in found:
        if form and counts[form.pieces] >= FEWEST:
            for place, (number, comma) in enumerate(zip(form.numbers, form.commas, strict=True)):
                if number >= _LONG:
                    written.setdefault((form.pieces, place), set()).add(comma)
    mixed = {pieces for (pieces, _), ways in written.items() if len(ways) > 1}
    kept = {pieces for pieces, count in counts.items() if count >= FEWEST} - mixed
    return [form if form and form.pieces in kept else None for form in found]


def series(found: Sequence[Form]) -> Series:
    """The series of words with the same pieces."""
    commas = [any(column) for column in zip(*(form.commas for form in found), strict=True)]
    return Series(found[0].pieces, [form.numbers for form in found], commas)


def _form(word: object) -> Form | None:
    """The form of a word; None of one without numbers."""
    if isinstance(word, int) and not isinstance(word, bool):
        return Form(("", ""), (word,), (False,)) if 0 <= word < 10**9 else None
    if type(word) not in (str, list):
        return None
    parts = _NUMBER.split(json.dumps(word, ensure_ascii=False))
    if len(parts) == 1:
        return None
    numbers = parts[1::2]
    whole = tuple([int(number.replace(",", "")) for number in numbers])
    return Form(tuple(parts[::2]), whole, tuple(["," in number for number in numbers]))
