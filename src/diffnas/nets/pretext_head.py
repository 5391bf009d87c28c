"""Another head in place of a supernet's classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from diffnas.nets.frames.parts import GlobalAveragePool
from diffnas.nets.supernet import Supernet


def has_classifier(supernet: Supernet) -> bool:
    """Whether the head of a supernet ends in a pool, a flattening and a linear classifier, as those of our frames."""
    head = getattr(supernet.frame, "head", None)
    if not isinstance(head, nn.Sequential) or len(head) < 3:
        return False
    pool, flat, last = head[-3], head[-2], head[-1]
    return isinstance(pool, GlobalAveragePool) and isinstance(flat, nn.Flatten) and isinstance(last, nn.Linear)


def classifier_of(supernet: Supernet) -> nn.Linear:
    """The linear classifier of a supernet."""
    assert has_classifier(supernet)
    last: nn.Linear = supernet.frame.head[-1]  # type: ignore[index, assignment]
    return last


@contextmanager
def headed(supernet: Supernet, head: nn.Module, *, of_map: bool) -> Iterator[None]:
    """A context in which a supernet ends in ``head``.

    The head reads the mean of the last map, ``(B, features)``; with ``of_map``, the map itself.
    """
    assert has_classifier(supernet)
    own: nn.Sequential = supernet.frame.head  # type: ignore[assignment]
    supernet.frame.head = nn.Sequential(*list(own)[: -3 if of_map else -1], head)
    try:
        yield
    finally:
        supernet.frame.head = own
