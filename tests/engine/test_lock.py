"""A run folder has one owner at a time."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from diffnas.engine import lock
from diffnas.engine.lock import LOCK, owning

OWNER = """
import sys
from pathlib import Path
from diffnas.engine.lock import owning
with owning(Path(sys.argv[1]), print):
    print("owned", flush=True)
    sys.stdin.read()
"""


def refuse(message: str) -> None:
    raise AssertionError(message)


@contextmanager
def owned_elsewhere(folder: Path):
    """Inside, another process owns the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_owns_the_folder_and_a_killed_one_owns_nothing(tmp_path: Path):
    folder = tmp_path / "run"
    with owned_elsewhere(folder) as process:
        with pytest.raises(ValueError) as error, owning(folder, refuse):
            pass
        assert f"{folder} is in use: process {process.pid} on {os.uname().nodename} writes to it" in str(error.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (folder / LOCK).exists()
        with owning(folder, refuse):
            assert f"process {os.getpid()} " in (folder / LOCK).read_text()
    assert list(folder.iterdir()) == []


def test_a_second_thread_is_kept_away_and_the_owner_itself_is_not(tmp_path: Path):
    told: list[str] = []

    def other() -> None:
        try:
            with owning(tmp_path, refuse):
                told.append("owned")
        except ValueError as error:
            told.append(str(error))

    with owning(tmp_path, refuse), owning(tmp_path / "." / ".." / tmp_path.name, refuse):
        thread = Thread(target=other)
        thread.start()
        thread.join()
    assert "is in use" in told[0]


def test_a_folder_that_was_made_in_vain_goes_away_again(tmp_path: Path):
    with pytest.raises(RuntimeError), owning(tmp_path / "a" / "b", refuse):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with owning(tmp_path / "a" / "b", refuse):
        (tmp_path / "a" / "b" / "run.json").write_text("{}")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["run.json"]


def test_a_file_is_no_run_folder(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(ValueError, match="is a file; a run needs a folder of its own"),
        owning(tmp_path / "file", refuse),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_lock_is_taken_again_if_its_last_owner_removed_the_file(tmp_path: Path, monkeypatch):
    """Between opening and locking the owner before may end and take the file away: then the lock is of no file."""
    taken: list[int] = []

    def late(file, lock_now=lock._lock) -> None:
        taken.append(file.fileno())
        if len(taken) == 1:
            (tmp_path / LOCK).unlink()
        lock_now(file)

    monkeypatch.setattr(lock, "_lock", late)
    with owning(tmp_path, refuse):
        assert len(taken) == 2
        assert (tmp_path / LOCK).exists()


def test_where_the_file_system_knows_no_locks_the_run_goes_on_with_a_word(tmp_path: Path, monkeypatch):
    def unknown(file) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", unknown)
    told: list[str] = []
    with owning(tmp_path, told.append), owning(tmp_path, told.append):
        assert list(tmp_path.iterdir()) == []
    assert len(told) == 1
    assert "has no locks" in told[0]
