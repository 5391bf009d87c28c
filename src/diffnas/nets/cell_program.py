"""The program of a mixed cell: the steps of a :mod:`diffnas.nets.cell_plan`, there and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from diffnas.nets.cell_plan import Node, Plan, PoolGroup
from diffnas.nets.compiled import pool as compiled_pool
from diffnas.nets.compiled import program as compiled
from diffnas.nets.compiled.buffer import Shape
from diffnas.nets.fused import check_pixels
from diffnas.nets.program import GRADS, KEPT, ONE, PASSING, Linked, Measured, Program, Writer


def write(plan: Plan, inputs: Sequence[tuple[int, ...]], batch: int, outputs: Sequence[int], ops: int) -> Program:
    """The program of a cell.

    Args:
        plan: its steps.
        inputs: channels, rows and columns of the cell's inputs.
        batch: how many pictures there are.
        outputs: the computed nodes whose values are asked for, in their order; all are fed.
        ops: how many operations an edge of it has, in play or not.

    Raises:
        ValueError: if there is one value for each channel where batch norm needs several.
    """
    writer = _CellWriter(plan, inputs, batch, ops)
    writer.there(outputs)
    there = writer.way()
    inputs_from = writer.back(outputs)
    return writer.program(there, writer.way(), inputs_from, plan.channels)


class _CellWriter(Writer):
    """Writes the steps of a cell."""

    def __init__(self, plan: Plan, inputs: Sequence[tuple[int, ...]], batch: int, ops: int) -> None:
        super().__init__(plan.sizes, inputs, len(plan.weights), batch)
        self.plan, self.ops = plan, ops
        self.prepared: dict[int, Linked] = {}
        self.groups: dict[int, list[Linked]] = {}
        self.pools: dict[int, list[int]] = {}  # their stages

    # The way there.

    def there(self, outputs: Sequence[int]) -> None:
        """The steps to the values of nodes."""
        for node, group in enumerate(self.plan.prepare):
            self.next_sum = 0
            if group is None:
                self.slots[node] = self.given[node]
                continue
            self.check(group.slots[0])
            linked = self.prepared[node] = self.made(group, self.given[node], self.inputs[node])
            self.pack([linked])
            self.measure(self.first_links([linked]))
            self.measure(self.second_links([linked]))
            shift, row = self.row(), self.row()
            self.step(compiled.WEIGH, self.note([group.slots[0], -1, row]), 1, shift)
            self.slots[node] = self.inside(KEPT, node)
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
            self.slots[node] = self.result(node) if node in outputs else self.inside(KEPT, node)
        groups = self.groups[node] = [self.made(group, self.slots[node], self.size(node)) for group in steps.chains]
        self.pack(groups)
        if enters:
            rows, shift = [self.row() for _ in steps.slots], self.row()
            places = (self.place(place) for place in steps.places)
            terms = [number for term in zip(steps.slots, places, rows, strict=True) for number in term]
            self.step(compiled.WEIGH, self.note(terms), len(rows), shift)
            self.mix(node, [(self.slots[slot], row) for slot, row in zip(steps.slots, rows, strict=True)], shift)
        self.pools[node] = [self.pooling(node, pools) for pools in steps.pools]
        measured = self.first_links(groups)
        for pools, stage in zip(steps.pools, self.pools[node], strict=True):
            measured.append(self.pool(node, pools, stage))
        self.measure(measured)
        self.measure(self.second_links(groups))

    def pooling(self, node: int, group: PoolGroup) -> int:
        """The stage of pools of a node; all that it has are sizes."""
        for slot in group.slots:
            self.slots[slot] = self.inside(KEPT, slot)
        (C, H, W), (_, rows, columns) = self.size(node), self.size(group.slots[0])
        shape = Shape(self.batch, H, W, C, rows, columns, C, 0, W)
        self.scratch = max(self.scratch, compiled_pool.scratch_size(shape))
        own = 0, len(group.slots), group.stride, 0, 0, 0, 0, 0
        self.stages.append([*own, *shape])
        return len(self.stages) - 1

    def pool(self, node: int, group: PoolGroup, stage: int) -> Measured:
        """The results of pools, and what there is to be measured of them."""
        results, at = [self.slots[slot] for slot in group.slots], self.summed(2 * len(group.slots) * self.size(node)[0])
        self.step(compiled.POOL, stage, self.note(group.kinds.tolist()), self.slots[node], self.note(results), at)
        normed = int(self.normed(group))
        return at, stage, [(slot, normed, -1, -1) for slot in group.slots]

    def normed(self, group: PoolGroup) -> bool:
        target = self.plan.nodes[group.targets[0][0]]
        return target.normed[target.slots.index(group.slots[0])]

    def place(self, place: tuple[int, int]) -> int:
        return place[0] * self.ops + place[1]

    def check(self, slot: int) -> None:
        check_pixels((self.batch, *self.size(slot)))

    def mix(self, slot: int, terms: Sequence[tuple[int, int]], shift: int, out: int | None = None) -> None:
        """Mix tensors, each with a row, into what has the size of a slot; the slot's own if no other is named."""
        numbers = [number for term in terms for number in term]
        out = self.slots[slot] if out is None else out
        self.step(compiled.MIX, out, prod(self.size(slot)), self.note(numbers), len(terms), shift)

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
                mark = self.used
                self.settle(node, group.slots, [-1], [True])
                self.convolve_back(self.prepared[node], self.grad_inputs[node])
                self.used = mark
                self.step(compiled.BARRIER)
        return first

    def leave(self, node: int) -> None:
        """Add up the gradient of a node from all that was computed from it."""
        steps, numbers = self.plan.nodes[node], self.batch * prod(self.size(node))
        is_input = node < len(self.plan.prepare) and self.plan.prepare[node] is None
        given = self.grads.get(node)
        pieces = len(steps.pools) + len(steps.chains) + len(steps.skips) + (given is not None)
        if pieces == 1 and given is not None:
            return
        own = self.grad_inputs[node] if is_input else self.tensor(PASSING, numbers)
        mark = self.used
        alone = pieces == 1 and not steps.skips and given is None
        terms = [] if given is None else [(given, ONE)]
        for group, stage in zip(steps.pools, self.pools[node], strict=True):
            terms.append((own if alone else self.tensor(PASSING, numbers), ONE))
            self.pool_back(node, group, stage, terms[-1][0])
        for linked in reversed(self.groups[node]):
            terms.append((own if alone else self.tensor(PASSING, numbers), ONE))
            self.convolve_back(linked, terms[-1][0])
        terms += [(self.grads[target], self.pairs[node, target]) for target in sorted(steps.skips)]
        if not alone:
            self.mix(node, terms or [(0, 0)], 0, own)
        self.grads[node] = own
        self.used = mark

    def settle(self, node: int, slots: Sequence[int], places: Sequence[int], normed: Sequence[bool]) -> None:
        """From the gradient of a node to how those of what was mixed into it are made of it."""
        C, H, W = self.size(node)
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
