"""Looking at gradients elsewhere in the space of weights, and leaving everything as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def moved(weights: Sequence[Tensor], away: Sequence[Tensor]) -> Iterator[None]:
    """Inside, ``weights`` stand ``away`` from where they are; afterwards they are back, bit for bit.

    >>> weight = torch.tensor([0.1])
    >>> with moved([weight], [torch.tensor([1.0])]):
    ...     weight
    tensor([1.1000])
    >>> weight
    tensor([0.1000])
    """
    # Kept, not computed back: adding and then subtracting would leave the last digits changed.
    before = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight, by in zip(weights, away, strict=True):
                weight.add_(by)
        yield
    finally:
        _set(weights, before)


@contextmanager
def buffers_kept(net: nn.Module) -> Iterator[None]:
    """Whatever happens inside, the buffers of ``net``, running statistics among them, are afterwards as before."""
    buffers = list(net.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        _set(buffers, before)


@torch.no_grad()
def _set(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    # In place: optimizers and captured graphs know these tensors.
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


@torch.no_grad()
def descent(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor]) -> list[Tensor]:
    """The direction against which SGD would step with these gradients, in the order of its parameters.

    The gradient, with weight decay and momentum as they are; nothing is clipped, no Nesterov, and what the optimizer
    remembers is read only: the look-ahead of DARTS' code (Liu et al., 2019).
    """
    (group,) = optimizer.param_groups
    directions = []
    for weight, gradient in zip(group["params"], gradients, strict=True):
        direction = gradient + group["weight_decay"] * weight
        momentum = optimizer.state.get(weight, {}).get("momentum_buffer")
        directions.append(direction if momentum is None else direction + group["momentum"] * momentum)
    return directions
