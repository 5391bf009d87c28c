"""Batch norm over several processes; that two of them agree with one is tested in ``test_ranks.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffnas.engine.ranks import ALONE, Ranks
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.engine.sync_norm import batch_norm, choose_in, synchronized

SYNCHRONIZED, CPU = SearchSettings(sync_norm=True), torch.device("cpu")


@dataclass(frozen=True)
class Doubled:
    """Two processes that have the same pictures."""

    several: bool = True

    def total(self, sums: Tensor) -> Tensor:
        return 2 * sums.detach()


def test_two_processes_with_the_same_pictures_normalize_as_one_with_them_twice():
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    running = [torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)]
    twins = [each.clone() for each in running]
    found = batch_norm(Doubled(), x, *running, weight, bias, momentum=0.3)  # type: ignore[arg-type]
    twice = F.batch_norm(torch.cat([x, x]), *twins, weight, bias, training=True, momentum=0.3)
    torch.testing.assert_close(found, twice[:3])
    torch.testing.assert_close(running, twins)
    mine = torch.autograd.grad(found.pow(3).mean(), (x, weight, bias))
    torch.testing.assert_close(mine, torch.autograd.grad(twice.pow(3).mean(), (x, weight, bias)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_batch_norms_in_training_are_changed_and_types_stay(dtype: torch.dtype):
    norm, x = nn.BatchNorm2d(2), torch.randn(4, 2, 3, 3).to(dtype)
    two: Any = Doubled()
    with synchronized(two, SYNCHRONIZED):
        assert norm(x).dtype == dtype
        changed = norm.running_mean.clone()
        norm.eval()
        given = norm(x)
    assert torch.equal(norm.running_mean, changed)
    assert torch.equal(given, norm(x))
    assert torch.equal(torch.relu(x), F.relu(x))


def test_one_process_computes_as_ever_and_several_take_the_plain_way():
    settings = SearchSettings()
    assert choose_in(ALONE, SYNCHRONIZED, "plain", CPU, "32-true").why is None
    assert choose_in(Ranks(count=2), settings, "plain", CPU, "32-true").why is None
    choice = choose_in(Ranks(count=2), SYNCHRONIZED, "auto", CPU, "32-true")
    assert (choice.backend, choice.why) == (None, "batch norm takes the pictures of all processes")
    assert choose_in(Ranks(count=2), EvaluateSettings(sync_norm=True), "auto", CPU, "32-true").backend is None


def test_kernels_and_graphs_are_refused_with_the_option_that_helps():
    two, gpu = Ranks(count=2), torch.device("cuda")
    with pytest.raises(ValueError, match=r"the backend .cpu. cannot be used: batch norm takes.* Take --backend plain"):
        choose_in(two, SYNCHRONIZED, "cpu", CPU, "32-true")
    with pytest.raises(ValueError, match=r"cannot be replayed from CUDA graphs .* Add --no-cuda-graph"):
        choose_in(two, SYNCHRONIZED, "auto", gpu, "32-true")
    assert choose_in(two, SearchSettings(sync_norm=True, cuda_graph=False), "auto", gpu, "32-true").backend is None
