"""The processes that compute one run together. Each of them is a rank; all others ask this module what that means.

Every rank holds the whole state, which stays equal to the bit: each takes its part of every batch, and gradients are
averaged before anything moves. The first rank alone reads and writes the run folder. A run of one process is the case
of one rank, for which everything here is free and changes nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from diffnas.engine.listen import Diverged, Lost

T = TypeVar("T")

LEAST = 2
"""Pictures that a rank needs of every batch: a single one has no batch statistics."""

_HOST = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of its run.

    Attributes:
        number: of this process, from 0.
        count: how many processes there are.
        here: how many of them are on this machine.
        local: the number of this process among those.
        lost: what can be said of a process that is gone, a sentence.
    """

    number: int = 0
    count: int = 1
    here: int = 1
    local: int = 0
    lost: Callable[[], str] = lambda: ""

    @property
    def first(self) -> bool:
        """Whether this process is the one that reads, writes and speaks."""
        return self.number == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    @property
    def place(self) -> tuple[str | int, ...]:
        """What sets the random numbers of this process apart from those of the others; empty if there are none."""
        return ("rank", self.number) if self.several else ()

    @property
    def told(self) -> tuple[str, ...]:
        """How the run is shared, a sentence for its record; none if it is not."""
        where = "" if self.here == self.count else f", {self.here} on this machine"
        return (f"{self.count} processes compute the run{where}",) if self.several else ()

    # What a rank takes of the pictures.

    def part(self, indices: Tensor) -> Tensor:
        """What this rank takes of a batch, ``(B,)``: consecutive pictures, as many as the others take, or one more.

        >>> [Ranks(number=number, count=2).part(torch.arange(5)).tolist() for number in range(2)]
        [[0, 1, 2], [3, 4]]
        """
        return indices.tensor_split(self.count)[self.number]

    def batches(self, indices: Tensor, size: int) -> list[Tensor]:
        """What this rank takes of each batch of consecutive pictures, ``(B,)`` each.

        A last batch is left out if it has fewer than two pictures for each rank. It is never left out if it is alone,
        or if batches have one picture.

        >>> [part.tolist() for part in Ranks().batches(torch.arange(5), 2)]
        [[0, 1], [2, 3]]
        >>> [part.tolist() for part in Ranks(number=1, count=2).batches(torch.arange(11), 4)]
        [[2, 3], [6, 7]]
        """
        chunks = list(torch.split(indices, size)) if len(indices) else []
        if len(chunks) > 1 and size > 1 and len(chunks[-1]) < LEAST * self.count:
            chunks.pop()
        return [self.part(chunk) for chunk in chunks]

    def check_batch(self, batch: int, pictures: int) -> None:
        """Refuse batches of ``batch`` of ``pictures`` pictures that cannot be shared by all ranks.

        Raises:
            ValueError: if a rank would have fewer than two pictures of a batch.
        """
        least = LEAST * self.count
        if self.several and min(batch, pictures) < least:
            given = f"batches of {batch}" if batch < least else f"{pictures} pictures"
            raise ValueError(
                f"{given} cannot be shared by {self.count} processes, each of which needs {LEAST} pictures of a batch: "
                f"at least {least} are needed. Take a larger --batch, more pictures or fewer --devices."
            )

    def batch_on(self, batch: int, device: str) -> int:
        """How many pictures of a batch lie in one memory: a GPU's, or that of a machine and all its processes."""
        gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        return -(-batch * (1 if gpu else self.here) // self.count)

    # What the ranks tell one another. Every rank makes the same calls in the same order.

    def mean(self, tensors: Sequence[Tensor], weight: float) -> list[Tensor]:
        """The mean of each tensor over the ranks, in which this rank counts ``weight`` times.

        Args:
            tensors: of any shapes, which are the same in all ranks.
            weight: over how many pictures the tensors of this rank are means. Parts of unequal size then give the mean
                of all pictures.
        """
        return list(tensors) if not self.several else self._mean(tensors, weight)

    def mean_gradients_(self, weights: Sequence[Tensor], weight: float, also: Sequence[Tensor] = ()) -> list[Tensor]:
        """Average the gradients of ``weights`` in place; the means of the tensors in ``also`` come back.

        All of it is one message. A weight without a gradient in any rank stays without one; where only some ranks
        have one, it is 0 in the others.
        """
        if not self.several:
            return list(also)
        lacking = [number for number, each in enumerate(weights) if each.grad is None]
        found = [torch.zeros_like(each) if each.grad is None else each.grad for each in weights]
        given = torch.tensor([float(each.grad is not None) for each in weights]).to(found[0])
        flags, *means = self._mean([given, *found, *also], weight)
        # Read only where it matters: a GPU would wait.
        there = flags.tolist() if lacking else []
        for number in lacking:
            if there[number]:
                weights[number].grad = torch.empty_like(weights[number])
        for each, mean in zip(weights, means, strict=False):
            if each.grad is not None:
                # In place: a captured graph knows this tensor, and its strides are those that the optimizer needs.
                each.grad.copy_(mean)
        return means[len(found) :]

    def mean_buffers_(self, buffers: Iterable[Tensor]) -> None:
        """Set each buffer of floating point to its mean over the ranks; whole numbers are equal in all of them."""
        kept = [buffer for buffer in buffers if buffer.is_floating_point()]
        with torch.no_grad():
            for buffer, mean in zip(kept, self.mean(kept, 1.0), strict=True):
                if mean is not buffer:
                    buffer.copy_(mean)

    def total(self, sums: Tensor) -> Tensor:
        """The sum of a tensor over the ranks."""
        if not self.several:
            return sums
        found = sums.detach().to(_HOST, copy=True)
        self._talk(lambda: dist.all_reduce(found))
        return found.to(sums.device)

    def worst(self, value: float) -> float:
        """The value; nan if it is a number here, and is infinite or none in another rank."""
        good = math.isfinite(value)
        return math.nan if self.agree(int(not good)) and good else value

    def agree(self, code: int) -> int:
        """The largest code that any rank gives: what one of them knows, all know from now on."""
        if not self.several:
            return code
        found = torch.tensor(code)
        self._talk(lambda: dist.all_reduce(found, op=dist.ReduceOp.MAX))
        return int(found)

    def broadcast(self, value: T) -> T:
        """The value that the first rank gives, which may be anything that can be pickled."""
        if not self.several:
            return value
        box = [value if self.first else None]
        self._talk(lambda: dist.broadcast_object_list(box, 0, device=_HOST))
        return box[0]  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        """What each rank gives, by its number."""
        if not self.several:
            return [value]
        boxes: list[Any] = [None] * self.count
        self._talk(lambda: dist.all_gather_object(boxes, value))
        return boxes

    def check_same(self, parts: Mapping[str, Any], when: str) -> None:
        """Stop the run if a part of the state is not the same in all ranks, to the bit.

        Args:
            parts: nested tensors and plain data, by name.
            when: what is over, for the message.

        Raises:
            Diverged: in all ranks, with the name of the first such part.
        """
        if not self.several:
            return
        first, *others = self.gather({name: digest(part) for name, part in parts.items()})
        for number, other in enumerate(others, start=1):
            name = next((name for name in {**first, **other} if first.get(name) != other.get(name)), None)
            if name is not None:
                raise Diverged(name, number, when)

    def _mean(self, tensors: Sequence[Tensor], weight: float) -> list[Tensor]:
        """The weighted means, from one message for each kind of tensor, which has the sum of the weights at its end."""
        found: list[Tensor] = list(tensors)
        for kind in dict.fromkeys((tensor.device, tensor.dtype) for tensor in tensors):
            places = [place for place, each in enumerate(tensors) if (each.device, each.dtype) == kind]
            parts = [tensors[place].detach().reshape(-1) for place in places]
            flat = torch.cat([*parts, parts[0].new_ones(1)]).mul_(weight)
            self._talk(lambda flat=flat: dist.all_reduce(flat))  # type: ignore[misc]
            pieces = torch.split(flat[:-1].div_(flat[-1].clone()), [len(part) for part in parts])
            for place, piece in zip(places, pieces, strict=True):
                found[place] = piece.view(tensors[place].shape)
        return found

    def _talk(self, say: Callable[[], object]) -> None:
        """Say something to the other ranks.

        Raises:
            Lost: if one of them is gone.
        """
        try:
            say()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise Lost(self.lost() or f"another process of this run cannot be reached ({error})") from error


ALONE = Ranks()
"""A process that computes by itself."""


def digest(state: Any) -> str:
    """A digest of nested tensors and plain data, in which every bit counts.

    >>> digest({"alpha": torch.zeros(2)}) == digest({"alpha": torch.zeros(2)}) != digest({"alpha": -torch.zeros(2)})
    True
    """
    found = hashlib.sha256()
    for part in _bytes(state):
        found.update(part)
    return found.hexdigest()


def _bytes(state: Any) -> Iterable[bytes]:
    if isinstance(state, Tensor):
        yield repr((state.dtype, tuple(state.shape))).encode()
        yield state.detach().cpu().contiguous().numpy().tobytes()
    elif isinstance(state, Mapping):
        for name, part in state.items():
            yield repr(name).encode()
            yield from _bytes(part)
    elif isinstance(state, list | tuple):
        yield str(len(state)).encode()
        for part in state:
            yield from _bytes(part)
    else:
        yield repr(state).encode()
