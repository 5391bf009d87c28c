import json
from dataclasses import replace

import pytest
import torch

from diffnas.components import discretize
from diffnas.data import DataSet
from diffnas.data.tensors import from_tensors
from diffnas.engine.aim import Aim, allowed, check, sized
from diffnas.engine.landing import Landing, land_near, read_landing
from diffnas.engine.scaling import land
from diffnas.engine.sizing import fitting_size
from diffnas.engine.target import parse
from diffnas.genotype import published
from diffnas.method import METHODS
from diffnas.nets.sized import Size, SizedSpace
from diffnas.run_files import LANDING
from diffnas.run_folder import RunFolder
from diffnas.space import SPACES, darts, s2, with_own_cells

PUBLISHED = SizedSpace(space=darts, picture=(3, 32, 32), classes=10, size=Size(36, 20))
SHALLOW = replace(PUBLISHED, size=Size(36, 5))
DARTS_V2 = published("DARTS_V2")


def aim_at(text: str, size: Size = PUBLISHED.size, **more) -> Aim:
    return Aim(targets=parse(text), size=size, **more)


@pytest.mark.parametrize(
    ("text", "channels", "cost"),
    [
        ("macs=470M", 34, 473.45e6),
        ("macs=528M", 36, 528.36e6),
        ("macs<=587M", 38, 586.27e6),
        ("params=3M", 34, 2_997_960),
        ("params=3.72M", 38, 3_720_172),
    ],
)
def test_the_width_is_moved_to_where_the_network_costs_what_it_shall(text: str, channels: int, cost: float):
    landed = land(aim_at(text), PUBLISHED, DARTS_V2)
    assert landed.size == Size(channels, 20)
    assert next(iter(landed.costs.values())) == pytest.approx(cost, rel=1e-4)
    assert landed.met
    assert str(landed).startswith("landed: ")


def test_a_width_that_is_fixed_stays_and_the_miss_is_said():
    landed = land(aim_at("macs=470M", width="fixed"), PUBLISHED, DARTS_V2)
    assert landed.size == PUBLISHED.size
    assert not landed.met
    assert str(landed).startswith("missed: 528 M multiply-adds, target 470 M (+12.4%); 36 channels and 20 cells")
    assert "--width fixed" in str(landed)


def test_the_width_moves_by_more_than_a_quarter_only_where_nothing_nearer_meets_the_target():
    aim = aim_at("macs=20M", SHALLOW.size)
    near, landed = land_near(aim, SHALLOW, DARTS_V2), land(aim, SHALLOW, DARTS_V2)
    assert (near.size.channels, near.met) == (27, False)
    assert (landed.size, landed.met, landed.meant) == (Size(14, 5), True, SHALLOW.size)
    assert str(landed).endswith("14 channels and 5 cells, where the cells were searched for 36 channels")
    assert land(aim_at("macs=470M"), PUBLISHED, DARTS_V2) == land_near(aim_at("macs=470M"), PUBLISHED, DARTS_V2)
    assert allowed(16) == list(range(12, 21))


def test_a_target_that_no_width_meets_is_missed_at_the_nearest_one():
    landed = land(aim_at("macs=250k", Size(3, 3)), replace(PUBLISHED, size=Size(3, 3)), DARTS_V2)
    assert not landed.met
    assert "No other width comes nearer" in str(landed)


def test_a_thin_network_gets_a_cell_more_or_less_where_no_width_will_do():
    small = SizedSpace(space=s2, picture=(1, 8, 8), classes=10, size=Size(10, 4))
    keep = torch.tensor(s2.offered)
    cells = discretize.winners(torch.tensor(s2.offered).double().cumsum(1) * keep, keep, s2)
    costs = {c: replace(small, size=Size(c, 4)).cost(cells, "macs") for c in (10, 11)}
    between = (costs[10] + costs[11]) // 2
    assert costs[11] / between - 1 > 0.05
    landed = land(aim_at(f"macs={between}", small.size), small, cells)
    assert landed.met
    assert landed.size.depth != 4
    fixed = SizedSpace(space=with_own_cells(s2, 4), picture=(1, 8, 8), classes=10, size=Size(10, 4))
    offered = torch.tensor(fixed.space.offered)
    own = discretize.winners(offered.double().cumsum(1) * offered, offered, fixed.space)
    assert land(aim_at(f"macs={between}", small.size), fixed, own).size.depth == 4


