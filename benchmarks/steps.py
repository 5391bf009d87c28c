"""The contenders of the supernet's benchmarks, and their step of a single-level search."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from stock import make_stock_
from torch import Tensor
from torch.nn import functional as F

from diffnas.backends.choose import Asked, choose
from diffnas.backends.gpu.graphs import Graphed
from diffnas.components import update
from diffnas.components.edge_weights import EdgeWeights
from diffnas.components.schedule import Moment
from diffnas.data.augment import normalize
from diffnas.data.tensors import from_tensors
from diffnas.engine.search_state import SearchState, begin
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.method import METHODS
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace

NOW = Moment(epoch=0, step=0, epochs=1, steps=1)

Way = Literal["plain NCHW", "plain channels_last", "fast"]
WAYS: tuple[Way, ...] = ("plain NCHW", "plain channels_last", "fast")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A supernet, its optimizers, and a batch: pictures ``(B, 3, H, W)`` and labels ``(B,)``.

    With ``graphed`` the passes are replayed from CUDA graphs.
    """

    state: SearchState
    pictures: Tensor
    labels: Tensor
    graphed: Graphed | None = None

    def backward(self) -> Tensor:
        """The loss; its gradients are added to ``.grad`` of the weights and alpha."""
        state = self.state
        mix = EdgeWeights(state.weighting(state.alpha, state.keep, NOW))
        logits = self.graphed(self.pictures, mix).logits if self.graphed else state.supernet(self.pictures, mix)
        loss = F.cross_entropy(logits, self.labels)
        loss.backward()
        return loss.detach()

    def step(self) -> None:
        """One step of a single-level search: the gradients, then alpha, then the weights."""
        state = self.state
        backend = state.supernet.backend
        with backend.computing(torch.get_num_threads()) if backend else nullcontext():
            self.backward()
            gradients = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in state.arch]
            update.move(state.alpha_optimizer, state.arch, gradients, state.keep)
            (group,) = state.weight_optimizer.param_groups
            torch.nn.utils.clip_grad_norm_(group["params"], 5.0)
            state.weight_optimizer.step()
            state.weight_optimizer.zero_grad()

    def gradients(self) -> tuple[Tensor, list[Tensor]]:
        """The loss and a copy of every gradient, alpha's last; weights and alpha stay unchanged."""
        loss = self.backward()
        parameters = [*self.state.supernet.parameters(), self.state.alpha]
        copies = [torch.zeros_like(p) if p.grad is None else p.grad.contiguous().clone() for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        return loss, copies


def contender(
    way: Way,
    space: SearchSpace,
    settings: SearchSettings,
    keep: Tensor,
    *,
    size: int = 32,
    device: str = "cpu",
    cuda_graph: bool = False,
) -> Contender:
    """The contender of one way; all ways start with the same weights, alpha and pictures."""
    generator = torch.Generator().manual_seed(settings.seed)
    pictures = torch.randint(256, (settings.batch, 3, size, size), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (settings.batch,), generator=generator)
    one_each = torch.zeros(10, *pictures.shape[1:], dtype=torch.uint8), torch.arange(10)
    data = from_tensors(one_each, one_each)
    with fixed_random(settings.seed):
        state = begin(data, space, METHODS["single-level"], settings, torch.device(device))
    x = normalize(pictures, [0.5] * 3, [0.25] * 3)
    if not bool(keep.all()):
        state.prune_(keep.to(device))
    state.supernet.train()
    asked: Asked = "auto" if way == "fast" else "plain"
    state.supernet.backend = choose(asked, torch.device(device), "32-true", graph=cuda_graph).backend
    if way.startswith("plain"):
        make_stock_(state.supernet)
    if way == "plain NCHW":
        x = x.contiguous()
        state.supernet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    graphed = Graphed(state.supernet, batch=settings.batch) if cuda_graph else None
    return Contender(state=state, pictures=x.to(device), labels=labels.to(device), graphed=graphed)


def add_sizes(parser: argparse.ArgumentParser, *, batch: int, threads: int) -> None:
    """Add the options for the size of the supernet, the pictures and the batch."""
    parser.add_argument("--space", choices=("darts", "nas-bench-201", "chain"), default="darts")
    parser.add_argument("--channels", type=int, help="of the first cell; the space's own by default")
    parser.add_argument("--cells", type=int, help="the space's own number by default")
    parser.add_argument("--size", type=int, default=32, help="of the pictures")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--threads", type=int, default=threads)


def survivors(space: SearchSpace, pattern: str, seed: int = 0) -> Tensor:
    """Which operations are still in play, ``(edges, ops)``, bool, drawn at random.

    ``pattern`` is the number of operations on every edge. ``all`` means all operations. ``late`` is like the last part
    of a search: half of the edges have one operation left, the others two.
    """
    generator = torch.Generator().manual_seed(seed)
    offered = torch.tensor(space.offered)
    edges = len(offered)
    if pattern == "all":
        return offered
    if pattern == "late":
        single = torch.randperm(edges, generator=generator) < edges // 2
        counts = torch.where(single, 1, 2)
    else:
        counts = torch.full((edges,), int(pattern))
    if bool((counts < 1).any()):
        raise ValueError(f"an edge keeps at least one operation, not {pattern}.")
    draws = torch.rand(offered.shape, generator=generator).masked_fill(~offered, -1.0)
    rank = draws.argsort(dim=1, descending=True).argsort(dim=1)
    return offered & (rank < counts.unsqueeze(1))


def settings_of(
    space: SearchSpace, *, batch: int, channels: int | None, cells: int | None, stem: StemKind = "cifar"
) -> SearchSettings:
    """The settings of a benchmark's search: DARTS' own at this size."""
    sizes = {"channels": channels or space.channels, "depth": cells or space.depth}
    return replace(SearchSettings(), batch=batch, stem=stem, **sizes)
