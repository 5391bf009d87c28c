"""A mixed cell as one step of autograd, forward and backward, by :mod:`diffnas.nets.compiled`.

What :mod:`diffnas.nets.batched` does node by node, in the same order, with the same numbers. Autograd sees one
function with the cell's inputs and weights, so a gradient that comes from several places is added up in one pass; and
the steps follow one another without Python between them (:mod:`diffnas.nets.program`). Float32 on a CPU; import this
module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.nets.cell_plan import Plan
from diffnas.nets.compiled.program import MEAN, VARIANCE
from diffnas.nets.fused import channels_last
from diffnas.nets.program import (
    GIVEN,
    GRAD_INPUTS,
    GRAD_WEIGHTS,
    GRADS,
    KEPT,
    PASSING,
    RESULTS,
    WEIGHTS,
    Program,
    write,
)
from diffnas.nets.sums import move
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
    call = _Call(plan, graph, inputs, mix)
    apply: Callable[..., tuple[Tensor, ...]] = _Cell.apply
    results = dict(zip(call.made, apply(call, mix, *inputs, *plan.weights), strict=True))
    call.update_running()
    given = {node: inputs[node] for node in call.outputs if node not in results}
    return [results.get(node, given.get(node)) for node in range(graph.nodes)]


class _Call:
    """One use of a plan."""

    def __init__(self, plan: Plan, graph: CellGraph, inputs: Sequence[Tensor], mix: Tensor) -> None:
        self.plan, self.batch = plan, inputs[0].shape[0]
        self.outputs = [node for node in graph.output if plan.fed[node]]
        # The others are the cell's inputs as they are.
        self.made = [n for n in self.outputs if n >= len(plan.prepare) or plan.prepare[n] is not None]
        self.ops = mix.shape[1]
        key = self.batch, self.ops
        if key not in plan.programs:
            sizes = [tuple(x.shape[1:]) for x in inputs]
            plan.programs[key] = write(plan, sizes, self.batch, self.made, self.ops)
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
            pixels = np.array([self.batch * prod(self.plan.size(slot)[1:]) for slot in slots])
            unbiased = (pixels / np.maximum(pixels - 1, 1))[:, None]
            move([norm.running_mean for norm in norms], means, rate)
            move([norm.running_var for norm in norms], self.memory.known[VARIANCE, slots, :channels] * unbiased, rate)
            torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)


class _Cell(torch.autograd.Function):
    """The values of the output nodes."""

    @staticmethod
    def forward(ctx: Any, call: _Call, mix: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        plan, program, memory = call.plan, call.program, call.memory
        inputs = [channels_last(x) for x in tensors[: len(plan.prepare)]]
        weights = [weight.contiguous() for weight in tensors[len(plan.prepare) :]]
        sizes = ((call.batch, *plan.size(node)) for node in call.made)
        results = [torch.empty(size, memory_format=torch.channels_last) for size in sizes]
        kept = torch.empty(program.sizes[KEPT])
        for home, own in ((GIVEN, inputs), (WEIGHTS, weights), (RESULTS, results), (KEPT, [kept])):
            program.place(memory, home, own)
        program.forward(memory)
        ctx.save_for_backward(kept, *inputs, *weights, *results)
        ctx.call = call
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        call, (kept, *saved) = ctx.call, ctx.saved_tensors
        plan, program = call.plan, call.program
        first, last = len(plan.prepare), len(plan.prepare) + len(plan.weights)
        inputs, weights, results = saved[:first], saved[first:last], saved[last:]
        needs = ctx.needs_input_grad
        mixed, learn = needs[1], any(needs[2 + first :])
        grad_inputs, grad_weights = [torch.empty_like(x) for x in inputs], [torch.empty_like(w) for w in weights]
        passing = torch.empty(program.sizes[PASSING])
        sent = [channels_last(grad) for grad in grads]
        # Where a cell is recomputed, what was saved is not where it was.
        homes = (GIVEN, inputs), (WEIGHTS, weights), (RESULTS, results), (KEPT, [kept])
        new = (GRADS, sent), (GRAD_INPUTS, grad_inputs), (GRAD_WEIGHTS, grad_weights), (PASSING, [passing])
        memory = call.memory._replace(at=call.memory.at.copy(), table=call.memory.table.copy())
        for home, own in (*homes, *new):
            program.place(memory, home, own)
        wanted = learn or any(needs[2 : 2 + first])
        grad_mix = program.backward(memory, learn=learn, mixed=mixed, inputs=wanted)
        for n in plan.biases:
            grad_weights[n].zero_()  # batch norm takes them away again
        return (
            None,
            torch.from_numpy(grad_mix.astype(np.float32)).view(-1, call.ops) if mixed else None,
            *(grad_inputs if wanted else [None] * len(inputs)),
            *(grad_weights if learn else [None] * len(weights)),
        )
