"""Copying small tensors from a GPU to the host without making either wait."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """Takes a device's tensor in every step and returns, some steps later, a copy of it that has arrived on the host.

    One copy is under way at a time. Tensors offered meanwhile are skipped, because a later one says at least as much.
    On a CPU every copy arrives at once.

    >>> HostCopy().exchange(torch.ones(2))
    tensor([1., 1.])
    """

    def __init__(self) -> None:
        self.copy: Tensor | None = None
        self.arrival: torch.cuda.Event | None = None

    def exchange(self, tensor: Tensor) -> Tensor | None:
        """The copy that has arrived since the last call, or None; sends ``tensor`` unless a copy is under way."""
        arrived = self._arrived()
        if self.copy is None:
            self._send(tensor.detach())
        return self._arrived() if arrived is None else arrived

    def _send(self, tensor: Tensor) -> None:
        if tensor.device.type != "cuda":
            self.copy, self.arrival = tensor.clone(), None
            return
        # Only a copy into pinned memory lets the host go on without waiting.
        self.copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self.copy.copy_(tensor, non_blocking=True)
        self.arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.arrival.record(torch.cuda.current_stream(tensor.device))

    def _arrived(self) -> Tensor | None:
        if self.copy is None:
            return None
        if self.arrival is not None and not self.arrival.query():  # type: ignore[no-untyped-call]
            return None
        arrived, self.copy, self.arrival = self.copy, None, None
        return arrived
