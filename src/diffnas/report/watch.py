"""A server that shows a run or a sweep in a browser. It makes the page again whenever the folder has changed.

The server only reads the folder, so it cannot disturb the run.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Lock, Timer
from typing import Any

from diffnas.report.page import page
from diffnas.report.reading import read_run
from diffnas.report.sweep.page import SweepPage
from diffnas.report.sweep.record import is_sweep
from diffnas.report.sweep.status import stamp
from diffnas.run_folder import RunFolder
from diffnas.values import whole

HOST = "127.0.0.1"
_PORTS = whole(0, 65_535)
CONNECTIONS = 32  # the most at one time; a browser opens a few
PATIENCE = 10.0  # seconds for a request, from its first byte to the end of its answer
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class RunPage:
    """Makes the page of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def version(self) -> str:
        """A text that changes whenever the folder changes."""
        run = RunFolder(self.path)
        return "-".join(map(stamp, (*run.shown_files, *run.evaluation.shown_files)))

    def html(self, version: str) -> str:
        """The present page, which asks its server for versions newer than ``version``."""
        return page(read_run(self.path), live=version)


class Watched:
    """The newest page of a run or a sweep. It is made on request, and only if the folder has changed."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._made: tuple[str, str] | None = None
        self.source = SweepPage(path) if is_sweep(path) else RunPage(path)
        self.page()  # a folder that cannot be read is refused here, not in the browser

    def version(self) -> str:
        """A text that changes whenever the folder changes."""
        return self.source.version()

    def page(self) -> str:
        """The present page.

        Raises:
            ValueError: if there is no run, or it is damaged.
        """
        with self._lock:
            version = self.version()
            if self._made is None or self._made[0] != version:
                self._made = version, self.source.html(version)
            return self._made[1]


class _Server(ThreadingHTTPServer):
    """A server of at most ``CONNECTIONS`` requests at a time, each of at most ``PATIENCE`` seconds. Others get 503."""

    daemon_threads = True

    def __init__(self, port: int, watched: Watched) -> None:
        self.watched, self.free = watched, BoundedSemaphore(CONNECTIONS)
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a request in a new thread; with 503 if there are too many requests."""
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.send(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request, but cut the connection if that takes too long. A client may send one byte per second."""
        timer = Timer(PATIENCE, _cut, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a client that went away or was cut off, because the terminal is for the address."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """A handler that answers only with the page and its version."""

    server: _Server
    server_version, sys_version = "diffnas", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        # A page of another site can name this address as its own host. Such a request is refused.
        host = (self.headers.get("Host") or "").partition(":")[0]
        if host not in (HOST, "localhost"):
            self._answer(403, "text/plain", "This page is only for 127.0.0.1.")
        elif self.path == "/version":
            self._answer(200, "text/plain", self.server.watched.version())
        elif self.path == "/":
            self._page()
        else:
            self._answer(404, "text/plain", "The only page here is that of the run, at /.")

    def _page(self) -> None:
        try:
            self._answer(200, "text/html", self.server.watched.page())
        except (ValueError, OSError) as error:
            self._answer(500, "text/plain", f"{error}")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is not understood, in one line and with the usual headers."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._answer(405, "text/plain", "The page can only be read, with GET.", Allow="GET")
        else:
            self._answer(code, "text/plain", "This is not a request for the page of the run, at /.")

    def _answer(self, status: int, kind: str, text: str, **more: str) -> None:
        content = text.encode(errors="backslashreplace")
        self.request_version = self.protocol_version  # http.server sends no headers to clients of HTTP 0.9
        self.send_response(status)
        sized = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content))}
        for name, value in {**sized, **_HEADERS, **more}.items():
            self.send_header(name, value)
        with suppress(OSError):  # a browser may close the connection before the answer ends
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing, because the terminal is for the address."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(path: Path, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """A context with a server of a run's page, only for this machine; ``serve_forever`` starts it.

    Args:
        path: the folder of a run or of a sweep.
        port: the port; 0 for any free port.

    Raises:
        ValueError: if there is no run, or the port is taken or cannot be used.
    """
    port = _PORTS.check("port", port)
    try:
        server = _Server(port, Watched(path))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = "is taken" if error.errno == errno.EADDRINUSE else "cannot be used"
        raise ValueError(f"port {port} {why}; choose another with --port, or 0 for any free port.") from None
    try:
        yield server
    finally:
        server.server_close()
