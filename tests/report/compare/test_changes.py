"""Runs beside one of them."""

import json
from pathlib import Path

import pytest
from made_runs import MIXED, OTHER, make_run

from diffnas.cli import main


def changes_from(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The rows of the table of changes, by what was changed."""
    assert main(["compare", str(folder), "--changes-from", name, "--json"]) == 0
    grid = json.loads(capsys.readouterr().out)["tables"][0]
    assert grid["title"] == f"Changes from {name}"
    assert len({row[0] for row in grid["rows"]}) == len(grid["rows"])
    return {row[0]: row[1:] for row in grid["rows"]}


def test_what_was_changed_is_told_with_how_far_the_runs_then_are(tmp_path, capsys):
    make_run(tmp_path / "base", MIXED, seed=0, lr=1, accuracy=0.5)
    make_run(tmp_path / "again", MIXED, seed=0, lr=1, accuracy=0.5)
    make_run(tmp_path / "seed-1", OTHER, seed=1, lr=1, accuracy=0.6)
    make_run(tmp_path / "seed-2", MIXED, seed=2, lr=1, accuracy=0.8)
    make_run(tmp_path / "faster", OTHER, seed=0, lr=2)
    make_run(tmp_path / "slower", MIXED, seed=0, lr=0.5, accuracy=0.5, evaluation_epochs=600)
    lines = [json.loads(line) for line in (tmp_path / "faster" / "trace.jsonl").read_text().splitlines()]
    lines[-1]["mix"] = [[0.75]]
    (tmp_path / "faster" / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert changes_from(tmp_path, "base", capsys) == {
        "(base)": ["1", "", "", "", "50.00%"],
        "nothing": ["1", "100%", "", "0.000", "50.00%"],
        "seed": ["2", "83%", "67%", "0.000", "70.00% ± 14.14%"],
        "lr=2": ["1", "67%", "", "0.250", ""],
        "lr=0.5, evaluation epochs=600": ["1", "100%", "", "0.000", "50.00%"],
    }


def test_runs_that_differ_in_many_ways_have_a_row_for_each_way(tmp_path, capsys):
    alike = {"a": 2, "b": 2, "c": 2}
    make_run(tmp_path / "base", a=1, b=1, c=1, d=1)
    make_run(tmp_path / "one", **alike, d=1, e=1)
    make_run(tmp_path / "two", **alike, d=2)
    make_run(tmp_path / "darts", method="darts", a=1, b=1, c=1, d=1, finished=False)
    (make_run(tmp_path / "bare") / "run.json").unlink()
    assert main(["compare", str(tmp_path), "--changes-from", "base", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["tables"][0]["rows"]
    assert sorted(row[0] for row in rows) == [
        "(base)",
        "a=2, b=2, c=2, ...",
        "a=2, b=2, c=2, ...",
        "not finished, method=darts",
        "search unknown",
    ]


def test_trainings_of_other_cells_are_told_as_such(tmp_path, capsys):
    for name, cell in (("base", MIXED), ("other", OTHER)):
        folder = make_run(tmp_path / name, cell, accuracy=0.5)
        for file in (folder / "evaluation").iterdir():
            file.rename(folder / file.name)
        (folder / "genotype.json").unlink()
        (folder / "trace.jsonl").unlink()
    assert changes_from(tmp_path, "base", capsys)["cells"] == ["1", "67%", "", "", "50.00%"]


def test_the_run_from_which_others_differ_has_a_name_of_its_own(tmp_path, capsys):
    for folder in ("one", "two"):
        make_run(tmp_path / folder / "sparse-0")
    assert main(["compare", str(tmp_path), "--changes-from", "sparse-1"]) != 0
    assert "unknown run 'sparse-1'. Did you mean 'sparse-0'?" in capsys.readouterr().err
    assert main(["compare", str(tmp_path), "--changes-from", "sparse-0"]) != 0
    assert "more than one run is called 'sparse-0'" in capsys.readouterr().err
