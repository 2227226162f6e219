"""What the page may ask of a database: each question is a function of a reader and of words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tracer.errors import TracerError
from tracer_experiments.board import histograms, pictures
from tracer_experiments.board.curves import AXES, curves, packed_curves
from tracer_experiments.board.wire import dumps
from tracer_experiments.recorder import Reader

__all__ = ["QUESTIONS", "Answer", "Asked", "NotAsked"]

JSON = "application/json"
#: buckets of a curve, and runs, that one request may ask for
MOST_BUCKETS, MOST_RUNS = 2000, 1000


class NotAsked(TracerError):
    """A question without what it needs, or with what it does not take."""


class Answer(NamedTuple):
    """What is sent: bytes, their media type, and whether they are a document with scripts."""

    body: bytes
    media_type: str = JSON
    scripted: bool = False


class Asked:
    """The words of a question, each read as what it has to be; `NotAsked` where it is not."""

    def __init__(self, words: Mapping[str, str]):
        self._words = words

    def text(self, key: str) -> str:
        if key not in self._words:
            raise NotAsked(f"{key} is missing")
        return self._words[key]

    def word(self, key: str, known: tuple[str, ...], default: str) -> str:
        found = self._words.get(key, default)
        if found not in known:
            raise NotAsked(f"{key} is one of {', '.join(known)}")
        return found

    def maybe(self, key: str) -> str | None:
        return self._words.get(key) or None

    def whole(self, key: str, default: int | None = None) -> int:
        found = self._words.get(key)
        if found is None and default is not None:
            return default
        try:
            return int(self.text(key))
        except ValueError:
            raise NotAsked(f"{key} is a whole number") from None

    def number(self, key: str) -> float | None:
        try:
            return None if key not in self._words else float(self._words[key])
        except ValueError:
            raise NotAsked(f"{key} is a number") from None

    def wholes(self, key: str) -> list[int]:
        try:
            found = [int(part) for part in self.text(key).split(",")]
        except ValueError:
            raise NotAsked(f"{key} is a list of whole numbers") from None
        if len(found) > MOST_RUNS:
            raise NotAsked(f"{key} has at most {MOST_RUNS} numbers")
        return found


def _json(value: Any) -> Answer:
    return Answer(dumps(value).encode())


def _curves(reader: Reader, asked: Asked) -> Answer:
    begin, end = asked.number("from"), asked.number("to")
    span = None if begin is None or end is None else (begin, end)
    most = min(max(asked.whole("most", 400), 2), MOST_BUCKETS)
    axis = asked.word("axis", AXES, "step")
    early = asked.maybe("early") is not None
    found = curves(
        reader, asked.text("name"), asked.wholes("runs"), [axis], most, span, early=early
    )
    return Answer(packed_curves(dict(found)), "application/octet-stream")


def _histograms(reader: Reader, asked: Asked) -> Answer:
    return _json(histograms.over_time(reader.open(asked.whole("run")), asked.text("name")))


def _histogram(reader: Reader, asked: Asked) -> Answer:
    run = reader.open(asked.whole("run"))
    return _json(histograms.at_step(run, asked.text("name"), asked.whole("step")))


def _images(reader: Reader, asked: Asked) -> Answer:
    run = reader.open(asked.whole("run"))
    return _json([step for step, _ in run.images(asked.text("name"))])


def _image(reader: Reader, asked: Asked) -> Answer:
    run, step = reader.open(asked.whole("run")), asked.whole("step")
    for at, data in run.images(asked.text("name")):
        if at == step:
            return Answer(data, "image/png")
    raise TracerError(f"there is no image of step {step}")


def _graph(reader: Reader, asked: Asked) -> Answer:
    run = reader.open(asked.whole("run"))
    return _json({"overlays": pictures.overlays(run, pictures.graph_of(run))})


def _layers(reader: Reader, asked: Asked) -> Answer:
    run, overlay = reader.open(asked.whole("run")), asked.text("overlay")
    parameters = pictures.overlays(run, pictures.graph_of(run)).get(overlay, [])
    return _json(pictures.values_at(run, overlay, parameters, asked.whole("step")))


def _theme(asked: Asked) -> str:
    return asked.word("theme", ("auto", "light", "dark"), "auto")


def _drawn(reader: Reader, asked: Asked, form: str) -> tuple[bytes, str]:
    run = reader.open(asked.whole("run"))
    graph, overlay = pictures.graph_of(run), asked.maybe("overlay")
    over = pictures.laid_over(run, graph, overlay, asked.whole("step")) if overlay else None
    return pictures.picture(
        graph, form, title=pictures.titled(run, over), theme=_theme(asked), overlay=over
    )


def _picture(reader: Reader, asked: Asked) -> Answer:
    return Answer(*_drawn(reader, asked, "svg"))


def _graph_page(reader: Reader, asked: Asked) -> Answer:
    return Answer(*_drawn(reader, asked, "html"), scripted=True)


def _both(reader: Reader, asked: Asked) -> tuple[dict[str, Any], Any]:
    first, second = (
        pictures.graph_of(reader.open(asked.whole(key))) for key in ("first", "second")
    )
    return pictures.difference(first, second)


def _difference(reader: Reader, asked: Asked) -> Answer:
    return _json(_both(reader, asked)[0])


def _difference_picture(reader: Reader, asked: Asked) -> Answer:
    return Answer(*pictures.picture(_both(reader, asked)[1], theme=_theme(asked)))


#: the address of a question -> what answers it; `runs` and `events` are the server's
QUESTIONS: dict[str, Callable[[Reader, Asked], Answer]] = {
    "curves": _curves,
    "histograms": _histograms,
    "histogram": _histogram,
    "images": _images,
    "image": _image,
    "graph": _graph,
    "layers": _layers,
    "picture": _picture,
    "graph-page": _graph_page,
    "difference": _difference,
    "difference-picture": _difference_picture,
}
