"""Splitting the work on a batch over CPU threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise

import torch

_THREADS: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def alone(threads: int) -> Iterator[None]:
    """A context in which ``in_parallel`` uses so many threads and PyTorch one.

    PyTorch's threads spin for a while after each operation, on the cores that our threads need. So if most of the work
    is ours, both together are slower than our threads alone.
    """
    before, token = torch.get_num_threads(), _THREADS.set(threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _THREADS.reset(token)


@contextmanager
def for_pytorch() -> Iterator[None]:
    """A context in which PyTorch has the threads of ``in_parallel``, for work that is PyTorch's."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads() -> int:
    """How many threads ``in_parallel`` uses: the number given to ``alone``, else as many as PyTorch uses."""
    return _THREADS.get() or torch.get_num_threads()


def in_parallel(work: Callable[[int, int], None], pictures: int) -> None:
    """Run ``work(first, last)`` on consecutive ranges of the pictures, one for each thread; ``last`` is excluded."""
    count = max(1, min(threads(), pictures))
    if count == 1:
        work(0, pictures)
        return
    ends = [pictures * i // count for i in range(count + 1)]
    chunks = list(pairwise(ends))
    # Python threads, because Numba's own threads would share an OpenMP runtime with PyTorch's, or conflict with it.
    waiting = [_pool(os.getpid(), count).submit(work, *chunk) for chunk in chunks[1:]]
    work(*chunks[0])
    for chunk in waiting:
        chunk.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The helper threads, made once for each process (an id) and number; no thread survives a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="diffnas")
