"""Chains of ReLU, convolutions and batch norm out of one node, all of them in one step forward and one backward.

This is where a supernet of DARTS spends its time: four of its eight operations are such chains. Float32 on a CPU;
import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.nets.fused import Fold, Statistics, update_running
from diffnas.nets.links import Link, outline
from diffnas.nets.stage import Layout, Normalized, Stage

EPS = 1e-5
"""What the batch norms add to the variance."""


class Results(NamedTuple):
    """The results of chains before their last batch norm.

    Attributes:
        tensors: one a chain, ``(B, D, H', W')``.
        statistics: their means and variances.
        folds: where whoever normalizes them leaves what their gradients are multiplied by.
    """

    tensors: tuple[Tensor, ...]
    statistics: Statistics
    folds: tuple[Fold, ...]


def convolve(x: Tensor, chains: Sequence[tuple[Link, ...]]) -> Results:
    """Put x through chains of links, up to the last batch norm of each, in training mode.

    The running averages of the batch norms before the last are updated; those of the last are left to the caller.

    Args:
        x: a node's value, ``(B, C, H, W)``, float32, on a CPU.
        chains: their links; all have one :func:`diffnas.nets.links.outline`.
    """
    assert len({outline(chain, x.shape[1:]) for chain in chains}) == 1
    weights = [weight for chain in chains for link in chain for weight in link.weights]
    folds = tuple(Fold() for _ in chains)
    apply: Callable[..., tuple[Tensor, ...]] = _Convolve.apply
    *tensors, mean, variance, inner_mean, inner_variance = apply(Chains(chains), folds, x, *weights)
    inner = [chain[0] for chain in chains if len(chain) == 2]
    assert all(link.bias is None for link in inner)
    pixels = tensors[0].numel() // tensors[0].shape[1]
    update_running([link.norm for link in inner], Statistics(inner_mean, inner_variance, pixels), range(len(inner)))
    return Results(tuple(tensors), Statistics(mean, variance, pixels), folds)


class Chains:
    """Chains of one link or two out of one map, and the order of their weights.

    Args:
        links: of each chain; all have one :func:`diffnas.nets.links.outline`. Their weights stand one after the other.
    """

    def __init__(self, links: Sequence[tuple[Link, ...]]) -> None:
        self.links = tuple(links)
        self.longer = [n for n, chain in enumerate(links) if len(chain) == 2]
        every = [link for chain in links for link in chain]
        ends = list(accumulate((link.count for link in every), initial=0))
        starts = dict(zip(((n, k) for n, chain in enumerate(links) for k in range(len(chain))), ends, strict=False))
        self.count = ends[-1]
        self.biases = [end - 1 for link, end in zip(every, ends[1:], strict=True) if link.bias is not None]
        self.first = Layout([chain[0] for chain in links], [starts[n, 0] for n in range(len(links))], joint=True)
        self.second = (
            Layout([links[n][1] for n in self.longer], [starts[n, 1] for n in self.longer], joint=False)
            if self.longer
            else None
        )

    def __len__(self) -> int:
        return len(self.links)


class Passed(NamedTuple):
    """What chains left on their way through; arrays are float64.

    Attributes:
        results: before the last batch norms.
        mean: of the results, ``(K, D)``.
        variance: likewise.
        inner: what chains of two links had between them, before its batch norm.
        before: that batch norm.
        inner_variance: and the variance that it saw.
    """

    results: list[Tensor]
    mean: Any
    variance: Any
    inner: list[Tensor]
    before: Normalized
    inner_variance: Any


def through(chains: Chains, weights: Sequence[Tensor], x: Tensor) -> Passed:
    """Put x, channels last, through chains with these weights, up to the last batch norm of each."""
    which = chains.longer
    results, mean, variance = Stage(chains.first, weights, [x]).forward()
    inner, inner_mean, inner_variance = [results[n] for n in which], mean[which], variance[which]
    before = Normalized(inner_mean, 1 / np.sqrt(inner_variance + EPS))
    if chains.second is not None:
        last, mean[which], variance[which] = Stage(chains.second, weights, inner, before).forward()
        for n, result in zip(which, last, strict=True):
            results[n] = result
    return Passed(results, mean, variance, inner, before, inner_variance)


def back(
    chains: Chains,
    weights: Sequence[Tensor],
    x: Tensor,
    passed: Passed,
    grads: Sequence[Tensor],
    factors: Any,
    *,
    learn: bool = True,
) -> tuple[Tensor, list[Tensor | None]]:
    """The gradients for x and the weights, from what those for the results are made of, channels last.

    Args:
        chains: the chains.
        weights: theirs.
        x: what they were given.
        passed: what ``through`` returned.
        grads: what the gradient for each result is made of.
        factors: of each chain a scale, a slope and a shift, an array ``(K, 3, D)``: the gradient for a result is
            ``scale * grad + slope * result + shift``.
        learn: whether the gradients for the weights are wanted; without, they are None.
    """
    which = chains.longer
    learned: list[Tensor | None] = [None] * chains.count
    outputs, sent = list(passed.results), list(grads)
    if chains.second is not None:
        mean, rate = passed.before
        part = Stage(chains.second, weights, passed.inner, passed.before).backward(
            [outputs[n] for n in which], [sent[n] for n in which], factors[which], learn=learn
        )
        _place(learned, chains.second, part.weights)
        pixels = passed.inner[0].numel() // passed.inner[0].shape[1]
        slope = -(rate**3) * part.products / pixels
        shift = -rate * part.totals / pixels - slope * mean
        factors = factors.copy()
        factors[which] = np.stack([rate, slope, shift], 1)
        for k, n in enumerate(which):
            sent[n], outputs[n] = part.inputs[k], passed.inner[k]
    part = Stage(chains.first, weights, [x]).backward(outputs, sent, factors, learn=learn)
    _place(learned, chains.first, part.weights)
    if learn:
        for n in chains.biases:
            learned[n] = torch.zeros_like(weights[n])
    return part.inputs[0], learned


def _place(learned: list[Tensor | None], layout: Layout, gradients: Sequence[Tensor]) -> None:
    for n, gradient in zip(layout.owned, gradients, strict=False):  # there may be none
        learned[n] = gradient


class _Convolve(torch.autograd.Function):
    """The results, their means and variances, and those before the second links."""

    @staticmethod
    def forward(ctx: Any, chains: Chains, folds: Sequence[Fold], x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        x = x.contiguous(memory_format=torch.channels_last)
        passed = through(chains, weights, x)
        ctx.save_for_backward(x, *weights, *passed.inner, *passed.results)
        ctx.chains, ctx.folds, ctx.passed = chains, folds, passed._replace(results=[], inner=[])
        ctx.ends = 1 + len(weights), 1 + len(weights) + len(passed.inner)
        statistics = passed.mean, passed.variance, passed.before.mean, passed.inner_variance
        tensors = [torch.from_numpy(part) for part in statistics]
        ctx.mark_non_differentiable(*tensors)
        return (*passed.results, *tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        chains, (x, *saved) = ctx.chains, ctx.saved_tensors
        first, second = (end - 1 for end in ctx.ends)
        weights = saved[:first]
        passed = ctx.passed._replace(inner=saved[first:second], results=saved[second:])
        sent = [grad.contiguous(memory_format=torch.channels_last) for grad in grads[: len(chains)]]
        like = torch.empty(passed.mean.shape[1], dtype=torch.float64)
        factors: Any = np.array([[part.numpy() for part in fold.factors(like)] for fold in ctx.folds])
        grad_x, flat = back(chains, weights, x, passed, sent, factors)
        return (None, None, grad_x, *flat)
