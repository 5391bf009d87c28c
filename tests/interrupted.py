"""Runs that are interrupted, and what they leave behind: shared by the tests of resuming."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import torch

from diffnas.engine.listen import Silent

# What the machine decides, not the run.
MEASURED = ("seconds", "peak_memory")


class Stop(Silent):
    """Has the process told to end after ``steps`` steps."""

    def __init__(self, steps: int, number: int = signal.SIGTERM) -> None:
        self.left, self.number = steps, number

    def step(self, loss: float, accuracy: float) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def remains(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, bytes]]:
    """What a run left behind, without what the clock decides: the trace, the checkpoint, the files of the result."""
    lines = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    for line in lines:
        for name in MEASURED:
            del line[name]
    kept = torch.load(folder / "checkpoint" / "last.pt", weights_only=True)
    kept.pop("folder", None)  # its record has the command, its trace the seconds
    names = ("genotype.json", "network.safetensors", "network.json")
    return lines, kept, {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def assert_same(first: Path, second: Path) -> None:
    one, other = remains(first), remains(second)
    assert json.dumps(one[0]) == json.dumps(other[0])
    assert one[2] == other[2]
    assert one[2], "no result was left behind"
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=0, equal_nan=True)
