"""A mixed cell as one step of autograd, forward and backward, by :mod:`diffnas.nets.compiled`.

What :mod:`diffnas.nets.batched` does node by node, in the same order, with the same numbers. Autograd sees one
function with the cell's inputs and weights, so a gradient that comes from several places is added up in one pass, and
nothing but the kernels takes time that grows with the pictures. Float32 on a CPU; import this module only where it is
used, for it needs Numba.

All that is known by channel of a slot (see :mod:`diffnas.nets.cell_plan`) is a row of an array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.nets import pools as pool_steps
from diffnas.nets.cell_plan import ChainGroup, Plan, PoolGroup
from diffnas.nets.chains import EPS, Chains, Passed, back, through
from diffnas.nets.fused import channels_last, check_pixels
from diffnas.nets.sums import addresses, combine, move, settle
from diffnas.space import CellGraph


def values(plan: Plan, graph: CellGraph, inputs: Sequence[Tensor], mix: Tensor) -> list[Tensor | None]:
    """The value of every output node of a cell, in training mode; None for the others, and for what nothing feeds.

    At least one output node must be fed.

    Args:
        plan: what :func:`plan` made for inputs of these sizes.
        graph: the cell's graph.
        inputs: what its input nodes are made of, ``(B, C', H', W')``.
        mix: the mixing weights of its edges, ``(edges, ops)``.
    """
    call = _Call(plan, [node for node in graph.output if plan.fed[node]])
    apply: Callable[..., tuple[Tensor, ...]] = _Cell.apply
    results = dict(zip(call.outputs, apply(call, mix, *inputs, *plan.weights), strict=True))
    call.update_running()
    return [results.get(node) for node in range(graph.nodes)]


class _Call:
    """One use of a plan: what is known of each slot, by channel, and of each group of chains."""

    def __init__(self, plan: Plan, outputs: list[int]) -> None:
        self.plan, self.outputs = plan, outputs
        self.mean, self.rate = np.zeros((plan.slots, plan.channels)), np.ones((plan.slots, plan.channels))
        self.variance = np.zeros((plan.slots, plan.channels))
        self.pixels = [0] * plan.slots
        self.mix: Any = None
        self.passed: list[Passed] = []
        self.inner: list[tuple[nn.BatchNorm2d, Any, Any]] = []

    def measured(self, slots: list[int], mean: Any, variance: Any, like: Tensor, normed: bool = True) -> None:
        """Note the statistics of tensors."""
        for slot in slots:
            self.pixels[slot] = like.shape[0] * like.shape[2] * like.shape[3]
        self.variance[slots] = variance
        if normed:
            self.mean[slots], self.rate[slots] = mean, 1 / np.sqrt(variance + EPS)

    def convolved(self, chains: Chains, weights: Sequence[Tensor], x: Tensor) -> Passed:
        passed = through(chains, weights, x)
        if passed.inner:
            pixels = passed.inner[0].numel() // passed.inner[0].shape[1]
            unbiased = passed.inner_variance * (pixels / max(pixels - 1, 1))
            norms = [chains.links[n][0].norm for n in chains.longer]
            self.inner += list(zip(norms, passed.before.mean, unbiased, strict=True))
        self.passed.append(passed._replace(results=[], inner=[]))
        return passed

    def update_running(self) -> None:
        """Do to the buffers of every batch norm what its own forward pass would."""
        rows = list(self.inner)
        for norm, slot, bias in self.plan.norms:
            mean, pixels = self.mean[slot], self.pixels[slot]
            if bias is not None:
                mean = mean + bias.detach().numpy()
            rows.append((norm, mean, self.variance[slot] * (pixels / max(pixels - 1, 1))))
        alike: dict[Any, list[tuple[nn.BatchNorm2d, Any, Any]]] = {}
        for row in rows:
            alike.setdefault((row[0].momentum, len(row[1])), []).append(row)
        for (rate, _), group in alike.items():
            norms, means, variances = zip(*group, strict=True)
            move([norm.running_mean for norm in norms], np.array(means), rate)
            move([norm.running_var for norm in norms], np.array(variances), rate)
            torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)


class _Cell(torch.autograd.Function):
    """The values of the output nodes."""

    @staticmethod
    def forward(ctx: Any, call: _Call, mix: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        plan = call.plan
        call.mix = mix.detach().numpy().astype(np.float64)
        inputs, weights = tensors[: len(plan.prepare)], tensors[len(plan.prepare) :]
        sources = [channels_last(x) for x in inputs]
        slots: list[Any] = [None] * plan.slots
        inner: list[Tensor] = []
        for node, (x, step) in enumerate(zip(sources, plan.prepare, strict=True)):
            slots[node] = x
            if step is not None:
                passed = call.convolved(step.chains, weights[step.weights], x)
                (result,), (slot,) = passed.results, step.slots
                check_pixels(result)
                call.measured([slot], passed.mean, passed.variance, result)
                slots[slot] = result
                inner += passed.inner
                slots[node] = _normalized([result], call.mean[[slot]], call.rate[[slot]])
        for node, steps in enumerate(plan.nodes):
            if node >= len(inputs) and steps.slots:
                taken = [slots[slot] for slot in steps.slots]
                if any(steps.normed):
                    check_pixels(taken[0])
                rows, columns = zip(*steps.places, strict=True)
                scale = call.mix[rows, columns][:, None] * call.rate[steps.slots]
                slots[node] = _normalized(taken, call.mean[steps.slots], scale)
            for group in steps.chains:
                passed = call.convolved(group.chains, weights[group.weights], slots[node])
                call.measured(group.slots, passed.mean, passed.variance, passed.results[0])
                inner += passed.inner
                for slot, result in zip(group.slots, passed.results, strict=True):
                    slots[slot] = result
            for pools in steps.pools:
                results, mean, variance = pool_steps.through(pools.kinds, pools.stride, slots[node])
                call.measured(pools.slots, mean, variance, results[0], normed=_normed(plan, pools))
                for slot, result in zip(pools.slots, results, strict=True):
                    slots[slot] = result
        kept = [slot for slot in range(plan.slots) if slots[slot] is not None]
        ctx.save_for_backward(*weights, *sources, *inner, *(slots[slot] for slot in kept))
        ctx.call, ctx.kept, ctx.inner = call, kept, len(inner)
        return tuple(slots[node] for node in call.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        call, plan, saved = ctx.call, ctx.call.plan, list(ctx.saved_tensors)
        weights, saved = saved[: len(plan.weights)], saved[len(plan.weights) :]
        sources, saved = saved[: len(plan.prepare)], saved[len(plan.prepare) :]
        inner, saved = saved[: ctx.inner], saved[ctx.inner :]
        slots = dict(zip(ctx.kept, saved, strict=True))
        needs = ctx.needs_input_grad
        first = 2 + len(sources)
        back = _Back(call, weights, inner, slots, mixed=needs[1], learn=any(needs[first:]))
        for node, grad in zip(call.outputs, grads, strict=True):
            back.grads[node] = channels_last(grad)
        for node in reversed(range(len(plan.nodes))):
            if plan.fed[node]:
                back.leave(node)
                if node >= len(sources):
                    back.enter(node)
        inputs: list[Tensor | None] = [None] * len(sources)
        if back.learn or any(needs[2:first]):
            for node in reversed(range(len(sources))):
                inputs[node] = back.prepared(node, sources[node], plan.prepare[node])
        return (None, back.grad_mix(), *inputs, *back.grad_weights)


class _Back:
    """The way back: the gradients of nodes, those of weights, and how each slot's is made of its target's."""

    def __init__(
        self,
        call: _Call,
        weights: Sequence[Tensor],
        inner: list[Tensor],
        slots: dict[int, Tensor],
        *,
        mixed: bool,
        learn: bool,
    ) -> None:
        self.call, self.plan, self.weights, self.inner, self.slots = call, call.plan, weights, inner, slots
        self.mixed, self.learn = mixed, learn  # whose gradients are wanted
        self.passed = list(call.passed)
        self.grads: dict[int, Tensor] = {}
        self.mix = np.zeros(call.mix.shape, np.float32)
        self.slope, self.shift = np.zeros((2, *call.mean.shape))
        self.nothing, self.one = np.zeros(self.plan.channels), np.ones(self.plan.channels)
        self.scale: dict[tuple[int, int], Any] = {}  # by slot and target
        self.grad_weights: list[Tensor | None] = [None] * len(weights)

    def grad_mix(self) -> Tensor | None:
        """The gradient of the mixing weights."""
        return torch.from_numpy(self.mix) if self.mixed else None

    def enter(self, node: int) -> None:
        """From the gradient of a node to how those of what was mixed into it are made of it."""
        steps, call = self.plan.nodes[node], self.call
        taken = [self.slots[slot] for slot in steps.slots]
        rows, columns = zip(*steps.places, strict=True)
        products = self._settled(node, taken, steps.slots, call.mix[rows, columns], np.array(steps.normed))
        if self.mixed:
            self.mix[rows, columns] = products

    def _settled(self, node: int, taken: Sequence[Tensor], slots: list[int], weights: Any, normed: Any) -> Any:
        """Note the factors of slots mixed into a node; the products of its gradient with each, normalized."""
        mean, rate = self.call.mean[slots], self.call.rate[slots]
        settled = settle(self.grads[node], taken, mean, rate, weights, normed, normed | self.mixed)
        for k, slot in enumerate(slots):
            self.slope[slot] += settled.slope[k]
            self.shift[slot] += settled.shift[k]
            # An auxiliary skip stands beside a skip: one slot, mixed twice.
            self.scale[slot, node] = self.scale.get((slot, node), 0) + settled.scale[k]
        return settled.products

    def leave(self, node: int) -> None:
        """Add up the gradient of a node from all that was computed from it; ``grads`` has what came from outside."""
        steps = self.plan.nodes[node]
        one = self.one
        sent = [(self.grads[node], one)] if node in self.grads else []
        sent += [(self._pooled(node, pools), one) for pools in steps.pools]
        sent += [(self._convolved(self.slots[node], group), one) for group in reversed(steps.chains)]
        sent += [(self.grads[target], self.scale[node, target]) for target in sorted(steps.skips)]
        if len(sent) == 1 and sent[0][1] is one:
            self.grads[node] = sent[0][0]
        elif sent:
            tensors, factors = zip(*sent, strict=True)
            self.grads[node] = _mixed(tensors, np.array(factors), self.nothing)
        else:
            self.grads[node] = torch.zeros_like(self.slots[node])

    def _pooled(self, node: int, pools: PoolGroup) -> Tensor:
        grads = []
        for slot, targets in zip(pools.slots, pools.targets, strict=True):
            sent = [self.grads[target] for target in targets]
            factors = [self.scale[slot, target] for target in targets]
            if self.slope[slot].any():
                sent, factors = [self.slots[slot], *sent], [self.slope[slot], *factors]
            grads.append(_mixed(sent, np.array(factors), self.shift[slot]))
        return pool_steps.back(pools.kinds, pools.stride, self.slots[node], grads)

    def prepared(self, node: int, x: Tensor, step: ChainGroup | None) -> Tensor:
        """The gradient of what an input node was made of."""
        if step is None:
            return self.grads[node]
        self._settled(node, [self.slots[step.slots[0]]], step.slots, np.ones(1), np.ones(1, np.bool_))
        return self._convolved(x, step)

    def _convolved(self, x: Tensor, group: ChainGroup) -> Tensor:
        passed = self.passed.pop()
        inner = [self.inner.pop() for _ in passed.before.mean][::-1]
        passed = passed._replace(results=[self.slots[slot] for slot in group.slots], inner=inner)
        sent = [self.grads[target] for target in group.targets]
        pairs = zip(group.slots, group.targets, strict=True)
        factors = np.array([(self.scale[slot, target], self.slope[slot], self.shift[slot]) for slot, target in pairs])
        weights = self.weights[group.weights]
        grad, self.grad_weights[group.weights] = back(group.chains, weights, x, passed, sent, factors, learn=self.learn)
        return grad


def _normalized(tensors: Sequence[Tensor], mean: Any, scale: Any) -> Tensor:
    """The sum of tensors less their means, each times its scale ``(K, C)``."""
    return _mixed(tensors, scale, -(scale * mean).sum(0))


def _mixed(tensors: Sequence[Tensor], scale: Any, shift: Any) -> Tensor:
    """The sum of tensors, each times its scale ``(K, C)``, and of a shift ``(C,)``."""
    (total,) = combine(tensors[0], addresses(tensors)[None], scale[None], shift[None])
    return total


def _normed(plan: Plan, pools: PoolGroup) -> bool:
    target = plan.nodes[pools.targets[0][0]]
    return target.normed[target.slots.index(pools.slots[0])]
