"""Gradients beyond the first order in a real search: exact, and without a trace."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from diffnas.components import level
from diffnas.components.level import Level
from diffnas.data import DataSet
from diffnas.engine.settings import SearchSettings
from diffnas.engine.trial import trial
from diffnas.method import Method, darts, gates
from diffnas.space import nas_bench_201, s4

NOTHING_ADDED = {
    "unrolled by nothing": Level(step=partial(level.unrolled_step, rate=0.0), data="halves"),
    "amended by nothing": Level(step=partial(level.amended_step, rate=0.0), data="halves"),
    "mixed with nothing": Level(step=partial(level.mixed_step, train_share=0.0), data="halves"),
}
SAMPLED = {"batch": 60, "epochs": 1, "channels": 2, "space": s4}


@pytest.mark.parametrize("same", NOTHING_ADDED.values(), ids=NOTHING_ADDED)
@pytest.mark.parametrize(("method", "options"), [(darts, {}), (gates, SAMPLED)], ids=["darts", "gates and noise"])
def test_a_second_order_term_of_zero_gives_the_first_order_bit_for_bit(
    quick, tmp_path: Path, method: Method, options, same: Level
):
    """So the extra passes move no weight, no running statistic, no total and no random number."""
    kept = []
    for name, levels in (("first", level.bilevel), ("same", same)):
        quick(replace(method, level=levels), out=tmp_path / name, **options)
        state = torch.load(tmp_path / name / "checkpoint" / "last.pt", weights_only=True)
        kept.append({part: value for part, value in state.items() if part not in ("seconds", "folder")})
    torch.testing.assert_close(kept[0], kept[1], rtol=0, atol=0)


def test_the_unrolled_gradient_of_a_supernet_is_the_derivative_through_one_step_of_its_weights(data: DataSet):
    settings = SearchSettings(batch=12, channels=2, depth=3, epochs=1, lr=0.2, backend="plain")
    options = {"space": nas_bench_201, "method": darts, "settings": settings, "device": "cpu"}
    tried = trial(data, precision="64-true", **options)
    search, state, net = tried.step.func.__self__, tried.state, tried.state.supernet
    tried.step()  # gathers momentum
    names, weights = zip(*net.named_parameters(), strict=True)

    def loss(at: tuple[Tensor, ...], batch) -> Tensor:
        logits = functional_call(net, dict(zip(names, at, strict=True)), (batch[0], search.mix().edges))
        return functional.cross_entropy(logits, batch[1])

    slopes = torch.autograd.grad(loss(weights, search.train), weights, create_graph=True, materialize_grads=True)
    momenta = [state.weight_optimizer.state[weight]["momentum_buffer"] for weight in weights]
    ahead = tuple(
        weight - 0.2 * (0.9 * momentum + slope + 3e-4 * weight)
        for weight, momentum, slope in zip(weights, momenta, slopes, strict=True)
    )
    (expected,) = torch.autograd.grad(loss(ahead, search.held_out), state.alpha)

    def away(found: list[Tensor]) -> float:
        """How far a gradient is from the exact one, in lengths of that one."""
        return float((found[0] - expected).norm() / expected.norm())

    # A small radius, within which no ReLU turns over; within the published one, many do.
    assert away(level.unrolled_gradient(search, radius=1e-6)) < 1e-8
    assert away(level.unrolled_gradient(search)) > 0.1
    assert away(search.alpha_gradient(search.held_out)) > 0.1
