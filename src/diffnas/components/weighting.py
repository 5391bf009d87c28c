"""Weightings: from alpha and keep to the mixing weights of each edge.

A weighting is called as ``weighting(alpha, keep, moment)``. Its options are bound with ``functools.partial``:
``partial(entmax, order=3.0)``. Any option may be a schedule. A weighting that learns parameters is a module. A method
holds it as a template, and each search trains a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffnas.components import entmax as solver
from diffnas.components import schedule
from diffnas.components.schedule import Moment, Schedule, value
from diffnas.components.traits import traits

Weighting = Callable[[Tensor, Tensor, Moment], Tensor]


def softmax(alpha: Tensor, keep: Tensor, moment: Moment, *, temperature: float | Schedule = 1.0) -> Tensor:
    """Mixing weights that sum to one over the kept operations of an edge.

    DARTS (Liu et al., 2019), eq. 2, restricted to the operations still in play.

    Args:
        alpha: architecture parameters, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        moment: where the run stands; only a scheduled temperature reads it.
        temperature: a value below 1 sharpens the choice, a value above 1 flattens it.

    Returns:
        Mixing weights, ``(edges, ops)``. Pruned operations get exactly 0.

    >>> keep = torch.tensor([[True, True, False], [False, False, False]])
    >>> softmax(torch.zeros(2, 3), keep, Moment(epoch=0, step=0, epochs=1, steps=1))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    # A finite floor, not -inf: an edge that keeps nothing must give 0, and -inf would give NaN.
    floor = torch.finfo(alpha.dtype).min
    logits_EO = (alpha / value(temperature, moment)).masked_fill(~keep, floor)
    return logits_EO.softmax(dim=-1) * keep


ANNEALING = partial(schedule.geometric, start=1.6, factor=0.95)
"""The temperature of ASAP (Noy et al., 2020): 1.6, times 0.95 each epoch; from epoch 10 of 50, it is below 1."""

COOLING = partial(schedule.stairs, start=10.0, stop=0.1)
"""The temperature of GDAS (Dong & Yang, 2019): linearly from 10 to 0.1, constant within an epoch."""


@traits(draws=True)
def gumbel(alpha: Tensor, keep: Tensor, moment: Moment, *, temperature: float | Schedule = COOLING) -> Tensor:
    """Weight exactly 1 for one operation of each edge, drawn with its softmax probability: GDAS (Dong & Yang, 2019).

    Gumbel noise is added to alpha, and the operation with the highest sum wins. The gradient is straight-through: that
    of the softmax of the sums, which is sharper at lower temperatures. Each forward pass draws anew; all cells of a
    kind share a sample. At rest nothing is drawn, and the mixing weights are the softmax of alpha.

    Args:
        alpha: architecture parameters, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        moment: where the run stands, and the generator.
        temperature: that of the softmax in the gradient. The draw does not depend on it.

    Returns:
        Mixing weights, ``(edges, ops)``: 1 for the drawn operation of an edge, else 0.
    """
    if moment.generator is None:
        return softmax(alpha, keep, moment)
    noise = _gumbel_noise(alpha, moment.generator)
    soft = softmax(alpha + noise, keep, moment, temperature=temperature)
    winner = (alpha + noise).detach().masked_fill(~keep, -torch.inf).argmax(dim=-1, keepdim=True)
    hard = torch.zeros_like(soft).scatter(-1, winner, 1.0) * keep
    # 1 + (soft - soft) is exactly 1.
    return hard + (soft - soft.detach())


SHARPENING = partial(schedule.stairs, start=1.0, stop=0.03)
"""The temperature of SNAS (Xie et al., 2019): linearly from 1 to 0.03, constant within an epoch."""


@traits(draws=True)
def concrete(alpha: Tensor, keep: Tensor, moment: Moment, *, temperature: float | Schedule = SHARPENING) -> Tensor:
    """Mixing weights of each edge, drawn from a concrete distribution: SNAS (Xie et al., 2019).

    Gumbel noise is added to alpha, and the weights are the softmax of the sums divided by the temperature. All
    operations take part. At lower temperatures, a draw is closer to one operation at weight 1, which wins with its
    softmax probability. The gradient is that of the draw. Each forward pass draws anew, independently for each kind of
    cell; all cells of a kind share a sample. At rest nothing is drawn, and the weights are the softmax of alpha.

    Args:
        alpha: architecture parameters, the logits, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        moment: where the run stands, and the generator.
        temperature: greater than 0.

    Returns:
        Mixing weights, ``(edges, ops)``, that sum to one over the kept operations of an edge.
    """
    if moment.generator is None:
        return softmax(alpha, keep, moment)
    return softmax(alpha + _gumbel_noise(alpha, moment.generator), keep, moment, temperature=temperature)


