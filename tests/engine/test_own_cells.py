"""Searches in which each cell has operations and alpha of its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ways import backend

from diffnas.engine.evaluate import evaluate
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import load
from diffnas.method import METHODS
from diffnas.nets.supernet import Supernet
from diffnas.report.draw import svg
from diffnas.space import darts, dense_cell, nas_bench_201, with_own_cells

SMALL = replace(darts, cells={kind: dense_cell(inputs=2, nodes=2, ops=darts.ops) for kind in darts.cells})


@pytest.mark.parametrize("name", ["sparse", "darts-plus", "gates"])
def test_any_method_can_search_each_cell_by_itself(quick, data, tmp_path: Path, name: str):
    out = tmp_path / "run"
    found = quick(name, space=SMALL, out=out, alpha_per="cell", epochs=1, batch=60)
    assert [len(line["alpha"]) for line in found.trace] == [3 * 5]
    assert list(found.genotype.cells) == ["cell0", "cell1", "cell2"]
    assert load(out / "genotype.json") == found.genotype
    assert len(set(map(tuple, found.trace[0]["alpha"]))) == 15
    settings = EvaluateSettings(epochs=1, batch=60, channels=2, drop_path=0.0, auxiliary=0.0)
    assert 0 <= evaluate(found.genotype, data, settings=settings, device="cpu").test["accuracy"] <= 1
    assert all(f"cell{index}" in svg(found.genotype) for index in range(3))


def test_a_space_of_cells_apart_is_searched_as_it_is_and_at_its_depth_only(quick):
    found = quick(METHODS["darts"], space=with_own_cells(nas_bench_201, 5), depth=5, epochs=1, batch=60)
    assert list(found.genotype.cells) == ["cell0", "cell2", "cell4"]
    with pytest.raises(ValueError, match="each of 5 places, not of 3"):
        quick(METHODS["darts"], space=with_own_cells(nas_bench_201, 5), depth=3)


@pytest.mark.parametrize("keep", ["all", "half"])
def test_cells_for_each_place_give_the_same_in_the_fast_supernet_as_in_the_plain_one(keep: str):
    space = with_own_cells(SMALL, 3)
    torch.manual_seed(0)
    net = Supernet(space, classes=3, channels=4)
    mix = torch.rand(15, 8, requires_grad=True)
    if keep == "half":
        net.prune_(torch.arange(15 * 8).view(15, 8) % 3 > 0)
    # One edge is left with nothing at all.
    rest = torch.ones(15, 8, dtype=torch.bool)
    rest[7] = False
    net.prune_(rest)
    x = torch.randn(2, 3, 8, 8)
    results = []
    for way in ("plain", "fast"):
        net.backend = backend(way)
        logits = net(x, mix)
        results.append((logits, *torch.autograd.grad(logits.square().sum(), [mix, *net.parameters()])))
    for plain, fast in zip(*results, strict=True):
        assert (plain - fast).norm() <= 2e-3 * plain.norm() + 1e-4
