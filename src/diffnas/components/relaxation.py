"""The relaxed architecture at one moment: all that penalties and pruning rules may look at."""

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
    """What a search has between alpha and the supernet. Penalties may differentiate whatever follows from alpha.

    Attributes:
        alpha: architecture parameters, ``(edges, ops)``.
        mix: the mixing weights of this forward pass, ``(edges, ops)``; where a rule decides something, at rest, that
            is not sampled, and in float64.
        open: how likely each operation is to take part, ``(edges, ops)``: in closed form for gates, and for weights
            that are drawn what they are at rest. Other weights count as probabilities themselves, so it is ``mix``.
        keep: which operations are still in play, ``(edges, ops)``, bool. All of the above are 0 elsewhere, but alpha.
        moment: where the run stands.
        space: what the rows and columns mean.
        costs: millions of multiply-adds of each operation for one picture, in all cells of its kind, ``(edges, ops)``;
            0 where nobody has counted.
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
    """The mixing weights that a weighting makes of alpha, ``(edges, ops)``.

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
    """The relaxation that a weighting makes of alpha; ``mix`` if a forward pass has drawn its weights already.

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
