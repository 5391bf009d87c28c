"""Writes a :mod:`diffnas.backends.cpu.program`, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from math import prod
from typing import Any

import numpy as np

from diffnas.backends.cpu.conv_group import ADDRESSES, COLUMNS, ChainGroup, Layout
from diffnas.backends.cpu.kernels import interpreter as compiled
from diffnas.backends.cpu.kernels.buffer import Shape, filled
from diffnas.backends.cpu.kernels.memory import FIELDS
from diffnas.backends.cpu.program import (
    ALL,
    GAP,
    GIVEN,
    GRAD_INPUTS,
    GRAD_OTHERS,
    GRAD_WEIGHTS,
    KEPT,
    NONE,
    ONE,
    OTHERS,
    RESULTS,
    TEMPORARY,
    WEIGHTS,
    Direction,
    Numbers,
    Program,
)
from diffnas.nets.links import LONGEST

_SERIAL = {
    compiled.BARRIER, compiled.PACK, compiled.MEASURE, compiled.WEIGH, compiled.NORM_BACKWARD, compiled.GRADIENT_TERMS,
    compiled.INNER_BACKWARD,
}  # fmt: skip


Measured = tuple[int, int, int, int, int]
"""A slot, whether it is normalized, and the places of its center, rate and offset among the factors, or -1."""

NOWHERE = -1, -1, -1

PendingStatistics = tuple[int, int, list[Measured]]
"""The index of a stage's statistics, the stage, and what ``MEASURE`` does with the statistics of each branch."""

NO_GAINS: Mapping[int, int] = {}


@dataclass(frozen=True, kw_only=True)
class ChainStages:
    """The stages of a group of chains: the first links, the second links, and so on."""

    group: ChainGroup
    stages: list[int]


