"""The program of a mixed cell: the steps of a :mod:`diffnas.backends.cpu.plan`, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from diffnas.backends.cpu.kernels import interpreter as compiled
from diffnas.backends.cpu.kernels import pool as compiled_pool
from diffnas.backends.cpu.kernels.buffer import Shape
from diffnas.backends.cpu.plan import Node, Plan, PoolGroup
from diffnas.backends.cpu.program import GRADS, KEPT, NONE, ONE, TEMPORARY, ZERO, Program
from diffnas.backends.cpu.writer import ChainStages, PendingStatistics, Writer
from diffnas.backends.norms import check_pixels


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
    cell = _Cell(plan, inputs, batch, ops)
    cell.forward(outputs)
    forward_pass = cell.to.direction()
    inputs_from = cell.backward(outputs)
    return cell.to.program(forward_pass, cell.to.direction(), inputs_from, plan.channels)


class _Cell:
    """Writes the steps of a cell."""

    def __init__(self, plan: Plan, inputs: Sequence[tuple[int, ...]], batch: int, ops: int) -> None:
        self.to = Writer(plan.sizes, inputs, len(plan.weights), batch)
        self.plan, self.ops = plan, ops
        self.prepared: dict[int, ChainStages] = {}
        self.groups: dict[int, list[ChainStages]] = {}
        self.pools: dict[int, list[int]] = {}  # their stages

    # Forward.

    def forward(self, outputs: Sequence[int]) -> None:
        """The steps to the values of nodes."""
        for node, group in enumerate(self.plan.prepare):
            self.to.next_sum = 0
            if group is None:
                self.to.slots[node] = self.to.given[node]
                continue
            self.check(group.slots[0])
            chained = self.prepared[node] = self.to.made(group, self.to.given[node], self.to.inputs[node])
            self.to.pack([chained])
            self.to.measure(self.to.first_links([chained]))
            self.to.measure(self.to.second_links([chained]))
            shift, row = self.to.row(), self.to.row()
            self.to.step(compiled.WEIGH, self.to.note([group.slots[0], -1, row]), 1, shift)
            self.to.slots[node] = self.to.inside(KEPT, node)
            self.mix(node, [(self.to.slots[group.slots[0]], row)], shift)
        for node, steps in enumerate(self.plan.nodes):
            if self.plan.fed[node]:
                self.to.next_sum = 0
                self.value(node, steps, outputs)

    def value(self, node: int, steps: Node, outputs: Sequence[int]) -> None:
        """The value of a node, and what is computed from it."""
        enters = node >= len(self.plan.prepare)
        if enters:
            if any(steps.normed):
                self.check(node)
            self.to.slots[node] = self.to.result(node) if node in outputs else self.to.inside(KEPT, node)
        groups = self.groups[node] = [
            self.to.made(group, self.to.slots[node], self.to.size(node)) for group in steps.chains
        ]
        self.to.pack(groups)
        if enters:
            rows, shift = [self.to.row() for _ in steps.slots], self.to.row()
            places = (self.place(place) for place in steps.places)
            terms = [number for term in zip(steps.slots, places, rows, strict=True) for number in term]
            self.to.step(compiled.WEIGH, self.to.note(terms), len(rows), shift)
            self.mix(node, [(self.to.slots[slot], row) for slot, row in zip(steps.slots, rows, strict=True)], shift)
        self.pools[node] = [self.pooling(node, pools) for pools in steps.pools]
        measured = self.to.first_links(groups)
        for pools, stage in zip(steps.pools, self.pools[node], strict=True):
            measured.append(self.pool(node, pools, stage))
        self.to.measure(measured)
        self.to.measure(self.to.second_links(groups))

    def pooling(self, node: int, group: PoolGroup) -> int:
        """The stage of pools of a node; all that it has are sizes."""
        for slot in group.slots:
            self.to.slots[slot] = self.to.inside(KEPT, slot)
        (C, H, W), (_, rows, columns) = self.to.size(node), self.to.size(group.slots[0])
        shape = Shape(self.to.batch, H, W, C, rows, columns, C, 0, W)
        self.to.scratch = max(self.to.scratch, compiled_pool.scratch_size(shape))
        own = 0, len(group.slots), group.stride, 0, 0, 0, 0, 0
        self.to.stages.append([*own, *shape])
        return len(self.to.stages) - 1

    def pool(self, node: int, group: PoolGroup, stage: int) -> PendingStatistics:
        """The results of pools, and what there is to be measured of them."""
        results = self.to.note([self.to.slots[slot] for slot in group.slots])
        kinds, at = self.to.note(group.kinds.tolist()), self.to.summed(2 * len(group.slots) * self.to.size(node)[0])
        self.to.step(compiled.POOL, stage, kinds, self.to.slots[node], results, at)
        pairs = zip(group.slots, group.targets, strict=True)
        return at, stage, [(slot, int(self.normed(slot, targets)), -1, -1) for slot, targets in pairs]

    def normed(self, slot: int, targets: Sequence[int]) -> bool:
        """Whether a pool's result is normalized before it is mixed."""
        target = self.plan.nodes[targets[0]]
        return target.normed[target.slots.index(slot)]

    def place(self, place: tuple[int, int]) -> int:
        return place[0] * self.ops + place[1]

    def check(self, slot: int) -> None:
        check_pixels((self.to.batch, *self.to.size(slot)))

    def mix(self, slot: int, terms: Sequence[tuple[int, int]], shift: int, out: int | None = None) -> None:
        """Mix tensors, each with a row, into what has the size of a slot; the slot's own if no other is named."""
        numbers = [number for term in terms for number in term]
        out = self.to.slots[slot] if out is None else out
        self.to.step(compiled.MIX, out, prod(self.to.size(slot)), self.to.note(numbers), len(terms), shift)

    # Backward.

    def backward(self, outputs: Sequence[int]) -> int:
        """The steps to the gradients; where those of what prepares the inputs begin."""
        inputs = len(self.plan.prepare)
        for node in outputs:
            self.to.grads[node] = self.to.tensor(GRADS)
        for node in reversed(range(len(self.plan.nodes))):
            if self.plan.fed[node]:
                self.to.next_sum = 0
                self.node_gradient(node)
                if node >= inputs:
                    steps = self.plan.nodes[node]
                    places = [self.place(place) for place in steps.places]
                    self.norm_backward(node, steps.slots, places, steps.normed)
                else:
                    self.to.step(compiled.BARRIER)
        first = len(self.to.steps)
        for node in reversed(range(inputs)):
            group = self.plan.prepare[node]
            if group is not None:
                self.to.next_sum = 0
                mark = self.to.used
                self.norm_backward(node, group.slots, [-1], [True])
                self.to.convolve_backward(self.prepared[node], self.to.grad_inputs[node])
                self.to.used = mark
                self.to.step(compiled.BARRIER)
        return first

    def node_gradient(self, node: int) -> None:
        """Add up the gradient of a node from all that was computed from it."""
        steps, numbers = self.plan.nodes[node], self.to.batch * prod(self.to.size(node))
        is_input = node < len(self.plan.prepare) and self.plan.prepare[node] is None
        given = self.to.grads.get(node)
        pieces = len(steps.pools) + len(steps.chains) + len(steps.skips) + (given is not None)
        if pieces == 1 and given is not None:
            return
        own = self.to.grad_inputs[node] if is_input else self.to.tensor(TEMPORARY, numbers)
        mark = self.to.used
        alone = pieces == 1 and not steps.skips and given is None
        terms = [] if given is None else [(given, ONE)]
        for group, stage in zip(steps.pools, self.pools[node], strict=True):
            terms.append((own if alone else self.to.tensor(TEMPORARY, numbers), ONE))
            self.pool_backward(node, group, stage, terms[-1][0])
        for chained in reversed(self.groups[node]):
            terms.append((own if alone else self.to.tensor(TEMPORARY, numbers), ONE))
            self.to.convolve_backward(chained, terms[-1][0])
        terms += [(self.to.grads[target], self.to.pairs[node, target]) for target in sorted(steps.skips)]
        if not alone:
            self.mix(node, terms or [(NONE, ZERO)], ZERO, own)
        self.to.grads[node] = own
        self.to.used = mark

    def norm_backward(self, node: int, slots: Sequence[int], places: Sequence[int], normed: Sequence[bool]) -> None:
        """Computes the coefficients that turn a node's gradient into that of each term summed into it."""
        C, H, W = self.to.size(node)
        rows = []
        for slot in slots:
            if (slot, node) not in self.to.pairs:
                self.to.pairs[slot, node] = self.to.row()
            rows.append(self.to.pairs[slot, node])
        columns = [self.to.slots[slot] for slot in slots], slots, places, map(int, normed), rows
        terms = self.to.note([number for term in zip(*columns, strict=True) for number in term])
        sums = self.to.summed((1 + len(slots)) * C)
        self.to.step(compiled.REDUCE, self.to.grads[node], C * H * W, terms, len(slots), sums)
        self.to.step(compiled.NORM_BACKWARD, self.to.batch * H * W, terms, len(slots), sums)

    def pool_backward(self, node: int, group: PoolGroup, stage: int, out: int) -> None:
        grads = []
        for slot, targets in zip(group.slots, group.targets, strict=True):
            terms = [(self.to.slots[slot], -1 - slot)] if self.normed(slot, targets) else []
            terms += [(self.to.grads[target], self.to.pairs[slot, target]) for target in targets]
            grads.append(self.to.inside(TEMPORARY, slot))
            self.mix(slot, terms, -1 - slot, grads[-1])
        kinds = self.to.note(group.kinds.tolist())
        self.to.step(compiled.POOL_BACKWARD, stage, kinds, self.to.slots[node], self.to.note(grads), out)
