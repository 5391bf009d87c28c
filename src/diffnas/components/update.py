"""How the architecture parameters move.

An update is what makes a torch optimiser from a list of tensors; options are bound with ``functools.partial``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

Update = Callable[..., Optimizer]

adam = partial(torch.optim.Adam, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
"""Adam with the settings of DARTS (Liu et al., 2019), appendix A.1.1: L2 on alpha, little momentum."""


def movable(keep: Tensor, *, competing: bool = True) -> Tensor:
    """The entries of alpha that a step may change, ``(edges, ops)``.

    Where the operations of an edge compete, an edge with one left is decided; a gate goes on moving by itself.

    >>> movable(torch.tensor([[True, True, False], [False, True, False]]))
    tensor([[ True,  True, False],
            [False, False, False]])
    """
    return keep & (keep.sum(dim=-1, keepdim=True) > 1) if competing else keep


@torch.no_grad()
def move(
    optimizer: Optimizer,
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    keep: Tensor,
    *,
    competing: bool = True,
) -> None:
    """One step of the architecture parameters, ``tensors[0]`` being alpha ``(edges, ops)``.

    Entries of alpha that are pruned or decided keep their value and lose what the optimiser remembers of them:
    neither weight decay nor old momentum moves them.
    """
    alpha = tensors[0]
    frozen = ~movable(keep, competing=competing)
    before = alpha.clone()
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = gradient
    optimizer.step()
    alpha.copy_(torch.where(frozen, before, alpha))
    forget(optimizer, alpha, frozen)
    for tensor in tensors:
        tensor.grad = None


def forget(optimizer: Optimizer, alpha: Tensor, entries: Tensor) -> None:
    """Set what the optimiser remembers of some entries of alpha to zero; ``entries`` is bool, alpha's shape."""
    for remembered in optimizer.state.get(alpha, {}).values():
        if isinstance(remembered, Tensor) and remembered.shape == alpha.shape:
            remembered.masked_fill_(entries, 0.0)