def _gumbel_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    waits = torch.empty_like(like).exponential_(generator=generator)
    # If a wait is exponential, -log(wait) has a Gumbel distribution. The floor avoids the logarithm of 0.
    return -waits.clamp_min(torch.finfo(like.dtype).tiny).log()


@traits(on_simplex=True)
def simplex(alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
    """Mixing weights that are parameters themselves, a point of the simplex for each edge: GAEA (Li et al., 2021).

    alpha holds their logarithms, up to a constant for each edge, so the values are those of ``softmax``. alpha's
    gradient is that of the weights, not of their logarithms. Only ``update.exponentiated`` uses it rightly.

    Args:
        alpha: logarithms of the weights, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        moment: ignored.

    Returns:
        Mixing weights, ``(edges, ops)``. Pruned operations get exactly 0.

    >>> alpha = torch.tensor([[0.0, math.log(3.0)]], requires_grad=True)
    >>> mix = simplex(alpha, torch.tensor([[True, True]]), Moment(epoch=0, step=0, epochs=1, steps=1))
    >>> mix.detach(), torch.autograd.grad(mix[0, 1], alpha)[0]
    (tensor([[0.2500, 0.7500]]), tensor([[0., 1.]]))
    """
    # theta + (alpha - alpha) is exactly theta.
    return softmax(alpha.detach(), keep, moment) + (alpha - alpha.detach()) * keep


@traits(gives_zeros=lambda order=None: order != 1)
def entmax(alpha: Tensor, keep: Tensor, moment: Moment, *, order: float | Schedule = 3.0) -> Tensor:
    """Sparse mixing weights that sum to one: alpha-entmax (Peters, Niculae & Martins, 2019).

    The mixing weights of the sparse method (Bezirganyan & Akarmazyan, 2022). Order 1 is softmax, and order 2 is the
    projection onto the simplex. At higher orders, weights become exactly 0 sooner.

    Args:
        alpha: architecture parameters, ``(edges, ops)``, float32 or float64.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        moment: where the run stands; only a scheduled order reads it.
        order: the entmax order (alpha in the papers), at least 1.

    Returns:
        Mixing weights, ``(edges, ops)``. Pruned operations get exactly 0, and so do those outside the support.

    >>> keep = torch.ones(1, 3, dtype=torch.bool)
    >>> entmax(torch.tensor([[0.5, 0.25, -1.0]]), keep, Moment(epoch=0, step=0, epochs=1, steps=1), order=2.0)
    tensor([[0.6250, 0.3750, 0.0000]])
    """
    return solver.entmax(alpha, keep, value(order, moment))


@traits(gives_zeros=True)
class LearnedEntmax(nn.Module):
    """alpha-entmax whose order is learned beside alpha, one order for all edges.

    The gradient of the order is that of Correia, Niculae & Martins (2019). The order stays between ``low`` and
    ``high``: below about 1.05 its gradient loses precision, and from 4 on the usual initial alpha already gives zeros.
    """

    def __init__(self, order: float = 1.5, *, low: float = 1.05, high: float = 3.5) -> None:
        super().__init__()
        if not low < order < high:
            raise ValueError(f"the first order must lie between {low} and {high}, got {order}.")
        position = (order - low) / (high - low)
        self.first, self.low, self.high = order, low, high
        self.position = nn.Parameter(torch.tensor(math.log(position / (1 - position))))

    def extra_repr(self) -> str:
        """The options of this weighting, as text."""
        return f"order={self.first:g}, low={self.low:g}, high={self.high:g}"

    @property
    def order(self) -> Tensor:
        """The present order, ``()``."""
        return self.low + (self.high - self.low) * self.position.sigmoid()

    def forward(self, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
        """Mixing weights, ``(edges, ops)``; see ``entmax``."""
        return solver.entmax(alpha, keep, self.order.to(alpha.dtype))


def parameters(weighting: Weighting) -> list[nn.Parameter]:
    """The parameters that a weighting learns beside alpha; most learn none."""
    known = weighting.parameters() if isinstance(weighting, nn.Module) else ()
    return [parameter for parameter in known if parameter.requires_grad]


@traits(follows_alpha=False)
def uniform(alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
    """The same mixing weight for all kept operations of an edge, which ignores alpha: ``(edges, ops)``."""
    return functional.normalize(keep.to(alpha.dtype), p=1.0, dim=-1)
