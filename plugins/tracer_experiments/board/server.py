"""The server of the page: from this machine only, to this machine only, and nothing but reading."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import PathLike
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tracer.errors import TracerError
from tracer_experiments.board.answers import JSON, QUESTIONS, Answer, Asked, NotAsked
from tracer_experiments.board.overview import Overview
from tracer_experiments.board.page import document, policy
from tracer_experiments.board.wire import dumps
from tracer_experiments.recorder import Reader
from tracer_experiments.store.schema import RecordError, database_file

__all__ = ["Board", "title_of"]

#: seconds between two looks at the database, and between two words to a page that hears nothing
PERIOD, SIGN = 0.5, 10.0
#: of an answer that is an image or an inner page: nothing is loaded, scripts only where it has them
INNER_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
)


class Board(ThreadingHTTPServer):
    """Serves the runs of a folder or `.db` file on 127.0.0.1 until `shutdown()`.

    The database is opened read only, and again whenever another file has come to its place. Where
    it cannot be read, the page says why, and goes on when it can be.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, path: str | PathLike[str] = "runs", port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.file = database_file(path).absolute()
        self.title = title_of(self.file)
        self.overview = Overview()
        self.is_closing = threading.Event()
        self._reader: Reader | None = None
        self._identity: object = None
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser on this machine may call this server."""
        names = ("127.0.0.1", "localhost", "[::1]")
        bare = names if self.server_port == 80 else ()
        return frozenset([*(f"{name}:{self.server_port}" for name in names), *bare])

    def reader(self) -> Reader:
        """A reader of the file that is there now; `RecordError` where there is none to read."""
        with self._lock:
            try:
                state = self.file.stat()
                identity = (state.st_dev, state.st_ino)
            except OSError as error:
                self._forget()
                raise RecordError(f"there are no runs in {str(self.file)!r} now") from error
            if self._reader is None or identity != self._identity:
                self._forget()
                self._reader, self._identity = Reader(self.file), identity
            return self._reader

    def _forget(self) -> None:
        # not closed: another thread may be reading with it
        self._reader = None

    def look(self) -> int:
        """Take in what was written, and return how often that has happened."""
        return self.overview.refresh(self.reader())

    def shutdown(self) -> None:
        self.is_closing.set()
        super().shutdown()

    def handle_error(self, request: object, client_address: object) -> None:
        """A page that went away is nothing to tell of."""


def title_of(file: Path) -> str:
    """How a database is called: by its name, or that of the folder where it has none of its own."""
    return file.absolute().parent.name if file.name == "runs.db" else file.stem


class _Handler(BaseHTTPRequestHandler):
    server: Board
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "trace-net", ""
    #: seconds that a connection may be silent
    timeout = 60

    def do_GET(self) -> None:
        self._respond(is_head=False)

    def do_HEAD(self) -> None:
        self._respond(is_head=True)

    def __getattr__(self, name: str) -> object:
        # whatever the method is called: nothing is written here
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not told of."""

    def _refuse_method(self) -> None:
        self.close_connection = True  # a body that may follow is not read
        self._send(_trouble("this board is only read"), HTTPStatus.METHOD_NOT_ALLOWED, allow=True)

    def _respond(self, is_head: bool) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not read, and no next request
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self.close_connection = True
            self._send(_trouble("this board answers to its own address only"), 421, is_head)
            return
        address = urlsplit(self.path)
        if address.path == "/":
            self._send_page(is_head)
        elif address.path == "/api/events" and not is_head:
            self._send_events()
        else:
            self._send(*self._answer(address.path, address.query), is_head)

    def _answer(self, path: str, query: str) -> tuple[Answer, int]:
        _, _, question = path.partition("/api/")
        if path != f"/api/{question}" or question not in (*QUESTIONS, "runs"):
            return _trouble("there is nothing at this address"), HTTPStatus.NOT_FOUND
        try:
            asked = Asked(dict(parse_qsl(query, max_num_fields=20)))
            if question == "runs":
                self.server.look()
                told = self.server.overview.since(asked.whole("since", 0))
                return Answer(dumps(told).encode()), HTTPStatus.OK
            return QUESTIONS[question](self.server.reader(), asked), HTTPStatus.OK
        except (NotAsked, ValueError, OverflowError) as error:
            return _trouble(str(error)), HTTPStatus.BAD_REQUEST
        except TracerError as error:
            return _trouble(str(error)), HTTPStatus.SERVICE_UNAVAILABLE
        except Exception as error:  # a page is told, and the server goes on
            return _trouble(f"{type(error).__name__}: {error}"), HTTPStatus.INTERNAL_SERVER_ERROR

    def _send_page(self, is_head: bool) -> None:
        text = document(f"{self.server.title} - trace-net board").encode()
        answer = Answer(text, "text/html; charset=utf-8")
        self._send(answer, HTTPStatus.OK, is_head, f"{policy()}; frame-ancestors 'none'")

    def _send(
        self,
        answer: Answer,
        status: int,
        is_head: bool = False,
        rules: str = "",
        *,
        allow: bool = False,
    ) -> None:
        self.send_response(int(status))
        if allow:
            self.send_header("Allow", "GET, HEAD")
        if answer.scripted:
            rules = f"{INNER_POLICY} allow-scripts; script-src 'unsafe-inline'"
        self._send_headers(answer.media_type, rules or INNER_POLICY)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if not is_head:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer.body)

    def _send_headers(self, media_type: str, rules: str) -> None:
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Security-Policy", rules)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")

    def _send_events(self) -> None:
        """Tell of changes as they come, until the page goes away or the server stops."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self._send_headers("text/event-stream", INNER_POLICY)
        self.end_headers()
        told, spoke = "", 0.0
        with contextlib.suppress(OSError):
            while not self.server.is_closing.is_set():
                event = self._event()
                if event != told or time.monotonic() - spoke > SIGN:
                    self.wfile.write(event.encode())
                    told, spoke = event, time.monotonic()
                self.server.is_closing.wait(PERIOD)

    def _event(self) -> str:
        try:
            return f"event: runs\ndata: {self.server.look()}\n\n"
        except TracerError as error:
            return f"event: trouble\ndata: {json.dumps(str(error))}\n\n"


def _trouble(message: str) -> Answer:
    return Answer(dumps({"error": message}).encode(), JSON)
