"""Run folders as users handle them: moved, shared, named badly. What decides is what the pictures are."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import diffnas
from diffnas.cli import main
from diffnas.engine.listen import Silent
from diffnas.engine.search_step import SearchStep

TINY = {"space": "nas-bench-201", "epochs": 1, "channels": 4, "depth": 3, "batch": 4}
TINY_NET = {"epochs": 1, "channels": 4, "depth": 3, "auxiliary": 0.0, "batch": 4}


class Ear(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def pictures(folder: Path, *, tone: int = 40) -> Path:
    for k, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for row in range(6):
            Image.new("L", (12, 12), tone * k + row).save(folder / name / f"{row}.png")
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, ``pets``, and a search of them, ``run``, at another size than their own."""
    place = tmp_path_factory.mktemp("searched")
    diffnas.search(pictures(place / "pets"), size=8, out=place / "run", **TINY)
    return place


@pytest.fixture
def moved(searched: Path, tmp_path: Path) -> Iterator[Path]:
    """A place with the run and its pictures, which are not where they were."""
    shutil.copytree(searched / "run", tmp_path / "run")
    record = (tmp_path / "run" / "run.json").read_text()
    assert str(searched / "pets") in record
    (searched / "pets").rename(tmp_path / "animals")
    yield tmp_path
    if not (searched / "pets").exists():
        (tmp_path / "animals").rename(searched / "pets")


def test_a_run_goes_on_with_its_pictures_in_another_folder(moved: Path):
    found = diffnas.search(moved / "animals", out=moved / "run", resume=True)
    assert len(found.trace) == 1
    ear = Ear()
    diffnas.evaluate(moved / "run", moved / "animals", listener=ear, **TINY_NET)
    assert ear.warnings == []
    again = moved / "run" / "evaluation"
    assert diffnas.evaluate(again, moved / "animals", out=again, resume=True).folder == again


@pytest.mark.parametrize("command", [["search", "--resume", "run"], ["evaluate", "run"], ["run", "--resume", "run"]])
def test_pictures_that_are_gone_are_asked_for_again(moved: Path, searched: Path, command, monkeypatch, capsys):
    monkeypatch.chdir(moved)
    before = contents(moved)
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the data are no longer in {searched / 'pets'}" in line
    assert "DATA" in line
    assert contents(moved) == before


def test_other_pictures_under_the_same_name_are_refused_by_a_resume_and_told_of_by_an_evaluation(
    searched: Path, tmp_path: Path
):
    run = Path(shutil.copytree(searched / "run", tmp_path / "run"))
    other, ear = pictures(tmp_path / "pets", tone=90), Ear()
    with pytest.raises(ValueError, match="another data: fingerprint was"):
        diffnas.search(other, out=run, resume=True)
    diffnas.evaluate(run, other, listener=ear, **TINY_NET)
    (warning,) = ear.warnings
    assert "the search saw other pictures than 'pets' has now" in warning
    ear = Ear()
    diffnas.evaluate(run, listener=ear, out=tmp_path / "evaluated", **TINY_NET)
    assert ear.warnings == []


def test_a_run_in_the_hands_of_another_process_is_refused_untouched(searched: Path, tmp_path: Path, capsys):
    run = Path(shutil.copytree(searched / "run", tmp_path / "run"))
    holder = "import sys; from pathlib import Path; from diffnas.engine.lock import owning\n"
    holder += "with owning(Path(sys.argv[1]), print): print('owned', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = contents(run)
        for command in ("search", "run"):
            assert main([command, "--resume", str(run)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert f"is in use: process {process.pid} on {os.uname().nodename}" in line
        assert contents(run) == before
        # Who only reads it is free to.
        assert main(["report", str(run)]) == 0
        process.kill()


def test_of_two_searches_begun_at_once_in_one_folder_one_is_refused(searched: Path, tmp_path: Path):
    new = tmp_path / "new"

    class Second(Silent):
        told = ""

        def step(self, loss: float, accuracy: float) -> None:
            if not self.told:
                command = [sys.executable, "-m", "diffnas", "search", str(searched / "pets"), "--out", str(new)]
                small = ["--space", "nas-bench-201", "--epochs", "1", "--channels", "4", "--depth", "3", "--size", "8"]
                ended = subprocess.run([*command, *small], capture_output=True, text=True, check=False)
                Second.told = ended.stderr
                assert ended.returncode == 2

    diffnas.search(searched / "pets", size=8, out=new, listener=Second(), **TINY)
    assert f"{new} is in use: process {os.getpid()}" in Second.told
    assert len(diffnas.search(out=new, resume=True).trace) == 1


def test_a_whole_run_owns_its_folder_to_the_end(searched: Path, tmp_path: Path, monkeypatch):
    held: list[bool] = []

    def drawn(folder: Path, genotype: diffnas.Genotype) -> tuple[Path, ...]:
        held.append((folder / "lock").exists())
        return ()

    monkeypatch.setattr("diffnas.api.whole_run.draw_into", drawn)
    small = {"channels": 4, "depth": 3, "epochs": 1, "batch": 4}
    diffnas.run(
        searched / "pets",
        size=8,
        space="nas-bench-201",
        out=tmp_path / "run",
        search_settings=small,
        evaluate_settings={**small, "auxiliary": 0.0},
    )
    assert held == [True]
    assert not list((tmp_path / "run").rglob("lock"))


@pytest.mark.parametrize("option", ["--out", "--resume", "--data-dir"])
def test_an_empty_name_of_a_folder_is_refused(option: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", option, ""]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"'{option}': it is empty; name a file or folder" in line
    with pytest.raises(ValueError, match="out is empty"):
        diffnas.search("digits", out="", **TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_search_out_of_memory_says_what_would_fit(tmp_path: Path, monkeypatch, capsys):
    def take(self, batch, measured=SearchStep.take) -> None:
        if self.running.loop.folder:
            raise MemoryError
        measured(self, batch)

    monkeypatch.setattr(SearchStep, "take", take)
    monkeypatch.setattr("diffnas.engine.memory.available", lambda device: 3 * 2**18)
    small = ["--channels", "4", "--depth", "5"]
    options = [*small, "--space", "nas-bench-201", "--train", "200", "--batch", "100", "--epochs", "1", "--quiet"]
    assert main(["search", *options, "--no-check-memory", "--out", str(tmp_path / "run")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: memory ran out. No checkpoint was written yet.")
    assert re.search(r"needs less with --batch [2-9]\b", line)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such names cannot be given to files")
def test_names_that_are_not_text_do_not_keep_a_run_from_its_end(tmp_path: Path):
    """A name of a file that is not UTF-8 comes to Python with halves of characters in it."""
    place, run = pictures(tmp_path / "pets"), tmp_path / "run"
    (place / "cat").rename(place / "c\udce9t")
    (place / "dog" / "n\udce9.png").write_text("no picture")
    diffnas.search(place, size=8, out=run, **TINY)
    assert "n\\xe9.png" in (run / "skipped.txt").read_text(encoding="utf-8")
    diffnas.evaluate(run, **TINY_NET)
    assert len(diffnas.search(out=run, resume=True).trace) == 1
    assert len(diffnas.load(run).classes) == 2
    assert main(["report", str(run)]) == 0