def test_a_measured_cost_that_neither_width_nor_depth_meets_is_met_by_both_together():
    asked = list[Size]()

    class Clock:
        """Widths in blocks of 8 channels are faster than others."""

        measured = True

        def exact(self, there: SizedSpace, found: object) -> float:
            asked.append(there.size)
            return 1e-6 * there.size.depth * there.size.channels * (1.0 if there.size.channels % 8 == 0 else 1.25)

    at = replace(PUBLISHED, size=Size(16, 5))
    landed = land(aim_at("latency=70us", at.size, costings={"latency": Clock()}), at, DARTS_V2)
    assert (landed.size, landed.met) == (Size(14, 4), True)
    assert len(asked) == len(set(asked)) <= 10


def test_of_several_targets_the_one_that_is_missed_worst_counts():
    macs, params = (SHALLOW.cost(DARTS_V2, cost) for cost in ("macs", "params"))
    fewer = int(0.7 * params)
    landed = land(aim_at(f"macs={macs},params<={fewer}", SHALLOW.size), SHALLOW, DARTS_V2)
    assert landed.costs["params"] <= fewer
    assert landed.costs["macs"] < macs


def test_a_landing_is_read_as_it_was_written(tmp_path):
    landed = land(aim_at("macs=470M,params<=3.1M", SHALLOW.size), SHALLOW, DARTS_V2)
    (tmp_path / LANDING).write_text(json.dumps(landed.record()))
    assert read_landing(RunFolder(tmp_path)) == landed
    assert read_landing(RunFolder(tmp_path / "nothing")) is None


@pytest.mark.parametrize(
    "change",
    [{"size": {"channels": 0, "depth": 3, "stem": "cifar"}}, {"size": 3}, {"costs": {}}, {"targets": ["macs=x"]}],
)
def test_a_damaged_landing_is_refused(tmp_path, change: dict):
    landed = Landing(size=Size(34, 20), targets=parse("macs=470M"), costs={"macs": 473e6}, meant=PUBLISHED.size)
    (tmp_path / LANDING).write_text(json.dumps(landed.record() | change))
    with pytest.raises(ValueError, match=r"damaged|cannot be read"):
        read_landing(RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("text", "width", "said"),
    [
        ("macs=1k", "fit", "the smallest network of space 's2' at 16 channels and 3 cells has"),
        ("macs=900M", "fit", "the largest network of space 's2'"),
        ("macs<=1k", "fit", "the smallest network"),
        ("params=1k", "fixed", "the smallest network"),
    ],
)
def test_a_target_out_of_reach_is_refused_with_what_can_be_reached(data, text: str, width, said: str):
    aim = aim_at(text, Size(16, 3), width=width)
    with pytest.raises(ValueError) as error:
        check(aim, s2, data, METHODS["sparse"])
    assert said in str(error.value)
    assert "are possible" in str(error.value)
    assert "evaluate.channels=" in str(error.value)


def test_a_target_that_only_another_width_meets_is_not_refused(data):
    (interval,) = check(aim_at("macs=2M", Size(16, 3)), s2, data, METHODS["sparse"]).values()
    text = f"macs={1.3 * interval.high:.0f}"
    check(aim_at(text, Size(16, 3)), s2, data, METHODS["sparse"])
    with pytest.raises(ValueError, match="largest"):
        check(aim_at(text, Size(16, 3), width="fixed"), s2, data, METHODS["sparse"])


@pytest.mark.parametrize("text", ["macs=50k", "macs=2M", "macs=40M", "params=20k", "params=2M,macs<=60M"])
@pytest.mark.parametrize("space", ["s2", "nas-bench-201"])
def test_a_target_alone_finds_a_size_whose_networks_can_meet_it(data, text: str, space: str):
    aim = aim_at(text, Size(16, 5))
    method = METHODS["sparse"]
    size = fitting_size(aim, SPACES[space], data, method)
    assert size.channels >= 4
    assert size.depth >= 3
    for cost, interval in check(replace(aim, size=size), SPACES[space], data, method).items():
        (target,) = [target for target in aim.targets if target.cost == cost]
        assert interval.low <= target.value
        assert target.ceiling or target.value <= 1.05 * interval.high


