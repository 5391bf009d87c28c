"""What a user is told of the pictures: before a run, in its folder, and on any terminal."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

import diffnas
from diffnas.cli import main
from diffnas.engine.listen import Silent

TINY = ["--space", "nas-bench-201", "--epochs", "1", "--channels", "4", "--depth", "3"]

WHOLE = ["--space=nas-bench-201", "--epochs=1", "--evaluate-epochs=1"]
WHOLE += [f"--set={phase}.{key}" for phase in ("search", "evaluate") for key in ("channels=4", "depth=3")]
CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


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


class Ear(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def own(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(count, 1, 8, 8, dtype=torch.uint8), torch.arange(count) % 2


SIZES = {"space": "nas-bench-201", "epochs": 1, "channels": 4, "depth": 3}


@pytest.mark.parametrize("phase", ["search", "evaluate"])
@pytest.mark.parametrize(("given", "told"), [({}, True), ({"flip": True}, False), ({"flip": False}, False)])
def test_a_run_on_pictures_of_ones_own_says_first_that_they_are_mirrored_unless_that_was_chosen(phase, given, told):
    ear, data = Ear(), (own(), own())
    if phase == "search":
        diffnas.search(data, **SIZES, **given, listener=ear)
    else:
        diffnas.evaluate(CELL, data, epochs=1, channels=4, depth=3, **given, listener=ear)
    assert [place for place, note in enumerate(ear.notes) if "mirrored left to right" in note] == [0] * told
    assert not told or "--no-flip" in ear.notes[0]


def test_nothing_is_said_of_mirrored_pictures_where_the_data_is_known_by_name():
    ear = Ear()
    diffnas.search("digits", train=40, **SIZES, listener=ear)
    assert not [note for note in ear.notes if "mirrored" in note]


def test_a_whole_run_takes_one_flip_for_both_phases(pets):
    assert main(["run", "pets", "--no-flip", *WHOLE, "--out", "run", "--quiet"]) == 0
    for place in ("run", "run/evaluation"):
        with open(f"{place}/run.json", encoding="utf-8") as file:
            assert json.load(file)["settings"]["flip"] is False


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
    assert main(["run", "pets", *WHOLE, "--out", out, "--quiet"]) == 0
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
