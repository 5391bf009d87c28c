"""``diffnas watch``: what it serves, to whom, and what it leaves alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from threading import Thread

import pytest

from diffnas.cli import main
from diffnas.report.watch import serving

CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
EPOCHS = [(CONV, [[0.2] * 5] * 6)]


@contextmanager
def watched(folder):
    """The address of a server of the folder's page."""
    with serving(folder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def get(address, **headers):
    """Status and text of an answer."""
    # Without the proxies that the environment may name: this never leaves the machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def add_epoch(folder):
    lines = (folder / "trace.jsonl").read_text().splitlines()
    line = json.loads(lines[-1]) | {"epoch": len(lines)}
    with (folder / "trace.jsonl").open("a") as trace:
        trace.write(json.dumps(line) + "\n")


def test_the_page_follows_the_run(write_search):
    folder = write_search(EPOCHS, planned=9, finished=False)
    with watched(folder) as address:
        status, html = get(f"{address}/")
        _, version = get(f"{address}/version")
        assert (status, "Search not finished: 1 of 9 epochs" in html) == (200, True)
        assert f'data-version="{version}"' in html
        add_epoch(folder)
        assert get(f"{address}/version")[1] != version
        assert "Search not finished: 2 of 9 epochs" in get(f"{address}/")[1]


@pytest.mark.parametrize(
    "path", ["/run.json", "/trace.jsonl", "/../run.json", "/%2e%2e/", "//etc/passwd", "/?x", "/index.html"]
)
def test_nothing_but_the_page_is_served(path, write_search):
    with watched(write_search(EPOCHS)) as address:
        assert get(f"{address}{path}")[0] == 404


def test_it_listens_on_this_machine_alone(write_search):
    with serving(write_search(EPOCHS)) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_page_elsewhere_cannot_read_it_under_a_name_of_its_own(write_search):
    with watched(write_search(EPOCHS)) as address:
        assert get(f"{address}/", Host="evil.example")[0] == 403
        assert get(f"{address}/", Host="localhost:80")[0] == 200


def test_watching_changes_nothing_in_the_folder(write_search):
    folder = write_search(EPOCHS, evaluated=True)

    def look():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}

    before = look()
    with watched(folder) as address:
        assert get(f"{address}/")[0] == 200
    assert look() == before


def test_a_folder_that_is_damaged_meanwhile_is_told_of_and_may_recover(write_search):
    folder = write_search(EPOCHS, finished=False)
    whole = (folder / "trace.jsonl").read_text()
    with watched(folder) as address:
        (folder / "trace.jsonl").write_text("{}\n")
        status, text = get(f"{address}/")
        assert (status, "is damaged" in text) == (500, True)
        (folder / "trace.jsonl").write_text(whole)
        assert get(f"{address}/")[0] == 200


def test_a_port_that_is_taken_is_an_error_with_the_next_step(write_search, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["watch", str(write_search(EPOCHS)), "--port", str(port)]) == 2
    assert f"port {port} is taken; choose another with --port" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["70000", "-1", "1" + 40 * "0"])
def test_a_port_that_cannot_be_is_refused(port, write_search, capsys):
    assert main(["watch", str(write_search(EPOCHS)), "--port", port]) == 2
    assert f"port must be a whole number from 0 to 65,535, got {port}" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused_before_anything_is_served(tmp_path, capsys):
    assert main(["watch", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_the_command_serves_until_it_is_interrupted(write_search):
    folder = write_search(EPOCHS)
    command = [sys.executable, "-m", "diffnas", "watch", str(folder), "--port", "0"]
    # Tests that run in the background may have been told to ignore the signal, and would pass that on.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ, preexec_fn=heed) as process:
        try:
            address = process.stdout.readline().split()[0]
            assert get(address)[0] == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def asked(address, request):
    """The whole answer to a request as it stands."""
    port = int(address.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request.encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET / HTTP/1.1", 200),
        ("GET /version HTTP/1.1", 200),
        ("GET /nothing HTTP/1.1", 404),
        ("POST / HTTP/1.1", 405),
        ("HEAD / HTTP/1.1", 405),
        ("nonsense", 400),
        ("GET / HTTP/7.7", 505),
        (f"GET /{'x' * 70000} HTTP/1.1", 414),
    ],
)
def test_every_answer_has_the_headers_that_keep_a_page_to_itself(request_line, status, write_search):
    with watched(write_search(EPOCHS)) as address:
        answer = asked(address, f"{request_line}\r\nHost: 127.0.0.1\r\n\r\n")
    head = answer.partition("\r\n\r\n")[0]
    assert f" {status} " in head.splitlines()[0]
    for header in ("Content-Security-Policy: default-src 'none'", "X-Content-Type-Options: nosniff", "no-store"):
        assert header in head
    assert ("Allow: GET" in head) == (status == 405)
    assert "<html" not in answer or status == 200


def test_a_request_without_the_name_of_a_host_is_refused(write_search):
    with watched(write_search(EPOCHS)) as address:
        assert " 403 " in asked(address, "GET / HTTP/1.0\r\n\r\n")


def test_slow_clients_are_cut_off_and_too_many_are_told_so(write_search, monkeypatch, capfd):
    monkeypatch.setattr("diffnas.report.watch.PATIENCE", 1.0)
    monkeypatch.setattr("diffnas.report.watch.CONNECTIONS", 4)
    with watched(write_search(EPOCHS)) as address, ExitStack() as stack:
        port = int(address.rsplit(":", 1)[1])
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(4)]
        for client in slow:
            client.sendall(b"GET / HT")
        assert get(f"{address}/")[0] == 503
        started = time.monotonic()
        while get(f"{address}/")[0] == 503 and time.monotonic() - started < 10:
            for client in slow:
                with suppress(OSError):
                    client.sendall(b"x")  # never long enough without a byte
            time.sleep(0.1)
        assert get(f"{address}/")[0] == 200
        assert time.monotonic() - started < 8
    assert capfd.readouterr().err == ""
