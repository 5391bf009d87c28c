"""The program of a mixed cell: the steps of a :mod:`diffnas.backends.cpu.plan`, forward and backward."""

from __future__ import annotations

from collections.abc import Container, Sequence
from math import prod
from typing import NamedTuple

from diffnas.backends.cpu.conv_group import ChainGroup
from diffnas.backends.cpu.kernels import interpreter as compiled
from diffnas.backends.cpu.kernels import pool as compiled_pool
from diffnas.backends.cpu.plan import Bypass, Node, Plan, PoolGroup
from diffnas.backends.cpu.program import ALL, GRAD_READ, GRADS, KEPT, NONE, ONE, TEMPORARY, ZERO, Program
from diffnas.backends.cpu.writer import NOWHERE, ChainStages, PendingStatistics, Writer
from diffnas.backends.norms import check_pixels

ALONE = -1, ALL
"""The place of the one term of a sum that has neither a mixing weight nor shares."""


class Term(NamedTuple):
    """A term of a sum: a tensor times a row of scales, then times the shares of pictures.

    Attributes:
        tensor: the tensor.
        row: the row of scales.
        shares: the row of shares.
        own: the row of the offset that is added before the shares multiply.
    """

    tensor: int
    row: int
    shares: int = ALL
    own: int = ZERO


def write(plan: Plan, inputs: Sequence[tuple[int, ...]], batch: int, outputs: Sequence[int], ops: int) -> Program:
    """The program of a cell.

    Args:
        plan: its steps.
        inputs: channels, rows and columns of the cell's inputs.
        batch: how many pictures there are.
        outputs: the computed nodes whose values are results, in their order; all have a value.
        ops: the number of mixing weights of an edge, of operations in play or not and of channels that bypass them.

    Raises:
        ValueError: if there is one value for each channel where batch norm needs several.
    """
    cell = _Cell(plan, inputs, batch, ops)
    cell.forward(outputs)
    forward_pass = cell.to.direction()
    inputs_from = cell.backward(outputs)
    return cell.to.program(forward_pass, cell.to.direction(), inputs_from)


