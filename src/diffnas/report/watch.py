"""A run in progress, watched in a browser: its page over HTTP, made anew whenever its folder has changed.

Reading a folder changes nothing in it, so that neither watching nor the end of it can disturb a run.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from diffnas.report.page import page
from diffnas.report.reading import EVALUATION, read_run
from diffnas.values import whole

HOST = "127.0.0.1"
_PORTS = whole(0, 65_535)
_FILES = ("run.json", "trace.jsonl", "genotype.json", "result.json")


class Watched:
    """The newest page of a run, made when it is asked for and only if something has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._made: tuple[str, str] | None = None
        self.page()  # what cannot be read is refused here, and not first in the browser

    def version(self) -> str:
        """What changes whenever the folder does."""
        return "-".join(_stamp(folder / name) for folder in (self.path, self.path / EVALUATION) for name in _FILES)

    def page(self) -> str:
        """The page as of now.

        Raises:
            ValueError: if there is no run, or it is damaged.
        """
        with self._lock:
            version = self.version()
            if self._made is None or self._made[0] != version:
                self._made = version, page(read_run(self.path), live=version)
            return self._made[1]


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        return "0"
    return f"{found.st_mtime_ns:x}.{found.st_size:x}"


@contextmanager
def serving(path: Path, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """A server of a run's page on this machine alone; ``serve_forever`` starts it.

    Args:
        path: the run folder.
        port: where to listen; 0 for any that is free.

    Raises:
        ValueError: if there is no run, or the port cannot be had.
    """
    port = _PORTS.check("port", port)
    watched = Watched(path)

    class Handler(BaseHTTPRequestHandler):
        """Answers with the page and its version, and with nothing else."""

        server_version, sys_version = "diffnas", ""

        def do_GET(self) -> None:
            # A page elsewhere can name this address as its own host; such a request is not answered.
            host = (self.headers.get("Host") or "").partition(":")[0]
            if host not in (HOST, "localhost"):
                self._answer(403, "text/plain", "This is for 127.0.0.1 alone.")
            elif self.path == "/version":
                self._answer(200, "text/plain", watched.version())
            elif self.path == "/":
                self._page()
            else:
                self._answer(404, "text/plain", "There is nothing here but the page of the run, at /.")

        def _page(self) -> None:
            try:
                self._answer(200, "text/html", watched.page())
            except ValueError as error:
                self._answer(500, "text/plain", f"{error}")

        def _answer(self, status: int, kind: str, text: str) -> None:
            content = text.encode(errors="backslashreplace")
            self.send_response(status)
            headers = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content))}
            headers |= {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # a browser may go away while it is answered
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing; the terminal is for the address."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = "is taken" if error.errno == errno.EADDRINUSE else "cannot be used"
        raise ValueError(f"port {port} {why}; choose another with --port, or 0 for any that is free.") from None
    server.daemon_threads = True
    try:
        yield server
    finally:
        server.server_close()
