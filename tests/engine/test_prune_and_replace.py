"""Prune and Replace NAS as a search: what its cycles begin with, what they leave, and being interrupted in them."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same
from ways import backend

from diffnas.api.planning import Request, plan_search
from diffnas.components.replacement import START
from diffnas.convolutions import changed
from diffnas.engine.checks import check
from diffnas.engine.cost import Prospect, estimate
from diffnas.engine.listen import Interrupted
from diffnas.engine.optimizers import begin_momentum
from diffnas.engine.search_state import begin
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import component, darts, prune_and_replace
from diffnas.nets.supernet import Supernet
from diffnas.space import dense_cell, prune_and_replace_dl, prune_and_replace_dr, s2

SMALL = replace(
    prune_and_replace_dl,
    cells={kind: dense_cell(inputs=2, nodes=1, ops=prune_and_replace_dl.ops) for kind in prune_and_replace_dl.cells},
)
TINY = {"epochs": 12, "channels": 2, "depth": 3, "batch": 30, "alpha_lr": 0.1, "backend": "plain", "space": SMALL}
OPTIONS = {**prune_and_replace.settings, **TINY}
FIRST = [True, False] * 3 + [True] * 6  # epochs of a cycle: 2, 2, 2, and six of 1


@pytest.fixture(scope="module")
def found(data):
    from diffnas.engine.search import search

    options = {name: option for name, option in OPTIONS.items() if name != "space"}
    settings = merge_settings(SearchSettings, options)
    return search(data, space=SMALL, method=prune_and_replace, settings=settings, device="cpu").trace


def kept(line):
    return torch.tensor(line["keep"])


def test_pools_change_between_cycles_as_the_trace_says_and_never_within_one(found):
    ops = SMALL.ops
    assert [line["stage"] for line in found[::2]][:3] == [f"cycle {n} of 9" for n in (1, 2, 3)]
    assert all({ops[c] for c in row.nonzero().flatten().tolist()} == set(START) for row in kept(found[0]))
    for (before, after), first in zip(itertools.pairwise(found), FIRST[1:], strict=True):
        if not first:
            assert before["keep"] == after["keep"]
            assert after["events"] == []
            continue
        assert [event["edge"] for event in after["events"]] == [list(edge) for _, edge in SMALL.edges]
        for event, old, new in zip(after["events"], kept(before), kept(after), strict=True):
            was, now = ({ops[c] for c in row.nonzero().flatten().tolist()} for row in (old, new))
            assert now == (was - set(event["gone"])) | set(event["came"])
            assert all(op in changed(parent) for op, parent in event["came"].items())
    sizes = [int(kept(line).sum(dim=1).max()) for line, first in zip(found, FIRST, strict=True) if first]
    assert sizes[:2] + sizes[6:] == [4, 6, 4, 3, 2]
    assert any(set(event["came"]) for line in found for event in line["events"])


def test_the_supernet_holds_what_is_in_play_and_nothing_else(found):
    for line in found:
        net = Supernet(SMALL, classes=10, in_channels=1, channels=2, depth=3)
        net.prune_(kept(line))
        assert line["parameters"] == sum(weight.numel() for weight in net.parameters())


def test_each_cycle_has_the_first_rate_again_and_a_new_alpha_that_waits(found):
    assert [line["lr"] for line in found] == pytest.approx([0.025, 0.0175] * 3 + [0.025] * 6)
    small = [torch.tensor(line["alpha"]).abs().max().item() < 0.01 for line in found]
    # A grace of a third of two epochs is none: alpha moves in every one. What is not in play keeps its first value.
    assert not any(small)
    for (before, after), first in zip(itertools.pairwise(found), FIRST[1:], strict=True):
        idle = ~kept(before) & ~kept(after)
        same = torch.tensor(before["alpha"])[idle] == torch.tensor(after["alpha"])[idle]
        assert not same.any() if first else same.all()


def test_alpha_stands_still_in_the_first_third_of_a_cycle(quick):
    trace = quick(prune_and_replace, **{**OPTIONS, "epochs": 30, "batch": 60}).trace
    # Of 30 epochs the first two cycles have 5 and 4, the others 3: alpha waits for one, one and none of them.
    assert [line["held_out"] is None for line in trace] == [n in (0, 5) for n in range(30)]


def test_a_search_that_is_interrupted_in_several_cycles_ends_as_one_left_alone(quick, tmp_path: Path):
    quick(prune_and_replace, out=tmp_path / "whole", **OPTIONS)
    for number, steps in enumerate([1, 4, 4, 3, 3]):
        with pytest.raises(Interrupted, match="--resume"):
            quick(prune_and_replace, out=tmp_path / "parts", resume=number > 0, listener=Stop(steps), **OPTIONS)
    stopped_in = torch.load(tmp_path / "parts" / "checkpoint" / "last.pt", weights_only=True)
    assert stopped_in["stage"] >= 3
    quick(prune_and_replace, out=tmp_path / "parts", resume=True, **OPTIONS)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_survivors_keep_their_weights_and_new_operations_inherit_those_of_their_parents(data):
    settings = merge_settings(SearchSettings, {"channels": 2, "depth": 3, "epochs": 9})
    state = begin(data, SMALL, prune_and_replace, settings, torch.device("cpu"))
    for weight in state.supernet.parameters():
        weight.grad = torch.ones_like(weight)
    state.weight_optimizer.step()
    skip, parent, new = (SMALL.ops.index(op) for op in ("skip_connect", "sep_conv_3x3_layers1", "sep_conv_5x5_layers1"))
    edge = state.supernet.cells[0].edges[1]
    before = dict(edge.ops.items())
    moved = {name: state.weight_optimizer.state[weight] for name, weight in before[str(parent)].named_parameters()}
    keep = state.keep.clone()
    keep[1, [skip, new]] = torch.tensor([False, True])
    state.replace_(keep, {(1, new): parent})
    assert set(edge.ops) == {str(column) for column in keep[1].nonzero().flatten().tolist()}
    assert edge.ops[str(parent)] is before[str(parent)]
    for name, weight in edge.ops[str(parent)].named_parameters():
        assert state.weight_optimizer.state[weight] is moved[name]
        grown = dict(edge.ops[str(new)].named_parameters())[name]
        assert grown not in state.weight_optimizer.state
        assert moved[name]["momentum_buffer"].any()
        grown.grad, weight.grad = torch.ones_like(grown), torch.ones_like(weight)
        middle = grown[:, :, 1:-1, 1:-1] if grown.shape != weight.shape else grown
        assert torch.equal(middle, weight)
        assert grown.is_contiguous(memory_format=torch.channels_last) == weight.is_contiguous(
            memory_format=torch.channels_last
        )
    (group,) = state.weight_optimizer.param_groups
    assert [id(weight) for weight in group["params"]] == [id(weight) for weight in state.supernet.parameters()]
    assert not set(state.weight_optimizer.state) - set(group["params"])
    before_step = grown.detach().clone()
    begin_momentum(state.weight_optimizer)
    state.weight_optimizer.step()
    assert torch.allclose(state.weight_optimizer.state[grown]["momentum_buffer"], grown.grad + 3e-4 * before_step)


def test_the_fast_supernet_is_the_plain_one_after_operations_were_replaced():
    torch.manual_seed(0)
    net = Supernet(prune_and_replace_dr, classes=3, channels=4, depth=3, among=START).double()
    keep = torch.zeros(len(prune_and_replace_dr.edges), len(prune_and_replace_dr.ops), dtype=torch.bool)
    column = prune_and_replace_dr.ops.index
    names = ("skip_connect", "max_pool_3x3", "sep_conv_3x3_layers1", "sep_conv_5x5_layers1", "sep_conv_3x3")
    keep[:, [column(name) for name in names]] = True
    parent = column("sep_conv_3x3_layers1")
    made = {(row, column(name)): parent for row in range(len(keep)) for name in names[3:]}
    net.replace_(keep, made)
    wider = column("sep_conv_3x3_width2")
    keep[:, wider] = True
    net.replace_(keep, {(row, wider): column("sep_conv_3x3") for row in range(len(keep))})
    x, mix = torch.randn(3, 3, 8, 8).double(), torch.rand(keep.shape).double() * keep
    results = []
    for way in ("plain", "fast"):
        net.backend = backend(way, x.dtype)
        logits = net(x, mix.requires_grad_())
        results.append([logits, *torch.autograd.grad(logits.square().sum(), [mix, *net.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_it_searches_its_own_space_unless_one_is_named_or_the_recipe_has_another_skeleton():
    def space(**options):
        return plan_search(Request(data="digits", **options)).arguments["space"].name

    assert space(method="prune-and-replace") == "prune-and-replace-dl"
    assert space(method="prune-and-replace", recipe="digits") == "prune-and-replace-dl"
    assert space(method="prune-and-replace", space="darts") == "darts"
    assert space(method="prune-and-replace", recipe="nas-bench-201-small") == "nas-bench-201"
    assert space(method=prune_and_replace) == "prune-and-replace-dl"
    assert space(method="darts") == "darts"


def test_the_cost_of_a_search_is_that_of_its_first_pool(data):
    settings = merge_settings(SearchSettings, {"channels": 2, "depth": 3, "batch": 4, "epochs": 9})
    told = estimate(Prospect(data=data, space=SMALL, method=prune_and_replace, settings=settings, device="cpu"))
    assert (told.operations, told.offered) == (4 * 4, 4 * 15)


def test_a_space_without_changes_is_refused_and_the_stages_go_with_other_methods(data):
    with pytest.raises(ValueError, match="'s2' no edge offers"):
        check(s2, prune_and_replace, SearchSettings(), data)
    check(SMALL, replace(darts, stages=component("stages", "replacement")), SearchSettings(), data)
