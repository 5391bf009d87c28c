"""Whole runs of transformers on texts and other sequences, by the command line."""

import json
from pathlib import Path

import pytest

import diffnas
from diffnas.api import contest
from diffnas.api.contest import asked
from diffnas.api.notes import recipe_on
from diffnas.api.whole_run import recipe_for
from diffnas.cli import main
from diffnas.engine.settings import Source
from diffnas.genotype import read
from diffnas.recipes import RECIPES, recipe_of, recipe_of_skeleton
from diffnas.space import SPACES

TINY = [
    f"--set={phase}.{key}"
    for phase in ("search", "evaluate")
    for key in ("channels=8", "batch=4", "window=8", "depth=1")
]
TINY += ["--epochs", "1", "--evaluate-epochs", "1", "--set=search.alpha_warmup=0", "--quiet"]


@pytest.fixture(scope="module")
def finished(book: Path) -> Path:
    """A whole run on a text as users begin it, beside a recurrent net and a network of the same space."""
    out = book.parent / "run"
    assert main(["run", str(book), *TINY, "--against", "lstm,deit-like", "--out", str(out)]) == 0
    return out


def test_the_space_of_transformers_has_recipes_of_its_own_for_each_kind_of_sequences(finished: Path):
    record = json.loads((finished / "run.json").read_text())
    assert record["notes"]["recipe"] == "text-transformer"
    assert record["settings"]["optimizer"] == "adamw"
    assert record["data"]["size"] == [8]
    recurrent = {"text-words": "text-transformer", "sequences-small": "sequences-transformer"}
    for name, own in (recurrent | {"forecast-small": "forecast-transformer"}).items():
        assert {recipe_of("transformer", name), recipe_of_skeleton("transformer-graph", name)} == {own}
        assert recipe_of("recurrent", name) == recipe_of(None, name) == name
        assert RECIPES[own].space == "transformer"


def test_transformers_are_the_default_for_characters_and_recurrent_nets_have_their_own_recipe_there():
    assert recipe_on("text", Source()) == recipe_for("text") == recipe_for("text", "transformer") == "text-transformer"
    assert recipe_for("text", "recurrent") == recipe_of_skeleton("lstm", "text-transformer") == "text-small"


def test_contenders_on_a_text_are_alike_in_parameters_and_their_cost_is_that_of_a_step(finished: Path):
    results = {
        name: json.loads((finished / "contenders" / f"{name}-seed0" / "result.json").read_text())
        for name in ("lstm", "deit-like")
    }
    verdict = json.loads((finished / "verdict.json").read_text())
    costs = {each["name"]: each["macs"] for each in verdict["contenders"]}
    assert costs["lstm"] == results["lstm"]["macs"]
    assert costs["deit-like"] == results["deit-like"]["macs"] // 8


def test_a_name_that_pictures_and_sequences_share_is_that_of_the_data():
    found = read("deit-like")
    for sequences, skeleton in ((True, "recurrent"), (False, "darts")):
        (_, other) = contest.entries(
            asked("DARTS_V2"), found, {}, SPACES["transformer"], 0, lambda cells: {}, sequences=sequences
        )
        assert other.genotype.skeleton == skeleton


def test_a_prompt_longer_than_the_window_is_continued_from_its_end(finished: Path, capsys):
    trained = diffnas.load(finished / "evaluation")
    assert trained.size == (8,)
    said = diffnas.continue_text(trained, "the cat sat on the mat", length=12)
    assert said == diffnas.continue_text(trained, "ignored: on the mat"[-8:], length=12)
    assert said == diffnas.continue_text(trained, "the cat sat on the mat", length=12)
    assert main(["predict", str(finished / "evaluation"), "--prompt", "t", "--length", "12"]) == 0
    assert len(capsys.readouterr().out) == 1 + 12 + 1


def test_what_a_network_of_windows_costs_is_told_for_a_window(book: Path, tmp_path: Path, capsys):
    sizes = ["--channels", "8", "--batch", "4", "--window", "8", "--depth", "1"]
    assert main(["search", str(book), "--space", "transformer", *sizes, "--dry-run"]) == 0
    assert "multiply-adds a window of 8 tokens" in " ".join(capsys.readouterr().out.split())
    out = str(tmp_path / "deit")
    assert main(["evaluate", "deit-like", str(book), *sizes, "--epochs", "1", "--out", out]) == 0
    assert "multiply-adds a window of 8 tokens" in " ".join(capsys.readouterr().out.split())
    record = json.loads((tmp_path / "deit" / "run.json").read_text())
    assert record["settings"]["lr"] == RECIPES["text-transformer"].evaluate["lr"]
    diffnas.export(out, ["source", "exported"])
    assert (tmp_path / "deit" / "export" / "network.py").exists()


def test_sequences_with_a_label_are_read_whole_and_longer_ones_refused(tmp_path: Path, capsys):
    for name, slope in (("down", -1), ("up", 1)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            rows = [f"{slope * step + number}" for step in range(4 + number % 3)]
            (tmp_path / "data" / name / f"{number}.csv").write_text("\n".join(rows))
    out = str(tmp_path / "run")
    assert main(["run", str(tmp_path / "data"), "--space", "transformer", *TINY, "--out", out]) == 0
    assert diffnas.load(out).size == (6,)
    assert main(["predict", out, str(tmp_path / "data" / "up" / "0.csv")]) == 0
    (tmp_path / "long.csv").write_text("\n".join(map(str, range(9))))
    capsys.readouterr()
    assert main(["predict", out, str(tmp_path / "long.csv")]) == 2
    assert "9 steps are too many: this transformer has positions for 6" in " ".join(capsys.readouterr().err.split())
    diffnas.export(out, ["exported"])


def test_the_row_after_a_long_table_follows_from_its_last_window(tmp_path: Path, capsys):
    table = [f"{step % 5},{step % 3}" for step in range(200)]
    (tmp_path / "table.csv").write_text("\n".join(table))
    (tmp_path / "end.csv").write_text("\n".join(table[-8:]))
    out = str(tmp_path / "run")
    assert main(["run", str(tmp_path / "table.csv"), "--space", "transformer", *TINY, "--out", out]) == 0
    capsys.readouterr()
    assert main(["predict", out, str(tmp_path / "table.csv"), str(tmp_path / "end.csv"), "--json"]) == 0
    whole, end = json.loads(capsys.readouterr().out)["predictions"]
    assert whole["next"] == pytest.approx(end["next"], rel=1e-4)
    diffnas.export(out, ["source"])  # its test rows are fewer than a window, so training rows check the file
