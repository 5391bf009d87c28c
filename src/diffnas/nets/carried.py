"""The states that a net carries from one window of a stream to the next, detached.

A stream is a sequence that is read window by window, such as the training text. Several streams do not disturb each
other. All functions here do nothing for a net that carries no state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class Carried(nn.Module):
    """The state of a net, one for each stream. The net reads it before a window and writes it after.

    Attributes:
        states: by stream, the state at the end of its last window, ``(parts, B, n)``.
        stream: the stream that is read now; None if windows begin at zero and leave nothing.
        keeps: whether the window that is read now moves the state of its stream.

    >>> import torch
    >>> state = Carried()
    >>> with reading(state, "train"):
    ...     state.write(1 + state.read(torch.zeros(1, 2, 3)))
    >>> with reading(state, "train"):
    ...     state.read(torch.zeros(1, 2, 3)).sum().item()
    6.0
    """

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, Tensor] = {}
        self.stream: str | None = None
        self.keeps = True

    def read(self, zeros: Tensor) -> Tensor:
        """The state before a window; ``zeros`` at the start of a stream."""
        found = self.states.get(self.stream, zeros) if self.stream is not None else zeros
        assert found.shape == zeros.shape, "a stream keeps its number of columns; forget it first"
        return found.to(zeros.device, zeros.dtype)

    def write(self, state: Tensor) -> None:
        """Keep the state after a window."""
        if self.stream is not None and self.keeps:
            self.states[self.stream] = state.detach()


@contextmanager
def reading(net: nn.Module, stream: str, *, keep: bool = True) -> Iterator[None]:
    """A context in which the forward passes of a net read the windows of a stream.

    Args:
        net: the net.
        stream: the name of the stream, such as "train", "held_out" or "judged".
        keep: whether a forward pass moves the stream's state to the end of its window.
    """
    found = _of(net)
    before = [(each.stream, each.keeps) for each in found]
    for each in found:
        each.stream, each.keeps = stream, keep
    try:
        yield
    finally:
        for each, (was, kept) in zip(found, before, strict=True):
            each.stream, each.keeps = was, kept


@contextmanager
def afresh(net: nn.Module, stream: str) -> Iterator[None]:
    """A context like ``reading`` for a stream that is read once, from its beginning.

    The state of the stream is forgotten before and after."""
    forget(net, stream)
    try:
        with reading(net, stream):
            yield
    finally:
        forget(net, stream)


def forget(net: nn.Module, stream: str) -> None:
    """Let the next window of a stream begin at zero."""
    for each in _of(net):
        each.states.pop(stream, None)


def carried(net: nn.Module) -> dict[str, list[Tensor]]:
    """The states of a net by stream, for a checkpoint; empty for a net without a state."""
    streams = dict.fromkeys(stream for each in _of(net) for stream in each.states)
    return {stream: [each.states[stream] for each in _of(net)] for stream in streams}


def restore(net: nn.Module, states: Mapping[str, list[Tensor]]) -> None:
    """Give a net the states that ``carried`` returned."""
    for number, each in enumerate(_of(net)):
        each.states = {stream: found[number] for stream, found in states.items()}


def _of(net: nn.Module) -> list[Carried]:
    return [module for module in net.modules() if isinstance(module, Carried)]
