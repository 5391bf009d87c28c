"""The command killed at any moment, again and again: what goes on from what it left ends as one left alone.

How often: DIFFNAS_KILLS, 10 if it is not set. Which moments: DIFFNAS_KILLS_SEED.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from interrupted import assert_same

from diffnas.engine.lock import LOCK

KILLS = int(os.environ.get("DIFFNAS_KILLS", "10"))
SEED = int(os.environ.get("DIFFNAS_KILLS_SEED", "0"))

SMALL = ["--channels", "4", "--depth", "3", "--threads", "1", "--quiet"]
CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|skip_connect~1|nor_conv_3x3~2|"
COMMANDS = {
    "search": ["digits", "--space", "nas-bench-201", "--train", "100", "--epochs", "12", "--batch", "10", *SMALL],
    "evaluate": [CELL, "digits", "--epochs", "4", "--batch", "96", "--set", "auxiliary=0", *SMALL],
}


@dataclass
class Life:
    """A process of the command that works in ``folder``, begun or gone on with."""

    phase: str
    folder: Path

    def __post_init__(self) -> None:
        begun = (self.folder / "run.json").exists()
        way = (
            ["--resume", str(self.folder), *SMALL[-3:]] if begun else [*COMMANDS[self.phase], "--out", str(self.folder)]
        )
        command = [sys.executable, "-m", "diffnas", self.phase, *way]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def wait_until_it_owns_its_folder(self) -> None:
        while self.process.poll() is None:
            try:
                if f"process {self.process.pid} " in (self.folder / LOCK).read_text():
                    return
            except FileNotFoundError:
                pass
            time.sleep(0.005)

    def end(self) -> int:
        """What it exits with; one that nobody killed must have ended well."""
        _, told = self.process.communicate(timeout=300)
        code = self.process.returncode
        assert code in (0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), told
        return code


def left_alone(phase: str, folder: Path) -> float:
    """How many seconds a run takes that nobody disturbs, from when it owns its folder."""
    life = Life(phase, folder)
    life.wait_until_it_owns_its_folder()
    begun = time.monotonic()
    assert life.end() == 0
    return time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("phase", COMMANDS)
def test_a_command_killed_at_any_moment_goes_on_and_ends_as_one_left_alone(phase: str, tmp_path: Path):
    seconds = left_alone(phase, tmp_path / "whole")
    moments = random.Random(f"{phase} {SEED}")
    killed = runs = 0
    while killed < KILLS:
        folder, ended = tmp_path / f"run{runs}", False
        while not ended:
            life = Life(phase, folder)
            if killed < KILLS:
                life.wait_until_it_owns_its_folder()
                time.sleep(moments.uniform(0, seconds / 2))
                life.process.send_signal(moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            code = life.end()
            ended, killed = code == 0, killed + (code != 0)
        assert_same(tmp_path / "whole", folder)
        assert not list(folder.rglob("*.partial"))
        runs += 1
    print(f"{phase}: {killed} kills in {runs} runs of {seconds:.1f} seconds")
