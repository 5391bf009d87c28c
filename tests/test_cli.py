import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

import diffnas
from diffnas.cli import main
from diffnas.cli.options import new_folder
from diffnas.cli.progress import Display
from diffnas.data import DESCRIPTIONS

SMALL = ["--space", "nas-bench-201", "--train", "100", "--channels", "4", "--depth", "3"]
TINY = [*SMALL, "--epochs", "1"]
TINY_NET = ["--epochs", "1", "--channels", "4", "--depth", "3", "--set", "auxiliary=0"]
TINY_RUN = ["--space", "nas-bench-201", "--train", "100", "--epochs", "1", "--evaluate-epochs", "1"]
TINY_RUN += [f"--set={phase}.{key}" for phase in ("search", "evaluate") for key in ("channels=4", "depth=3")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run, searched and evaluated."""
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["run", *TINY_RUN, "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture
def wide(monkeypatch):
    """A terminal in which no line is wrapped."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--help", "evaluate"),
        ("--version", diffnas.__version__),
        ("spaces", "nas-bench-201"),
        ("data", "cifar10"),
        ("recipes", "quick"),
        ("methods", "path-regularized"),
    ],
)
def test_help_and_what_is_plain_data_are_there_at_once_and_without_torch(words, expected):
    code = "import sys; from diffnas.cli import main; assert main([sys.argv[1]]) == 0; sys.exit('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert expected in ended.stdout


def test_no_command_at_all_shows_the_help(capsys):
    assert main([]) == 0
    assert "predict" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["run", "search", "evaluate", "draw", "report", "predict", "methods", "spaces", "data"]
)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert "Usage: diffnas" in capsys.readouterr().out


