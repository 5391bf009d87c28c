"""A cell as functions of autograd, one for each range of nodes, by :mod:`diffnas.backends.cpu.kernels`.

A cell is one range if all of its operations have kernels. PyTorch computes the other operations between ranges
(:mod:`diffnas.backends.cpu.plan`). The steps of a range follow one another without Python between them
(:mod:`diffnas.backends.cpu.program`).

All ranges work on one memory, so autograd does not see what one range reads of another. It only sees the *order*, an
empty tensor that each range takes from the range before, so that their backward passes run from the last to the first.

Float32 on a CPU; import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.cpu.kernels.memory import MEAN, VARIANCE, Memory
from diffnas.backends.cpu.launches import move
from diffnas.backends.cpu.lower import write
from diffnas.backends.cpu.network_ops import chained
from diffnas.backends.cpu.plan import Other, Plan
from diffnas.backends.cpu.program import GRAD_INPUTS, GRAD_OTHERS, GRAD_WEIGHTS, RESULTS, Held, Program
from diffnas.backends.norms import channels_last


def values(
    plan: Plan, output: Sequence[int], inputs: Sequence[Tensor], mix: Tensor, shares: Any = None
) -> list[Tensor | None]:
    """The value of every output node of a cell, in training mode; None for the others, and for what nothing feeds.

    At least one output node must be fed.

    Args:
        plan: what :func:`plan` made for inputs of these sizes.
        output: the numbers of the output nodes.
        inputs: the maps from which its input nodes are made, ``(B, C', H', W')``.
        mix: the mixing weights of its edges, ``(edges, ops)``, then one column for the channels that bypass the
            operations, if there are any.
        shares: the factor of the result of each edge in each picture, ``(edges, B)``, float32; None for 1.
    """
    call, order = _Call(plan, output, inputs, mix, shares), torch.empty(0)
    apply: Callable[..., tuple[Tensor, ...]] = _Range.apply
    known = {node: x for node, x in enumerate(inputs) if plan.is_given(node)}
    shown: Sequence[Tensor] = ()
    for number, each in enumerate(plan.ranges):
        others = [call.checked(other, chained(other.op, known[other.source])) for other in each.others]
        given = inputs if number == 0 else ()
        order, *shown = apply(call, number, order, mix, *others, *given, *plan.weights[each.weights])
        known |= zip(each.read, shown, strict=False)
    results = dict(zip(call.outputs, shown, strict=True))
    call.update_running()
    return [results.get(node) for node in range(len(plan.nodes))]


class _Call:
    """One use of a plan.

    Attributes:
        held: the tensors of a pass, while it runs.
        again: the memory of the backward pass, while it runs.
    """

    def __init__(self, plan: Plan, output: Sequence[int], inputs: Sequence[Tensor], mix: Tensor, shares: Any) -> None:
        self.plan, self.ops = plan, mix.shape[1]
        self.outputs = [node for node in sorted(set(output)) if plan.fed(node)]
        key = inputs[0].shape[0], self.ops
        if key not in plan.programs:
            sizes = [tuple(x.shape[1:]) for x in inputs]
            plan.programs[key] = write(plan, sizes, key[0], self.outputs, self.ops)
        self.program: Program = plan.programs[key]
        self.memory = self.program.memory(mix.detach().numpy().astype(np.float64), shares)
        self.held: Held = {}
        self.again: Memory | None = None

    def checked(self, other: Other, result: Tensor) -> Tensor:
        """The result of an operation that has no kernel.

        Raises:
            ValueError: if the result has another shape or dtype than its place in the sum.
        """
        size = self.program.batch, *self.plan.size(other.slot)
        if tuple(result.shape) != size or result.dtype != torch.float32:
            raise ValueError(
                f"what is added up must have one shape and dtype: the operation {other.name!r} gives "
                f"{tuple(result.shape)} in {result.dtype}, where {size} in torch.float32 is due."
            )
        return result

    def update_running(self) -> None:
        """Update the buffers of every batch norm, as its own forward pass would."""
        for own in self.plan.norms:
            means, variances = (self.memory.known[which, own.slots, : own.channels] for which in (MEAN, VARIANCE))
            for place, bias in own.biases.items():
                means[place] += bias.detach().numpy()
            pixels, rate = self.program.batch * own.pixels, own.norms[0].momentum
            move([norm.running_mean for norm in own.norms], means, rate)
            unbiased = (pixels / np.maximum(pixels - 1, 1))[:, None]
            move([norm.running_var for norm in own.norms], variances * unbiased, rate)
        counts = [norm.num_batches_tracked for own in self.plan.norms for norm in own.norms]
        if counts:
            torch._foreach_add_(counts, 1)


class _Range(torch.autograd.Function):
    """The maps that PyTorch reads after a range: those of its nodes, or of the output nodes after the last range.

    An empty tensor comes before them. The next range takes it, so that autograd runs the ranges backward in order.

    The tensors that it takes are the results of PyTorch's operations before the range, the inputs of the cell if this
    is the first range, and the weights of the range.
    """

    @staticmethod
    def forward(ctx: Any, call: _Call, number: int, order: Tensor, mix: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        plan, program, own = call.plan, call.program, call.plan.ranges[number]
        others = [channels_last(x.detach()) for x in tensors[: len(own.others)]]
        if number == 0:
            inputs = [channels_last(x.detach()) for x in tensors[len(others) : len(others) + len(plan.prepare)]]
            call.held = program.hold(call.memory, inputs, [weight.contiguous() for weight in plan.weights])
        program.forward(call.memory, call.held, others, number)
        shown, last = own.read, number == len(plan.ranges) - 1
        if last:
            shown = [plan.whole(node) for node in call.outputs]
        # Views: a result that is saved here and has this function as its ``grad_fn`` would never be freed.
        results = [call.held[RESULTS][program.shown[slot]].detach() for slot in shown]
        ctx.call, ctx.number = call, number
        if last:
            ctx.save_for_backward(*program.saved(call.held))
            call.held = {}
        return (torch.empty(0), *results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:
        call, number, needs = ctx.call, ctx.number, ctx.needs_input_grad
        plan, program, own = call.plan, call.program, call.plan.ranges[number]
        if number == len(plan.ranges) - 1:
            call.again = program.again(call.memory)
            call.held, grads = program.recall(call.again, ctx.saved_tensors, grads), ()
        memory, held, count = call.again, call.held, len(needs)
        first = 4 + len(own.others)
        last = count - len(plan.weights[own.weights])
        mixed, learn = needs[3], any(needs[last:])
        prepared = learn or any(needs[first:last])
        read = {node: channels_last(grad) for node, grad in zip(own.read, grads, strict=False)}
        program.backward(memory, read, number, learn=learn, mixed=mixed, prepared=prepared)
        grad_mix = torch.from_numpy(memory.grad_mix.astype(np.float32)).view(-1, call.ops) if mixed else None
        memory.grad_mix[:] = 0
        others = sum(len(each.others) for each in plan.ranges[:number])
        if number == 0:
            call.held, call.again = {}, None
        return (
            None,
            None,
            None,
            grad_mix,
            *held[GRAD_OTHERS][others : others + len(own.others)],
            *(held[GRAD_INPUTS] if prepared else [None] * (last - first))[: last - first],
            *(held[GRAD_WEIGHTS][own.weights] if learn else [None] * (count - last)),
        )
