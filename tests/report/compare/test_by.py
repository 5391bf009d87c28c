"""Similarity beyond chance, the courses of searches, and runs compared by a setting."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from diffnas.cli import main
from diffnas.components.discretize import strongest_inputs
from diffnas.genotype import parse
from diffnas.report.compare import read_found
from diffnas.report.compare.courses import agreement_of, death_order, decided_after, linear_cka
from diffnas.report.compare.kappa import chance_of, kappa, mean_kappa, permutation_p, split
from diffnas.report.records import SpaceRecord
from diffnas.space import darts, nas_bench_201

A = np.array([[1.0, 2, 0], [0, 1, 1], [2, 0, 3], [1, 1, 0]])
B = np.array([[1.0, 1, 0], [0, 2, 1], [2, 0, 2], [0, 1, 1]])


def record_of(space) -> SpaceRecord:
    cells = {
        kind: {"edges": [list(edge) for edge in graph.edges], "ops": [list(names) for names in graph.ops]}
        for kind, graph in space.cells.items()
    }
    content = {name: getattr(space, name) for name in ("name", "skeleton", "in_degree")}
    return SpaceRecord.model_validate({**content, "ops": list(space.ops), "cells": cells})


def run_of(genotype, space=nas_bench_201, rule: str = "strongest_inputs"):
    return SimpleNamespace(genotype=genotype, cells=record_of(space), search={"method.discretize": rule})


def random_cells(space, count: int, seed: int = 0):
    draw, keep = torch.Generator().manual_seed(seed), torch.tensor(space.offered)
    return [run_of(strongest_inputs(torch.rand(keep.shape, generator=draw), keep, space), space) for _ in range(count)]


def test_the_level_of_chance_is_that_of_random_cells():
    assert chance_of(record_of(darts)) == pytest.approx(0.0512, abs=0.002)
    assert chance_of(record_of(nas_bench_201)) == pytest.approx(0.1205, abs=0.004)
    # Each edge keeps one of its eight operations, if the rule is not that of the space.
    assert chance_of(record_of(darts), by_edge=True) > chance_of(record_of(darts))


@pytest.mark.parametrize(("space", "count"), [(nas_bench_201, 2000), (darts, 600)], ids=["nas-bench-201", "darts"])
def test_kappa_is_one_for_the_same_cells_and_zero_for_random_ones(space, count: int):
    runs = random_cells(space, count)
    assert kappa(runs[0], runs[0]) == 1
    first, second = runs[::2], runs[1::2]
    # Cells that compute the same count as the same, so random cells of NAS-Bench-201 are a little above 0.
    assert np.mean([kappa(*pair) for pair in zip(first, second, strict=True)]) == pytest.approx(0.0, abs=0.02)


def test_cells_that_compute_the_same_are_the_same():
    one, two = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|", "|none~0|+|nor_conv_3x3~0|skip_connect~1|"
    first, second = (run_of(parse(text + "+|none~0|none~1|nor_conv_3x3~2|")) for text in (one, two))
    assert kappa(first, second) == 1


def test_kappa_of_runs_in_other_spaces_is_unknown():
    assert kappa(random_cells(darts, 1)[0], random_cells(nas_bench_201, 1)[0]) is None


def test_groups_that_differ_are_told_from_groups_that_do_not():
    (a, b), rest = random_cells(nas_bench_201, 2, seed=1), random_cells(nas_bench_201, 8, seed=5)
    apart = split([[a] * 4, [b] * 4])
    assert apart.within == 1 > apart.between
    assert apart.p == pytest.approx(2 / 70, abs=0.015), "two of the 70 ways to deal eight runs"
    assert split([rest[:4], rest[4:]]).p > 0.05
    few = split([[a] * 3, [b] * 4])
    assert few.p is None
    assert few.within == 1
    assert mean_kappa([a]) is None


def test_the_p_of_the_permutation_test_is_uniform_if_groups_do_not_differ():
    draw, labels, found = np.random.default_rng(0), np.repeat([0, 1], 4), []
    for _ in range(200):
        alike = draw.random((8, 8))
        found.append(permutation_p(alike + alike.T, labels, permutations=99, seed=int(draw.integers(1000))))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_linear_cka_is_the_golden_one_and_blind_to_rotation_and_scale():
    assert linear_cka(A, B) == pytest.approx(0.8305699, abs=1e-6)
    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    assert linear_cka(A, 4 * A @ turned + 1) == pytest.approx(1.0)


def test_the_distance_of_weights_is_zero_for_the_same_and_ln_2_for_opposite_ones():
    one, other = np.array([[1.0, 0], [0.54, 0.46]]), np.array([[0.0, 1], [0.46, 0.54]])
    assert agreement_of(one, one) == (pytest.approx(0, abs=1e-12), 1.0, 1.0)
    found = agreement_of(one[:1], other[:1])
    assert found.distance == pytest.approx(np.log(2))
    assert (found.winners, agreement_of(one, other).sure) == (0.0, 0.0)
    assert agreement_of(one[1:], other[1:]).sure is None, "a coin toss on both sides"


def test_a_winner_that_loses_the_lead_again_is_not_decided_by_then():
    lines = [{"mix": mix} for mix in ([[1, 0], [0, 1]], [[0, 1], [0, 1]], [[1, 0], [0, 1]], [[1, 0], [0, 1]])]
    assert decided_after(lines) == (3 + 1) / 2
    assert decided_after([]) is None


def test_the_order_of_deaths_is_compared_by_kendalls_tau():
    def lines(*removed: int):
        return [{"keep": [[op not in removed[:epoch] for op in range(4)]]} for epoch in range(len(removed) + 1)]

    assert death_order(lines(0, 1, 2), lines(0, 1, 2)) == pytest.approx(1.0)
    assert death_order(lines(0, 1, 2), lines(2, 1, 0)) == pytest.approx(-1.0)
    assert death_order(lines(0), lines(1)) is None


@pytest.fixture
def runs(quick, tmp_path: Path) -> Path:
    from diffnas.method import compose

    for name, parts in (("torch", {}), ("he", {"initial": "he"}), ("rotation", {"pretext": "rotation"})):
        for seed in (1, 2):
            method, length = compose("darts", parts), {"pretext_epochs": 1} if "pretext" in parts else {}
            quick(method, out=tmp_path / f"{name}-{seed}", epochs=1, seed=seed, **length)
    return tmp_path


def test_the_command_compares_runs_by_a_setting(runs: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["compare", str(runs), "--by", "initial,pretext", "--markdown"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = [line.split("|")[1].strip() for line in rows[1:5]]
    assert names[:2] == ["darts, pretext_epochs=0: he, None", "darts, pretext_epochs=0: pytorch, None"]
    assert names[2].endswith("pytorch, rotation")
    assert main(["compare", str(runs), "--by", "initial,pretext,pretext_epochs", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["tables"][0]
    assert [row[:2] for row in table["rows"]] == [
        ["he, None, 0", "2"],
        ["pytorch, rotation, 1", "2"],
        ["pytorch, None, 0", "2"],
    ]
    assert "too few runs for a test" in table["note"]
    assert main(["compare", str(runs), "--by", "inital"]) == 2
    assert "Did you mean 'initial'" in capsys.readouterr().err


def test_runs_that_differ_in_any_of_their_seeds_are_one_group(quick, tmp_path: Path):
    for name, seeds in {"a": {}, "b": {"weights_seed": 3}, "c": {"order_seed": 4}}.items():
        quick("darts", out=tmp_path / name, epochs=1, **seeds)
    from diffnas.report.compare import grouped

    found = [read_found(tmp_path / name) for name in "abc"]
    (group,) = grouped(found)
    assert len(group.runs) == 3


def test_the_time_of_a_run_has_that_of_its_pretext(runs: Path):
    found = read_found(runs / "rotation-1")
    assert len(found.lines) == 1
    assert found.pretext_seconds > 0
