"""Given cells scaled to a target by their width."""

from dataclasses import replace

import pytest

from diffnas.engine.aim import Aim
from diffnas.engine.costing import COUNTED
from diffnas.engine.scaling import fitted, nearest
from diffnas.engine.target import parse
from diffnas.genotype import Genotype, read
from diffnas.genotype import parse as genotype_of
from diffnas.genotype.own_space import own_space
from diffnas.nets.network import Network
from diffnas.nets.ops import count_macs
from diffnas.nets.sized import Size, SizedSpace

NAMES = ["resnet", "RESNET8", "DARTS_V2", "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"]


def sized(cells: Genotype, channels: int = 16) -> SizedSpace:
    size = Size(channels, cells.depth or 5)
    return SizedSpace(space=own_space(cells), picture=(1, 8, 8), classes=10, size=size)


def aim_at(text: str, at: SizedSpace, **more) -> Aim:
    return Aim(targets=parse(text), size=at.size, **more)


@pytest.mark.parametrize("name", NAMES)
def test_the_space_of_one_network_costs_what_the_network_costs(name: str) -> None:
    cells = read(name)
    at = sized(cells)
    network = Network(cells, classes=10, in_channels=1, **at.size._asdict())
    assert at.cost(cells, "macs") == count_macs(network, (1, 8, 8))


def test_the_space_of_one_network_offers_several_operations_where_several_stand() -> None:
    graphs = own_space(genotype_of("chain:1-1-1 | res_3+next_7 | none | mb_3_6")).cells.values()
    assert [graph.ops for graph in graphs] == [(("res_3", "next_7"),), (("none",),), (("mb_3_6",),)]


@pytest.mark.parametrize("start", [2, 16, 60])
def test_no_other_width_comes_nearer(start: int) -> None:
    cells = read("resnet")
    at = sized(cells, start)
    macs = {width: replace(at, size=Size(width, 8)).cost(cells, "macs") for width in range(1, 41)}
    wanted = 1.03 * macs[24]
    landing = nearest(aim_at(f"macs={wanted:.0f}", at), at, cells)
    assert landing.size.channels == min(macs, key=lambda width: abs(macs[width] - wanted))
    assert landing.costs["macs"] == macs[landing.size.channels]


def test_a_ceiling_is_approached_from_below_and_each_of_several_targets_counts() -> None:
    cells = read("mobilenet")
    at = sized(cells)
    one, both = (fitted(aim_at(text, at), at, cells) for text in ("macs<=1M", "macs<=1M,params<=60k"))
    assert 0.8e6 < one.costs["macs"] <= 1e6
    assert 50e3 < both.costs["params"] <= 60e3
    assert both.size.channels < one.size.channels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("macs=1k", "has from 3.21 k multiply-adds at 1 channel to 519 M multiply-adds at 728 channels. Take a target"),
        ("params<=10", "has from 1.35 k parameters at 1 channel to 200 M parameters at 728 channels."),
        ("macs=1G", "has from 3.21 k multiply-adds at 1 channel to"),
        (
            "macs=20k",
            "has 15.5 k multiply-adds at 3 channels and 24.6 k multiply-adds at 4 channels, and nothing between.",
        ),
        ("macs=18.5k", "Take one of these for the target, or a ceiling: macs<=18.5k."),
    ],
)
def test_what_no_width_meets_is_refused_with_what_the_nearest_cost(text: str, said: str) -> None:
    cells = read("mobilenet")
    at = replace(sized(cells), size=Size(16, 8, "cifar-half"))
    with pytest.raises(ValueError, match="cannot be met: the network has") as error:
        fitted(aim_at(text, at), at, cells)
    assert said in str(error.value)


def test_a_cost_that_is_measured_is_asked_near_the_target_only() -> None:
    cells, asked = read("resnet"), list[int]()

    class Watch:
        measured = True

        def exact(self, there: SizedSpace, found: Genotype) -> float:
            asked.append(there.size.channels)
            return 1e-9 * COUNTED["macs"].of(there, found)

    at = sized(cells)
    landing = fitted(aim_at("latency=2ms", at, costings={"latency": Watch()}), at, cells)
    assert landing.met
    assert max(asked) <= 2 * landing.size.channels
    assert len(asked) == len(set(asked)) < 12
