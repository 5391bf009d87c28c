"""Batches of a split of any kind, as they reach the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import torch
from torch import Tensor

from diffnas.data.pictures import Files, Pictures
from diffnas.data.sequences import Series, Stream

_AHEAD = 2
"""How many batches of a streamed split are read in advance."""

Split: TypeAlias = Pictures | Files | Series | Stream


def batches(
    split: Split, indices: Tensor, batch: int, *, start: int = 0, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Consecutive batches of the pictures at ``indices``, from batch number ``start`` on.

    The last batch may be short. A streamed split reads the next batches while the caller uses one.

    Args:
        split: where the pictures are.
        indices: which pictures, in order, ``(pictures,)``.
        batch: pictures in a batch.
        start: how many batches to skip, so that an interrupted epoch continues where it stopped.
        device: the device of the batches.

    Yields:
        Pictures, uint8 ``(B, channels, H, W)``, and labels, ``(B,)`` or ``(B, classes)``.

    >>> split = Pictures(images=torch.zeros(5, 1, 8, 8, dtype=torch.uint8), labels=torch.arange(5))
    >>> [labels.tolist() for _, labels in batches(split, torch.arange(5), 2, start=1, device="cpu")]
    [[2, 3], [4]]
    """
    if batch < 1 or start < 0:
        raise ValueError(f"batch must be at least 1 and start at least 0, not {batch} and {start}.")
    rest = indices[start * batch :]
    chunks = torch.split(rest, batch) if len(rest) else ()
    yield from fetched(split, chunks, device)


def fetched(
    split: Split, chunks: Iterable[Tensor], device: torch.device | str
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """A batch on ``device`` for each of ``chunks``, indices ``(B,)``, as :func:`batches` gives them.

    For a streamed split, the next batches are read while the caller uses one, so ``chunks`` is read in advance too.
    """
    ahead = _read_ahead(split, chunks) if isinstance(split, Files) else map(split.take, chunks)
    for images, labels in ahead:
        yield images.to(device), labels.to(device)


def _read_ahead(split: Files, chunks: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """``split.take`` of each chunk, in order, with the next chunks read in the background."""
    waiting: deque[Future[tuple[Tensor, Tensor]]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for chunk in chunks:
            waiting.append(pool.submit(split.take, chunk))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # A caller that stops early must not wait for batches that nobody will use.
        pool.shutdown(wait=True, cancel_futures=True)
