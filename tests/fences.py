"""Memory with NaN in it and around it, so that what a kernel reads or writes where it must not shows."""

from typing import Any

import pytest
import torch
from torch import Tensor

MARGIN = 1024


class Fences:
    """Gives out memory between fences, for the length of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diffnas.backends.cpu import conv_group, program  # these need Numba

        self.fenced: list[Tensor] = []
        self.unfenced = torch.empty
        for module in (conv_group, program):
            monkeypatch.setattr(module, "thread_buffer", lambda _, size: self.numbers(size).numpy())
        monkeypatch.setattr(torch, "empty", self.empty)
        monkeypatch.setattr(torch, "empty_like", self.like)

    def numbers(self, count: int) -> Tensor:
        memory = torch.full((count + 2 * MARGIN,), float("nan"))
        self.fenced.append(memory)
        return memory[MARGIN : MARGIN + count]

    def empty(self, *size: Any, **options: Any) -> Tensor:
        if len(size) == 1 and isinstance(size[0], int):
            return self.numbers(size[0])
        if options.get("memory_format") != torch.channels_last:
            return self.unfenced(*size, **options)
        B, C, H, W = size[0]
        return self.numbers(B * C * H * W).view(B, H, W, C).permute(0, 3, 1, 2)

    def like(self, x: Tensor) -> Tensor:
        return self.numbers(x.numel()).as_strided(x.shape, x.stride())

    def around(self, x: Tensor) -> Tensor:
        """A copy of x, channels last."""
        return self.empty(tuple(x.shape), memory_format=torch.channels_last).copy_(x)

    def stand(self) -> bool:
        """Whether nothing was written onto a fence."""
        return all(bool(memory[part].isnan().all()) for memory in self.fenced for part in _PARTS)


_PARTS = (slice(None, MARGIN), slice(-MARGIN, None))