def test_a_target_for_memory_finds_a_width(data):
    aim = aim_at("memory=60KiB", Size(16, 3))
    size = fitting_size(aim, SPACES["nas-bench-201"], data, METHODS["sparse"])
    (interval,) = check(replace(aim, size=size), SPACES["nas-bench-201"], data, METHODS["sparse"]).values()
    assert size.channels > 16
    assert 60 * 2**10 in interval


def test_a_size_that_will_do_stays_and_so_does_what_was_said(data):
    method = METHODS["sparse"]
    fits = aim_at("macs=1.5M", Size(16, 3))
    assert fitting_size(fits, s2, data, method) == Size(16, 3)
    large = aim_at("macs=40M", Size(16, 3))
    assert fitting_size(large, s2, data, method, given=frozenset({"depth", "stem"})).depth == 3
    assert fitting_size(large, s2, data, method, given=frozenset({"channels", "depth", "stem"})) == Size(16, 3)


def in_ten_classes() -> DataSet:
    """Pictures of the size of CIFAR-10's."""
    pictures = torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10)
    return from_tensors(pictures, pictures)


@pytest.mark.parametrize(
    ("text", "channels"), [("macs=500k", 6), ("macs=1M", 9), ("macs=2M", 13), ("macs=3M", 16), ("macs=5M", 20)]
)
def test_chains_are_searched_at_a_width_where_a_target_leaves_a_choice(text: str, channels: int):
    data, method = in_ten_classes(), METHODS["sparse"]
    aim = aim_at(text, Size(16, 8, "cifar-half"))
    size = fitting_size(aim, SPACES["chain"], data, method)
    assert size == Size(channels, 8, "cifar-half")
    (interval,) = check(replace(aim, size=size), SPACES["chain"], data, method).values()
    assert 0.2 < (aim.targets[0].value - interval.low) / (interval.high - interval.low) < 0.4


def test_the_width_that_was_said_stays_though_a_target_leaves_little_choice():
    data, aim = in_ten_classes(), aim_at("macs=1M", Size(16, 8, "cifar-half"))
    assert fitting_size(aim, SPACES["chain"], data, METHODS["sparse"], given=frozenset({"channels"})) == aim.size


def test_only_the_width_moves_where_the_size_can_meet_the_targets():
    data, half, method = in_ten_classes(), Size(16, 8, "cifar-half"), METHODS["sparse"]
    both = aim_at("macs=5M,params=50k", half)
    assert fitting_size(both, SPACES["chain"], data, method)._replace(channels=16) == half
    little = aim_at("macs=10M", half)
    assert fitting_size(little, darts, data, method).channels < 16
    assert fitting_size(little, darts, data, method, stays=True) == half


def test_another_stem_is_taken_if_the_width_that_was_said_cannot_meet_the_target():
    data, half, method = in_ten_classes(), Size(16, 8, "cifar-half"), METHODS["sparse"]
    dear = aim_at("macs=20M", half)
    assert fitting_size(dear, SPACES["chain"], data, method, given=frozenset({"channels"})) == Size(16, 8, "cifar")


def test_a_space_with_a_cell_for_each_place_keeps_its_depth(data):
    aim = aim_at("macs=2M", Size(16, 20))
    own = with_own_cells(s2, 4)
    assert sized(own, data, aim.size).size.depth == 4
    assert fitting_size(aim, own, data, METHODS["sparse"]).depth == 4


def test_a_landing_says_what_it_is_in_a_line():
    targets = parse("macs=20M")
    landed = Landing(size=Size(17, 5), targets=targets, costs={"macs": 19.8e6}, meant=Size(16, 5))
    assert str(landed) == "landed: 19.8 M multiply-adds, target 20 M (-1.0%); 17 channels and 5 cells"
