"""Chains of ReLU, convolutions and batch norm that read one map, as one function of autograd.

Networks use it for one link at a time. In a supernet, such chains are a part of a cell's program. Float32 on a CPU;
import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.backends.cpu.conv_group import ChainGroup, Chains
from diffnas.backends.cpu.kernels.memory import MEAN, SHIFT, SLOPE, VARIANCE
from diffnas.backends.cpu.launches import Fold
from diffnas.backends.cpu.program import GRAD_INPUTS, GRAD_WEIGHTS, GRADS, ONE, RESULTS, Program
from diffnas.backends.cpu.writer import Writer
from diffnas.backends.norms import Statistics, channels_last, update_running
from diffnas.nets.links import Link, Pattern, chain_key


class Results(NamedTuple):
    """The results of chains before their last batch norm.

    Attributes:
        tensors: one a chain, ``(B, D, H', W')``.
        statistics: the means and variances of these tensors.
        folds: one a chain, in which the next batch norm leaves the factors of its input gradient.
    """

    tensors: tuple[Tensor, ...]
    statistics: Statistics
    folds: tuple[Fold, ...]


def convolve(x: Tensor, chains: Sequence[tuple[Link, ...]]) -> Results:
    """The results of chains of links that read ``x``, before the last batch norm of each, in training mode.

    The running averages of the inner batch norms are updated; the caller updates those of the last ones.

    Args:
        x: a node's value, ``(B, C, H, W)``, float32, on a CPU.
        chains: the links of each chain; all have one :func:`diffnas.nets.links.chain_key`.
    """
    (common,) = {chain_key(chain, x.shape[1:]) for chain in chains}
    patterns = tuple(tuple(link.pattern for link in chain) for chain in chains)
    made = _made(patterns, tuple(x.shape[1:]), common.sizes, x.shape[0])
    weights = [weight for chain in chains for link in chain for weight in link.weights]
    folds = tuple(Fold() for _ in chains)
    apply: Callable[..., tuple[Tensor, ...]] = _Convolve.apply
    *results, mean, variance = apply(made, folds, x, *weights)
    tensors, between = results[: len(chains)], results[len(chains) :]
    for place, inner in enumerate(zip(between[::2], between[1::2], strict=True)):
        links = [chains[n][place] for n in made.chains.members[place + 1]]
        assert all(link.bias is None for link in links)
        norms = {n: link.after for n, link in enumerate(links) if link.after is not None}
        pixels = x.shape[0] * prod(common.sizes[place][1:])
        update_running([*norms.values()], Statistics(*inner, pixels), [*norms])
    pixels = tensors[0].numel() // tensors[0].shape[1]
    return Results(tuple(tensors), Statistics(mean, variance, pixels), folds)


class _Made(NamedTuple):
    """A program for chains. Its slots are the results, which are also the targets, then the maps between two links."""

    chains: Chains
    program: Program
    inner: list[list[int]]  # the slots of the results of the first links that have a second, and so on
    sizes: tuple[tuple[int, ...], ...]  # channels, rows and columns of these results, and last of those of the chains


@lru_cache(maxsize=1024)
def _made(
    patterns: tuple[tuple[Pattern, ...], ...], size: tuple[int, ...], sizes: tuple[tuple[int, ...], ...], batch: int
) -> _Made:
    """The program of chains that read one map of a size; ``sizes`` are those of the chains' key."""
    chains, result = Chains(patterns), sizes[-1]
    slots, inner, every = list(range(len(chains))), list[list[int]](), [result] * len(chains)
    for between, own in zip(sizes, chains.members[1:], strict=False):
        inner.append(list(range(len(every), len(every) + len(own))))
        every += [between] * len(own)
    group = ChainGroup(chains=chains, slots=slots, inner=inner, targets=slots, weights=slice(0, chains.count))
    writer = Writer(every, [size], chains.count, batch)
    for slot in slots:
        writer.slots[slot], writer.grads[slot] = writer.result(slot), writer.tensor(GRADS)
        writer.pairs[slot, slot] = writer.row()
    chained = writer.made(group, writer.given[0], size)
    writer.pack([chained])
    writer.links_from(0, [chained])
    forward_pass = writer.direction()
    writer.convolve_backward(chained, writer.grad_inputs[0])
    backward_pass = writer.direction()
    program = writer.program(forward_pass, backward_pass, len(backward_pass.steps))
    return _Made(chains, program, inner, (*sizes[: len(inner)], result))


class _Convolve(torch.autograd.Function):
    """The results, then the means and the variances of the maps between two links, last those of the results."""

    @staticmethod
    def forward(ctx: Any, made: _Made, folds: Sequence[Fold], x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        x, weights = channels_last(x), tuple(weight.contiguous() for weight in weights)
        program, K, memory = made.program, len(made.chains), made.program.memory(np.empty(0))
        held = program.hold(memory, [x], weights)
        program.forward(memory, held)
        ctx.save_for_backward(*program.saved(held))
        ctx.made, ctx.folds, ctx.memory = made, folds, memory
        statistics = [
            torch.from_numpy(memory.known[which, slots, :channels])
            for slots, (channels, _, _) in zip([*made.inner, [*range(K)]], made.sizes, strict=True)
            for which in (MEAN, VARIANCE)
        ]
        ctx.mark_non_differentiable(*statistics)
        return (*held[RESULTS], *statistics)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        made = ctx.made
        memory, like = made.program.again(ctx.memory), torch.empty(made.sizes[-1][0], dtype=torch.float64)
        held = made.program.recall(memory, ctx.saved_tensors, grads[: len(made.chains)])
        for k, fold in enumerate(ctx.folds):
            scale, slope, shift = fold.factors(like)
            memory.scales[ONE + 1 + k, : len(like)] = scale.numpy()
            memory.known[SLOPE, k, : len(like)], memory.known[SHIFT, k, : len(like)] = slope.numpy(), shift.numpy()
        learn = any(ctx.needs_input_grad[3:])
        made.program.backward(memory, learn=learn)
        grad_weights = held[GRAD_WEIGHTS] if learn else [None] * made.chains.count
        return (None, None, *held[GRAD_INPUTS], *grad_weights)
