"""The steps of a mixed cell as :mod:`diffnas.nets.compiled.program` takes them, for one size of batch.

All that does not change from call to call is settled here: the order of the steps, where each tensor stands in memory,
and which row of which array each step reads. A call then adds the addresses of what it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffnas.nets.cell_plan import ChainGroup, Node, Plan, PoolGroup
from diffnas.nets.compiled import pool as compiled_pool
from diffnas.nets.compiled import program as compiled
from diffnas.nets.compiled.buffer import Shape, filled
from diffnas.nets.compiled.program import Memory
from diffnas.nets.fused import check_pixels
from diffnas.nets.stage import ADDRESSES, COLUMNS, Layout, groups_of, held, workspace
from diffnas.nets.sums import addresses
from diffnas.parallel import in_parallel, threads

GIVEN, WEIGHTS, RESULTS, KEPT, GRADS, GRAD_INPUTS, GRAD_WEIGHTS, PASSING = range(8)
"""Whose tensors: the inputs; the weights; the results; what is kept for the way back; the gradients for the results;
those for the inputs; those for the weights; and what the way back makes and forgets."""

ONE = 1
"""The row of scales that multiplies by one; the one before it is zero."""

APART = 144
"""Numbers between tensors: with a power of two the same pixels of all would share a place in the caches."""

Numbers = NDArray[np.int64]

_SERIAL = {
    compiled.BARRIER, compiled.PACK, compiled.MEASURE, compiled.WEIGH, compiled.SETTLE, compiled.FACTORS, compiled.INNER
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Way:
    """Steps in one direction.

    Attributes:
        steps: a row each.
        parts: where those begin and end that threads take without waiting for each other, and how many branches they
            are split over: None for pictures, 0 for none, which one thread takes.
    """

    steps: Numbers
    parts: list[tuple[int, int, int | None]]


@dataclass(frozen=True, kw_only=True)
class Program:
    """The steps of a cell, there and back, and what they work on.

    Attributes:
        there: the steps to the results.
        back: those to the gradients.
        inputs_from: the step of the way back from which on there is nothing but the gradients for the inputs and for
            the weights of what prepares them.
        lists: what steps refer to.
        stages: likewise.
        table: the branches without addresses.
        columns: which columns of it have addresses.
        tensors: the tensors whose addresses these are.
        homes: the numbers of the tensors of each kind, and where in the memory of the kind they stand, if it is one.
        sizes: how many numbers the memory of a kind has.
        slots: how many there are, and the channels of the widest.
        scales: how many rows of scales there are, and of how many channels.
        factors: what the stages need by channel, as it is at first.
        packed: numbers in packed weights.
        sums: in the sums of pictures.
        learned: in the gradients of a group of pictures for weights.
        scratch: that a thread needs to work in.
        batch: how many pictures there are.
    """

    there: Way
    back: Way
    inputs_from: int
    lists: Numbers
    stages: Numbers
    table: Numbers
    columns: slice
    tensors: Numbers
    homes: dict[int, tuple[Numbers, Numbers]]
    sizes: dict[int, int]
    slots: tuple[int, int]
    scales: tuple[int, int]
    factors: Any
    packed: int
    sums: int
    learned: int
    scratch: int
    batch: int

    def memory(self, mix: Any) -> Memory:
        """What a call works on, at first: nothing is known, and no tensor has a place. Weights are those of a step.

        Args:
            mix: the mixing weights, ``(edges, ops)``, float64.
        """
        slots, channels = self.slots
        known = np.zeros((5, slots, channels))
        known[compiled.RATE] = 1
        scales = np.zeros(self.scales)
        scales[ONE] = 1
        tensors = 1 + sum(len(numbers) for numbers, _ in self.homes.values())
        return Memory(
            at=np.zeros(tensors, np.int64),
            table=self.table.copy(),
            known=known,
            scales=scales,
            factors=self.factors.copy(),
            packed=held("packed", self.packed),
            sums=np.empty(self.sums, np.float32),
            learned=_NOTHING,
            mix=mix.reshape(-1),
            grad_mix=_NO_GRADIENTS,
        )

    def place(self, memory: Memory, home: int, own: Sequence[Tensor]) -> None:
        """Say where the tensors of a kind are: these, or all of them inside this one."""
        numbers, offsets = self.homes[home]
        memory.at[numbers] = addresses(own) + offsets

    def forward(self, memory: Memory) -> None:
        """Take the steps to the results, with all tensors of them placed."""
        memory.table[:, self.columns] = memory.at[self.tensors]
        self._take(self.there, len(self.there.steps), memory, 0, self.batch, learn=False, mixed=False)

    def backward(self, memory: Memory, *, learn: bool, mixed: bool, inputs: bool) -> Any:
        """Take the steps to the gradients; the gradients for the mixing weights, flat.

        Args:
            memory: what ``forward`` left, with the tensors of the way back placed. It is not changed.
            learn: whether the gradients for the weights are wanted.
            mixed: whether those for the mixing weights are.
            inputs: whether those for the inputs are, which those for weights that prepare them need too.
        """
        groups = groups_of(self.batch)
        memory = memory._replace(
            known=memory.known.copy(),
            scales=memory.scales.copy(),
            factors=memory.factors.copy(),
            packed=held("packed", self.packed),
            learned=held("learned", groups * self.learned),
            grad_mix=np.zeros(len(memory.mix)),
        )
        memory.table[:, self.columns] = memory.at[self.tensors]
        end = len(self.back.steps) if inputs else self.inputs_from
        self._take(self.back, end, memory, groups, groups, learn=learn, mixed=mixed)
        return memory.grad_mix

    def _take(
        self, way: Way, end: int, memory: Memory, groups: int, units: int, *, learn: bool, mixed: bool
    ) -> None:
        def run(begin: int, stop: int, first: int, last: int) -> None:
            scratch = workspace(self.scratch)
            compiled.run(
                way.steps, self.lists, self.stages, memory, groups, learn, mixed, scratch, begin, stop, first, last
            )

        if threads() == 1:
            run(0, end, 0, -1)
            return
        for begin, stop, branches in way.parts:
            if begin < end and branches == 0:
                run(begin, stop, 0, -1)
            elif begin < end:
                in_parallel(partial(run, begin, stop), units if branches is None else branches)


_NOTHING, _NO_GRADIENTS = np.empty(0, np.float32), np.empty(0)


@dataclass(frozen=True, kw_only=True)
class _Stages:
    """The stages of a group of chains: the first links, and the second if there are any."""

    group: ChainGroup
    first: int
    second: int | None


class _Writer:
    """Writes a program, step by step."""

    def __init__(self, plan: Plan, sizes: Sequence[tuple[int, ...]], batch: int, columns: int) -> None:
        self.plan, self.batch, self.columns = plan, batch, columns
        self.steps: list[list[int]] = []
        self.lists: list[int] = []
        self.stages: list[list[int]] = []
        self.tables: list[Numbers] = []
        self.tensors: list[Numbers] = []
        self.layouts: dict[int, tuple[Layout, Numbers]] = {}
        self.homes: dict[int, tuple[list[int], list[int]]] = {home: ([], []) for home in range(PASSING + 1)}
        self.used, self.sizes = [0] * len(self.homes), [0] * len(self.homes)
        self.count, self.scales = 1, ONE + 1  # the first tensor is none
        self.factors: list[Any] = []
        self.next_factor = self.packed = self.next_sum = self.sums = self.learned = self.scratch = 0
        self.given = [self.tensor(GIVEN) for _ in sizes]
        self.weights = [self.tensor(WEIGHTS) for _ in plan.weights]
        self.grad_weights = [self.tensor(GRAD_WEIGHTS) for _ in plan.weights]
        self.given_sizes = sizes
        self.slots: dict[int, int] = {}  # their tensors
        self.groups: dict[int, list[_Stages]] = {}
        self.pools: dict[int, list[int]] = {}
        self.prepared: dict[int, _Stages] = {}
        self.grads: dict[int, int] = {}
        self.pairs: dict[tuple[int, int], int] = {}  # the rows of what the gradient of a target is multiplied by

    # What steps refer to.

    def tensor(self, home: int, numbers: int = 0) -> int:
        """A tensor of a kind, and if the kind has a memory of its own so many numbers of it."""
        ids, offsets = self.homes[home]
        ids.append(self.count)
        offsets.append(4 * self.used[home])
        if numbers:
            self.used[home] += filled(numbers + APART)
            self.sizes[home] = max(self.sizes[home], self.used[home])
        self.count += 1
        return ids[-1]

    def inside(self, home: int, slot: int) -> int:
        """A tensor of the size of a slot's."""
        return self.tensor(home, self.batch * prod(self.plan.size(slot)))

    def note(self, numbers: Sequence[int]) -> int:
        """Where a list begins."""
        self.lists += numbers
        return len(self.lists) - len(numbers)

    def row(self) -> int:
        """A row of scales."""
        self.scales += 1
        return self.scales - 1

    def factor(self, value: float, count: int) -> int:
        """Where so many factors begin."""
        self.factors.append(np.full(count, value, np.float32))
        self.next_factor += count
        return self.next_factor - count

    def summed(self, count: int) -> int:
        """Where so many sums for each picture begin; those of an earlier node are forgotten."""
        self.next_sum += self.batch * count
        self.sums = max(self.sums, self.next_sum)
        return self.next_sum - self.batch * count

    def step(self, kind: int, *numbers: int) -> None:
        self.steps.append([kind, *numbers, *[0] * (compiled.WIDTH - 1 - len(numbers))])

    def stage(
        self, layout: Layout, size: tuple[int, ...], first_weight: int, x: Sequence[int], y: Sequence[int]
    ) -> int:
        """Convolutions from tensors to tensors, one of each for every branch."""
        form = layout.form((self.batch, *size))
        K, row = len(form.table), sum(map(len, self.tables))
        before = self.factor(0, K * form.full)
        self.factor(1, K * form.full)
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

    def shape(self, stage: int) -> Shape:
        return Shape(*self.stages[stage][compiled.FIELDS :])

    # The way there.

    def there(self, outputs: Sequence[int]) -> None:
        """The steps to the values of nodes."""
        for node, group in enumerate(self.plan.prepare):
            self.next_sum = 0
            if group is None:
                self.slots[node] = self.given[node]
                continue
            self.check(group.slots[0])
            stages = self.prepared[node] = self.made(group, self.given[node], self.given_sizes[node])
            self.pack([stages], back=False)
            self.convolve([stages])
            shift, row = self.row(), self.row()
            self.step(compiled.WEIGH, self.note([group.slots[0], -1, row]), 1, shift)
            self.slots[node] = self.tensor(RESULTS) if node in outputs else self.inside(KEPT, node)
            self.mix(node, [(self.slots[group.slots[0]], row)], shift)
        for node, steps in enumerate(self.plan.nodes):
            if self.plan.fed[node]:
                self.next_sum = 0
                self.value(node, steps, outputs)

    def value(self, node: int, steps: Node, outputs: Sequence[int]) -> None:
        """The value of a node, and what is computed from it."""
        enters = node >= len(self.plan.prepare)
        if enters:
            if any(steps.normed):
                self.check(node)
            self.slots[node] = self.tensor(RESULTS) if node in outputs else self.inside(KEPT, node)
        groups = self.groups[node] = [self.made(group, self.slots[node], self.plan.size(node)) for group in steps.chains]
        self.pack(groups, back=False)
        if enters:
            rows, shift = [self.row() for _ in steps.slots], self.row()
            places = (self.place(place) for place in steps.places)
            terms = [number for term in zip(steps.slots, places, rows, strict=True) for number in term]
            self.step(compiled.WEIGH, self.note(terms), len(rows), shift)
            self.mix(node, [(self.slots[slot], row) for slot, row in zip(steps.slots, rows, strict=True)], shift)
        self.pools[node] = [self.pooling(node, pools) for pools in steps.pools]
        self.convolve(groups, list(zip(steps.pools, self.pools[node], strict=True)), self.slots[node])

    def made(self, group: ChainGroup, x: int, size: tuple[int, ...]) -> _Stages:
        """The stages of a group of chains out of a tensor."""
        chains, first_weight = group.chains, group.weights.start
        for slot in (*group.inner, *group.slots):
            self.slots[slot] = self.inside(KEPT, slot)
        results, inner = [self.slots[slot] for slot in group.slots], [self.slots[slot] for slot in group.inner]
        passed = dict(zip(chains.longer, inner, strict=True))
        y = [passed.get(n, result) for n, result in enumerate(results)]
        first, second = self.stage(chains.first, size, first_weight, [x] * len(chains), y), None
        if chains.second is not None:
            last = [results[n] for n in chains.longer]
            second = self.stage(chains.second, self.plan.size(group.inner[0]), first_weight, inner, last)
        return _Stages(group=group, first=first, second=second)

    def pack(self, groups: Sequence[_Stages], *, back: bool) -> None:
        for stages in groups:
            for stage in (stages.first, stages.second):
                if stage is not None:
                    self.step(compiled.PACK, stage, int(back))

    def convolve(
        self, groups: Sequence[_Stages], pools: Sequence[tuple[PoolGroup, int]] = (), x: int = 0
    ) -> None:
        """Results and statistics of chains, and of pools of x: of first links and pools, and then of second links."""
        measured = []
        for stages in groups:
            group, at = stages.group, self.convolved(stages.first)
            into = [group.slots[n] for n in range(len(group.chains))]
            center, rate = [-1] * len(into), [-1] * len(into)
            for k, (n, slot) in enumerate(zip(group.chains.longer, group.inner, strict=True)):
                assert stages.second is not None
                into[n] = slot
                center[n], rate[n] = self.before(stages.second, k)
            measured.append((at, stages.first, list(zip(into, [1] * len(into), center, rate, strict=True))))
        for group, stage in pools:
            results, K = [self.slots[slot] for slot in group.slots], len(group.slots)
            at = self.summed(2 * K * self.shape(stage).D)
            self.step(compiled.POOL, stage, self.note(group.kinds.tolist()), x, self.note(results), at)
            normed = int(self.normed(group))
            measured.append((at, stage, [(slot, normed, -1, -1) for slot in group.slots]))
        self.measure(measured)
        longer = [stages for stages in groups if stages.second is not None]
        measured = []
        for stages in longer:
            assert stages.second is not None
            last = [stages.group.slots[n] for n in stages.group.chains.longer]
            measured.append((self.convolved(stages.second), stages.second, [(slot, 1, -1, -1) for slot in last]))
        self.measure(measured)

    def convolved(self, stage: int) -> int:
        """Where the statistics of a stage's results will be."""
        at = self.summed(2 * self.stages[stage][1] * self.shape(stage).D)
        self.step(compiled.CONVOLVE, stage, at)
        return at

    def measure(self, measured: Sequence[tuple[int, int, list[tuple[int, int, int, int]]]]) -> None:
        """Join statistics: where they are, of which stage, and what becomes of each branch's."""
        for at, stage, branches in measured:
            shape, terms = self.shape(stage), [number for branch in branches for number in branch]
            pixels = shape.rows * shape.columns
            self.step(compiled.MEASURE, at, pixels, shape.D, self.note(terms), len(branches))

    def before(self, stage: int, branch: int) -> tuple[int, int]:
        """Where the center and the rate of a branch's input stand."""
        _, K, _, _, _, at, *_ = self.stages[stage]
        full = filled(self.shape(stage).C)
        return at + branch * full, at + (K + branch) * full

    def pooling(self, node: int, group: PoolGroup) -> int:
        """The stage of pools of a node; all that it has are sizes."""
        for slot in group.slots:
            self.slots[slot] = self.inside(KEPT, slot)
        (C, H, W), (_, rows, columns) = self.plan.size(node), self.plan.size(group.slots[0])
        shape = Shape(self.batch, H, W, C, rows, columns, C, 0, W)
        self.scratch = max(self.scratch, compiled_pool.scratch_size(shape))
        own = 0, len(group.slots), group.stride, 0, 0, 0, 0, 0
        self.stages.append([*own, *shape])
        return len(self.stages) - 1

    def normed(self, group: PoolGroup) -> bool:
        target = self.plan.nodes[group.targets[0][0]]
        return target.normed[target.slots.index(group.slots[0])]

    def place(self, place: tuple[int, int]) -> int:
        return place[0] * self.columns + place[1]

    def check(self, slot: int) -> None:
        C, H, W = self.plan.size(slot)
        check_pixels((self.batch, C, H, W))

    def mix(self, slot: int, terms: Sequence[tuple[int, int]], shift: int, out: int | None = None) -> None:
        """Mix tensors, each with a row, into what has the size of a slot; the slot's own if no other is named."""
        numbers = [number for term in terms for number in term]
        out = self.slots[slot] if out is None else out
        self.step(compiled.MIX, out, prod(self.plan.size(slot)), self.note(numbers), len(terms), shift)

    # The way back.

    def back(self, outputs: Sequence[int]) -> int:
        """The steps to the gradients; where those of what prepares the inputs begin."""
        inputs = len(self.plan.prepare)
        for node in outputs:
            self.grads[node] = self.tensor(GRADS)
        for node in reversed(range(len(self.plan.nodes))):
            if self.plan.fed[node]:
                self.next_sum = 0
                self.leave(node)
                if node >= inputs:
                    steps = self.plan.nodes[node]
                    places = [self.place(place) for place in steps.places]
                    self.settle(node, steps.slots, places, steps.normed)
                else:
                    self.step(compiled.BARRIER)
        first = len(self.steps)
        for node in reversed(range(inputs)):
            group = self.plan.prepare[node]
            if group is not None:
                self.next_sum = 0
                mark = self.used[PASSING]
                self.settle(node, group.slots, [-1], [True])
                self.convolve_back(self.prepared[node], self.grad_input(node))
                self.used[PASSING] = mark
                self.step(compiled.BARRIER)
        return first

    def grad_input(self, node: int) -> int:
        return self.homes[GRAD_INPUTS][0][node]

    def leave(self, node: int) -> None:
        """Add up the gradient of a node from all that was computed from it."""
        steps, numbers = self.plan.nodes[node], self.batch * prod(self.plan.size(node))
        is_input = node < len(self.plan.prepare) and self.plan.prepare[node] is None
        given = self.grads.get(node)
        pieces = len(steps.pools) + len(steps.chains) + len(steps.skips) + (given is not None)
        if pieces == 1 and given is not None and not is_input:
            return
        own = self.grad_input(node) if is_input else self.tensor(PASSING, numbers)
        mark = self.used[PASSING]
        alone = pieces == 1 and not steps.skips and given is None
        terms = [] if given is None else [(given, ONE)]
        for group, stage in zip(steps.pools, self.pools[node], strict=True):
            terms.append((own if alone else self.tensor(PASSING, numbers), ONE))
            self.pool_back(node, group, stage, terms[-1][0])
        for stages in reversed(self.groups[node]):
            terms.append((own if alone else self.tensor(PASSING, numbers), ONE))
            self.convolve_back(stages, terms[-1][0])
        terms += [(self.grads[target], self.pairs[node, target]) for target in sorted(steps.skips)]
        if not alone:
            self.mix(node, terms or [(0, 0)], 0, own)
        self.grads[node] = own
        self.used[PASSING] = mark

    def settle(self, node: int, slots: Sequence[int], places: Sequence[int], normed: Sequence[bool]) -> None:
        """From the gradient of a node to how those of what was mixed into it are made of it."""
        C, H, W = self.plan.size(node)
        rows = []
        for slot in slots:
            if (slot, node) not in self.pairs:
                self.pairs[slot, node] = self.row()
            rows.append(self.pairs[slot, node])
        columns = [self.slots[slot] for slot in slots], slots, places, map(int, normed), rows
        terms = self.note([number for term in zip(*columns, strict=True) for number in term])
        sums = self.summed((1 + len(slots)) * C)
        self.step(compiled.REDUCE, self.grads[node], C * H * W, terms, len(slots), sums)
        self.step(compiled.SETTLE, self.batch * H * W, terms, len(slots), sums)

    def pool_back(self, node: int, group: PoolGroup, stage: int, out: int) -> None:
        grads = []
        for slot, targets in zip(group.slots, group.targets, strict=True):
            terms = [(self.slots[slot], -1 - slot)] if self.normed(group) else []
            terms += [(self.grads[target], self.pairs[slot, target]) for target in targets]
            grads.append(self.inside(PASSING, slot))
            self.mix(slot, terms, -1 - slot, grads[-1])
        kinds = self.note(group.kinds.tolist())
        self.step(compiled.POOL_BACK, stage, kinds, self.slots[node], self.note(grads), out)

    def convolve_back(self, stages: _Stages, out: int) -> None:
        """The gradients of chains for their input, written to a tensor, and for their weights."""
        group, chains = stages.group, stages.group.chains
        sent = [self.grads[target] for target in group.targets]
        factors = [(self.pairs[pair], pair[0]) for pair in zip(group.slots, group.targets, strict=True)]
        if stages.second is not None:
            inner = [self.inside(PASSING, slot) for slot in group.inner]
            self.pack_back(stages.second, [factors[n] for n in chains.longer])
            sums = self.stage_back(stages, stages.second, [sent[n] for n in chains.longer], inner)
            terms = [number for term in zip(group.inner, chains.longer, strict=True) for number in term]
            self.step(compiled.INNER, stages.second, stages.first, self.note(terms), sums)
            for n, grad in zip(chains.longer, inner, strict=True):
                sent[n], factors[n] = grad, (0, -1)
        self.pack_back(stages.first, factors)
        self.stage_back(stages, stages.first, sent, [out] * len(chains))

    def pack_back(self, stage: int, factors: Sequence[tuple[int, int]]) -> None:
        self.step(compiled.PACK, stage, 1)
        self.step(compiled.FACTORS, stage, self.note([number for term in factors for number in term]))

    def stage_back(self, stages: _Stages, stage: int, sent: Sequence[int], grads: Sequence[int]) -> int:
        """The gradients of a stage for its inputs and weights; where the sums of the former will be."""
        layout, tensors = self.layouts[stage]
        first = stages.group.weights.start
        written = [*sent, *grads, *(self.grad_weights[first + n] for n in layout.owned)]
        tensors.put(layout.writes, written)
        shape = self.shape(stage)
        sums = self.summed(2 * len(tensors) * shape.C)
        self.step(compiled.CONVOLVE_BACK, stage, sums)
        self.step(compiled.COLLECT, stage)
        return sums

    def way(self) -> Way:
        """The steps written since the last way."""
        steps, self.steps = np.array(self.steps, np.int64), []
        units: list[int | None] = []
        for kind, stage in steps[:, :2].tolist():
            count = self.stages[stage][1] if kind == compiled.COLLECT else None
            units.append(0 if kind in _SERIAL else count)
        parts, begin = [], 0
        for branches, group in groupby(range(len(steps)), lambda n: units[n] if not units[n] else -n):
            count = len(list(group))
            parts.append((begin, begin + count, units[begin]))
            begin += count
        return Way(steps=steps, parts=parts)


