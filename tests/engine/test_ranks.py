"""One run in two processes: what they find is what one process finds that takes the halves of every batch in turn."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import shared_runs
import torch
from halves import Halves
from interrupted import assert_same
from shared_runs import CASES, FAST, IN_DOUBLE, SEEDED, SYNCHRONIZED, Case

import diffnas
from diffnas.engine.launch import joined
from diffnas.engine.ranks import ALONE, Ranks

SCRIPT = Path(shared_runs.__file__)


def in_two(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script that asks for two processes, once both are over."""
    command = [sys.executable, str(script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=3000, env=environment, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Two processes that have talked and computed all cases; in the end the second one failed."""
    return in_two(SCRIPT, tmp_path_factory.mktemp("together"), *CASES, "--talk")


@pytest.fixture
def together(done: subprocess.CompletedProcess[str]) -> Path:
    """The folder with the searches of all cases, each computed by two processes."""
    folder = Path(done.args[2])
    assert [name for name in CASES if not (folder / name / "genotype.json").exists()] == [], done.stderr
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
    check_alike(together / name, CASES[name], tmp_path)


@pytest.mark.parametrize("name", SYNCHRONIZED)
def test_two_processes_with_batch_norm_over_both_find_what_one_finds_with_whole_batches(
    together: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    Halves(monkeypatch, whole=True)
    check_alike(together / name, CASES[name], tmp_path)
    computed = json.loads((together / name / "run.json").read_text())["computed"]
    assert computed[0].endswith("in PyTorch: batch norm takes the pictures of all processes")


def check_alike(shared: Path, case: Case, alone: Path) -> None:
    """Compare a search of two processes with the same one of this process, in the folder ``alone``."""
    case.run(alone)
    mine, twins = trace_of(shared), trace_of(alone)
    assert len(mine) == len(twins)
    for one, other in zip(mine, twins, strict=True):
        assert one["genotype"] == other["genotype"]
        assert one["keep"] == other["keep"]
        for place in ("train", "held_out", "eigenvalue"):
            if other[place] is not None:
                assert one[place] == pytest.approx(other[place], rel=0, abs=1e-10), place
        for place in ("alpha", "mix"):
            numbers = (torch.tensor(each[place], dtype=torch.float64) for each in (one, other))
            torch.testing.assert_close(*numbers, rtol=0, atol=1e-10)
    one, other = checkpoint_of(shared), checkpoint_of(alone)
    for weight, value in one["supernet"].items():
        if weight.endswith(("weight", "bias")):
            torch.testing.assert_close(value, other["supernet"][weight], rtol=0, atol=1e-10, msg=weight)


class Broken(NamedTuple):
    """Searches of two processes in one folder, which were broken off, and how."""

    folder: Path
    by_signal: subprocess.CompletedProcess[str]
    by_disk: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """``fast`` ended when its second process got a signal, ``measuring`` when the disk was full."""
    folder = tmp_path_factory.mktemp("broken")
    by_signal = in_two(SCRIPT, folder, "fast", "--stop", 1, int(signal.SIGTERM), 3)
    return Broken(folder, by_signal, in_two(SCRIPT, folder, "measuring", "--full", 1))


@pytest.fixture(scope="module")
def resumed(broken: Broken, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The broken searches after two processes have gone on with them."""
    folder = shutil.copytree(broken.folder, tmp_path_factory.mktemp("resumed") / "broken")
    done = in_two(SCRIPT, folder, "fast", "measuring", "--resume")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_signal_to_one_process_stops_all_and_as_many_go_on_bit_for_bit(together: Path, broken: Broken, resumed: Path):
    assert broken.by_signal.returncode != 0
    assert broken.by_signal.stderr.count("interrupted by SIGTERM. Go on with --resume") == 1
    assert checkpoint_of(broken.folder / "fast")["step"] == 3, "all have stopped at the step of the signal"
    assert_same(together / "fast", resumed / "fast")


def test_one_process_goes_on_with_the_search_of_two(broken: Broken, tmp_path: Path):
    """Its numbers are others."""
    alone = shutil.copytree(broken.folder / "fast", tmp_path / "fast")
    result = CASES["fast"].run(alone, resume=True)
    assert [line["epoch"] for line in result.trace] == [0, 1]


def test_a_full_disk_stops_all_processes_with_one_message_and_as_many_go_on_bit_for_bit(
    together: Path, broken: Broken, resumed: Path
):
    folder = broken.folder / "measuring"
    told = (
        f"No space left on device for {folder}. Make room. The last checkpoint is untouched; to go on from it: --resume"
    )
    assert broken.by_disk.returncode == 1
    assert broken.by_disk.stderr.count(told) == 1
    assert checkpoint_of(folder)["epoch"] == 1
    assert_same(together / "measuring", resumed / "measuring")


def test_what_processes_tell_one_another_arrives(done: subprocess.CompletedProcess[str]):
    for number in range(2):
        assert done.stdout.count(f"process {number} is content") == 1, done.stderr


def test_the_first_process_says_why_another_one_has_failed(done: subprocess.CompletedProcess[str]):
    assert done.returncode == 1
    assert "ended: the second process has no pictures. No checkpoint was written yet." in done.stderr
    assert done.stderr.count("Traceback") == 1, "the second process ends in silence"


@pytest.mark.parametrize("name", FAST)
def test_processes_that_compute_fast_hold_the_same_bits_after_every_epoch(together: Path, name: str):
    """A search compares them after every epoch and stops if they differ; that it does is tested above."""
    assert [line["epoch"] for line in trace_of(together / name)][:2] == [0, 1]


@pytest.mark.slow
def test_so_they_do_with_other_seeds(tmp_path: Path):
    done = in_two(SCRIPT, tmp_path, *SEEDED)
    assert done.returncode == 0, done.stderr
    for name in SEEDED:
        assert [line["epoch"] for line in trace_of(tmp_path / name)] == [0, 1]


def test_a_command_of_two_processes_prints_once_and_says_how_it_was_computed(tmp_path: Path):
    small = ["--space", "nas-bench-201", "--train", "40", "--epochs", "1", "--channels", "2", "--depth", "3", "--json"]
    command = [sys.executable, "-m", "diffnas", "search", "digits", *small, "--devices", "2", "--batch", "20"]
    done = subprocess.run([*command, "--out", tmp_path], capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == str(tmp_path)
    assert done.stderr.count("epoch 1/1") == 1
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["computed"][-1] == "2 processes compute the run"
    assert (record["notes"]["devices"], record["notes"]["nodes"]) == (2, 1)


# What needs no second process.


def test_one_process_is_all_of_a_run_and_changes_nothing():
    gradient, sums = torch.ones(2), torch.ones(3)
    assert ALONE.mean([gradient], 3)[0] is gradient
    assert ALONE.total(sums) is sums
    assert (ALONE.agree(15), ALONE.worst(2.0), ALONE.place, ALONE.told) == (15, 2.0, (), ())
    assert joined(None) is joined(1, 1) is ALONE


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("pictures", "size"), [(129, 64), (131, 64), (5, 64), (60, 12), (13, 1)])
def test_parts_of_batches_are_those_of_one_order_and_each_picture_is_taken_once(count: int, pictures: int, size: int):
    order = torch.randperm(pictures)
    parts = [Ranks(number=number, count=count).batches(order, size) for number in range(count)]
    assert len({len(each) for each in parts}) == 1, "all take as many steps"
    whole = [torch.cat(each) for each in zip(*parts, strict=True)]
    assert torch.equal(torch.cat(whole), order[: sum(map(len, whole))])
    left = pictures - sum(map(len, whole))
    assert left in (0, pictures % size), "at most a last batch is left out"
    assert left < 2 * count
    for batch in zip(*parts, strict=True):
        sizes = [len(part) for part in batch]
        assert max(sizes) - min(sizes) <= 1


def test_batches_that_are_too_small_for_all_processes_are_refused():
    with pytest.raises(ValueError, match=r"batches of 5 cannot be shared by 3 processes.* at least 6 are needed"):
        Ranks(count=3).check_batch(5, 100)
    with pytest.raises(ValueError, match="5 pictures cannot be shared by 3 processes"):
        Ranks(count=3).check_batch(64, 5)
    Ranks(count=3).check_batch(6, 6)
    ALONE.check_batch(1, 1)


def test_a_notebook_is_refused_before_a_process_is_launched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with pytest.raises(ValueError, match="a notebook or an interactive session is none"):
        diffnas.search("digits", devices=2)


def test_several_machines_need_an_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ValueError, match="2 machines need to know one another: set MASTER_ADDR and MASTER_PORT"):
        joined(2, 2)
