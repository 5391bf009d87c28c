"""A supernet's passes replayed from a CUDA graph: one launch instead of thousands.

What differs from method to method (mixing weights, penalties, optimizers, pruning) stays outside, so nothing of it is
frozen in a graph. No GPU has run this yet: the bookkeeping is tested everywhere, the replay where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.nets.auxiliary import AuxiliaryHead
from diffnas.nets.ops import DroppedSkip, Noise
from diffnas.nets.supernet import Supernet

Net = Callable[[Tensor, Tensor], Tensor]


def refuse_graph(net: nn.Module, device: torch.device, precision: str, *, recompute: bool) -> None:
    """Refuse a CUDA graph where none can be captured.

    Raises:
        ValueError: with the reason.
    """
    reasons = {
        f"the run computes on {device.type}, and only cuda has them": device.type != "cuda",
        f"precision {precision} casts anew in every step; 32-true works": precision != "32-true",
        "recompute runs parts of the step again; choose one of the two": recompute,
        "an auxiliary head gives the supernet a second output": any(
            isinstance(part, AuxiliaryHead) for part in net.modules()
        ),
        "the operation 'noise' draws from a generator that changes": any(
            isinstance(part, Noise) for part in net.modules()
        ),
        "which operations run is drawn in every step": any(
            isinstance(part, Supernet) and part.drawn for part in net.modules()
        ),
        "how much of a skip is dropped changes from epoch to epoch": any(
            isinstance(part, DroppedSkip) for part in net.modules()
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"cuda_graph cannot be used: {reason}.")


class Graphed:
    """A supernet in training; its forward and backward passes come from a CUDA graph once they have settled.

    The graph is for batches of the first size that comes; others, such as an epoch's short last one, run as usual.

    Args:
        net: maps pictures ``(B, C, H, W)`` and mixing weights ``(edges, ops)`` to logits.
        settle: steps that run as usual before a graph is captured, at the start and after every ``forget``: pruning
            comes in bursts, and a capture costs as much as many steps.

    Attributes:
        captures: how many graphs there have been.
    """

    def __init__(self, net: nn.Module, *, settle: int = 20) -> None:
        self.net, self.settle = net, settle
        self.shape: torch.Size | None = None
        self.replay: Net | None = None
        self.steps = self.captures = 0

    def __call__(self, x: Tensor, mix: Tensor) -> Tensor:
        """Logits, ``(B, classes)``, whose buffer the next call may use again."""
        self.shape = x.shape if self.shape is None else self.shape
        if x.shape != self.shape or not (self.net.training and torch.is_grad_enabled()):
            logits: Tensor = self.net(x, mix)
            return logits
        self.steps += 1
        if self.steps <= self.settle:
            logits = self.net(x, mix)
            return logits
        if self.replay is None:
            self.replay = self._capture(x, mix)
        # The graph has gradients for the mixing weights in any case.
        return self.replay(x, mix if mix.requires_grad else mix.detach().requires_grad_())

    def forget(self) -> None:
        """Drop the graph: the supernet is no longer what was captured."""
        self.replay, self.steps = None, 0

    def _capture(self, x: Tensor, mix: Tensor) -> Net:
        self.captures += 1
        buffers = [(buffer, buffer.clone()) for buffer in self.net.buffers()]
        samples = x.detach().clone(), mix.detach().clone().requires_grad_()
        # A module of its own, since capturing gives a module another forward method.
        make: Callable[..., Any] = torch.cuda.make_graphed_callables
        made: Net = make(_Wrapped(self.net), samples, allow_unused_input=True)
        # What warming up did to running statistics is undone.
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        return made


class _Wrapped(nn.Module):
    """A net inside another module."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, mix: Tensor) -> Tensor:
        """What the net gives."""
        logits: Tensor = self.net(x, mix)
        return logits