class _Cell:
    """Writes the steps of a cell."""

    def __init__(self, plan: Plan, inputs: Sequence[tuple[int, ...]], batch: int, ops: int) -> None:
        self.to = Writer(plan.sizes, inputs, len(plan.weights), batch, plan.gains)
        self.plan, self.ops = plan, ops
        self.prepared: dict[int, ChainStages] = {}
        self.groups: dict[int, list[ChainStages]] = {}
        self.pools: dict[int, list[int]] = {}  # the stages of the pools of each node
        self.splits: dict[int, int] = {}  # the stages of nodes of which a part bypasses the operations
        self.firsts = {each.first for each in plan.ranges[1:]}
        self.read = {node for each in plan.ranges for node in each.read}

    # Forward.

    def forward(self, outputs: Sequence[int]) -> None:
        """Append the steps that compute the values of nodes."""
        for each in self.plan.ranges:
            for other in each.others:
                self.to.other(other.slot)
        for node, group in enumerate(self.plan.prepare):
            self.input(node, group)
        for node, steps in enumerate(self.plan.nodes):
            if node in self.firsts:
                self.to.end_range()
            if self.plan.fed(node):
                self.to.next_sum = self.to.used = 0
                self.value(node, steps, outputs)

    def input(self, node: int, group: ChainGroup | None) -> None:
        """Append the steps that compute an input node with all of its channels."""
        self.to.next_sum, whole = 0, self.plan.whole(node)
        if group is None:
            self.to.slots[whole] = self.to.given[node]
            return
        self.check(group.slots[0])
        chained = self.prepared[node] = self.to.made(group, self.to.given[node], self.to.inputs[node])
        self.to.pack([chained])
        self.to.links_from(0, [chained])
        self.to.slots[whole] = self.home(whole, self.read)
        self.weigh(whole, group.slots, [ALONE], self.to.slots[whole])

    def home(self, slot: int, shown: Container[int]) -> int:
        """The tensor of a slot: a result if PyTorch reads it."""
        return self.to.result(slot) if slot in shown else self.to.inside(KEPT, slot)

    def value(self, node: int, steps: Node, outputs: Sequence[int]) -> None:
        """Append the steps that compute the value of a node, and the results of the operations that read it."""
        enters, bypass = node >= len(self.plan.prepare), self.plan.bypass[node]
        if enters and any(steps.normed):
            self.check(node)
        if bypass is not None and bypass.sum.skips:
            self.to.slots[node] = self.home(node, self.read)
        elif bypass is None and enters:
            self.to.slots[node] = self.home(node, {*outputs, *self.read})
        groups = self.groups[node] = [
            self.to.made(group, self.to.slots[node], self.to.size(node)) for group in steps.chains
        ]
        self.to.pack(groups)
        if bypass is not None:
            self.split(node, bypass, outputs)
        elif enters:
            self.mixed(node, steps, self.to.slots[node])
        self.pools[node] = [self.pooling(node, pools) for pools in steps.pools]
        measured = self.to.links(groups, 0)
        for pools, stage in zip(steps.pools, self.pools[node], strict=True):
            measured.append(self.pool(node, pools, stage))
        self.to.measure(measured)
        self.to.links_from(1, groups)

    def split(self, node: int, bypass: Bypass, outputs: Sequence[int]) -> None:
        """Append the steps that compute a node's channels: all, those that operations read, those that bypass them."""
        whole, (_, *pixels) = self.to.size(bypass.whole), self.to.size(bypass.slot)
        stage = self.splits[node] = self.to.places(self.plan.one_in, bypass.stride, whole, pixels)
        if node >= len(self.plan.prepare):
            mixed, rest = self.to.inside(TEMPORARY, node), self.to.inside(TEMPORARY, bypass.slot)
            self.mixed(node, self.plan.nodes[node], mixed)
            self.mixed(bypass.slot, bypass.sum, rest)
            is_output = node in outputs
            out = self.to.result(bypass.whole) if is_output else self.to.inside(TEMPORARY, bypass.whole)
            self.to.slots[bypass.whole] = out
            self.to.step(compiled.JOIN, stage, mixed, rest, out)
        if not bypass.sum.skips:
            return
        self.to.slots[bypass.slot] = self.to.inside(KEPT, bypass.slot)
        tensors = (self.to.slots[slot] for slot in (bypass.whole, node, bypass.slot))
        self.to.step(compiled.SPLIT, stage, *tensors)

    def mixed(self, slot: int, steps: Node, out: int) -> None:
        """Write the sum of a target's terms to a tensor."""
        self.weigh(slot, steps.slots, self.places(steps), out)

    def weigh(self, slot: int, slots: Sequence[int], places: Sequence[tuple[int, int]], out: int) -> None:
        """Write the sum of slots, each times its mixing weight and its shares, to a tensor of the size of ``slot``."""
        numbers: list[int] = []
        terms = []
        for each, (place, shares) in zip(slots, places, strict=True):
            row = self.to.row()
            own = ZERO if shares == ALL else self.to.row()
            numbers += [each, place, row, shares]
            terms.append(Term(self.to.slots[each], row, shares, own))
        shift = self.to.row()
        self.to.step(compiled.WEIGH, self.to.note(numbers), len(terms), shift)
        self.mix(slot, terms or [Term(NONE, ZERO)], shift, out)

    def pooling(self, node: int, group: PoolGroup) -> int:
        """The stage of pools of a node."""
        for slot in group.slots:
            self.to.slots[slot] = self.to.inside(KEPT, slot)
        stage = self.to.places(len(group.slots), group.stride, self.to.size(node), self.to.size(group.slots[0])[1:])
        self.to.scratch = max(self.to.scratch, compiled_pool.scratch_size(self.to.shape(stage)))
        return stage

    def pool(self, node: int, group: PoolGroup, stage: int) -> PendingStatistics:
        """Append the step of pools; the statistics of their results, which are measured later."""
        results = self.to.note([self.to.slots[slot] for slot in group.slots])
        kinds, at = self.to.note(group.kinds.tolist()), self.to.summed(2 * len(group.slots) * self.to.size(node)[0])
        self.to.step(compiled.POOL, stage, kinds, self.to.slots[node], results, at)
        pairs = zip(group.slots, group.targets, strict=True)
        return at, stage, [(slot, int(self.normed(slot, targets)), *NOWHERE) for slot, targets in pairs]

    def normed(self, slot: int, targets: Sequence[int]) -> bool:
        """Whether a pool's result is normalized before it is mixed."""
        target = self.plan.nodes[targets[0]]
        return target.normed[target.slots.index(slot)]

    def places(self, steps: Node) -> list[tuple[int, int]]:
        """For each term of a sum, the index of its mixing weight, and the row of its shares.

        A negative column of weights counts from the last. A node that is itself a term is never dropped.
        """
        nodes, dropped = len(self.plan.nodes), self.plan.drops
        return [
            (row * self.ops + column % self.ops, 1 + row if dropped and slot >= nodes else ALL)
            for slot, (row, column) in zip(steps.slots, steps.places, strict=True)
        ]

    def check(self, slot: int) -> None:
        check_pixels((self.to.batch, *self.to.size(slot)))

    def mix(self, slot: int, terms: Sequence[Term], shift: int, out: int) -> None:
        """Write the sum of terms to a tensor of the size of ``slot``."""
        numbers, size = [number for term in terms for number in term], self.to.size(slot)
        self.to.step(compiled.MIX, out, prod(size), self.to.note(numbers), len(terms), shift, size[0])

    # Backward.

    def backward(self, outputs: Sequence[int]) -> int:
        """Append the backward steps; the index of the first one that serves only the layers that prepare the inputs."""
        inputs = len(self.plan.prepare)
        for node in outputs:
            self.to.grads[self.plan.whole(node)] = self.to.tensor(GRADS)
        for each in self.plan.ranges:
            for node in each.read:
                self.to.read[node] = self.to.tensor(GRAD_READ)
        for node in reversed(range(len(self.plan.nodes))):
            if self.plan.fed(node):
                self.to.next_sum = 0
                self.node_gradient(node)
                if node >= inputs:
                    self.sum_backward(node)
                else:
                    self.to.step(compiled.BARRIER)
            if node in self.firsts:
                self.to.end_range()
        first = len(self.to.steps)
        for node in reversed(range(inputs)):
            group = self.plan.prepare[node]
            if group is not None:
                self.to.next_sum = 0
                mark = self.to.used
                self.norm_backward(self.plan.whole(node), group.slots, [ALONE], [True])
                self.to.convolve_backward(self.prepared[node], self.to.grad_inputs[node])
                self.to.used = mark
                self.to.step(compiled.BARRIER)
        return first

    def node_gradient(self, node: int) -> None:
        """Compute the gradient for the sum that leads into a node, from all that reads the node."""
        bypass = self.plan.bypass[node]
        if bypass is None:
            own = self.to.grad_inputs[node] if self.plan.is_given(node) else None
            self.to.grads[node] = self.gradient(node, self.to.grads.get(node), own)
        elif node < len(self.plan.prepare):
            given = self.plan.prepare[node] is None
            out = self.to.grad_inputs[node] if given else self.to.inside(TEMPORARY, bypass.whole)
            mark = self.to.used
            self.to.grads[bypass.whole] = self.whole_gradient(node, bypass, out)
            self.to.used = mark
        else:
            for slot in (node, bypass.slot):
                self.to.grads[slot] = self.to.inside(TEMPORARY, slot)
            mark = self.to.used
            whole = self.whole_gradient(node, bypass, self.to.inside(TEMPORARY, bypass.whole))
            self.to.step(
                compiled.JOIN_BACKWARD, self.splits[node], whole, self.to.grads[node], self.to.grads[bypass.slot]
            )
            self.to.used = mark

    def whole_gradient(self, node: int, bypass: Bypass, out: int) -> int:
        """The tensor of the gradient for all channels of a node.

        It is ``out``, unless the only part of the gradient has a tensor already.
        """
        given = self.to.grads.get(bypass.whole)
        if not bypass.sum.skips:
            if given is None:
                self.mix(bypass.whole, [Term(NONE, ZERO)], ZERO, out)
            return out if given is None else given
        # Allocated before ``gradient`` frees its scratch tensors, which other threads may still read.
        seen, rest = (self.to.inside(TEMPORARY, slot) for slot in (node, bypass.slot))
        both = out if given is None else self.to.inside(TEMPORARY, bypass.whole)
        self.gradient(node, own=seen)
        self.mix(bypass.slot, self.skipped(bypass.slot, bypass.sum), ZERO, rest)
        self.to.step(compiled.SPLIT_BACKWARD, self.splits[node], self.to.slots[bypass.whole], seen, rest, both)
        if given is not None:
            self.mix(bypass.whole, [Term(given, ONE), Term(both, ONE)], ZERO, out)
        return out

    def skipped(self, slot: int, steps: Node) -> list[Term]:
        """The terms of a slot's gradient from the targets whose sums contain the slot itself."""
        return [self.sent(slot, target) for target in sorted(steps.skips)]

    def sent(self, slot: int, target: int) -> Term:
        """The term of a slot's gradient from a target."""
        pair = slot, target
        return Term(self.to.grads[target], self.to.pairs[pair], self.to.shares[pair])

    def gradient(self, node: int, given: int | None = None, own: int | None = None) -> int:
        """The tensor of the gradient for a node.

        If ``given`` is the only part of the gradient, it is this tensor. Else the parts are added in ``own``, or in a
        temporary tensor if ``own`` is None.
        """
        steps, numbers = self.plan.nodes[node], self.to.batch * prod(self.to.size(node))
        terms = [Term(tensor, ONE) for tensor in (given, self.to.read.get(node)) if tensor is not None]
        pieces = len(steps.pools) + len(steps.chains) + len(steps.skips) + len(terms)
        if pieces == 1 and given is not None:
            return given
        own = self.to.tensor(TEMPORARY, numbers) if own is None else own
        mark = self.to.used
        alone = pieces == 1 and not steps.skips and not terms
        for group, stage in zip(steps.pools, self.pools[node], strict=True):
            terms.append(Term(own if alone else self.to.tensor(TEMPORARY, numbers), ONE))
            self.pool_backward(node, group, stage, terms[-1].tensor)
        for chained in reversed(self.groups[node]):
            terms.append(Term(own if alone else self.to.tensor(TEMPORARY, numbers), ONE))
            self.to.convolve_backward(chained, terms[-1].tensor)
        terms += self.skipped(node, steps)
        if not alone:
            self.mix(node, terms or [Term(NONE, ZERO)], ZERO, own)
        self.to.used = mark
        return own

    def sum_backward(self, node: int) -> None:
        """Compute the coefficients of a node's terms, and the gradients for those that PyTorch computed."""
        steps, bypass = self.plan.nodes[node], self.plan.bypass[node]
        self.norm_backward(node, steps.slots, self.places(steps), steps.normed)
        if bypass is not None:
            self.norm_backward(bypass.slot, bypass.sum.slots, self.places(bypass.sum), bypass.sum.normed)
        for slot in steps.slots:
            if slot in self.to.others:
                self.mix(slot, [self.sent(slot, node)], ZERO, self.to.others[slot])

    def norm_backward(
        self, target: int, slots: Sequence[int], places: Sequence[tuple[int, int]], normed: Sequence[bool]
    ) -> None:
        """Computes the coefficients that turn a target's gradient into that of each term summed into it."""
        if not slots:
            return
        C, H, W = self.to.size(target)
        numbers: list[int] = []
        for slot, (place, shares), is_normed in zip(slots, places, normed, strict=True):
            pair = slot, target
            if pair not in self.to.pairs:
                self.to.pairs[pair], self.to.shares[pair] = self.to.row(), shares
            assert self.to.shares[pair] == shares
            numbers += [self.to.slots[slot], slot, place, int(is_normed), self.to.pairs[pair], shares]
            numbers += self.to.affine(slot, self.to.grad_weights)
        terms = self.to.note(numbers)
        sums = self.to.summed((1 + len(slots)) * C)
        self.to.step(compiled.REDUCE, self.to.grads[target], C * H * W, terms, len(slots), sums, C)
        self.to.step(compiled.NORM_BACKWARD, self.to.batch * H * W, terms, len(slots), sums, C)

    def pool_backward(self, node: int, group: PoolGroup, stage: int, out: int) -> None:
        """Append the steps that write the gradient of pools for a node to a tensor."""
        grads = []
        for slot, targets in zip(group.slots, group.targets, strict=True):
            terms = [Term(self.to.slots[slot], -1 - slot)] if self.normed(slot, targets) else []
            terms += [self.sent(slot, target) for target in targets]
            grads.append(self.to.inside(TEMPORARY, slot))
            self.mix(slot, terms, -1 - slot, grads[-1])
        kinds = self.to.note(group.kinds.tolist())
        self.to.step(compiled.POOL_BACKWARD, stage, kinds, self.to.slots[node], self.to.note(grads), out)
