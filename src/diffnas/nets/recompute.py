"""Time for memory: what a module keeps for its gradients is thrown away and computed again in the backward pass.

Training deep nets with sublinear memory (Chen et al., 2016), with the module as the unit. PyTorch's checkpointing
does the work. What it does not know of is settled here: buffers, such as the running statistics of batch norms, move
once and not twice, and operations that draw from a generator of their own draw the same numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# A function that comes without types.
_checkpoint: Callable[..., Tensor] = checkpoint


def recomputed(module: nn.Module, *arguments: Any) -> Tensor:
    """``module(*arguments)``, keeping nothing of its inside: the backward pass computes it again, to the same values.

    Args:
        module: anything that gives the same result when it is called twice, apart from its buffers and from random
            numbers: torch's own, or those of an attribute ``generator`` of any of its parts.
        arguments: what it is called with.

    >>> linear, x = nn.Linear(2, 2), torch.ones(1, 2)
    >>> bool(torch.equal(recomputed(linear, x), linear(x)))
    True
    """
    if not torch.is_grad_enabled():
        result: Tensor = module(*arguments)
        return result
    # Read before the module runs, which moves them on.
    again = _Again(module)
    return _checkpoint(module, *arguments, use_reentrant=False, context_fn=again.contexts)


class _Again:
    """What the second run of a module needs to be as the first: where its generators stood."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.states = [(source, source.get_state()) for source in _generators(module)]

    def contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around the first run, and around the second."""
        return nullcontext(), self._second()

    @contextmanager
    def _second(self) -> Iterator[None]:
        buffers = [buffer for buffer in self.module.buffers() if buffer is not None]
        kept = [buffer.clone() for buffer in buffers]
        now = [source.get_state() for source, _ in self.states]
        for source, state in self.states:
            source.set_state(state)
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in zip(buffers, kept, strict=True):
                    buffer.copy_(value)
            for (source, _), state in zip(self.states, now, strict=True):
                source.set_state(state)


def _generators(module: nn.Module) -> list[torch.Generator]:
    """The generators that the parts of a module draw from, each once."""
    found = {
        id(own): own for part in module.modules() if isinstance(own := vars(part).get("generator"), torch.Generator)
    }
    return list(found.values())
