"""A cell's steps for one size of batch, which :mod:`diffnas.backends.cpu.kernels.interpreter` takes.

All that does not change from call to call is decided once, for one size of batch: the order of the steps, where each
tensor stands in memory, and which row of which array each step reads. A call then adds the addresses of what it was
given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffnas.backends.cpu.conv_group import ADDRESSES, groups_of, thread_buffer, workspace
from diffnas.backends.cpu.kernels import interpreter as compiled
from diffnas.backends.cpu.kernels.memory import RATE, Memory
from diffnas.backends.cpu.sums import addresses
from diffnas.backends.norms import channels_last
from diffnas.parallel import in_parallel, threads

GIVEN, WEIGHTS, RESULTS, KEPT, GRADS, GRAD_INPUTS, GRAD_WEIGHTS, TEMPORARY = range(8)
"""The kinds of tensors that a program addresses; the last are scratch of the backward pass."""

NONE = 0
"""The tensor that is none."""

ZERO, ONE = range(2)
"""The rows of scales that have nothing else."""

GAP = 144
"""Numbers between tensors: with a power of two the same pixels of all would share a place in the caches."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Steps in one direction.

    Attributes:
        steps: a row each.
        parts: ranges of steps without a barrier between them, and how threads share each: None by pictures, n by n
            branches, 0 not at all.
    """

    steps: Numbers
    parts: list[tuple[int, int, int | None]]


@dataclass(frozen=True, kw_only=True)
class Program:
    """The steps of a cell, or of chains by themselves, forward and backward, and what they work on.

    Attributes:
        forward_pass: the steps to the results.
        backward_pass: the steps to the gradients.
        inputs_from: the first backward step that serves only the cell's inputs and the layers that prepare them.
        lists: what steps refer to.
        stages: likewise.
        table: the branches without addresses.
        tensors: the tensors whose addresses it then has.
        homes: the numbers of the tensors of each kind, and where the temporary ones stand in one memory.
        kept: how many numbers each tensor has that is kept for the backward pass.
        temporary: numbers in the scratch tensors of the backward pass, all together.
        slots: how many there are, and the channels of the widest.
        scales: how many rows of scales there are, and of how many channels.
        factors: what the stages need by channel, as it is at first.
        packed: numbers in packed weights.
        sums: in the sums of pictures.
        learned: in the gradients of a group of pictures for weights.
        scratch: that a thread needs to work in.
        biases: which weights are added before a batch norm.
        results: channels, rows and columns of each.
        batch: how many pictures there are.
    """

    forward_pass: Direction
    backward_pass: Direction
    inputs_from: int
    lists: Numbers
    stages: Numbers
    table: Numbers
    tensors: Numbers
    homes: dict[int, tuple[Numbers, Numbers]]
    kept: list[int]
    temporary: int
    slots: tuple[int, int]
    scales: tuple[int, int]
    factors: Any
    packed: int
    sums: int
    learned: int
    scratch: int
    biases: list[int]
    results: list[tuple[int, ...]]
    batch: int

    def memory(self, mix: Any) -> Memory:
        """What a call works on, at first: nothing is known, and no tensor has a place.

        Args:
            mix: the mixing weights, ``(edges, ops)``, float64; of chains by themselves, none.
        """
        slots, channels = self.slots
        known = np.zeros((5, slots, channels))
        known[RATE] = 1
        scales = np.zeros(self.scales)
        scales[ONE] = 1
        tensors = 1 + sum(len(numbers) for numbers, _ in self.homes.values())
        return Memory(
            at=np.zeros(tensors, np.int64),
            table=self.table.copy(),
            known=known,
            scales=scales,
            factors=self.factors.copy(),
            packed=thread_buffer("packed", self.packed),
            sums=np.empty(self.sums, np.float32),
            learned=_NOTHING,
            mix=mix.reshape(-1),
            grad_mix=_NO_GRADIENTS,
        )

    def forward(
        self, memory: Memory, inputs: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Take the steps to the results.

        Args:
            memory: new, from ``memory``.
            inputs: what is given, ``(B, C', H', W')`` each, channels last, as all maps.
            weights: in the order of the plan, without gaps.

        Returns:
            What the backward pass needs besides, and the results.
        """
        # One by one: what cells of different sizes free in one piece leaves holes where the next one's does not fit.
        kept = [torch.empty(numbers + GAP, dtype=torch.float32) for numbers in self.kept]
        sizes = ((self.batch, *size) for size in self.results)
        results = [torch.empty(size, dtype=torch.float32, memory_format=torch.channels_last) for size in sizes]
        self._place(memory, {GIVEN: inputs, WEIGHTS: weights, RESULTS: results, KEPT: kept})
        self._take(self.forward_pass, len(self.forward_pass.steps), memory, 0, self.batch, learn=False, mixed=False)
        return kept, results

    def again(self, memory: Memory) -> Memory:
        """What ``backward`` works on: a copy of what ``forward`` left."""
        return memory._replace(
            at=memory.at.copy(),
            table=memory.table.copy(),
            known=memory.known.copy(),
            scales=memory.scales.copy(),
            factors=memory.factors.copy(),
            packed=thread_buffer("packed", self.packed),
            learned=thread_buffer("learned", groups_of(self.batch) * self.learned),
            grad_mix=np.zeros(len(memory.mix)),
        )

    def backward(
        self,
        memory: Memory,
        tensors: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
        grads: Sequence[Tensor],
        *,
        learn: bool,
        mixed: bool = False,
        prepared: bool = True,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Take the steps to the gradients; those for the inputs, and those for the weights.

        Args:
            memory: from ``again``; in the end it has the gradients for the mixing weights.
            tensors: what ``forward`` returned, and was given, wherever it is now.
            grads: those for the results.
            learn: whether the gradients for the weights are wanted; without, they are not written.
            mixed: whether those for the mixing weights are.
            prepared: whether those for the inputs are, which those for weights that prepare them need too.
        """
        kept, inputs, weights, results = tensors
        temporary, sent = torch.empty(self.temporary, dtype=torch.float32), [channels_last(grad) for grad in grads]
        grad_inputs, grad_weights = [torch.empty_like(x) for x in inputs], [torch.empty_like(w) for w in weights]
        self._place(memory, {GIVEN: inputs, WEIGHTS: weights, RESULTS: results, KEPT: kept, GRADS: sent})
        self._place(memory, {GRAD_INPUTS: grad_inputs, GRAD_WEIGHTS: grad_weights, TEMPORARY: [temporary]})
        groups, end = groups_of(self.batch), len(self.backward_pass.steps) if prepared else self.inputs_from
        self._take(self.backward_pass, end, memory, groups, groups, learn=learn, mixed=mixed)
        for n in self.biases:
            grad_weights[n].zero_()  # batch norm takes them away again
        return grad_inputs, grad_weights

    def _place(self, memory: Memory, tensors: dict[int, Sequence[Tensor]]) -> None:
        """Say where the tensors of some kinds are: these, or inside this one all that are temporary."""
        for home, own in tensors.items():
            numbers, offsets = self.homes[home]
            assert all(tensor.dtype is torch.float32 for tensor in own), "kernels read the memory as float32"
            memory.at[numbers] = addresses(own) + offsets
        memory.table[:, ADDRESSES] = memory.at[self.tensors]

    def _take(
        self, direction: Direction, end: int, memory: Memory, groups: int, units: int, *, learn: bool, mixed: bool
    ) -> None:
        def run(begin: int, stop: int, first: int, last: int) -> None:
            scratch = workspace(self.scratch)
            compiled.run(
                direction.steps, self.lists, self.stages, memory, self.batch, groups, learn, mixed, scratch, begin,
                stop, first, last,
            )  # fmt: skip

        if threads() == 1:
            run(0, end, 0, -1)
            return
        for begin, stop, branches in direction.parts:
            if begin < end and branches == 0:
                run(begin, stop, 0, -1)
            elif begin < end:
                in_parallel(partial(run, begin, stop), units if branches is None else branches)


_NOTHING, _NO_GRADIENTS = np.empty(0, np.float32), np.empty(0)
