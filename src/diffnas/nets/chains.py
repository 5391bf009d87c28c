"""Chains of ReLU, convolutions and batch norm out of one node, all of them in one step forward and one backward.

This is where a supernet of DARTS spends its time: four of its eight operations are such chains. Float32 on a CPU;
import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffnas.nets.fused import Fold, Statistics, update_running
from diffnas.nets.links import Link, outline
from diffnas.nets.stage import Normalized, Stage

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
    *tensors, mean, variance, inner_mean, inner_variance = apply(chains, folds, x, *weights)
    inner = [chain[0] for chain in chains if len(chain) == 2]
    assert all(link.bias is None for link in inner)
    pixels = tensors[0].numel() // tensors[0].shape[1]
    update_running([link.norm for link in inner], Statistics(inner_mean, inner_variance, pixels), range(len(inner)))
    return Results(tuple(tensors), Statistics(mean, variance, pixels), folds)


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


# Scale, slope and shift, ``(D,)`` each: the gradient for a result is ``scale * grad + slope * result + shift``.
Factors = tuple[Any, Any, Any]


def through(chains: Sequence[tuple[Link, ...]], weights: Sequence[Tensor], x: Tensor) -> Passed:
    """Put x, channels last, through chains of links with these weights, up to the last batch norm of each."""
    which, by_link = _longer(chains), _by_link(chains, weights)
    results, mean, variance = _first(chains, by_link, x).forward()
    inner, inner_mean, inner_variance = [results[n] for n in which], mean[which], variance[which]
    before = Normalized(inner_mean, 1 / np.sqrt(inner_variance + EPS))
    if which:
        results = list(results)
        last, mean[which], variance[which] = _second(chains, by_link, inner, before).forward()
        for n, result in zip(which, last, strict=True):
            results[n] = result
    return Passed(results, mean, variance, inner, before, inner_variance)


def back(
    chains: Sequence[tuple[Link, ...]],
    weights: Sequence[Tensor],
    x: Tensor,
    passed: Passed,
    grads: Sequence[Tensor],
    factors: Sequence[Factors],
    *,
    learn: bool = True,
) -> tuple[Tensor, list[Tensor]]:
    """The gradients for x and the weights, from what those for the results are made of, channels last.

    Those for the weights are an empty list if they are not wanted: if nothing is to ``learn``.
    """
    which, by_link = _longer(chains), _by_link(chains, weights)
    outputs, sent, factors = list(passed.results), list(grads), list(factors)
    found: list[list[list[Tensor]]] = [[] for _ in chains]
    if which:
        mean, rate = passed.before
        part = _second(chains, by_link, passed.inner, passed.before).backward(
            [outputs[n] for n in which], [sent[n] for n in which], _stacked([factors[n] for n in which]), learn=learn
        )
        pixels = passed.inner[0].numel() // passed.inner[0].shape[1]
        slope = -(rate**3) * part.products / pixels
        shift = -rate * part.totals / pixels - slope * mean
        for k, n in enumerate(which):
            found[n] = [part.weights[k]]
            sent[n], outputs[n], factors[n] = part.inputs[k], passed.inner[k], (rate[k], slope[k], shift[k])
    part = _first(chains, by_link, x).backward(outputs, sent, _stacked(factors), learn=learn)
    flat: list[Tensor] = []
    if not learn:
        return part.inputs[0], flat
    for chain, first, others in zip(chains, part.weights, found, strict=True):
        for link, gradients in zip(chain, [first, *others], strict=True):
            flat += gradients
            if link.count > len(gradients):
                assert link.bias is not None
                flat.append(torch.zeros_like(link.bias))
    return part.inputs[0], flat


class _Convolve(torch.autograd.Function):
    """The results, their means and variances, and those before the second links."""

    @staticmethod
    def forward(
        ctx: Any, chains: Sequence[tuple[Link, ...]], folds: Sequence[Fold], x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
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
        factors: Any = [tuple(part.numpy() for part in fold.factors(like)) for fold in ctx.folds]
        grad_x, flat = back(chains, weights, x, passed, sent, factors)
        return (None, None, grad_x, *flat)


def _stacked(factors: Sequence[Factors]) -> Any:
    return tuple(np.stack(parts) for parts in zip(*factors, strict=True))


def _longer(chains: Sequence[tuple[Link, ...]]) -> list[int]:
    return [n for n, chain in enumerate(chains) if len(chain) == 2]


# The convolutions' weights, without biases, by chain and link.
ByLink = list[list[list[Tensor]]]


def _by_link(chains: Sequence[tuple[Link, ...]], weights: Sequence[Tensor]) -> ByLink:
    found, at = [], 0
    for chain in chains:
        by_link = []
        for link in chain:
            by_link.append(list(weights[at : at + len(link.modules)]))
            at += link.count
        found.append(by_link)
    return found


def _first(chains: Sequence[tuple[Link, ...]], by_link: ByLink, x: Tensor) -> Stage:
    return Stage([chain[0].geometry for chain in chains], [links[0] for links in by_link], [x] * len(chains))


def _second(chains: Sequence[tuple[Link, ...]], by_link: ByLink, inner: Sequence[Tensor], before: Normalized) -> Stage:
    which = _longer(chains)
    return Stage([chains[n][1].geometry for n in which], [by_link[n][1] for n in which], inner, before)