class Writer:
    """Writes a program, step by step.

    Args:
        sizes: channels, rows and columns of each slot; None for one that has no value.
        inputs: channels, rows and columns of each input of a call.
        weights: how many weights there are.
        batch: how many pictures a batch has.
        gains: by slot, the place of its batch norm's weight among the weights; the bias has the next place.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, ...] | None],
        inputs: Sequence[tuple[int, ...]],
        weights: int,
        batch: int,
        gains: Mapping[int, int] = NO_GAINS,
    ) -> None:
        self.sizes, self.inputs, self.batch, self.gains = sizes, inputs, batch, gains
        self.steps: list[list[int]] = []
        self.lists: list[int] = []
        self.stages: list[list[int]] = []
        self.tables: list[Numbers] = []
        self.tensors: list[Numbers] = []
        self.layouts: dict[int, tuple[Layout, Numbers]] = {}
        self.homes: dict[int, tuple[list[int], list[int]]] = {home: ([], []) for home in range(TEMPORARY + 1)}
        self.kept: list[int] = []
        self.used = self.temporary = 0  # numbers in the temporary memory: now, and at most
        self.count, self.scales = NONE + 1, ONE + 1
        self.factors: list[Any] = []
        self.next_factor = self.packed = self.next_sum = self.sums = self.learned = self.scratch = 0
        self.given, self.grad_inputs = ([self.tensor(home) for _ in inputs] for home in (GIVEN, GRAD_INPUTS))
        self.weights, self.grad_weights = (
            [self.tensor(home) for _ in range(weights)] for home in (WEIGHTS, GRAD_WEIGHTS)
        )
        self.biases: list[int] = []
        self.results: list[tuple[int, ...]] = []
        self.ends: list[int] = []
        self.shown: dict[int, int] = {}  # the place of each slot that is a result, among the results
        self.read: dict[int, int] = {}  # the gradients of nodes from the operations of PyTorch that read them
        self.others: dict[int, int] = {}  # the gradients for the results of these operations
        self.slots: dict[int, int] = {}  # the tensor of each slot
        self.grads: dict[int, int] = {}  # the tensors of the gradients for targets
        self.pairs: dict[tuple[int, int], int] = {}  # the rows of the scales, by slot and target
        self.shares: dict[tuple[int, int], int] = {}  # the rows of the shares of pictures, by slot and target

    # Things to which steps refer by a number.

    def tensor(self, home: int, numbers: int = 0) -> int:
        """The number of a new tensor of a kind; a kept or temporary one holds ``numbers`` numbers."""
        ids, offsets = self.homes[home]
        ids.append(self.count)
        offsets.append(4 * self.used if home == TEMPORARY else 0)
        if home == KEPT:
            self.kept.append(numbers)
        elif home == TEMPORARY:
            self.used += filled(numbers + GAP)
            self.temporary = max(self.temporary, self.used)
        self.count += 1
        return ids[-1]

    def size(self, slot: int) -> tuple[int, ...]:
        """Channels, rows and columns."""
        size = self.sizes[slot]
        assert size is not None
        return size

    def inside(self, home: int, slot: int) -> int:
        """The number of a new tensor of a kind, with the size of a slot."""
        return self.tensor(home, self.batch * prod(self.size(slot)))

    def result(self, slot: int) -> int:
        """The number of the tensor of a new result, with the size of a slot."""
        self.shown[slot] = len(self.results)
        self.results.append(self.size(slot))
        return self.tensor(RESULTS)

    def other(self, slot: int) -> None:
        """Add a slot that PyTorch computes."""
        self.slots[slot], self.others[slot] = self.tensor(OTHERS), self.tensor(GRAD_OTHERS)

    def note(self, numbers: Sequence[int]) -> int:
        """Append numbers to ``lists``; the index of the first one."""
        self.lists += numbers
        return len(self.lists) - len(numbers)

    def row(self) -> int:
        """The number of a new row of scales."""
        self.scales += 1
        return self.scales - 1

    def factor(self, value: float, count: int) -> int:
        """The index of the first of ``count`` new factors, which are all ``value``."""
        self.factors.append(np.full(count, value, np.float32))
        self.next_factor += count
        return self.next_factor - count

    def summed(self, count: int) -> int:
        """The index of the first of ``count`` new sums for each picture; later nodes reuse their memory."""
        self.next_sum += self.batch * count
        self.sums = max(self.sums, self.next_sum)
        return self.next_sum - self.batch * count

    def step(self, kind: int, *numbers: int) -> None:
        """Append a step."""
        self.steps.append([kind, *numbers, *[0] * (compiled.WIDTH - 1 - len(numbers))])

    def stage(
        self, layout: Layout, size: tuple[int, ...], first_weight: int, x: Sequence[int], y: Sequence[int]
    ) -> int:
        """The number of a new stage, whose branch n convolves tensor ``x[n]`` and writes to tensor ``y[n]``."""
        form = layout.kernel_sizes((self.batch, *size))
        K, row = len(form.table), sum(map(len, self.tables))
        before = self.factor(0, K * form.full)
        self.factor(1, K * form.full)
        self.factor(0, K * form.full)
        after = self.factor(0, 3 * K * form.full_out)
        deep, wide = form.taps * form.full, form.widest * form.full * form.full_out
        tensors = np.zeros_like(form.table)
        tensors.put(layout.reads, [*x, *y, *(self.weights[first_weight + n] for n in layout.owned)])
        self.tables.append(form.table)
        self.tensors.append(tensors)
        self.layouts[len(self.stages)] = layout, tensors
        own = row, K, form.taps, form.widest, form.learned, before, after, self.packed
        self.stages.append([*own, *form.shape])
        self.packed += K * (2 * deep + wide)
        self.learned = max(self.learned, K * (deep + form.learned * form.full * form.full_out))
        self.scratch = max(self.scratch, form.scratch)
        return len(self.stages) - 1

    def places(self, count: int, stride: int, size: Sequence[int], pixels: Sequence[int]) -> int:
        """The number of a new stage without weights: ``count`` pools, or a split by ``one_in``, which is ``count``."""
        (C, H, W), (rows, columns) = size, pixels
        own = 0, count, stride, 0, 0, 0, 0, 0
        self.stages.append([*own, *Shape(self.batch, H, W, C, rows, columns, C, 0, W)])
        return len(self.stages) - 1

    def shape(self, stage: int) -> Shape:
        """The sizes of a stage."""
        return Shape(*self.stages[stage][FIELDS:])

    # Forward.

    def made(self, group: ChainGroup, x: int, size: tuple[int, ...]) -> ChainStages:
        """The stages of a group of chains that reads tensor ``x``; results without a tensor get one."""
        chains, first_weight, stages = group.chains, group.weights.start, []
        for slot in (*chain.from_iterable(group.inner), *group.slots):
            if slot not in self.slots:
                self.slots[slot] = self.inside(KEPT, slot)
        self.biases += [first_weight + n for n in chains.biases]
        read = [x] * len(chains)
        for place, (layout, own) in enumerate(zip(chains.layouts, chains.members, strict=True)):
            passed = self._passed(group, place)
            results = [self.slots[passed.get(n, group.slots[n])] for n in own]
            stages.append(self.stage(layout, size, first_weight, read, results))
            if passed:
                read, size = [self.slots[slot] for slot in passed.values()], self.size(group.inner[place][0])
        return ChainStages(group=group, stages=stages)

    def _passed(self, group: ChainGroup, place: int) -> dict[int, int]:
        """The chains that have a link after this place, and the slots that it reads; none after place -1."""
        inner = group.inner[place : place + 1] if place >= 0 else ()
        return {n: slot for slots in inner for n, slot in zip(group.chains.members[place + 1], slots, strict=True)}

    def pack(self, groups: Sequence[ChainStages]) -> None:
        """Pack the weights of groups for the forward pass."""
        for chained in groups:
            for stage in chained.stages:
                self.step(compiled.PACK, stage, 0)

    def links(self, groups: Sequence[ChainStages], place: int) -> list[PendingStatistics]:
        """Append the links of groups at a place; the statistics of their results, which are measured later.

        Those of the links before must have been measured.
        """
        measured: list[PendingStatistics] = []
        for chained in groups:
            group, stages = chained.group, chained.stages
            if place >= len(stages):
                continue
            at, passed = self.convolved(stages[place]), self._passed(group, place)
            branches: list[Measured] = []
            for n in group.chains.members[place]:
                if n in passed:
                    factors = self.before(stages[place + 1], list(passed).index(n))
                    branches.append((passed[n], int(group.chains.patterns[n][place].normed), *factors))
                else:
                    branches.append((group.slots[n], 1, *NOWHERE))
            measured.append((at, stages[place], branches))
        return measured

    def links_from(self, first: int, groups: Sequence[ChainStages]) -> None:
        """Append the links of groups from a place on, and measure them; the links before must have been measured."""
        for place in range(first, LONGEST):
            self.measure(self.links(groups, place))

    def convolved(self, stage: int) -> int:
        """Append the convolutions of a stage; the index of the statistics of their results."""
        at = self.summed(2 * self.stages[stage][1] * self.shape(stage).D)
        self.step(compiled.CONVOLVE, stage, at)
        return at

    def measure(self, measured: Sequence[PendingStatistics]) -> None:
        """Append the steps that join the statistics of pictures to those of the batch."""
        for at, stage, branches in measured:
            shape, terms = self.shape(stage), []
            for slot, normed, *places in branches:
                terms += [slot, normed, *self.affine(slot, self.weights), *places]
            pixels = shape.rows * shape.columns
            self.step(compiled.MEASURE, at, pixels, shape.D, self.note(terms), len(branches))

    def before(self, stage: int, branch: int) -> tuple[int, int, int]:
        """The indices of the center, the rate and the shift of a branch's input among the factors."""
        _, K, _, _, _, at, *_ = self.stages[stage]
        full = filled(self.shape(stage).C)
        return at + branch * full, at + (K + branch) * full, at + (2 * K + branch) * full

    def affine(self, slot: int, tensors: Sequence[int]) -> tuple[int, int]:
        """The numbers of two tensors, for the weight and for the bias of a slot's batch norm; ``NONE`` if it has none.

        ``tensors`` has the numbers for all weights: of the weights themselves, or of their gradients.
        """
        first = self.gains.get(slot)
        return (NONE, NONE) if first is None else (tensors[first], tensors[first + 1])

    # Backward.

    def convolve_backward(self, chained: ChainStages, out: int) -> None:
        """Append the backward pass of chains, which writes the gradient for their input to ``out``."""
        group, stages = chained.group, chained.stages
        sent = [self.grads[target] for target in group.targets]
        pairs = zip(group.slots, group.targets, strict=True)
        factors = [(self.pairs[pair], pair[0], self.shares.get(pair, ALL)) for pair in pairs]
        for place in reversed(range(len(stages))):
            own, read = group.chains.members[place], self._passed(group, place - 1)
            inner = {n: self.inside(TEMPORARY, slot) for n, slot in read.items()}
            self.pack_backward(stages[place], [factors[n] for n in own])
            grads = [inner.get(n, out) for n in own]
            sums = self.stage_backward(chained, stages[place], [sent[n] for n in own], grads)
            if place:
                self._inner_backward(chained, place, read, sums)
            for n, grad in inner.items():
                sent[n], factors[n] = grad, (0, -1, ALL)

    def _inner_backward(self, chained: ChainStages, place: int, read: Mapping[int, int], sums: int) -> None:
        """Append the step between the gradients of the links at a place, and of those before, whose slots are read."""
        chains, terms = chained.group.chains, list[int]()
        before = chains.members[place - 1]
        for n, slot in read.items():
            normed = chains.patterns[n][place - 1].normed
            terms += [slot, before.index(n), int(normed), *self.affine(slot, self.grad_weights)]
        self.step(compiled.INNER_BACKWARD, chained.stages[place], chained.stages[place - 1], self.note(terms), sums)

    def pack_backward(self, stage: int, factors: Sequence[tuple[int, int, int]]) -> None:
        """Pack the weights of a stage for the backward pass, and name the terms of the gradients for its results."""
        self.step(compiled.PACK, stage, 1)
        self.step(compiled.GRADIENT_TERMS, stage, self.note([number for term in factors for number in term]))

    def stage_backward(self, chained: ChainStages, stage: int, sent: Sequence[int], grads: Sequence[int]) -> int:
        """Append the backward pass of a stage; the index of the sums of the gradients for its inputs."""
        layout, tensors = self.layouts[stage]
        first = chained.group.weights.start
        written = [*sent, *grads, *(self.grad_weights[first + n] for n in layout.owned)]
        tensors.put(layout.writes, written)
        shape = self.shape(stage)
        sums = self.summed(2 * len(tensors) * shape.C)
        self.step(compiled.CONVOLVE_BACKWARD, stage, sums)
        self.step(compiled.COLLECT, stage)
        return sums

    def end_range(self) -> None:
        """End a range of nodes: the next steps are those of the next range."""
        self.ends.append(len(self.steps))

    def direction(self) -> Direction:
        """The steps written since the last direction; the last range ends here."""
        self.end_range()
        steps, self.steps = np.array(self.steps, np.int64).reshape(-1, compiled.WIDTH), []
        kinds: list[tuple[int, int, int | None]] = []
        for n, (kind, stage) in enumerate(steps[:, :2].tolist()):
            number = sum(end <= n for end in self.ends)
            branches = self.stages[stage][1] if kind == compiled.COLLECT else 0 if kind in _SERIAL else None
            kinds.append((number, n if branches else 0, branches))
        parts, begin = [], 0
        for (_, _, branches), group in groupby(kinds):
            count = len(list(group))
            parts.append((begin, begin + count, branches))
            begin += count
        made = Direction(steps=steps, parts=parts, ends=self.ends, temporary=self.temporary)
        self.ends, self.used, self.temporary = [], 0, 0
        return made

    def program(self, forward_pass: Direction, backward_pass: Direction, inputs_from: int) -> Program:
        """The program with all that was written."""
        none = np.zeros((0, COLUMNS), np.int64)
        tensors = np.concatenate([none, *self.tensors])[:, ADDRESSES]
        return Program(
            forward_pass=forward_pass,
            backward_pass=backward_pass,
            inputs_from=inputs_from,
            lists=np.array([*self.lists, *[0] * 5], np.int64),
            stages=np.array(self.stages, np.int64).reshape(-1, FIELDS + len(Shape._fields)),
            table=np.concatenate([none, *self.tables]),
            tensors=np.ascontiguousarray(tensors),
            homes={home: (np.array(ids, np.int64), np.array(at, np.int64)) for home, (ids, at) in self.homes.items()},
            kept=self.kept,
            slots=(len(self.sizes), max(size[0] for size in self.sizes if size is not None)),
            scales=self.scales,
            factors=np.concatenate([np.empty(0, np.float32), *self.factors]),
            packed=self.packed,
            sums=self.sums,
            learned=self.learned,
            scratch=self.scratch,
            biases=self.biases,
            results=self.results,
            shown=self.shown,
            read=list(self.read),
            batch=self.batch,
        )
