"""Gradients at other values of the weights, which leave the search as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def moved(weights: Sequence[Tensor], away: Sequence[Tensor]) -> Iterator[None]:
    """A context in which ``away`` is added to ``weights``; afterwards they are as before, bit for bit.

    >>> weight = torch.tensor([0.1])
    >>> with moved([weight], [torch.tensor([1.0])]):
    ...     weight
    tensor([1.1000])
    >>> weight
    tensor([0.1000])
    """
    # A copy, because adding and then subtracting would change the last digits.
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
    """A context after which the buffers of ``net``, such as running statistics, are as before."""
    buffers = list(net.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        _set(buffers, before)


@torch.no_grad()
def _set(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    # In place, because optimizers and captured graphs refer to these tensors.
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


@torch.no_grad()
def descent(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor]) -> list[Tensor]:
    """The direction whose opposite SGD would take with these gradients, one tensor for each of its parameters.

    It is the gradient plus weight decay and the present momentum, without clipping and without Nesterov, as in DARTS'
    code (Liu et al., 2019). The optimizer's state is only read.
    """
    moved_by = [(group, weight) for group in optimizer.param_groups for weight in group["params"]]
    directions = []
    for (group, weight), gradient in zip(moved_by, gradients, strict=True):
        direction = gradient + group["weight_decay"] * weight
        momentum = optimizer.state.get(weight, {}).get("momentum_buffer")
        directions.append(direction if momentum is None else direction + group["momentum"] * momentum)
    return directions
