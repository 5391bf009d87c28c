"""The processes that load the same data at the same time, so that each opens only its share of the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")


class Crew(Protocol):
    """This process among those that load the same data; all of them make the same calls in the same order."""

    def part(self, indices: Tensor) -> Tensor:
        """What this process takes of ``indices``, ``(rows,)``: consecutive ones, in the order of the processes."""

    def gather(self, value: T) -> list[T]:
        """What each process gives, in the order of the processes."""


@dataclass(frozen=True)
class Alone:
    """A process that does all by itself."""

    def part(self, indices: Tensor) -> Tensor:
        """All of ``indices``."""
        return indices

    def gather(self, value: T) -> list[T]:
        """The value alone."""
        return [value]


ALONE = Alone()
