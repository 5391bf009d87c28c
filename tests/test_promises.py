"""What the README promises about runs, a test for each promise; the tests of the parts look closer."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import diffnas
from diffnas.cli import main
from diffnas.engine.listen import Silent

TINY = {"space": "nas-bench-201", "train": 100, "epochs": 2, "channels": 4, "depth": 3, "batch": 20}
TINY_NET = {"epochs": 1, "channels": 4, "depth": 3, "auxiliary": 0.0}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search and the evaluation of what it found."""
    run = tmp_path_factory.mktemp("promises") / "run"
    diffnas.search("digits", out=run, **TINY)
    diffnas.evaluate(run, **TINY_NET)
    return run


class Stop(Silent):
    """Has the process told to end after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, loss: float, accuracy: float) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def result(run: Path) -> tuple[list[dict], dict, bytes]:
    """The trace but for what the clock and the system decide, the checkpoint, and the cells."""
    lines = [json.loads(line) for line in (run / "trace.jsonl").read_text().splitlines()]
    lines = [{k: v for k, v in line.items() if k not in ("seconds", "peak_memory")} for line in lines]
    kept = torch.load(run / "checkpoint" / "last.pt", weights_only=True)
    del kept["folder"], kept["seconds"]
    return lines, kept, (run / "genotype.json").read_bytes()


def test_an_interrupted_run_goes_on_bit_for_bit_on_a_cpu(finished: Path, tmp_path: Path):
    with pytest.raises(diffnas.Interrupted):
        diffnas.search("digits", out=tmp_path / "run", listener=Stop(7), **TINY)
    diffnas.search(out=tmp_path / "run", resume=True)
    (lines, kept, cells), (others, other, same) = result(finished), result(tmp_path / "run")
    assert json.dumps(lines) == json.dumps(others)
    assert cells == same
    torch.testing.assert_close(kept, other, rtol=0, atol=0, equal_nan=True)


class Payload:
    """A pickle of it makes a file when it is loaded carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["checkpoint/last.pt", "evaluation/network.safetensors", "genotype.json", "run.json"])
@pytest.mark.parametrize("write", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))])
def test_nothing_in_a_run_folder_is_executed_on_reading(finished: Path, tmp_path: Path, name: str, write, capsys):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "checkpoint" / "previous.pt").unlink()
    write({"epoch": Payload(tmp_path / "ran")}, run / name)
    for command in (["search", "--resume"], ["report"], ["draw"]):
        main([*command, str(run)])
    main(["predict", str(run), str(tmp_path / "none.png")])
    assert not (tmp_path / "ran").exists()


WRONG = {
    "a folder in use": ["search", "digits", "--out", "run"],
    "a resume of something else": ["search", "--resume", "run", "--seed", "7"],
    "a misspelt method": ["search", "--method", "sparze", "--out", "new"],
    "no such run": ["report", "gone"],
    "an evaluation that is there": ["evaluate", "run", "--out", "run/evaluation"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_bad_input_gets_one_clear_line_and_earlier_results_are_untouched(
    finished: Path, tmp_path: Path, arguments: list[str], monkeypatch, capsys
):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert contents(tmp_path) == before


def test_a_run_that_fails_leaves_earlier_results_and_its_checkpoint_untouched(finished: Path, tmp_path: Path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    before = contents(run)

    class Full(Silent):
        def step(self, loss: float, accuracy: float) -> None:
            raise MemoryError

    with pytest.raises(Exception, match="memory ran out"):
        diffnas.evaluate(run, out=tmp_path / "other", listener=Full(), **TINY_NET)
    assert contents(run) == before


def test_a_run_folder_has_one_owner_at_a_time(tmp_path: Path):
    class Second(Silent):
        told = ""

        def step(self, loss: float, accuracy: float) -> None:
            if not self.told:
                command = [sys.executable, "-m", "diffnas", "search", "--resume", str(tmp_path / "run")]
                Second.told = subprocess.run(command, capture_output=True, text=True, check=False).stderr

    diffnas.search("digits", out=tmp_path / "run", listener=Second(), **TINY)
    (line,) = Second.told.splitlines()
    assert f"is in use: process {os.getpid()} on" in line
    assert len((tmp_path / "run" / "trace.jsonl").read_text().splitlines()) == 2


def test_what_is_damaged_is_not_taken_for_what_was_written(finished: Path, tmp_path: Path, capsys):
    names = ("genotype.json", "trace.jsonl", "evaluation/network.safetensors", "evaluation/result.json")
    commands = (["draw"], ["report"], ["predict"], ["report"])
    for name, command in zip(names, commands, strict=True):
        run = Path(shutil.copytree(finished, tmp_path / Path(name).name))
        content = bytearray((run / name).read_bytes())
        place = content.rindex(b"1") if name.endswith(("json", "jsonl")) else len(content) - 2
        content[place] ^= 2
        (run / name).write_bytes(content)
        pictures = [str(tmp_path / "none.png")] if command == ["predict"] else []
        assert main([*command, str(run), *pictures]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line
