"""The largest eigenvalue for alpha: against the full Hessian, for every weighting, and without a trace."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from diffnas.components import weighting
from diffnas.components.gates import HardConcrete
from diffnas.engine import curvature
from diffnas.engine.settings import SearchSettings
from diffnas.engine.trial import trial
from diffnas.method import Method, component, darts, entmax3, gates, r_darts, single_level_sigmoid, sparse
from diffnas.space import SearchSpace, dense_cell, nas_bench_201
from diffnas.space import darts as darts_space

SMALL_DARTS = replace(
    darts_space, cells={kind: dense_cell(inputs=2, nodes=1, ops=darts_space.ops) for kind in darts_space.cells}
)
SETTINGS = {"batch": 12, "channels": 4, "depth": 3, "epochs": 1, "alpha_init": 0.3}


def stepped(data, method: Method = darts, space: SearchSpace = nas_bench_201, *, double: bool = True, **settings):
    """A search that has taken a step."""
    tried = trial(data, space=space, method=method, settings=SearchSettings(**{**SETTINGS, **settings}), device="cpu")
    tried.step()
    running = tried.step.func.__self__.running
    if double:
        running.state.supernet.double()
        running.state.alpha = running.state.alpha.detach().double().requires_grad_()
    return running


def full_hessian(running, monkeypatch) -> torch.Tensor:
    """By autograd, entry by entry, of the very loss that is measured."""
    kept = {}
    monkeypatch.setattr(curvature, "largest", lambda product, size, like: kept.setdefault("size", size))
    loss_of_alpha = curvature._loss_of_alpha

    def keeping(running, batch):
        loss = loss_of_alpha(running, batch)
        kept["hessian"] = torch.autograd.functional.hessian(loss, running.state.alpha.detach())
        return loss

    monkeypatch.setattr(curvature, "_loss_of_alpha", keeping)
    curvature.eigenvalue(running)
    monkeypatch.undo()
    live = running.state.movable
    hessian = kept["hessian"].flatten(0, 1).flatten(1, 2)[live.flatten()][:, live.flatten()]
    assert len(hessian) == kept["size"]
    return hessian


CASES = {
    "softmax": (darts, nas_bench_201),
    "softmax on the darts space": (darts, SMALL_DARTS),
    "entmax": (replace(darts, weighting=partial(weighting.entmax, order=1.5)), nas_bench_201),
    "sigmoid on one level": (single_level_sigmoid, nas_bench_201),
    "gates": (replace(gates, weighting=HardConcrete()), nas_bench_201),
}


@pytest.mark.parametrize(("method", "space"), CASES.values(), ids=CASES)
def test_the_eigenvalue_is_that_of_the_full_hessian(data, monkeypatch, method: Method, space: SearchSpace):
    running = stepped(data, method, space)
    hessian = full_hessian(running, monkeypatch)
    expected = torch.linalg.eigvalsh(hessian)[-1].item()
    assert curvature.eigenvalue(running) == pytest.approx(expected, rel=1e-5)
    assert expected > 1e-3 + 1e-6, "no more than the weight decay: the test shows nothing"


def test_only_what_can_still_move_counts_and_weight_decay_does(data, monkeypatch):
    running = stepped(data)
    keep = torch.ones(6, 5, dtype=torch.bool)
    keep[0, 1:] = False
    keep[1, 3] = False
    running.remove(keep)
    hessian = full_hessian(running, monkeypatch)
    assert hessian.shape == (24, 24)
    measured = curvature.eigenvalue(running)
    assert measured == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-5)
    running.state.alpha_optimizer.param_groups[0]["weight_decay"] = 2.0
    assert curvature.eigenvalue(running) == pytest.approx(measured + 2.0 - 1e-3, rel=2e-3)
    running.remove(torch.eye(5, dtype=torch.bool)[[0, 1, 2, 3, 4, 0]])
    assert curvature.eigenvalue(running) == 0.0


def test_alpha_that_moves_nothing_bends_nothing(data):
    method = replace(darts, weighting=weighting.uniform)
    assert curvature.eigenvalue(stepped(data, method)) == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_lanczos_finds_the_largest_eigenvalue_not_the_one_of_largest_size(size: int, shift: float):
    torch.manual_seed(size)
    matrix = torch.randn(size, size, dtype=torch.float64)
    matrix = matrix + matrix.T + shift * torch.eye(size)
    found = curvature.largest(lambda vector: matrix @ vector, size, like=matrix)
    assert found == pytest.approx(torch.linalg.eigvalsh(matrix)[-1].item(), rel=2e-3, abs=1e-9)


def test_repeated_and_zero_eigenvalues_are_right_and_no_number_stays_none():
    products = []

    def product(vector):
        products.append(1)
        return 2 * vector

    assert curvature.largest(product, 50, like=torch.zeros(1)) == pytest.approx(2.0)
    assert len(products) <= 40
    assert curvature.largest(torch.zeros_like, 50, like=torch.zeros(1)) == 0.0
    assert math.isnan(curvature.largest(lambda vector: vector * math.nan, 50, like=torch.zeros(1)))


def test_the_trace_has_the_eigenvalue_if_asked_for_and_the_search_does_not_change(quick):
    with_it, without = (quick("entmax3", epochs=3, eigenvalue_every=every, alpha_lr=0.1).trace for every in (2, 0))
    assert [line["eigenvalue"] is not None for line in with_it] == [True, False, True]
    assert [line["eigenvalue"] for line in without] == [None] * 3
    for name in ("alpha", "train", "held_out", "keep"):
        assert [line[name] for line in with_it] == [line[name] for line in without]


@pytest.mark.parametrize(
    "method", [entmax3, sparse, gates, "gdas", "gaea", "darts-2nd"], ids=lambda method: getattr(method, "name", method)
)
def test_any_method_can_have_it_measured(quick, method):
    options = {"alpha_init": 0.0} if method == "gaea" else {}
    (line,) = quick(method, epochs=1, eigenvalue_every=1, batch=60, **options).trace
    assert isinstance(line["eigenvalue"], float)


def test_the_stop_for_growth_needs_it_measured(quick):
    with pytest.raises(ValueError, match="Add --set eigenvalue_every=2"):
        quick(replace(darts, stopping=component("stopping", "eigenvalue")))


def test_a_search_that_collapses_ends_and_goes_back(quick, monkeypatch):
    heights = iter([0.1] * 8 + [0.5] * 20)
    monkeypatch.setattr("diffnas.engine.trace_lines.eigenvalue", lambda running: next(heights))
    result = quick(r_darts, epochs=40, batch=60, eigenvalue_every=2)
    # Measured in epochs 0, 2, ...: 0.5 from epoch 16 on. The mean of 8 to 16 is 0.18, that of 0 to 8 stands for
    # epoch 4, too early to count; from epoch 22 on, the earlier one stands for epoch 10.
    assert len(result.trace) == 23
    assert result.stopped == "the largest eigenvalue for alpha has grown to more than 1.3 times what it was in epoch 10"
    assert result.trace[10]["genotype"]["cells"]["normal"]["connections"] == [
        {"op": each.op, "source": each.source, "target": each.target}
        for each in result.genotype.cells["normal"].connections
    ]
