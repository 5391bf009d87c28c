"""A command of two processes, one or all of them killed at any moment, again and again: what is left always goes on.

How often: DIFFNAS_KILLS, 20 if it is not set. Which moments: DIFFNAS_KILLS_SEED.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interrupted import assert_same

from diffnas.genotype import load

KILLS = int(os.environ.get("DIFFNAS_KILLS", "20"))
SEED = int(os.environ.get("DIFFNAS_KILLS_SEED", "0"))

SMALL = ["--channels", "4", "--depth", "3", "--threads", "1", "--quiet"]
SEARCH = ["digits", "--space", "nas-bench-201", "--train", "100", "--epochs", "5", "--batch", "10", *SMALL]

# What is done to which of the two processes.
DEEDS = {
    "SIGKILL to one": (signal.SIGKILL, (1,)),
    "SIGKILL to the first": (signal.SIGKILL, (0,)),
    "SIGKILL to all": (signal.SIGKILL, (0, 1)),
    "SIGTERM to one": (signal.SIGTERM, (1,)),
}


class Life:
    """A search of several processes that works in ``folder``, begun or gone on with."""

    def __init__(self, folder: Path, devices: int) -> None:
        begun = (folder / "run.json").exists()
        way = ["--resume", str(folder), *SMALL[-3:]] if begun else [*SEARCH, "--out", str(folder)]
        command = [sys.executable, "-m", "diffnas", "search", *way, "--devices", str(devices)]
        self.first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def others(self) -> list[int]:
        """The processes that the first one has launched."""
        children = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def wait_for(self, folder: Path, epochs: int) -> None:
        """Wait until so many epochs are over, or the search is."""
        trace = folder / "trace.jsonl"
        while self.first.poll() is None and not (trace.exists() and trace.read_text().count("\n") >= epochs):
            time.sleep(0.01)

    def end(self) -> tuple[int, str]:
        """The exit code, once all processes are over, and what was said."""
        others = self.others()
        _, told = self.first.communicate(timeout=3000)
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in others):
            assert time.monotonic() < deadline, "a process outlives its run"
            time.sleep(0.05)
        return self.first.returncode, told


def done_to(life: Life, deed: str) -> None:
    number, whom = DEEDS[deed]
    pids = [life.first.pid, *life.others()]
    for which in whom:
        if which < len(pids):
            os.kill(pids[which], number)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in Linux' /proc")
def test_processes_that_are_killed_at_any_moment_leave_what_goes_on(tmp_path: Path):
    whole = Life(tmp_path / "whole", 2)
    assert whole.end()[0] == 0
    moments, rows, killed, runs = random.Random(SEED), [], 0, 0
    while killed < KILLS:
        folder, counts, ended = tmp_path / f"run{runs}", [], False
        others = runs % 2 == 1  # every second run goes on with other numbers of processes
        while not ended:
            devices = moments.choice([1, 2, 3]) if others and counts else 2
            life = Life(folder, devices)
            counts.append(devices)
            if killed < KILLS and devices > 1:
                deed = list(DEEDS)[len(rows) % len(DEEDS)]
                life.wait_for(folder, min(len(counts), 4))
                time.sleep(moments.uniform(0, 0.3))
                done_to(life, deed)
                code, told = life.end()
                rows.append((runs, devices, deed, code, " ".join(told.split())))
                print(*rows[-1], sep=" | ", flush=True)
                killed += code != 0
            else:
                code, told = life.end()
                assert code == 0, told
            assert "Traceback" not in told
            # The first epoch's line is written before its checkpoint.
            assert code != 1 or f"--resume {folder}" in told or "No checkpoint was written yet" in told
            ended = code == 0
        if set(counts) == {2}:
            assert_same(tmp_path / "whole", folder)
        assert load(folder / "genotype.json").problems() is not None
        assert not list(folder.rglob("*.partial"))
        runs += 1
