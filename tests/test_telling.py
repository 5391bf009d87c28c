"""What a user is told of the pictures: before a run, in its folder, and on any terminal."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

import diffnas
from diffnas.cli import main

TINY = ["--space", "nas-bench-201", "--epochs", "1", "--channels", "4", "--depth", "3"]


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """A folder with splits, a folder that is none, a name that is not UTF-8, and one with an escape sequence."""
    monkeypatch.chdir(tmp_path)
    for split, count in {"Train": 6, "Test": 2}.items():
        for k, name in enumerate((b"cat", b"d\xffg")):
            place = os.path.join(b"pets", split.encode(), name)
            os.makedirs(place)
            for row in range(count):
                Image.new("L", (8, 8), 100 * k + row).save(os.fsdecode(os.path.join(place, b"%d.png" % row)))
    (tmp_path / "pets" / "unlabeled").mkdir()
    with open(b"pets/Train/cat/\xfe\x1b[31m.png", "wb"):
        pass
    return tmp_path / "pets"


LAYOUT = "Train/ is taken for training, Test/ for the test; left out: unlabeled/ (not called like a split)"


def test_a_search_says_first_what_it_took_and_lists_what_it_did_not_read(pets, capsys):
    assert main(["search", "pets", *TINY, "--out", "run"]) == 0
    told = capsys.readouterr().err.splitlines()
    skipped = "Train/cat/\\xfe\\x1b[31m.png (0 bytes): empty, or not a picture"
    assert told[:2] == [f"warning: {LAYOUT}", f"warning: 1 file was skipped: {skipped}"]
    with open("run/skipped.txt", encoding="utf-8") as file:
        assert file.read() == f"{skipped}\n"
    with open("run/run.json", encoding="utf-8") as file:
        assert json.load(file)["data"]["classes"] == ["cat", "d\\xffg"]


def test_a_dry_run_says_it_too_and_leaves_its_json_alone(pets, capsys):
    assert main(["search", "pets", *TINY, "--dry-run", "--json"]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0] == f"warning: {LAYOUT}"
    assert json.loads(told.out)["cost"]["edges"] == 6


def test_a_run_that_is_stopped_has_its_list_of_skipped_files(pets):
    class Stops:
        def begin(self, *_):
            raise KeyboardInterrupt

        def __getattr__(self, name):
            return lambda *_: None

    sizes = {"space": "nas-bench-201", "epochs": 1, "channels": 4, "depth": 3}
    with pytest.raises(KeyboardInterrupt):
        diffnas.search("pets", **sizes, out="run", listener=Stops())
    assert os.path.exists("run/skipped.txt")


def test_a_run_that_is_refused_leaves_no_folder(pets):
    with pytest.raises(ValueError, match="at least 3 cells"):
        diffnas.search("pets", space="nas-bench-201", depth=2, out="run")
    assert not os.path.exists("run")


def test_prediction_goes_on_after_names_that_no_terminal_shows(pets, tmp_path):
    out = str(tmp_path / "run")
    sizes = [f"--set={phase}.{key}" for phase in ("search", "evaluate") for key in ("channels=4", "depth=3")]
    words = ["run", "pets", "--space=nas-bench-201", "--epochs=1", "--evaluate-epochs=1", *sizes]
    assert main([*words, "--out", out, "--quiet"]) == 0
    told = subprocess.run(
        [sys.executable, "-m", "diffnas", "predict", out, "pets/Train"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert told.returncode == 2  # the empty file
    assert len(told.stdout.splitlines()) == 12
    assert told.stderr == b"error: pets/Train/cat/\\xfe\\x1b[31m.png: empty, or not a picture.\n"
    assert b"pets/Train/d\\xffg/5.png: " in told.stdout
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in report


def test_a_terminal_without_a_letter_gets_its_number():
    told = subprocess.run(
        [sys.executable, "-m", "diffnas", "methods", "sparse"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, b"")
    assert b"\\u2022" in told.stdout


def test_a_data_folder_whose_path_is_not_utf_8_is_refused_on_one_line(pets, capsys):
    os.rename(b"pets", b"p\xffts")
    assert main(["search", os.fsdecode(b"p\xffts"), *TINY]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: the folder ")
    assert told.endswith("p\\xffts has a name that is not UTF-8; rename it.\n")
