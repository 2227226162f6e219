"""Notes on errors that Python or NumPy raises before we see the call: what to write instead."""

from __future__ import annotations

import re
from types import TracebackType

from tracer.record.frames import is_users
from tracer.record.hints import KEYWORDS
from tracer.record.leaving import text_of

#: calls of what is an attribute here and a method elsewhere -> what to write
CALLED = {
    "size": "tensor.size is a number here: write tensor.shape, or tensor.shape[i] for size(i)",
    "shape": "tensor.shape is a tuple: write tensor.shape, or tensor.shape[i]",
    "dtype": "tensor.dtype is an attribute: write it without parentheses",
    "T": "tensor.T is an attribute: write it without parentheses",
    "ndim": "tensor.ndim is an attribute: write it without parentheses",
    "data": "tensor.data is an attribute: write it without parentheses",
}


def annotate(error: BaseException) -> None:
    """Add what to write to a `TypeError` for a keyword, or a call, of another library's."""
    if type(error) is not TypeError:
        return
    note = _of_keyword(str(error)) or _of_call(error) or _of_conversion(str(error))
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _of_keyword(message: str) -> str | None:
    found = re.search(r"got an unexpected keyword argument '(\w+)'", message)
    torchs = {"axis": "dim", "keepdims": "keepdim"}
    if found is not None and found[1] in torchs:
        return f"functions of tracer_layers take {torchs[found[1]]}= for {found[1]}="
    if found is None or found[1] not in KEYWORDS:
        return None
    return f"NumPy's functions take {KEYWORDS[found[1]]}= for {found[1]}="


def _of_conversion(message: str) -> str | None:
    """Of what Python converts by itself, and does not ask the object."""
    if "Tensor" not in message:
        return None
    if "JSON" in message:
        return "JSON takes numbers and lists: write t.item() or t.tolist()"
    if "Decimal" in message or "Fraction" in message or "Rational" in message:
        return "write t.item() for the number"
    return None


def _of_call(error: TypeError) -> str | None:
    if "object is not callable" not in str(error):
        return None
    text = _text_at(error.__traceback__)
    found = re.match(r".*\.(\w+)\(", text, re.DOTALL)
    return None if found is None else CALLED.get(found[1])


def _text_at(trace: TracebackType | None) -> str:
    """The text of the innermost instruction of the user's."""
    text = ""
    while trace is not None:
        if is_users(trace.tb_frame):
            text = text_of(trace.tb_frame.f_code, trace.tb_lasti, trace.tb_frame.f_globals)
        trace = trace.tb_next
    return text
