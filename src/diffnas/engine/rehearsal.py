"""A rehearsal: each component that can be called before the first step is called once, and its result only checked.

So a component that cannot work is refused before anything is written, not after an epoch. Nothing of the search
changes.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from diffnas.components import edges
from diffnas.components.contract import WEIGHTING, check_sums, check_zeros
from diffnas.components.relaxation import Relaxation, relax
from diffnas.components.schedule import Moment
from diffnas.components.traits import traits_of
from diffnas.components.weighting import Weighting
from diffnas.data import DataSet
from diffnas.engine import contract, seeds
from diffnas.engine.running_search import millions
from diffnas.engine.search_state import SearchState, staged
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.method import Method
from diffnas.space import SearchSpace


def rehearse(data: DataSet, space: SearchSpace, method: Method, settings: SearchSettings, state: SearchState) -> None:
    """Call the components of a method once, as the first epoch of a search calls them.

    The weighting is called as in a step, then in float64 and without sampling, as for a decision. Penalties and pruning
    are called only if the first epoch has them: those of later epochs may need a history.

    Args:
        data, space, method, settings: the arguments of the search.
        state: the state before the first step, which is only read.

    Raises:
        ValueError: for a component that breaks its contract.
    """
    settings = staged(settings, contract.stages(method.stages, space, settings.epochs)[0], space)
    device, weighting = state.alpha.device, copy.deepcopy(state.weighting)
    drawn = seeds.generator(settings.seed, "rehearsal", device=device)
    now = Moment(epoch=0, step=0, epochs=settings.epochs, steps=1, generator=drawn)
    quiet = replace(now, generator=None)
    moves = not settings.warming_up(0)
    rules = method.regularizers if moves else ()
    prunes = method.pruning if moves and not settings.prune_warmup else None
    costs = torch.zeros(state.alpha.shape, dtype=torch.float64, device=device)
    if rules or prunes:
        costs += millions(data, space, method, settings).to(device)
    with fixed_random(settings.seed):
        alpha = state.alpha.detach().clone().requires_grad_()
        at = relax(weighting, alpha, state.keep.clone(), now, space, costs=costs.to(alpha.dtype))
        for rule in rules:
            contract.penalty(rule, at)
        with torch.no_grad():
            rest = relax(weighting, alpha.double(), state.keep.clone(), quiet, space, costs=costs)
            _check_traits(weighting, rest)
            if prunes:
                contract.kept(prunes, rest)
            if method.edges is not None and state.beta is not None:
                edges.strengths(method.edges, state.beta.detach().clone(), now, space)
            contract.read_off(method.discretize, rest.open.cpu(), rest.keep.cpu(), space)


def _check_traits(weighting: Weighting, rest: Relaxation) -> None:
    """Compare the declared traits of a weighting with its result.

    Raises:
        ValueError: if they contradict each other.
    """
    traits = traits_of(weighting)
    if traits.competes:
        check_sums(WEIGHTING, weighting, rest.mix, rest.keep)
    if traits.competes and traits.gives_zeros:
        # At the end of a long run: the order of entmax may rise from 1, which gives no zeros.
        end = replace(rest.moment, epoch=999, epochs=1000)
        check_zeros(WEIGHTING, weighting, rest.keep, end)
