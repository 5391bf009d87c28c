"""Random numbers that depend only on the seed and the place in a run, not on earlier draws.

So a checkpoint needs no random states, and a resumed run draws the same numbers as one that was not interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *place: str | int) -> int:
    """A seed for one place in a run, such as ``("order", 3)`` for the order of epoch 3.

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


def seed_torch(seed: int) -> None:
    """Set torch's global random numbers on the CPU, and on GPUs if they are in use.

    ``torch.manual_seed`` also prepares devices that nobody uses, which takes a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


@contextmanager
def fixed_random(seed: int) -> Iterator[None]:
    """A context in which torch's global random numbers follow from ``seed``; afterwards their state is as before."""
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        seed_torch(seed)
        yield
