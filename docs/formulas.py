"""Formulas of the pages as MathML, which browsers draw without a script or a font of ours.

A hook of MkDocs: `pymdownx.arithmatex` marks what stands between dollars, and here each mark
becomes a `<math>` element, when the site is built. Between signs of a formula is the space that TeX
has there, where browsers have another (TeXbook, chapter 18).
"""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
#: what stands between the name of a function and what it is of
THIN = "0.167em"
#: signs that are no operators in TeX, and have no space around them
ORDINARY = frozenset("/\N{PARTIAL DIFFERENTIAL}\N{INFINITY}\N{NABLA}\N{HORIZONTAL ELLIPSIS}")
#: after these, a sign is that of a number
BEFORE_A_SIGN = frozenset("=(,[<>\N{ALMOST EQUAL TO}\N{LEFTWARDS ARROW}\N{RIGHTWARDS ARROW}")
NORM = "\N{DOUBLE VERTICAL LINE}"


def on_page_content(content: str, **_: Any) -> str:
    """The page's HTML with its formulas in MathML."""
    content = DISPLAY.sub(lambda found: mathml(found[1], "block"), content)
    return INLINE.sub(lambda found: mathml(found[1], "inline"), content)


def mathml(escaped: str, display: str) -> str:
    """A `<math>` element; the formula is LaTeX, escaped for HTML."""
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(convert(html.unescape(escaped).strip(), display=display))
    for row in root.iter():
        space(row)
    return ElementTree.tostring(root, encoding="unicode")


def space(row: Element) -> None:
    """Set the space between the children of an element as TeX does."""
    for place, child in reversed(list(enumerate(row))):
        before = row[place - 1] if place else None
        after = row[place + 1] if place + 1 < len(row) else None
        text = (child.text or "") if kind(child) == "mo" else ""
        if text in ORDINARY and text:
            child.attrib |= {"lspace": "0", "rspace": "0"}
        elif text == NORM:  # of the height of letters: a larger one touches them
            child.attrib |= {"stretchy": "false", "lspace": "0.06em", "rspace": "0.06em"}
        elif text in ("\N{MINUS SIGN}", "+") and signs(before):
            child.attrib |= {"form": "prefix", "lspace": "0", "rspace": "0"}
        if is_function(child):
            child.tag = f"{{{NAMESPACE}}}mi"  # an operator has space before it
        if is_function(base(child)) and kind(row) == "mrow" and takes_a_space(after):
            row.insert(place + 1, Element(f"{{{NAMESPACE}}}mspace", width=THIN))


def kind(element: Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.partition("}")[2]


def base(element: Element) -> Element:
    """What has an index or an exponent; else the element itself."""
    return element[0] if kind(element) in ("msup", "msub", "msubsup") else element


def is_function(element: Element) -> bool:
    """Whether it is a name as log or max, and not one letter."""
    name = element.text or ""
    return kind(element) in ("mi", "mo") and len(name) > 1 and name.isalpha()


def signs(before: Element | None) -> bool:
    """Whether a minus after it belongs to what follows, and subtracts nothing."""
    return before is not None and kind(before) == "mo" and (before.text or "") in BEFORE_A_SIGN


def takes_a_space(after: Element | None) -> bool:
    """Whether it is set off from a name before it: brackets and signs are not."""
    if after is None or kind(base(after)) in ("mo", "mspace"):
        return False
    return not (kind(after) == "mrow" and len(after) and kind(after[0]) == "mo")