def write(
    plan: Plan, sizes: Sequence[tuple[int, ...]], batch: int, outputs: Sequence[int], columns: int
) -> Program:
    """The program of a cell.

    Args:
        plan: its steps.
        sizes: channels, rows and columns of the cell's inputs.
        batch: how many pictures there are.
        outputs: the nodes whose values are asked for; all are fed.
        columns: how many operations an edge of it has, in play or not.

    Raises:
        ValueError: if there is one value for each channel where batch norm needs several.
    """
    writer = _Writer(plan, sizes, batch, columns)
    for _ in sizes:
        writer.tensor(GRAD_INPUTS)
    writer.there(outputs)
    there = writer.way()
    inputs_from = writer.back(outputs)
    back = writer.way()
    known = [size for size in plan.sizes if size is not None]
    table = np.concatenate([np.zeros((0, COLUMNS), np.int64), *writer.tables])
    tensors = np.concatenate([np.zeros((0, COLUMNS), np.int64), *writer.tensors])
    return Program(
        there=there,
        back=back,
        inputs_from=inputs_from,
        lists=np.array([*writer.lists, *[0] * 5], np.int64),
        stages=np.array(writer.stages, np.int64),
        table=table,
        columns=ADDRESSES,
        tensors=np.ascontiguousarray(tensors[:, ADDRESSES]),
        homes={home: (np.array(ids, np.int64), np.array(at, np.int64)) for home, (ids, at) in writer.homes.items()},
        sizes=dict(enumerate(writer.sizes)),
        slots=(len(plan.sizes), max(size[0] for size in known)),
        scales=(writer.scales, plan.channels),
        factors=np.concatenate([np.empty(0, np.float32), *writer.factors]),
        packed=writer.packed,
        sums=writer.sums,
        learned=writer.learned,
        scratch=writer.scratch,
        batch=batch,
    )
