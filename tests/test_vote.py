"""Votes of seeds: the cell of the mean mixing weights."""

import dataclasses
import json
import shutil

import pytest
import torch

import diffnas
from diffnas.cli import main
from diffnas.components import discretize
from diffnas.genotype import to_text
from diffnas.report.compare.likeness import by_edge
from diffnas.space import nas_bench_201

TINY = {"space": "nas-bench-201", "train": 60, "epochs": 2, "channels": 4, "depth": 3, "batch": 10, "alpha_lr": 0.1}
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder with three seeds of one search."""
    place = tmp_path_factory.mktemp("vote")
    for seed in SEEDS:
        diffnas.search(method="single-level", seed=seed, out=place / f"s{seed}", **TINY)
    return place


def runs(searched):
    return [searched / f"s{seed}" for seed in SEEDS]


def last_mix(folder):
    return torch.tensor(json.loads((folder / "trace.jsonl").read_text().splitlines()[-1])["mix"])


def test_the_vote_is_the_cell_of_the_mean_of_all_mixing_weights(searched):
    vote = diffnas.vote(runs(searched))
    mean = torch.stack([last_mix(run) for run in runs(searched)]).mean(dim=0)
    twin = [nas_bench_201.ops[int(column)] for column in mean.argmax(dim=1)]
    edges = [("normal", edge.source, edge.target) for _, edge in nas_bench_201.edges]
    assert {edge: op for edge, (op, _) in vote.edges.items()} == dict(zip(edges, twin, strict=True))
    assert by_edge(vote.genotype) == dict(zip(edges, twin, strict=True))


def test_agreement_is_the_share_of_seeds_whose_own_cell_has_what_the_vote_has(searched):
    vote = diffnas.vote(runs(searched))
    own = [by_edge(diffnas.read(run)) for run in runs(searched)]
    for edge, (op, share) in vote.edges.items():
        assert share == sum(cells[edge] == op for cells in own) / 3
    assert 0 < vote.agreement <= 1
    assert vote.seconds > 0


def test_seeds_that_agree_vote_for_their_own_cell(searched):
    for copy in ("s0-copy", "s0-again"):
        shutil.copytree(searched / "s0", searched.parent / copy, dirs_exist_ok=True)
    vote = diffnas.vote([searched.parent / "s0-copy", searched.parent / "s0-again"])
    assert vote.genotype == diffnas.read(searched / "s0")
    assert vote.agreement == 1


def test_the_command_writes_a_genotype_that_evaluate_takes(searched, tmp_path, capsys):
    out = tmp_path / "voted.json"
    assert main(["vote", str(searched), "--out", str(out)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "The vote of 3 seeds of single-level" in told
    assert "The 3 searches took" in told
    assert main(["vote", *map(str, runs(searched)), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(out)
    assert len(told["edges"]) == 6
    small = ["--epochs", "1", "--channels", "4", "--depth", "3", "--set", "auxiliary=0", "--quiet"]
    assert main(["evaluate", str(out), "digits", *small, "--out", str(tmp_path / "e")]) == 0
    assert to_text(diffnas.read(out)) == to_text(diffnas.vote(runs(searched)).genotype)


def test_what_one_search_kept_counts_but_for_a_rule_that_takes_all_that_is_left(searched, monkeypatch):
    skip, conv = nas_bench_201.column("skip_connect"), nas_bench_201.column("nor_conv_3x3")
    first = torch.zeros(6, 5, dtype=torch.float64)
    first[:, skip] = 1.0
    second = torch.zeros(6, 5, dtype=torch.float64)
    second[:, conv] = 4.0
    scores = dict(zip(runs(searched), [first, first, second], strict=True))
    monkeypatch.setattr("diffnas.api.vote._scores", lambda run, *others: (scores[run], scores[run] > 0))
    for rule, expected in ((discretize.winners, "nor_conv_3x3"), (discretize.survivors, "skip_connect")):
        method = dataclasses.replace(diffnas.METHODS["sparse"], discretize=rule)
        vote = diffnas.vote(runs(searched), method=method)
        assert set(by_edge(vote.genotype).values()) == {expected}


def test_wrong_votes_are_refused_in_one_line(searched, tmp_path, capsys):
    diffnas.search(method="darts", seed=0, out=tmp_path / "other", **TINY)
    cases = {
        ("gone",): "there is no run folder 'gone'",
        (str(searched / "s0"),): "two runs or more, and 1 were given",
        (str(searched / "s0"), str(tmp_path / "other")): "nothing but their seeds can vote, and these are 2 groups",
    }
    for words, part in cases.items():
        assert main(["vote", *words, "--out", str(tmp_path / "v.json")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert part in line
    assert not (tmp_path / "v.json").exists()


def test_cells_that_are_read_off_from_more_than_the_weights_cannot_be_voted_for(searched):
    folders = runs(searched)
    other = dataclasses.replace(
        diffnas.METHODS["single-level"],
        discretize=lambda scores, keep, space: diffnas.read("|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|"),
    )
    with pytest.raises(ValueError, match="do not give the cells that its search found"):
        diffnas.vote(folders, method=other)
