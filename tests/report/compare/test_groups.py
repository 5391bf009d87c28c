"""Which runs belong together: those of one target, and those that differ in settings that a user names."""

import json
from pathlib import Path

import pytest
from made_runs import changed, groups_of, make_run

from diffnas.cli import main
from diffnas.report.compare import grouped, read_found


def aimed(folder: Path, channels: int, seed: int, **aim: object) -> Path:
    """A run that was brought to a target by its width."""
    make_run(folder, seed=seed, accuracy=0.6)
    size = {"channels": 16, "depth": 5, "stem": "cifar"}
    changed(folder / "run.json", target={"targets": ["macs=1M"], "family": [], "size": size, "width": "fit", **aim})
    changed(folder / "landing.json", size={**size, "channels": channels}, text="landed", met=True)
    how = json.loads((folder / "evaluation" / "run.json").read_text())["settings"]
    changed(folder / "evaluation" / "run.json", settings={**how, "channels": channels, "stem": "cifar"})
    return folder


def test_runs_with_a_target_are_one_group_whatever_width_each_landed_at(tmp_path, capsys):
    for seed, channels in enumerate((14, 15)):
        aimed(tmp_path / f"small-{seed}", channels, seed)
    aimed(tmp_path / "large-0", 15, 0, targets=["macs=3M"])
    assert {group.label: len(group.runs) for group in groups_of(tmp_path)} == {
        "sparse (target=macs=1M)": 2,
        "sparse (target=macs=3M)": 1,
    }
    make_run(tmp_path / "no-target", accuracy=0.6)
    assert len(groups_of(tmp_path)) == 3
    # A table of how networks were trained still has their size.
    assert main(["compare", str(tmp_path), "--table1", "--json"]) == 0
    assert "15 channels, 5 cells" in json.loads(capsys.readouterr().out)["tables"][0]["note"]


@pytest.mark.parametrize(
    "aim",
    [
        {"size": {"channels": 16, "depth": 8, "stem": "cifar"}},
        {"family": ["macs=2M"]},
        {"start": 2.0},
        {"tightens": True},
        {"width": "fixed"},
    ],
)
def test_what_else_decides_where_a_search_lands_keeps_runs_apart(tmp_path, aim):
    aimed(tmp_path / "plain", 14, 0)
    aimed(tmp_path / "other", 14, 0, **aim)
    assert len(groups_of(tmp_path)) == 2


def test_a_size_that_does_not_follow_from_the_target_is_another_group(tmp_path):
    runs = [aimed(tmp_path / f"run-{seed}", 14, seed) for seed in range(2)]
    changed(runs[1] / "landing.json", size={"channels": 12, "depth": 5, "stem": "cifar"})
    assert len(groups_of(tmp_path)) == 2


def test_settings_may_differ_within_a_group_if_they_are_named(tmp_path, capsys):
    for seed in range(3):
        make_run(tmp_path / f"sparse-{seed}", seed=seed, accuracy=0.6, evaluation_epochs=5 + seed, lr=seed)
    found = list(map(read_found, tmp_path.iterdir()))
    assert len(grouped(found)) == len(grouped(found, ["lr", "seed"])) == 3
    (group,) = grouped(found, ["lr", "epochs"])
    assert (group.label, len(group.runs)) == ("sparse", 3)
    with pytest.raises(ValueError, match=r"unknown setting 'epoch'\. Did you mean 'epochs'\?"):
        grouped(found, ["epoch"])
    with pytest.raises(ValueError, match="unknown setting 'data'"):
        grouped(found, ["data"])
    # Other tables of the same command still know these settings.
    assert main(["compare", str(tmp_path), "--across", "lr, epochs", "--by", "lr", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tables"][0]["rows"]) == 3
    assert main(["compare", str(tmp_path), "--across", "lr,"]) != 0
    assert "'lr,' is no list of names" in capsys.readouterr().err


def test_no_two_groups_have_the_same_label(tmp_path):
    alike = {"a": 1, "b": 1, "c": 1}
    make_run(tmp_path / "one", **alike, d=1)
    make_run(tmp_path / "two", **alike, d=2)
    make_run(tmp_path / "three", a=2, b=2, c=2, d=1)
    labels = [group.label for group in groups_of(tmp_path)]
    assert sorted(labels) == [
        "sparse (a=1, b=1, c=1, d=1)",
        "sparse (a=1, b=1, c=1, d=2)",
        "sparse (a=2, b=2, c=2, ...)",
    ]
