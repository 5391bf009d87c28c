"""One run in two processes: what they find is what one process finds that takes the halves of every batch in turn."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shared_runs
import torch
from halves import Halves
from interrupted import assert_same
from shared_runs import CASES, IN_DOUBLE

SCRIPT = Path(shared_runs.__file__)


def in_two(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script that asks for two processes, once both are over."""
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the searches of all cases, each computed by two processes."""
    folder = tmp_path_factory.mktemp("together")
    done = in_two(SCRIPT, folder, *CASES)
    assert done.returncode == 0, done.stderr
    return folder


def trace_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]


def checkpoint_of(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint" / "last.pt", weights_only=True)


@pytest.mark.parametrize("name", IN_DOUBLE)
def test_two_processes_find_what_one_finds_that_takes_both_halves_in_turn(
    together: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    Halves(monkeypatch)
    CASES[name].run(tmp_path)
    mine, twins = trace_of(together / name), trace_of(tmp_path)
    assert len(mine) == len(twins)
    for one, other in zip(mine, twins, strict=True):
        assert one["genotype"] == other["genotype"]
        assert one["keep"] == other["keep"]
        for value in ("alpha", "mix", "train_loss", "held_out_loss", "eigenvalue"):
            if one[value] is not None:
                numbers = (torch.tensor(each[value], dtype=torch.float64) for each in (one, other))
                torch.testing.assert_close(*numbers, rtol=0, atol=1e-10, msg=value)
    one, other = checkpoint_of(together / name), checkpoint_of(tmp_path)
    for weight, value in one["supernet"].items():
        if weight.endswith(("weight", "bias")):
            torch.testing.assert_close(value, other["supernet"][weight], rtol=0, atol=1e-10, msg=weight)


def stopped(folder: Path, rank: int, number: int, step: int) -> subprocess.CompletedProcess[str]:
    """A search of two processes, one of which gets a signal in a step."""
    done = in_two(SCRIPT, folder, "fast-0", "--stop", rank, number, step)
    assert done.returncode != 0
    return done


def resumed(folder: Path, devices: int) -> None:
    done = in_two(SCRIPT, folder, "fast-0", "--resume", "--devices", devices)
    assert done.returncode == 0, done.stderr


def test_a_signal_to_one_process_stops_all_and_as_many_go_on_bit_for_bit(together: Path, tmp_path: Path):
    done = stopped(tmp_path, 1, signal.SIGTERM, 3)
    assert done.stderr.count("interrupted by SIGTERM. Go on with --resume") == 1
    assert checkpoint_of(tmp_path / "fast-0")["step"] == 3, "all have stopped at the step of the signal"
    alone = shutil.copytree(tmp_path, tmp_path / "alone")
    resumed(tmp_path, 2)
    assert_same(together / "fast-0", tmp_path / "fast-0")
    # One process goes on as well, and says that its numbers are others.
    result = CASES["fast-0"].run(alone / "fast-0", resume=True)
    assert [line["epoch"] for line in result.trace] == [0, 1]
