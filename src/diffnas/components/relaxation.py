"""The relaxed architecture at one moment: all that regularizers and pruning rules may read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from diffnas.components import contract
from diffnas.components.gates import Gates
from diffnas.components.schedule import Moment
from diffnas.components.stopping import History
from diffnas.components.traits import traits_of
from diffnas.components.weighting import Weighting
from diffnas.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """Alpha and all that a search computes from it. Gradients for alpha flow through ``mix`` and ``open``.

    Attributes:
        alpha: architecture parameters, ``(edges, ops)``.
        mix: mixing weights, ``(edges, ops)``, 0 where pruned. Penalties get those of this forward pass. Rules that
            decide get those at rest, which are not sampled, in float64.
        open: the probability that each operation takes part, ``(edges, ops)``, 0 where pruned. Gates give it in closed
            form. For weights that are drawn, it is the weights at rest; for all others, it is ``mix``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        moment: where the run stands.
        space: the space of the rows and columns.
        costs: millions of multiply-adds of each operation for one picture, in all cells of its kind, ``(edges, ops)``;
            0 if they were not counted.
        history: the trace of the epochs that are over.
    """

    alpha: Tensor
    mix: Tensor
    open: Tensor
    keep: Tensor
    moment: Moment
    space: SearchSpace
    costs: Tensor | float = 0.0
    history: History = ()


def weigh(weighting: Weighting, alpha: Tensor, keep: Tensor, moment: Moment) -> Tensor:
    """The mixing weights that a weighting makes from alpha, ``(edges, ops)``.

    Raises:
        ValueError: if the weighting breaks its contract.
    """
    bounds = contract.SHARES if traits_of(weighting).competes else contract.ANY
    return contract.weights(contract.WEIGHTING, weighting, alpha, keep, moment, bounds)


def relax(
    weighting: Weighting,
    alpha: Tensor,
    keep: Tensor,
    moment: Moment,
    space: SearchSpace,
    *,
    mix: Tensor | None = None,
    costs: Tensor | float = 0.0,
    history: History = (),
) -> Relaxation:
    """The relaxation that a weighting makes from alpha.

    ``mix`` holds the mixing weights if the forward pass has computed them already; None computes them here.

    Raises:
        ValueError: if the weighting breaks its contract.
    """
    if mix is None:
        mix = weigh(weighting, alpha, keep, moment)
    if isinstance(weighting, Gates):
        likely = contract.weights(contract.OPEN, weighting.open, alpha, keep, moment, contract.PROBABILITIES)
    else:
        likely = weigh(weighting, alpha, keep, replace(moment, generator=None)) if traits_of(weighting).draws else mix
    return Relaxation(
        alpha=alpha,
        mix=mix,
        open=likely,
        keep=keep,
        moment=moment,
        space=space,
        costs=costs,
        history=history,
    )
