"""Less memory for more time: the inside of a module is not kept for its gradients, but computed again.

This is "Training deep nets with sublinear memory cost" (Chen et al., 2016), one module at a time, by PyTorch's
checkpointing. This file adds what PyTorch leaves out. Buffers, such as running statistics of batch norms, change once,
not twice. Operations that draw from their own generator draw the same numbers again.
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
    """``module(*arguments)``, whose inside is not kept: the backward pass computes it again, to the same values.

    Args:
        module: a module that gives the same result if it is called twice with the same buffers and random numbers. The
            numbers may be torch's global ones, or those of an attribute ``generator`` of any of its submodules.
        arguments: the arguments of the module.

    >>> linear, x = nn.Linear(2, 2), torch.ones(1, 2)
    >>> bool(torch.equal(recomputed(linear, x), linear(x)))
    True
    """
    if not torch.is_grad_enabled():
        result: Tensor = module(*arguments)
        return result
    # The generators' states are read now, because a run of the module changes them.
    again = _Again(module)
    return _checkpoint(module, *arguments, use_reentrant=False, context_fn=again.contexts)


class _Again:
    """What makes the second run of a module equal to the first: the states of its generators before the first."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.states = [(source, source.get_state()) for source in _generators(module)]

    def contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """The contexts for the first run and for the second."""
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
    """The generators of a module and of its submodules, each once."""
    found = {
        id(own): own for part in module.modules() if isinstance(own := vars(part).get("generator"), torch.Generator)
    }
    return list(found.values())
