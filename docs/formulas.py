"""Formulas of the pages as MathML, which browsers draw without a script or a font of ours.

A hook of MkDocs: `pymdownx.arithmatex` marks what stands between dollars, and here each mark
becomes a `<math>` element, when the site is built.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """The page's HTML with its formulas in MathML."""
    content = DISPLAY.sub(lambda found: mathml(found[1], "block"), content)
    return INLINE.sub(lambda found: mathml(found[1], "inline"), content)


def mathml(escaped: str, display: str) -> str:
    """A `<math>` element; the formula is LaTeX, escaped for HTML."""
    return convert(html.unescape(escaped).strip(), display=display)
