"""A cell's steps for one size of batch, which :mod:`diffnas.backends.cpu.kernels.interpreter` takes.

All that does not change from call to call is decided once, for one size of batch: the order of the steps, where each
tensor stands in memory, and which row of which array each step reads. A call then adds the addresses of what it was
given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffnas.backends.cpu.conv_group import ADDRESSES, groups_of, thread_buffer, workspace
from diffnas.backends.cpu.kernels import interpreter as compiled
from diffnas.backends.cpu.kernels.memory import GAIN, KNOWN, RATE, Memory
from diffnas.backends.cpu.launches import addresses
from diffnas.backends.norms import channels_last
from diffnas.parallel import in_parallel, threads

SAVED = GIVEN, WEIGHTS, OTHERS, RESULTS, KEPT = range(5)
"""The kinds of tensors that both passes read: the inputs of a call, weights, results of PyTorch's operations between
ranges, results of the program that PyTorch reads, and results that only the program reads."""

GRADS, GRAD_READ, GRAD_INPUTS, GRAD_WEIGHTS, GRAD_OTHERS, TEMPORARY = range(5, 11)
"""The other kinds: gradients for results from outside, and from PyTorch's operations between ranges; gradients for
inputs, weights and the results of these operations; and scratch tensors of one pass."""

NONE = 0
"""The tensor that is none."""

ZERO, ONE = range(2)
"""The rows of scales that have nothing else."""

ALL = 0
"""The row of shares that are 1 for all pictures."""

GAP = 144
"""Numbers between tensors: with a power of two the same pixels of all would share a place in the caches."""

Numbers = NDArray[np.int64]

Held = dict[int, list[Tensor]]
"""The tensors of each kind; one tensor contains all temporary ones."""

NO_TENSORS: Mapping[int, Tensor] = {}


@dataclass(frozen=True, kw_only=True)
class Direction:
    """Steps in one direction.

    Attributes:
        steps: a row each.
        parts: steps without a barrier between them, and how threads share each: None by pictures, n by n branches, 0
            not at all.
        ends: one past the last step of each range of nodes, in the order of the steps.
        temporary: the size of all scratch tensors together.
    """

    steps: Numbers
    parts: list[tuple[int, int, int | None]]
    ends: list[int]
    temporary: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """The steps of a cell, or of chains by themselves, forward and backward, and the memory that they need.

    Attributes:
        forward_pass: the steps to the results.
        backward_pass: the steps to the gradients.
        inputs_from: the first backward step that serves only the cell's inputs and the layers that prepare them.
        lists: the terms and branches to which steps refer.
        stages: the stages to which steps refer.
        table: the branches without addresses.
        tensors: for each branch, the numbers of the tensors whose addresses a call writes into the table.
        homes: the numbers of the tensors of each kind, and where the temporary ones stand in one memory.
        kept: how many numbers each tensor has that is kept for the backward pass.
        slots: how many there are, and the channels of the widest.
        scales: how many rows of scales there are.
        factors: the values by channel that the stages need, as a call begins.
        packed: numbers in packed weights.
        sums: numbers in the sums of pictures.
        learned: numbers in the gradients of a group of pictures for weights.
        scratch: numbers in the scratch memory of a thread.
        biases: the places of the weights that are biases before a batch norm.
        results: channels, rows and columns of each.
        shown: for each slot that is a result, its place among the results.
        read: the slots that PyTorch reads, in the order of the tensors of ``GRAD_READ``.
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
    slots: tuple[int, int]
    scales: int
    factors: Any
    packed: int
    sums: int
    learned: int
    scratch: int
    biases: list[int]
    results: list[tuple[int, ...]]
    shown: dict[int, int]
    read: list[int]
    batch: int

    def memory(self, mix: Any, shares: Any = None) -> Memory:
        """The memory of a call at its beginning: nothing is known, and no tensor has a place.

        Args:
            mix: the mixing weights, ``(edges, ops)``, float64; of chains by themselves, none.
            shares: the factor of the result of each edge in each picture, ``(edges, B)``, float32; None for 1.
        """
        slots, channels = self.slots
        known = np.zeros((KNOWN, slots, channels))
        known[[RATE, GAIN]] = 1
        whole = np.ones((1, self.batch), np.float32)
        scales = np.zeros((self.scales, channels))
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
            shares=whole if shares is None else np.concatenate([whole, shares]),
        )

    def hold(self, memory: Memory, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Held:
        """The tensors of a forward pass; ``forward`` writes to some of them.

        Args:
            memory: new, from ``memory``.
            inputs: the inputs of the cell, ``(B, C', H', W')`` each, channels last, as all maps.
            weights: in the order of the plan, without gaps.
        """
        # One by one: what cells of different sizes free in one piece leaves holes where the next one's does not fit.
        kept = [torch.empty(numbers + GAP, dtype=torch.float32) for numbers in self.kept]
        sizes = ((self.batch, *size) for size in self.results)
        results = [torch.empty(size, dtype=torch.float32, memory_format=torch.channels_last) for size in sizes]
        temporary = [torch.empty(self.forward_pass.temporary, dtype=torch.float32)]
        held = {GIVEN: [*inputs], WEIGHTS: [*weights], RESULTS: results, KEPT: kept, TEMPORARY: temporary}
        self._place(memory, held)
        return {**held, OTHERS: []}

    def forward(self, memory: Memory, held: Held, others: Sequence[Tensor] = (), number: int = 0) -> None:
        """Take the steps of a range of nodes, after those of the ranges before.

        Args:
            memory: what ``hold`` was given.
            held: from ``hold``.
            others: the results of PyTorch's operations before this range, channels last.
            number: the number of the range.
        """
        first = len(held[OTHERS])
        held[OTHERS] += others
        memory.at[self.homes[OTHERS][0][first : len(held[OTHERS])]] = addresses(others)
        begin, end = [0, *self.forward_pass.ends][number : number + 2]
        self._take(self.forward_pass, begin, end, memory, 0, self.batch, learn=False, mixed=False)

    def saved(self, held: Held) -> list[Tensor]:
        """The tensors of a forward pass that the backward pass needs."""
        return [tensor for home in SAVED for tensor in held[home]]

    def again(self, memory: Memory) -> Memory:
        """The memory of ``backward``: a copy of what ``forward`` left."""
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

    def recall(self, memory: Memory, saved: Sequence[Tensor], grads: Sequence[Tensor]) -> Held:
        """The tensors of a backward pass; ``backward`` writes gradients to some of them.

        Args:
            memory: from ``again``.
            saved: the result of ``saved``.
            grads: the gradients for the results from outside.
        """
        rest = iter(saved)
        held = {home: [next(rest) for _ in self.homes[home][0]] for home in SAVED}
        temporary = torch.empty(self.backward_pass.temporary, dtype=torch.float32)
        held |= {GRADS: [channels_last(grad) for grad in grads], TEMPORARY: [temporary]}
        for home, own in ((GRAD_INPUTS, GIVEN), (GRAD_WEIGHTS, WEIGHTS), (GRAD_OTHERS, OTHERS)):
            held[home] = [torch.empty_like(tensor) for tensor in held[own]]
        for n in self.biases:
            held[GRAD_WEIGHTS][n].zero_()  # zero, because batch norm subtracts the biases again
        self._place(memory, held)
        return held

    def backward(
        self,
        memory: Memory,
        read: Mapping[int, Tensor] = NO_TENSORS,
        number: int = 0,
        *,
        learn: bool,
        mixed: bool = False,
        prepared: bool = True,
    ) -> None:
        """Take the backward steps of a range of nodes, after those of all later ranges.

        Args:
            memory: what ``recall`` was given; afterwards it has the gradients for the mixing weights.
            read: gradients for slots, from the operations of PyTorch that read them, channels last.
            number: the number of the range.
            learn: whether the gradients for the weights are wanted; without, they are not written.
            mixed: whether the gradients for the mixing weights are wanted.
            prepared: whether the gradients for the inputs are wanted; those for weights that prepare inputs need them.
        """
        for slot, at in zip(self.read, self.homes[GRAD_READ][0], strict=True):
            memory.at[at] = read[slot].data_ptr() if slot in read else 0
        groups, ends = groups_of(self.batch), [0, *self.backward_pass.ends]
        begin, end = ends[-2 - number], ends[-1 - number] if prepared or number else self.inputs_from
        self._take(self.backward_pass, begin, end, memory, groups, groups, learn=learn, mixed=mixed)

    def _place(self, memory: Memory, tensors: Held) -> None:
        """Write the addresses of tensors, by kind, to ``memory``. All temporary tensors lie inside a single one."""
        for home, own in tensors.items():
            numbers, offsets = self.homes[home]
            assert all(tensor.dtype is torch.float32 for tensor in own), "kernels read the memory as float32"
            memory.at[numbers] = addresses(own) + offsets
        memory.table[:, ADDRESSES] = memory.at[self.tensors]

    def _take(
        self,
        direction: Direction,
        first: int,
        end: int,
        memory: Memory,
        groups: int,
        units: int,
        *,
        learn: bool,
        mixed: bool,
    ) -> None:
        def run(begin: int, stop: int, one: int, other: int) -> None:
            scratch = workspace(self.scratch)
            compiled.run(
                direction.steps, self.lists, self.stages, memory, self.batch, groups, learn, mixed, scratch, begin,
                stop, one, other,
            )  # fmt: skip

        if threads() == 1:
            run(first, end, 0, -1)
            return
        for begin, stop, branches in direction.parts:
            if not first <= begin < end:
                continue
            if branches == 0:
                run(begin, stop, 0, -1)
            else:
                in_parallel(partial(run, begin, stop), units if branches is None else branches)


_NOTHING, _NO_GRADIENTS = np.empty(0, np.float32), np.empty(0)
