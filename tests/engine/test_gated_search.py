"""Searches with gates: what leaves the supernet, what still moves, and what penalties do to it."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from diffnas.components import discretize, pruning, regularizer
from diffnas.method import gates
from diffnas.space import nas_bench_201, s3, without


def test_gates_that_shut_leave_the_supernet_and_every_edge_keeps_one_that_can_be_read_off(quick):
    result = quick("path-regularized", epochs=3, alpha_lr=0.5, space=s3, channels=2)
    live = [line["indicators"]["live_ops"] for line in result.trace]
    parameters = [line["parameters"] for line in result.trace]
    assert live[0] > live[-1]
    assert parameters[0] > parameters[-1]
    keep = torch.tensor(result.trace[-1]["keep"])
    assert keep[:, 0].all(), "none costs nothing and was removed"
    assert keep[:, 1:].any(dim=1).all()
    for cell in result.genotype.cells.values():
        assert [len(cell.incoming(node)) for node in range(2, 6)] == [2, 2, 2, 2]


def test_a_gate_of_none_may_not_decide_an_edge(quick):
    with pytest.raises(ValueError, match=r"in space 'nas-bench-201' strongest_inputs .* strongest-pairs:0.5"):
        quick(replace(gates, discretize=discretize.strongest_inputs))


def test_gates_at_rest_are_what_the_trace_holds(quick):
    result = quick("gates", epochs=2)
    line = result.trace[-1]
    soft = torch.tensor(line["alpha"]).double() / 0.1  # the temperature of the last epoch
    expected = (-0.1 + 1.2 * soft.sigmoid()).clamp(0, 1) * torch.tensor(line["keep"])
    torch.testing.assert_close(torch.tensor(line["mix"]).double(), expected)


def test_the_last_gate_of_an_edge_still_moves(quick):
    """Without ``none`` beside it, so that its edge has one operation left."""
    space = without(nas_bench_201, "none")
    shut = partial(pruning.shut, below=1.1)  # all but the likeliest leave in the first step
    result = quick(replace(gates, pruning=shut), space=space, epochs=2)
    keep = torch.tensor(result.trace[0]["keep"])
    assert keep.sum(dim=1).tolist() == [1] * 6
    before, after = (torch.tensor(line["alpha"])[keep] for line in result.trace)
    assert (before != after).all()


def test_the_penalties_lower_skips_and_raise_depth(quick):
    """Scaled up, so that a few steps show it: fewer skips are likely, and convolutions on the chain are likelier."""
    pressed = {
        "none": (),
        "groups": (partial(regularizer.group_sparsity, skip=100.0, rest=0.0),),
        "path": (partial(regularizer.path_depth, weight=100.0),),
    }
    alpha = {}
    for name, rules in pressed.items():
        result = quick(replace(gates, regularizers=rules), epochs=2)
        alpha[name] = torch.tensor(result.trace[-1]["alpha"])
    skip, convs = nas_bench_201.ops.index("skip_connect"), [2, 3]
    assert (alpha["groups"][:, skip] < alpha["none"][:, skip]).all()
    chain = regularizer.chains(nas_bench_201)["normal"]
    assert (alpha["path"][chain][:, convs] > alpha["none"][chain][:, convs]).float().mean() > 0.8
