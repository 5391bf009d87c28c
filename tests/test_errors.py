"""Wrong input gives one line that names the culprit and a way out, exit code 2, and touches nothing."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from diffnas.cli import main

SMALL = ["--space", "nas-bench-201", "--train", "100", "--epochs", "1", "--channels", "4", "--depth", "3"]


def pictures(folder, classes=("cat", "dog"), count=4, size=8):
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for row in range(count):
            Image.new("L", (size, size), 40 * k + row).save(folder / name / f"{row}.png")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished search, to be damaged in copies."""
    out = tmp_path_factory.mktemp("errors") / "run"
    assert main(["search", *SMALL, "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture
def place(tmp_path, finished, monkeypatch):
    """The working folder of a user with one finished search, ``done``."""
    import shutil

    shutil.copytree(finished, tmp_path / "done")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nothing(place):
    pass


def empty_class(place):
    (pictures(place / "pets") / "fish").mkdir()


def one_class(place):
    pictures(place / "pets", classes=("cat",))


def no_pictures(place):
    (place / "pets" / "cat").mkdir(parents=True)
    (place / "pets" / "cat" / "a.txt").write_text("meow")
    pictures(place / "pets", classes=("dog",))


def one_picture_each(place):
    pictures(place / "pets", count=1)


def an_archive(place):
    (place / "pets.zip").write_bytes(b"PK")


def one_folder_too_deep(place):
    pictures(place / "pets" / "pets")


def corrupt_checkpoint(place):
    for path in (place / "done" / "checkpoint").iterdir():
        path.write_bytes(b"nonsense")


def corrupt_record(place):
    (place / "done" / "run.json").write_text("{")


def record_with_a_wrong_setting(place):
    path = place / "done" / "run.json"
    record = json.loads(path.read_text())
    record["settings"]["epochs"] = "many"
    path.write_text(json.dumps(record))


def record_with_wrong_notes(place):
    path = place / "done" / "run.json"
    record = json.loads(path.read_text())
    record["notes"]["train"] = "all"
    path.write_text(json.dumps(record))


def corrupt_genotype(place):
    (place / "done" / "genotype.json").write_text('{"schema": "diffnas/genotype", "version": 1}')


def corrupt_network(place):
    (place / "done" / "network.json").write_text('{"schema": "diffnas/network", "version": 1}')
    (place / "done" / "network.safetensors").write_bytes(b"nonsense")


# What is wrong, what stands in the folder, what is typed, and what the one line must contain.
CASES = [
    ("an unknown command", nothing, ["serch"], ["Did you mean 'search'?", "See: diffnas --help"]),
    ("an unknown method", nothing, ["search", "--method", "sparze"], ["'sparze'", "Did you mean 'sparse'", "darts"]),
    ("an unknown space", nothing, ["search", "--space", "dart"], ["'dart'", "Did you mean 'darts'"]),
    ("an unknown recipe", nothing, ["run", "--recipe", "digit"], ["'digit'", "Did you mean 'digits'"]),
    ("a misspelt option", nothing, ["search", "--mehtod", "darts"], ["--mehtod", "Did you mean --method?"]),
    (
        "an option of another command",
        nothing,
        ["search", "--top", "3"],
        ["--top belongs to diffnas predict.", "See: diffnas search --help"],
    ),
    (
        "an option that is a setting here",
        nothing,
        ["run", "--backend", "plain"],
        ["--set search.backend=VALUE", "belongs to diffnas search.", "See: diffnas run --help"],
    ),
    (
        "a setting of both phases",
        nothing,
        ["run", "--momentum", "1"],
        ["--set search.momentum=VALUE or --set evaluate.momentum=VALUE"],
    ),
    (
        "a setting beyond its bounds",
        nothing,
        ["evaluate", "DARTS_V2", "digits", "--drop-path", "1"],
        ["drop_path must be a number from 0 to below 1, got 1.0."],
    ),
    (
        "a setting of the search",
        nothing,
        ["evaluate", "--alpha-clip", "1"],
        ["--alpha-clip belongs to diffnas search."],
    ),
    ("an option of nothing", nothing, ["draw", "--frob"], ["No such option: --frob. See: diffnas draw --help"]),
    ("an option without its value", nothing, ["search", "--epochs"], ["--epochs", "requires an argument"]),
    ("a word for a number", nothing, ["search", "--epochs", "many"], ["--epochs", "integer"]),
    ("an unknown data set", nothing, ["search", "cifar"], ["'cifar'", "Did you mean 'cifar10'"]),
    ("a missing folder", nothing, ["search", "./pets"], ["pets", "PATH/train/CLASS"]),
    ("CIFAR without its files", nothing, ["search", "cifar10"], ["cifar10", "--d"]),
    ("an empty class", empty_class, ["search", "./pets"], ["fish", "is empty", "add pictures"]),
    ("one class", one_class, ["search", "./pets"], ["one class folder", "cat", "at least 2"]),
    ("a class without pictures", no_pictures, ["search", "./pets"], ["cat", "not one picture"]),
    ("a single picture a class", one_picture_each, ["search", "./pets"], ["one picture of each", "Add pictures"]),
    ("an archive", an_archive, ["search", "pets.zip"], ["pets.zip", "Unpack"]),
    ("a folder too deep", one_folder_too_deep, ["search", "./pets"], ["cat, dog", "perhaps you mean", "pets/pets."]),
    ("an empty name", nothing, ["search", ""], ["empty", "digits", "FOLDER"]),
    ("a size for fixed pictures", nothing, ["search", "digits", "--size", "4"], ["digits", "leave size"]),
    ("pictures under 8x8", lambda p: pictures(p / "pets"), ["search", "./pets", "--size", "4"], ["from 8 to", "got 4"]),
    ("too few pictures", nothing, ["search", "--train", "5"], ["5 pictures", "10 or more"]),
    ("too many pictures", nothing, ["search", "--train", "5000"], ["5000", "or fewer"]),
    ("a net too shallow", nothing, ["search", "--depth", "2"], ["at least 3 cells", "2"]),
    ("no epochs", nothing, ["search", "--epochs", "0"], ["epochs", "from 1 to", "got 0"]),
    (
        "an order that prunes at once",
        nothing,
        ["search", "--weighting", "entmax:4"],
        ["entmax(order=4.0)", "--alpha-init"],
    ),
    ("an unknown component", nothing, ["search", "--weighting", "sofmax"], ["'sofmax'", "Did you mean 'softmax'"]),
    ("a component's bad option", nothing, ["search", "--weighting", "entmax:x"], ["'entmax:x'"]),
    ("components at odds", nothing, ["search", "--weighting", "softmax"], ["softmax", "no pruning"]),
    ("an unknown setting", nothing, ["search", "--set", "momentun=1"], ["'momentun'", "Did you mean 'momentum'"]),
    ("a setting without a value", nothing, ["search", "--set", "clip"], ["'clip'", "KEY=VALUE"]),
    ("a setting that is none", nothing, ["search", "--set", "out=x"], ["unknown setting 'out'", "Known: epochs"]),
    ("a phase's setting that is none", nothing, ["run", "--set", "search.out=x"], ["unknown setting 'out'", "Known"]),
    ("an evaluation's setting that is none", nothing, ["evaluate", "PDARTS", "--set", "listener=x"], ["'listener'"]),
    ("a setting of the wrong type", nothing, ["search", "--set", "clip=hard"], ["clip", "'hard'", "number"]),
    ("a setting without its phase", nothing, ["run", "--set", "clip=1"], ["clip", "search.clip", "evaluate.clip"]),
    ("an unknown device", nothing, ["search", *SMALL, "--device", "abacus"], ["'abacus'"]),
    ("a folder in use", nothing, ["search", *SMALL, "--out", "done"], ["done", "--resume done", "--out"]),
    ("resume and out", nothing, ["search", "--resume", "done", "--out", "x"], ["--resume", "--out"]),
    ("resuming nothing", nothing, ["search", "--resume", "gone"], ["gone", "not a run folder"]),
    ("resuming the wrong phase", nothing, ["evaluate", "--resume", "done"], ["done", "diffnas search --resume done"]),
    ("resuming otherwise", nothing, ["search", "--resume", "done", "--lr", "1"], ["lr was 0.025", "--out"]),
    ("resuming with another method", nothing, ["search", "--resume", "done", "--method", "darts"], ["method", "darts"]),
    ("a corrupt checkpoint", corrupt_checkpoint, ["search", "--resume", "done"], ["last.pt", "cannot be read"]),
    ("a corrupt record", corrupt_record, ["search", "--resume", "done"], ["run.json", "damaged"]),
    ("a wrong recorded setting", record_with_a_wrong_setting, ["search", "--resume", "done"], ["epochs", "'many'"]),
    ("a wrong note", record_with_wrong_notes, ["search", "--resume", "done"], ["run.json", "train", "'all'"]),
    ("a corrupt genotype", corrupt_genotype, ["evaluate", "done"], ["genotype.json", "lacks 'cells'"]),
    ("an unknown genotype", nothing, ["draw", "DARTS_V9"], ["'DARTS_V9'", "Did you mean 'DARTS_V2'"]),
    ("a genotype's wrong text", nothing, ["draw", "|conv~7|"], ["conv~7"]),
    ("a missing genotype file", nothing, ["draw", "gone.json"], ["gone.json"]),
    ("a drawing of an unknown kind", nothing, ["draw", "DARTS_V2", "--out", "x.gif"], ["x.gif", ".svg"]),
    ("a drawing into no folder", nothing, ["draw", "DARTS_V2", "--out", "gone/x.svg"], ["gone/x.svg"]),
    ("an evaluation of nothing", nothing, ["evaluate"], ["run folder", "genotype"]),
    ("an evaluation without data", nothing, ["evaluate", "DARTS_V2"], ["no data", "digits"]),
    ("a prediction without a network", nothing, ["predict", "done", "a.png"], ["done", "diffnas evaluate done"]),
    ("a corrupt network", corrupt_network, ["predict", "done", "a.png"], ["done", "cannot be read"]),
    ("an unknown method to show", nothing, ["methods", "dart"], ["'dart'", "Did you mean 'darts'"]),
]


def contents(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("prepare", "arguments", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_wrong_input_gives_one_helpful_line_and_touches_nothing(prepare, arguments, words, place, capsys):
    prepare(place)
    before = contents(place)
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    assert [word for word in words if word not in line] == []
    assert contents(place) == before


SEARCHED = ("epochs", "batch", "lr", "channels", "depth", "seed", "alpha-lr", "alpha-init", "alpha-warmup")
TRAINED = ("epochs", "batch", "lr", "channels", "depth", "seed")
NUMBERS = [
    *(["search", f"--{name}={{}}"] for name in (*SEARCHED, "prune-warmup", "threads")),
    *(["evaluate", "DARTS_V2", "digits", f"--{name}={{}}"] for name in (*TRAINED, "threads")),
    *(
        ["search", "--set", f"{name}={{}}"]
        for name in ("alpha_speed", "momentum", "clip", "cutout", "eigenvalue_every")
    ),
    *(["run", "--set", f"{phase}.seed={{}}"] for phase in ("search", "evaluate")),
    *(["run", f"--{name}={{}}"] for name in ("epochs", "evaluate-epochs", "seed", "threads", "train")),
    ["search", "./pets", "--size={}"],
    ["watch", "done", "--port={}"],
    ["search", "--family", "quiet:{}"],
    ["search", "--stages", "progressive:{}:1"],
    ["search", "--stopping", "after:{}"],
]
ABSURD = ("-1", "1000000000000000000000000000000000", "inf", "nan", "1e400")


@pytest.mark.parametrize("arguments", NUMBERS, ids=" ".join)
def test_a_number_beyond_reason_is_refused_in_one_line_and_touches_nothing(arguments, place, capsys):
    pictures(place / "pets")
    before = contents(place)
    for number in ABSURD:
        assert main([each.format(number) for each in arguments]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        assert line.startswith("error: ")
        assert "must be a" in line or "Input should be a" in line or "cannot" in line
    assert contents(place) == before


def test_an_error_in_a_process_of_its_own_leaves_no_traceback(tmp_path):
    command = [sys.executable, "-m", "diffnas", "search", "--method", "sparze"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: unknown method 'sparze'")
    assert len(ended.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_search_that_leaves_the_numbers_fails_with_exit_code_1(place, capsys):
    assert main(["search", *SMALL, "--lr", "1e30", "--set", "clip=0", "--out", "wild", "--quiet"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "the loss became" in line
    assert "--lr" in line
