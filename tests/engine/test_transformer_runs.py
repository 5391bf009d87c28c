"""Searches and evaluations of transformers: removal, resumes, refusals, targets and what they learn."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same

import diffnas
from diffnas.components import regularizer
from diffnas.components.relaxation import Relaxation
from diffnas.components.schedule import Moment
from diffnas.data import DataSet, set_aside
from diffnas.engine.aim import Aim, sized
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Interrupted
from diffnas.engine.optimizers import optimizer_of
from diffnas.engine.scaling import nearest
from diffnas.engine.search import search
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.engine.target import Target
from diffnas.genotype import from_json, handmade, parse, to_json, to_text
from diffnas.genotype.own_space import own_space
from diffnas.method import METHODS
from diffnas.nets.network import Network
from diffnas.nets.sized import Size
from diffnas.recipes import RECIPES
from diffnas.space import transformer, transformer_graph, with_own_cells

TINY = SearchSettings(
    epochs=2, batch=10, channels=8, depth=2, alpha_lr=0.3, optimizer="adamw", decay="matrices", alpha_per="cell"
)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    """Thirty digits: three steps an epoch on one level."""
    whole = diffnas.load_data("digits")
    return replace(whole, train=whole.train.subset(torch.arange(30)), test=whole.test.subset(torch.arange(10)))


def test_operations_leave_the_search_with_what_the_optimizer_remembers_and_it_goes_on_bit_for_bit(
    digits: DataSet, tmp_path: Path
) -> None:
    settings = replace(TINY, epochs=3)
    whole = search(digits, space=transformer, method=METHODS["sparse"], settings=settings, out=tmp_path / "whole")
    kept = [sum(map(sum, line["keep"])) for line in whole.trace]
    assert kept[0] > kept[-1], "nothing was removed: the test shows nothing"
    run = {"space": transformer, "method": METHODS["sparse"], "settings": settings, "out": tmp_path / "parts"}
    with pytest.raises(Interrupted):
        search(digits, listener=Stop(4), **run)
    search(digits, resume=True, **run)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    state = torch.load(tmp_path / "whole" / "checkpoint" / "last.pt", weights_only=True)
    remembered = state["weight_optimizer"]["state"]
    moved = sum(len(group["params"]) for group in state["weight_optimizer"]["param_groups"])
    assert (
        len(remembered) <= moved == sum("running" not in name and "tracked" not in name for name in state["supernet"])
    )


def test_only_matrices_of_a_transformer_decay() -> None:
    net = Network(handmade("deit-like"), classes=3, channels=8, depth=2, in_channels=1, picture=(8, 8))
    spared = optimizer_of(net, TINY).param_groups[1]["params"]
    names = {name.rpartition("op.")[2] for name, each in net.named_parameters() if any(each is one for one in spared)}
    assert {"bias.table.values", "qkv.bias", "norm.weight", "scale"} <= names
    assert not names & {"qkv.weight", "first.weight", "last.weight"}
    assert any(name.endswith("table.values") and "cells" not in name for name in names), "the positions"


@pytest.mark.parametrize(
    ("name", "why"),
    [("pc-darts", "has partial channels"), ("darts-minus", "has an auxiliary skip"), ("p-darts", "has dropped skips")],
)
def test_a_method_that_changes_what_the_stream_does_already_is_refused(digits: DataSet, name: str, why: str) -> None:
    with pytest.raises(ValueError, match=rf"{why} in its supernet, but in space 'transformer' a shortcut already"):
        search(digits, space=transformer, method=METHODS[name], settings=TINY)


@pytest.mark.parametrize("name", ["sparse", "darts", "gdas-released", "path-regularized", "gaea", "snas", "darts-pt"])
def test_a_method_of_each_family_finds_a_transformer_that_can_be_trained(digits: DataSet, name: str) -> None:
    settings = replace(TINY, epochs=1, alpha_per="kind")
    found = search(digits, space=transformer, method=METHODS[name], settings=settings)
    trained = evaluate(found.genotype, digits, settings=EvaluateSettings(epochs=1, batch=15, channels=8, depth=2))
    assert math.isfinite(trained.test["loss"])


def test_the_largest_eigenvalue_of_a_transformer_is_measured(digits: DataSet) -> None:
    settings = replace(TINY, epochs=1, eigenvalue_every=1)
    found = search(digits, space=transformer, method=METHODS["darts"], settings=settings)
    assert math.isfinite(found.trace[0]["eigenvalue"])


def test_a_search_in_graphs_of_operations_ends_in_cells_that_can_be_trained(digits: DataSet) -> None:
    settings = replace(TINY, epochs=1, alpha_per="kind", alpha_init=1e-4)
    found = search(digits, space=transformer_graph, method=METHODS["sparse"], settings=settings)
    assert from_json(to_json(found.genotype)) == found.genotype
    evaluate(found.genotype, digits, settings=EvaluateSettings(epochs=1, batch=15, channels=8, depth=1))


def test_alpha_for_each_kind_is_shared_by_all_layers_and_repeated_in_the_network(digits: DataSet) -> None:
    settings = replace(TINY, epochs=1, alpha_per="kind")
    found = search(digits, space=transformer, method=METHODS["darts"], settings=settings)
    assert len(found.trace[0]["alpha"]) == 2
    assert list(found.genotype.cells) == ["mixer", "channel"]
    assert parse(to_text(found.genotype)) == found.genotype


def test_drop_path_spares_the_first_branch_and_drops_the_last_one_most() -> None:
    torch.manual_seed(0)
    net = Network(handmade("deit-like"), classes=3, channels=8, depth=3, in_channels=1, picture=(8, 8))
    masks = torch.stack(list(net._masks(torch.zeros(4000, 1, 8, 8), 0.5, torch.Generator().manual_seed(0))))
    dropped = (masks == 0).double().mean(dim=1).tolist()
    assert dropped == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=0.03)
    assert masks.mean(dim=1).tolist() == pytest.approx([1.0] * 6, abs=0.05)


def test_the_landing_keeps_to_widths_that_heads_divide_and_moves_the_depth_of_repeated_layers(digits: DataSet) -> None:
    deit = handmade("deit-like")
    at = sized(own_space(deit), digits, Size(48, 4))
    aim = Aim(targets=(Target(cost="macs", value=1.2e6),), size=at.size)
    landing = nearest(aim, at, deit)
    assert landing.size.channels % 4 == 0
    assert abs(landing.costs["macs"] - 1.2e6) <= 0.05 * 1.2e6


def test_a_search_under_a_target_lands_on_it(digits: DataSet) -> None:
    space = with_own_cells(transformer, 2)
    aim = Aim(targets=(Target(cost="macs", value=4e4),), size=Size(8, 2))
    settings = replace(TINY, epochs=1)
    found = search(digits, space=space, method=METHODS["sparse"], settings=settings, aim=aim)
    assert found.landing is not None
    assert found.landing.met


def test_a_target_that_no_transformer_meets_is_refused_with_what_is_possible() -> None:
    with pytest.raises(ValueError, match=r"cannot be met: the largest network .* evaluate\.channels=\d+"):
        diffnas.search("digits", space="transformer", target="macs=900G", epochs=1, depth=1, train=20)


@pytest.mark.parametrize("recipe", ["vit-small", "vit-cifar", "vit-graph"])
def test_a_recipe_of_transformers_warms_up_for_a_tenth_of_the_search_and_spares_tables_from_decay(recipe: str) -> None:
    found = RECIPES[recipe]
    assert found.search["alpha_warmup"] == 0.1
    for part in (found.search, found.evaluate):
        assert (part["optimizer"], part["decay"], part["auxiliary"]) == ("adamw", "matrices", 0.0)


def test_a_space_of_transformers_has_a_recipe_of_its_own(tmp_path: Path) -> None:
    tiny = {"epochs": 1, "channels": 8, "depth": 1, "train": 40}
    diffnas.search("digits", space="transformer", out=tmp_path / "found", **tiny)
    record = json.loads((tmp_path / "found" / "run.json").read_text())
    assert record["notes"]["recipe"] == "vit-small"
    assert record["settings"]["optimizer"] == "adamw"
    diffnas.evaluate("poolformer-like", "digits", out=tmp_path / "trained", epochs=1, channels=8, depth=1)
    record = json.loads((tmp_path / "trained" / "run.json").read_text())
    assert record["settings"]["optimizer"] == "adamw"


def test_a_bad_width_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="50 channels cannot be shared by the heads of attention"):
        diffnas.search("digits", space="transformer", channels=50, out=tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_group_sparsity_takes_none_for_the_skip_of_a_transformer() -> None:
    space, likely = transformer, torch.zeros(2, len(transformer.ops), dtype=torch.float64)
    likely[:, 0] = 1.0
    now = Moment(epoch=0, step=0, epochs=1, steps=1)
    keep = torch.tensor(space.offered)
    at = Relaxation(alpha=likely, mix=likely, open=likely, keep=keep, moment=now, space=space)
    assert float(regularizer.group_sparsity(at, skip=0.3, rest=0.0)) == pytest.approx(0.3)


@pytest.mark.slow
def test_a_hand_made_transformer_learns_the_digits() -> None:
    less, aside = set_aside(diffnas.load_data("digits"), 0.2)
    settings = EvaluateSettings(**{**RECIPES["vit-small"].evaluate, "depth": 2, "epochs": 40})
    trained = evaluate(handmade("deit-like"), replace(less, test=aside), settings=settings, device="cpu")
    assert trained.test["accuracy"] > 0.9


@pytest.mark.slow
def test_the_found_transformer_is_not_worse_than_a_hand_made_one_of_its_cost() -> None:
    less, aside = set_aside(diffnas.load_data("digits"), 0.2)
    data, recipe = replace(less, test=aside), RECIPES["vit-small"]
    gaps = []
    for seed in range(3):
        found = diffnas.search(data, space="transformer", epochs=10, seed=seed)
        training = EvaluateSettings(**{**recipe.evaluate, "epochs": 40, "seed": seed})
        own = evaluate(found.genotype, data, settings=training, device="cpu")
        deit = handmade("deit-like")
        at = sized(own_space(deit), data, Size(48, 4))
        aim = Aim(targets=(Target(cost="macs", value=float(own.macs)),), size=at.size)
        size = nearest(aim, at, deit).size
        hand = evaluate(deit, data, settings=replace(training, channels=size.channels, depth=size.depth), device="cpu")
        gaps.append(own.test["accuracy"] - hand.test["accuracy"])
    assert sum(gaps) / len(gaps) > -0.03
