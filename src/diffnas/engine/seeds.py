"""Random numbers that depend on the seed and the place in a run, and on nothing that happened before.

So a checkpoint holds no random states, and a run that goes on from one draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *place: str | int) -> int:
    """A seed for one place in a run.

    >>> derive(0, "order", 3) == derive(0, "order", 3) != derive(0, "order", 4)
    True
    """
    digest = hashlib.sha256(repr((seed, place)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """The order in which an epoch takes ``count`` pictures, ``(pictures,)``."""
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def generator(seed: int, *place: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one place in a run."""
    made = torch.Generator(device)
    made.manual_seed(derive(seed, *place))
    return made


@contextmanager
def fixed_random(seed: int) -> Iterator[None]:
    """Inside, torch's own random numbers follow from ``seed``; outside, nothing has changed."""
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
