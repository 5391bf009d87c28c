"""P-DARTS: what survives a stage, what the next one begins with, and what its dropout does."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same

from diffnas.components import schedule, stages
from diffnas.components.stages import strongest
from diffnas.engine.checks import check
from diffnas.engine.listen import Interrupted
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import METHODS, component, compose, darts, p_darts
from diffnas.nets import ops
from diffnas.nets.supernet import Supernet
from diffnas.space import DARTS_OPS, dense_cell, nas_bench_201, with_own_cells
from diffnas.space import darts as darts_space

SMALL = replace(darts_space, cells={kind: dense_cell(inputs=2, nodes=2, ops=DARTS_OPS) for kind in darts_space.cells})
TINY = {"epochs": 6, "channels": 2, "depth": 3, "batch": 30, "alpha_lr": 0.1, "backend": "plain"}


def tiny(method, **options):
    return merge_settings(SearchSettings, method.settings, TINY, options)


@pytest.fixture(scope="module")
def found(data):
    from diffnas.engine.search import search

    return search(data, space=SMALL, method=p_darts, settings=tiny(p_darts), device="cpu").trace


def test_each_stage_keeps_the_operations_that_ended_the_one_before_as_its_strongest(found):
    kept = [torch.tensor(line["keep"]) for line in found]
    assert [int(keep.sum(dim=1).unique()) for keep in kept] == [8, 8, 5, 5, 3, 3]
    for before, after in ((1, 2), (3, 4)):
        mix = torch.tensor(found[before]["mix"]).masked_fill(~kept[before], -1.0)
        for row, survivors in zip(mix.tolist(), kept[after].tolist(), strict=True):
            best = sorted(range(8), key=lambda column, row=row: -row[column])[: sum(survivors)]
            assert {column for column, stays in enumerate(survivors) if stays} == set(best)


def test_each_stage_is_a_new_and_deeper_supernet_with_rates_and_warm_up_of_its_own(found):
    assert [line["lr"] for line in found] == [0.025, 0.0125] * 3
    for line, depth in zip(found, (3, 3, 7, 7, 10, 10), strict=True):
        net = Supernet(SMALL, classes=10, in_channels=1, channels=2, depth=depth)
        net.prune_(torch.tensor(line["keep"]))
        assert line["parameters"] == sum(weight.numel() for weight in net.parameters())
    # alpha is drawn anew, stands still for the first epoch of its stage, and then moves.
    spread = [torch.tensor(line["alpha"]).std().item() for line in found]
    assert [value < 0.005 for value in spread] == [True, False] * 3
    assert [line["held_out"] is None for line in found] == [True, False] * 3


def test_a_search_that_is_interrupted_in_every_stage_ends_as_one_left_alone(quick, tmp_path: Path):
    shallow = replace(p_darts, stages=partial(stages.progressive, deeper=(1.0, 1.4, 1.7)))
    options = {**p_darts.settings, **TINY, "space": SMALL}
    quick(shallow, out=tmp_path / "whole", **options)
    for number, steps in enumerate([1, 4, 4]):
        with pytest.raises(Interrupted, match="--resume"):
            quick(shallow, out=tmp_path / "parts", resume=number > 0, listener=Stop(steps), **options)
        assert torch.load(tmp_path / "parts" / "checkpoint" / "last.pt", weights_only=True)["stage"] == number
    quick(shallow, out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_skips_are_dropped_at_the_rate_of_the_stage(quick, monkeypatch):
    rates = []
    monkeypatch.setattr("diffnas.engine.search_step.drop_skips", lambda net, rate: rates.append(rate))
    quick(p_darts, **{**p_darts.settings, **TINY, "batch": 60})
    # Two epochs a stage: the first as alpha rests, the second at the start again.
    assert rates == pytest.approx([0.0, 0.0, 0.2, 0.4, 0.35, 0.7])


def test_on_nas_bench_201_three_stages_narrow_five_operations_to_three(quick):
    trace = quick(p_darts, **{**p_darts.settings, **TINY, "epochs": 3}).trace
    assert [int(torch.tensor(line["keep"]).sum(dim=1).unique()) for line in trace] == [5, 5, 3]


def test_the_published_stages():
    of_p_darts = p_darts.stages(darts_space, p_darts.settings["epochs"])
    assert [stage.epochs for stage in of_p_darts] == [25, 25, 25]
    assert [round(stage.deeper * p_darts.settings["depth"]) for stage in of_p_darts] == [5, 11, 17]
    settings = replace(tiny(p_darts), epochs=25)
    assert [settings.warming_up(epoch) for epoch in range(25)] == [True] * 10 + [False] * 15


@pytest.mark.parametrize(("stage", "start"), [(0, 0.0), (1, 0.4), (2, 0.7)])
def test_the_dropout_is_that_of_the_released_code(stage: int, start: float):
    for epoch in range(25):
        rate = start * (25 - epoch - 1) / 25 if epoch < 10 else start * math.exp(-0.2 * (epoch - 10))
        moment = schedule.Moment(epoch=epoch, step=3, epochs=25, steps=7, stage=stage)
        assert schedule.value(p_darts.supernet.dropout, moment) == pytest.approx(rate)


def test_ties_and_what_is_gone_do_not_upset_who_survives():
    scores = torch.tensor([[0.0, 0.5, 0.5, 0.5], [0.9, 0.0, 0.0, 0.1]])
    keep = torch.tensor([[True, True, True, True], [False, True, False, True]])
    expected = [[False, True, True, False], [False, True, False, True]]
    assert strongest(scores, keep, 2).tolist() == expected


@pytest.mark.parametrize("name", ["fair-darts", "gaea-pc-darts", "darts-minus"])
def test_other_methods_may_have_these_stages(quick, name: str):
    method = replace(METHODS[name], stages=partial(stages.progressive, deeper=(1.0, 1.4), ops=(2,)))
    options = {**method.settings, **TINY, "epochs": 2, "channels": 4, "space": SMALL}
    trace = quick(method, **options).trace
    assert [int(torch.tensor(line["keep"]).sum(dim=1).unique()) for line in trace] == [8, 2]
    assert trace[1]["keep"] != trace[0]["keep"]


def test_stages_that_cannot_be_are_refused(data):
    with pytest.raises(ValueError, match="3 stages need 3 epochs or more, not 2"):
        check(nas_bench_201, p_darts, tiny(p_darts, epochs=2), data)
    with pytest.raises(ValueError, match=r"stage 2 of 3 cannot run: depth must be .* got 440\.$"):
        check(nas_bench_201, p_darts, tiny(p_darts, depth=200), data)
    for deeper in (float("inf"), float("nan"), -1.0):
        with pytest.raises(ValueError, match="deeper must be a number above 0"):
            stages.progressive(darts_space, 9, deeper=(1.0, 2.0, deeper))
    with pytest.raises(ValueError, match=r"other places\. Take --set alpha_per=kind"):
        check(with_own_cells(SMALL, 3), p_darts, tiny(p_darts), data)
    with pytest.raises(ValueError, match="takes 2 after its name, first:second, or none, not 1"):
        component("stages", "progressive:5")
    with pytest.raises(ValueError, match="3 stages narrow the choice 2 times, not 1"):
        stages.progressive(darts_space, 9, ops=(5,))


def test_stages_and_their_parts_can_be_named():
    mine = compose("darts", {"stages": "progressive:4:2", "supernet": "skip-dropout-rekindled:0.1:0.4:0.7"})
    assert mine.stages.keywords == {"ops": (4, 2)}
    assert mine.supernet.dropout.keywords == {"starts": (0.1, 0.4, 0.7)}
    assert compose("p-darts", {"stages": "one"}).stages is darts.stages


def test_a_gradient_of_alpha_longer_than_allowed_is_cut(quick, monkeypatch):
    from diffnas.components import update

    lengths: dict[float, list[float]] = {}
    move = update.move

    def measured(optimizer, tensors, gradients, keep, **options):
        lengths[clip].append(torch.stack([gradient.norm() for gradient in gradients]).norm().item())
        move(optimizer, tensors, gradients, keep, **options)

    monkeypatch.setattr(update, "move", measured)
    for clip in (0.0, 1e-3):
        lengths[clip] = []
        quick("pc-darts", **{**TINY, "epochs": 1, "channels": 4, "alpha_clip": clip})
    assert max(lengths[0.0]) > 1e-3
    assert max(lengths[1e-3]) == pytest.approx(1e-3, rel=0.01)


def test_dropout_has_nothing_to_do_while_pictures_are_looked_at_only():
    skip = ops.DroppedSkip()
    ops.drop_skips(skip, 0.9)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(skip.eval()(x), x)
