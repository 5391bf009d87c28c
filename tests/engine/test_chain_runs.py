"""Searches and evaluations of chains, as a user starts them."""

from functools import partial
from pathlib import Path

import pytest
from interrupted import Stop, assert_same

import diffnas
from diffnas.api import contest
from diffnas.data import DataSet
from diffnas.engine.aim import Aim, sized
from diffnas.engine.listen import Interrupted
from diffnas.engine.search import search
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.engine.target import parse
from diffnas.genotype import read
from diffnas.genotype.own_space import own_space
from diffnas.method import METHODS
from diffnas.nets.sized import Size
from diffnas.space import chain

SMALL = {"recipe": "chain-short", "train": 64, "epochs": 1, "batch": 32, "channels": 2}


@pytest.mark.parametrize("method", ["sparse", "gdas", "path-regularized"])
def test_a_search_finds_a_chain_and_its_network_trains(method: str, tmp_path: Path):
    found = diffnas.search("digits", space="chain", method=method, out=tmp_path / "run", **SMALL)
    assert len(found.genotype.cells) == 8
    trained = diffnas.evaluate(found, out=tmp_path / "evaluation", epochs=1, batch=256, channels=2)
    assert diffnas.load(tmp_path / "evaluation").genotype == found.genotype
    assert trained.parameters > 0


@pytest.mark.parametrize(("method", "what"), [("pc-darts", "partial channels"), ("darts-minus", "an auxiliary skip")])
def test_a_supernet_that_adds_skips_is_refused(method: str, what: str):
    with pytest.raises(ValueError, match=f"{what} in its supernet.*Take --supernet plain"):
        diffnas.search("digits", space="chain", method=method, **SMALL)


def test_another_depth_is_refused_with_what_would_work():
    with pytest.raises(ValueError, match="Take --depth 8"):
        diffnas.cost("digits", space="chain", depth=5)


@pytest.mark.parametrize("number", [3, 14])
def test_an_interrupted_search_of_a_chain_that_prunes_goes_on_bit_for_bit(data: DataSet, tmp_path: Path, number: int):
    method = METHODS["sparse"]
    settings = merge_settings(SearchSettings, {"epochs": 2, "batch": 12, "channels": 2, "alpha_lr": 0.3})
    again = partial(search, data, space=chain, method=method, settings=settings, device="cpu")
    whole = again(out=tmp_path / "whole")
    assert sum(map(sum, whole.trace[-1]["keep"])) < sum(map(sum, chain.offered))
    with pytest.raises(Interrupted):
        again(out=tmp_path / "parts", listener=Stop(number))
    again(out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_dry_run_of_a_chain_tells_its_cost():
    told = diffnas.cost("digits", recipe="chain-short", channels=4, epochs=1, target="macs=100k")
    assert told.operations == 38
    assert "macs=100k: from " in told.reachable[0]


def test_a_hand_made_contender_is_sized_whatever_depth_the_found_network_has():
    data, space = diffnas.load_data("digits"), diffnas.SPACES["darts"]
    aim = Aim(targets=parse("macs=200k"), size=Size(4, 3))
    size = contest._sized(read("resnet"), aim, data, space)
    assert size["depth"] == 8
    at = sized(own_space(read("resnet")), data, Size(**size))
    assert abs(at.cost(read("resnet"), "macs") - 200_000) < 50_000
