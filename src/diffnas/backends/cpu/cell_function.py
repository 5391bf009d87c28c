"""A mixed cell as one step of autograd, forward and backward, by :mod:`diffnas.backends.cpu.kernels`.

What :mod:`diffnas.backends.node_by_node` does node by node, in the same order, with the same numbers. Autograd sees one
function with the cell's inputs and weights, so a gradient that comes from several places is added up in one pass; and
the steps follow one another without Python between them (:mod:`diffnas.backends.cpu.program`). Float32 on a CPU;
import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.backends.cpu.kernels.memory import MEAN, VARIANCE
from diffnas.backends.cpu.lower import write
from diffnas.backends.cpu.plan import Plan
from diffnas.backends.cpu.program import Program
from diffnas.backends.cpu.sums import move
from diffnas.backends.norms import channels_last
from diffnas.nets.wiring import Wiring


def values(plan: Plan, graph: Wiring, inputs: Sequence[Tensor], mix: Tensor) -> list[Tensor | None]:
    """The value of every output node of a cell, in training mode; None for the others, and for what nothing feeds.

    At least one output node must be fed.

    Args:
        plan: what :func:`plan` made for inputs of these sizes.
        graph: the cell's graph.
        inputs: what its input nodes are made of, ``(B, C', H', W')``.
        mix: the mixing weights of its edges, ``(edges, ops)``.
    """
    call = _Call(plan, graph, inputs, mix)
    apply: Callable[..., tuple[Tensor, ...]] = _Cell.apply
    results = dict(zip(call.outputs, apply(call, mix, *inputs, *plan.weights), strict=True))
    call.update_running()
    return [results.get(node) for node in range(graph.nodes)]


class _Call:
    """One use of a plan."""

    def __init__(self, plan: Plan, graph: Wiring, inputs: Sequence[Tensor], mix: Tensor) -> None:
        self.plan, self.inputs, self.ops = plan, len(inputs), mix.shape[1]
        self.outputs = [node for node in sorted(set(graph.output)) if plan.fed[node]]
        key = inputs[0].shape[0], self.ops
        if key not in plan.programs:
            sizes = [tuple(x.shape[1:]) for x in inputs]
            plan.programs[key] = write(plan, sizes, key[0], self.outputs, self.ops)
        self.program: Program = plan.programs[key]
        self.memory = self.program.memory(mix.detach().numpy().astype(np.float64))

    def update_running(self) -> None:
        """Do to the buffers of every batch norm what its own forward pass would."""
        alike: dict[Any, list[tuple[nn.BatchNorm2d, int, Tensor | None]]] = {}
        for row in self.plan.norms:
            alike.setdefault((row[0].momentum, row[0].num_features), []).append(row)
        for (rate, channels), rows in alike.items():
            norms, slots, biases = (list(column) for column in zip(*rows, strict=True))
            means = self.memory.known[MEAN, slots, :channels]
            for mean, bias in zip(means, biases, strict=True):
                if bias is not None:
                    mean += bias.detach().numpy()
            pixels = np.array([self.program.batch * prod(self.plan.size(slot)[1:]) for slot in slots])
            unbiased = (pixels / np.maximum(pixels - 1, 1))[:, None]
            move([norm.running_mean for norm in norms], means, rate)
            move([norm.running_var for norm in norms], self.memory.known[VARIANCE, slots, :channels] * unbiased, rate)
            torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)


class _Cell(torch.autograd.Function):
    """The values of the output nodes."""

    @staticmethod
    def forward(ctx: Any, call: _Call, mix: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = [channels_last(x) for x in tensors[: call.inputs]]
        weights = [weight.contiguous() for weight in tensors[call.inputs :]]
        kept, results = call.program.forward(call.memory, inputs, weights)
        ctx.save_for_backward(*inputs, *weights, *results, *kept)
        ctx.call = call
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        call, saved, needs = ctx.call, ctx.saved_tensors, ctx.needs_input_grad
        first, last = call.inputs, call.inputs + len(call.plan.weights)
        end = last + len(grads)
        tensors = saved[end:], saved[:first], saved[first:last], saved[last:end]
        mixed, learn = needs[1], any(needs[2 + first :])
        prepared = learn or any(needs[2 : 2 + first])
        memory = call.program.again(call.memory)
        grad_inputs, grad_weights = call.program.backward(
            memory, tensors, grads, learn=learn, mixed=mixed, prepared=prepared
        )
        return (
            None,
            torch.from_numpy(memory.grad_mix.astype(np.float32)).view(-1, call.ops) if mixed else None,
            *(grad_inputs if prepared else [None] * first),
            *(grad_weights if learn else [None] * len(grad_weights)),
        )