def test_a_whole_run_prints_the_cell_the_test_accuracy_and_where_everything_is(tmp_path, wide, capsys):
    out = tmp_path / "run"
    assert main(["run", *TINY_RUN, "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "normal cell" in told.out
    assert re.search(r"live operations +30 -> \d+", told.out)
    assert re.search(r"test accuracy +\d+\.\d\d% on 450 pictures", told.out)
    for name in ("genotype.json", "cell.svg", "cell.png", "evaluation/network.safetensors", "report.html"):
        assert str(out / name) in told.out
        assert (out / name).stat().st_size > 0
    assert f"diffnas predict {out} PICTURE" in told.out
    assert "search: epoch 1/1, loss" in told.err
    assert "evaluate: epoch 1/1, loss" in told.err


def test_json_is_all_there_is_on_the_standard_output(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["search", *TINY, "--out", str(out), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["folder"] == str(out)
    assert numbers["search"]["genotype"] == json.loads((out / "genotype.json").read_text())
    assert numbers["search"]["offered_ops"] == 30
    assert main(["evaluate", str(out), *TINY_NET, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["evaluation"]["test"] == json.loads((out / "evaluation/result.json").read_text())["test"]


def test_quiet_prints_one_line(tmp_path, capsys):
    assert main(["search", *TINY, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert "epoch 1/1" not in told.err


def test_without_out_every_run_gets_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["search", *TINY, "--seed", "7", "--quiet"]) == 0
    assert sorted(os.listdir("runs")) == ["digits-sparse-seed7", "digits-sparse-seed7-2"]


@pytest.mark.parametrize(
    ("data", "name"),
    [("digits", "digits"), ("hub:fancy/pets:small", "pets-small"), ("../my pictures/", "my-pictures"), ("/", "sparse")],
)
def test_a_run_folder_is_named_after_its_data(data, name, tmp_path):
    method = "sparse" if name != "sparse" else ""
    expected = f"{name}-sparse-seed0" if method else "sparse-seed0"
    assert new_folder(data, "sparse", 0, tmp_path) == tmp_path / expected


def test_every_option_reaches_its_setting(tmp_path):
    options = {
        "batch": ("--batch", "50"),
        "lr": ("--lr", "0.01"),
        "alpha_lr": ("--alpha-lr", "0.002"),
        "alpha_init": ("--alpha-init", "0.0005"),
        "alpha_warmup": ("--alpha-warmup", "1"),
        "prune_warmup": ("--prune-warmup", "1"),
        "seed": ("--seed", "5"),
        "clip": ("--set", "clip=1"),
        "split": ("--set", "split=ordered"),
        "nesterov": ("--set", "nesterov=true"),
    }
    words = [word for pair in options.values() for word in pair]
    parts = ["--weighting", "entmax:2", "--level", "bilevel", "--stopping", "all-decided", "--pruning", "none"]
    parts += ["--regularizers", "groups:0.2:0.1,path-sum"]
    out = tmp_path / "run"
    given = ["--space", "nas-bench-201", "--train", "100", "--epochs", "1", "--channels", "4", "--cells", "3"]
    assert (
        main(["search", *given, *words, *parts, "--discretize", "strongest-inputs", "--out", str(out), "--quiet"]) == 0
    )
    record = json.loads((out / "run.json").read_text())
    expected = {name: value.rpartition("=")[2] for name, (_, value) in options.items()}
    settings = record["settings"]
    assert {name: type(settings[name])(expected[name] != "false" and expected[name]) for name in expected} == {
        name: settings[name] for name in expected
    }
    assert settings["depth"] == 3
    method = record["method"]
    assert (method["weighting"], method["level"], method["pruning"]) == ("entmax(order=2.0)", "bilevel", "None")
    assert (method["stopping"], method["discretize"]) == ("(all_decided)", "strongest_inputs")
    assert method["regularizers"] == "(group_sparsity(skip=0.2, rest=0.1), path_depth(joined='sum'))"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_search_that_is_interrupted_says_how_to_go_on_and_ends_as_if_it_never_was(
    number, code, tmp_path, monkeypatch, capsys
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = [*SMALL, "--epochs", "3", "--batch", "32", "--device", "cpu", "--quiet"]
    assert main(["search", *options, "--out", str(whole)]) == 0
    steps = []

    def step(self, loss, accuracy):
        steps.append(loss)
        if len(steps) == 6:  # in the middle of the second epoch
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "step", step)
        assert main(["search", *options, "--out", str(broken)]) == code
    told = capsys.readouterr()
    (line,) = [line for line in told.err.splitlines() if "interrupted" in line]
    assert f"--resume {broken}" in line
    assert len(steps) == 6
    assert main(["search", "--resume", str(broken), "--quiet"]) == 0
    assert (broken / "genotype.json").read_bytes() == (whole / "genotype.json").read_bytes()
    traces = [[json.loads(line) for line in (p / "trace.jsonl").read_text().splitlines()] for p in (whole, broken)]
    assert [line["alpha"] for line in traces[0]] == [line["alpha"] for line in traces[1]]


def test_a_process_told_to_end_saves_where_it_was(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "diffnas", "search", *SMALL, "--epochs", "5000", "--out", str(out)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 100
        while not (out / "checkpoint" / "last.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        printed, told = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 130, told
    assert printed == ""
    assert f"--resume {out}" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert (out / "checkpoint" / "last.pt").exists()


def test_an_evaluation_is_resumed_by_its_folder_or_by_that_of_its_search(finished, capsys):
    tested = json.loads((finished / "evaluation" / "result.json").read_text())["test"]
    for folder in (finished, finished / "evaluation"):
        assert main(["evaluate", "--resume", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["evaluation"]["test"] == tested


def test_a_published_cell_is_evaluated_into_a_folder_named_after_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--epochs", "1", "--channels", "4", "--depth", "3", "--batch", "256", "--set", "auxiliary=0"]
    assert main(["evaluate", "PC_DARTS_cifar", "digits", *small]) == 0
    assert os.listdir("runs") == ["digits-PC_DARTS_cifar-seed0"]
    assert "test accuracy" in capsys.readouterr().out


def test_draw_writes_both_pictures_unless_told_which(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", str(finished)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(finished / "cell.svg"), str(finished / "cell.png")]
    assert main(["draw", "PDARTS"]) == 0
    assert capsys.readouterr().out.split() == ["PDARTS.svg", "PDARTS.png"]
    assert (tmp_path / "PDARTS.svg").read_text().startswith("<svg")
    assert main(["draw", "DARTS_V2", "--out", "a.pdf", "--out", "b.svg"]) == 0
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "b.svg").exists()


def test_predict_names_classes_as_the_network_does_and_goes_on_after_an_unreadable_file(finished, tmp_path, capsys):
    picture, broken = tmp_path / "picture.png", tmp_path / "broken.png"
    Image.new("RGB", (24, 16), (200, 30, 30)).save(picture)
    broken.write_bytes(b"not a picture")
    files = [str(broken), str(tmp_path / "gone.png"), str(picture)]
    assert main(["predict", str(finished), *files, "--top", "3", "--json"]) == 2
    told = capsys.readouterr()
    assert [line.startswith("error: ") for line in told.err.splitlines()] == [True, True]
    assert str(broken) in told.err.splitlines()[0]
    (named,) = json.loads(told.out)["predictions"]
    # Grey of 200, 30, 30 by the ITU-R 601 weights, everywhere.
    grey = torch.full((1, 1, 8, 8), round(200 * 0.299 + 30 * 0.587 + 30 * 0.114), dtype=torch.uint8)
    expected = diffnas.load(finished).predict(grey)[0].topk(3)
    assert [guess["name"] for guess in named["classes"]] == [str(k) for k in expected.indices.tolist()]
    assert named["classes"][0]["probability"] == pytest.approx(float(expected.values[0]), abs=1e-6)
    assert main(["predict", str(finished), str(picture)]) == 0
    assert re.fullmatch(rf"{re.escape(str(picture))}: \d [\d.]+%\n", capsys.readouterr().out)


def test_files_that_are_not_pictures_are_reported_and_listed(tmp_path, wide, capsys):
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for row in range(8):
            Image.new("L", (8, 8), 100 * k + row).save(tmp_path / "pets" / name / f"{row}.png")
    for row in range(4):
        (tmp_path / "pets" / "cat" / f"notes{row}.txt").write_text("meow")
    out = tmp_path / "run"
    given = ["--space", "nas-bench-201", "--epochs", "1", "--channels", "4", "--depth", "3"]
    assert main(["search", str(tmp_path / "pets"), *given, "--out", str(out), "--quiet"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "4 files were skipped: cat/notes0.txt" in told
    assert "skipped.txt" in told
    assert len((out / "skipped.txt").read_text().splitlines()) == 4
    assert json.loads((out / "run.json").read_text())["notes"]["data"]["what"] == str(tmp_path / "pets")


@pytest.mark.parametrize(
    ("command", "table"),
    [("methods", diffnas.METHODS), ("spaces", diffnas.SPACES), ("recipes", diffnas.RECIPES), ("data", DESCRIPTIONS)],
)
def test_a_list_names_everything_there_is_and_each_can_be_shown(command, table, wide, capsys):
    assert main([command]) == 0
    listed = capsys.readouterr().out
    assert [name for name in table if name not in listed] == []
    for name in table if command != "data" else ():
        assert main([command, name]) == 0
        assert len(capsys.readouterr().out.splitlines()) > 2


def test_a_method_is_shown_with_its_components(wide, capsys):
    assert main(["methods", "sparse"]) == 0
    assert re.search(r"weighting: entmax\(order=3.0\)", capsys.readouterr().out)
