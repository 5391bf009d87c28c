"""Chains of ReLU, convolutions and batch norm out of one node, all of them in one step forward and one backward.

This is where a supernet of DARTS spends its time: four of its eight operations are such chains. Float32 on a CPU;
import this module only where it is used, for it needs Numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


class _Convolve(torch.autograd.Function):
    """The results, their means and variances, and those before the second links."""

    @staticmethod
    def forward(
        ctx: Any, chains: Sequence[tuple[Link, ...]], folds: Sequence[Fold], x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        x = x.contiguous(memory_format=torch.channels_last)
        results, mean, variance = _first(chains, weights, x).forward()
        inner = [results[n] for n in _longer(chains)]
        inner_mean, inner_variance = mean[_longer(chains)], variance[_longer(chains)]
        rate = (inner_variance + EPS).rsqrt()
        if inner:
            last = _second(chains, weights, inner, Normalized(inner_mean, rate)).forward()
            for n, result, m, v in zip(_longer(chains), *last, strict=True):
                results[n], mean[n], variance[n] = result, m, v
        ctx.save_for_backward(x, inner_mean, rate, *weights, *inner, *results)
        ctx.chains, ctx.folds, ctx.ends = chains, folds, (3 + len(weights), 3 + len(weights) + len(inner))
        ctx.mark_non_differentiable(mean, variance, inner_mean, inner_variance)
        return (*results, mean, variance, inner_mean, inner_variance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        chains, folds, saved = ctx.chains, ctx.folds, ctx.saved_tensors
        x, mean, rate = saved[:3]
        weights, inner, results = (saved[a:b] for a, b in zip((3, *ctx.ends), (*ctx.ends, len(saved)), strict=True))
        sent = [grad.contiguous(memory_format=torch.channels_last) for grad in grads[: len(chains)]]
        like = mean.new_empty(results[0].shape[1])
        factors = [fold.factors(like) for fold in folds]
        found: list[list[list[Tensor]]] = [[] for _ in chains]
        outputs = list(results)
        if inner:
            which = _longer(chains)
            stage = _second(chains, weights, inner, Normalized(mean, rate))
            part = stage.backward([results[n] for n in which], [sent[n] for n in which], _stacked(factors, which))
            pixels = inner[0].numel() // inner[0].shape[1]
            slope = -rate.pow(3) * part.products / pixels
            shift = -rate * part.totals / pixels - slope * mean
            for k, n in enumerate(which):
                found[n] = [part.weights[k]]
                sent[n], outputs[n], factors[n] = part.inputs[k], inner[k], (rate[k], slope[k], shift[k])
        part = _first(chains, weights, x).backward(outputs, sent, _stacked(factors, range(len(chains))))
        for n, gradients in enumerate(part.weights):
            found[n].insert(0, gradients)
        flat = []
        for chain, by_link in zip(chains, found, strict=True):
            for link, gradients in zip(chain, by_link, strict=True):
                flat += gradients
                flat += [torch.zeros_like(weight) for weight in link.weights[len(gradients) :]]
        return (None, None, part.inputs[0], *flat)


def _stacked(factors: Any, which: Any) -> Any:
    return tuple(torch.stack([factors[n][i] for n in which]) for i in range(3))


def _longer(chains: Sequence[tuple[Link, ...]]) -> list[int]:
    return [n for n, chain in enumerate(chains) if len(chain) == 2]


def _by_link(chains: Sequence[tuple[Link, ...]], weights: Sequence[Tensor]) -> list[list[list[Tensor]]]:
    """The convolutions' weights, without biases, by chain and link."""
    left = iter(weights)
    return [[[next(left) for _ in link.weights][: len(link.modules)] for link in chain] for chain in chains]


def _first(chains: Sequence[tuple[Link, ...]], weights: Sequence[Tensor], x: Tensor) -> Stage:
    by_link = _by_link(chains, weights)
    return Stage([chain[0].geometry for chain in chains], [links[0] for links in by_link], [x] * len(chains))


def _second(
    chains: Sequence[tuple[Link, ...]], weights: Sequence[Tensor], inner: Sequence[Tensor], before: Normalized
) -> Stage:
    by_link, which = _by_link(chains, weights), _longer(chains)
    return Stage([chains[n][1].geometry for n in which], [by_link[n][1] for n in which], inner, before)
