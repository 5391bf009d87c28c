"""The driver, with workers that compute nothing."""

import os
import signal

import pytest

from diffnas.engine.listen import Interrupted
from diffnas.report.sweep.record import CellRecord, EndRecord, SweepRecord, read_end, write_end, write_sweep
from diffnas.sweeps.drive import drive
from diffnas.sweeps.workers import Ending


class Staged:
    """Workers whose runs end as a script says; a run that it does not name is done at once."""

    def __init__(self, folder, script=(), room=2):
        self.folder, self.script, self.room = folder, {name: list(ends) for name, ends in dict(script).items()}, room
        self.running, self.started, self.most, self.stopped = [], [], 0, False

    def has_room(self, cell):
        return len(self.running) < self.room

    def start(self, name, cell):
        self.running.append(name)
        self.started.append(name)
        self.most = max(self.most, len(self.running))

    def ended(self):
        name = self.running.pop(0)
        reason, final = self.script[name].pop(0) if self.script.get(name) else ("", False)
        if not reason:
            write_end(self.folder, name, EndRecord(done=True))
        yield Ending(name, reason, final)

    def stop(self):
        self.stopped = True


@pytest.fixture
def folder(tmp_path):
    """The folder of a sweep of four runs."""
    cell = CellRecord(values={"seed": "0"}, options={"threads": 1}, memory=1)
    write_sweep(tmp_path, SweepRecord(cells=dict.fromkeys("abcd", cell)))
    return tmp_path


def go(folder, workers, retries=2):
    return {each.name: (each.state, each.reason) for each in drive(folder, workers, retries=retries, show=list)}


def test_all_runs_are_done_as_many_at_once_as_there_is_room(folder):
    workers = Staged(folder)
    assert go(folder, workers) == dict.fromkeys("abcd", ("done", ""))
    assert (workers.started, workers.most, workers.stopped) == (list("abcd"), 2, True)


def test_a_failed_run_does_not_stop_the_others_and_its_reason_is_kept(folder):
    workers = Staged(folder, {"b": [("lr is too large.", True)]})
    found = go(folder, workers)
    assert found.pop("b") == ("failed", "lr is too large.")
    assert set(found.values()) == {("done", "")}
    assert read_end(folder, "b") == EndRecord(done=False, reason="lr is too large.")


def test_a_lost_run_is_tried_again_so_often_and_not_more(folder):
    workers = Staged(folder, {"a": [("lost", False)] * 2, "b": [("lost", False)] * 3})
    found = go(folder, workers)
    assert (found["a"], found["b"]) == (("done", ""), ("failed", "lost"))
    assert (workers.started.count("a"), workers.started.count("b")) == (3, 3)


def test_a_sweep_whose_driver_died_does_what_is_left_and_tries_failed_runs_again(folder):
    write_end(folder, "a", EndRecord(done=True))
    write_end(folder, "b", EndRecord(done=False, reason="the disk was full"))
    workers = Staged(folder)
    assert go(folder, workers) == dict.fromkeys("abcd", ("done", ""))
    assert workers.started == list("bcd")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_runs_and_begins_no_other(folder, number):
    class Told(Staged):
        def ended(self):
            os.kill(os.getpid(), number)
            return iter(())

    workers = Told(folder)
    with pytest.raises(Interrupted) as stop:
        go(folder, workers)
    assert stop.value.signal == number
    assert f"--resume {folder}" in str(stop.value)
    assert (workers.stopped, workers.started) == (True, ["a", "b"])
