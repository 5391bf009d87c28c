import math

import pytest
import torch

from diffnas.components import indicators
from diffnas.components.discretize import winners
from diffnas.genotype import collapse, parse, published
from diffnas.space import darts, nas_bench_201, s1, without

RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def measured(mix: torch.Tensor, keep: torch.Tensor, cell: str = RESNET) -> dict[str, float | int]:
    return indicators.measure(mix, keep, parse(cell), nas_bench_201)


def test_even_weights_have_the_entropy_of_a_fair_die():
    found = measured(torch.full((6, 5), 0.2), torch.ones(6, 5, dtype=torch.bool))
    assert found["entropy"] == pytest.approx(math.log(5))
    assert found["none_share"] == pytest.approx(0.2)
    assert (found["live_ops"], found["live_share"]) == (30, 1.0)
    assert (found["skips"], found["connections"]) == (2, 4)


def test_decided_edges_have_no_entropy():
    keep = torch.zeros(6, 5, dtype=torch.bool)
    keep[:, 0] = True
    found = measured(keep.double(), keep)
    assert found["entropy"] == 0
    assert found["none_share"] == 1
    assert (found["live_ops"], found["live_share"]) == (6, pytest.approx(0.2))


def test_weights_that_do_not_sum_to_one_are_compared_as_shares():
    ones = torch.ones(6, 5)
    assert measured(0.7 * ones, ones.bool())["entropy"] == pytest.approx(math.log(5))


def test_a_space_is_measured_against_what_it_offers():
    keep = torch.tensor(s1.offered)
    mix = keep / keep.sum(dim=1, keepdim=True)
    found = indicators.measure(mix, keep, winners(mix, keep, s1), s1)
    assert (found["live_ops"], found["live_share"]) == (56, 1.0)
    assert found["none_share"] == 0.0


@pytest.mark.parametrize(
    ("cell", "none_share", "told"),
    [
        (RESNET, 0.2, ["2 of 4 connections are skips"]),
        (RESNET.replace("skip_connect~2", "nor_conv_1x1~2"), 0.2, []),
        (RESNET.replace("skip_connect~2", "nor_conv_1x1~2"), 0.6, ["'none' holds 60% of the weight"]),
        (ALL_SKIP, 0.2, ["only skip connections lead to the output", "6 of 6 connections are skips"]),
    ],
)
def test_signs_of_collapse_are_told_in_sentences(cell: str, none_share: float, told: list[str]):
    mix = torch.full((6, 5), (1 - none_share) / 4)
    mix[:, 0] = none_share
    genotype = parse(cell)
    messages = indicators.warnings(measured(mix, torch.ones(6, 5, dtype=torch.bool), cell), genotype)
    assert len(messages) == len(told)
    for message, part in zip(messages, told, strict=True):
        assert part in message


@pytest.mark.parametrize(
    ("cell", "depth"), [(RESNET, 2), (ALL_SKIP, 0), (RESNET.replace("|nor_conv_3x3~1", "|none~1"), 0)]
)
def test_depth_counts_what_learns_on_the_longest_path(cell: str, depth: int):
    found = measured(torch.full((6, 5), 0.2), torch.ones(6, 5, dtype=torch.bool), cell)
    assert found["normal_depth"] == depth


def test_published_cells_are_as_deep_as_they_look():
    mix, keep = torch.full((28, 8), 0.125), torch.ones(28, 8, dtype=torch.bool)
    depths = {name: indicators.measure(mix, keep, published(name), darts) for name in ("PR_DARTS", "DARTS_V2")}
    assert {name: (found["normal_depth"], found["reduce_depth"]) for name, found in depths.items()} == {
        "PR_DARTS": (4, 4),
        "DARTS_V2": (2, 0),
    }


def test_a_space_without_none_has_no_share_of_it():
    space = without(darts, "none")
    keep = torch.tensor(space.offered)
    mix = keep / keep.sum(dim=1, keepdim=True)
    assert indicators.measure(mix, keep, winners(mix, keep, space), space)["none_share"] == 0.0


def test_one_table_says_from_which_number_on_a_search_has_collapsed(monkeypatch):
    skips = {"connections": 8, "skips": 3, "none_share": 0.4}
    sound = published("DARTS_V2")
    assert indicators.warnings(skips, sound) == []
    monkeypatch.setattr(collapse, "NONE_SHARE", collapse.NONE_SHARE._replace(bad=0.3))
    assert "holds 40% of the weight" in indicators.warnings(skips, sound)[0]
