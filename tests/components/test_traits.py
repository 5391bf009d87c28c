from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn

from diffnas.components import discretize, pick, pruning, update, weighting
from diffnas.components.gates import Gates
from diffnas.components.perturbation import perturbation
from diffnas.components.relaxation import relax
from diffnas.components.schedule import Moment
from diffnas.components.stopping import eigenvalue_growth
from diffnas.components.traits import traits, traits_of
from diffnas.method import compose, darts, gaea, gates, r_darts
from diffnas.space import nas_bench_201


@traits(gives_zeros=True)
def sparsemax(alpha, keep, moment, *, scale=1.0):
    return weighting.entmax(scale * alpha, keep, moment, order=2.0)


@traits(gives_zeros=True)
class Sparsemax(nn.Module):
    def forward(self, alpha, keep, moment):
        return sparsemax(alpha, keep, moment)


@traits(competes=False)
def leaky(alpha, keep, moment):
    return alpha.sigmoid() * keep


@dataclass(frozen=True)
class Leaky(Gates):
    def __call__(self, alpha, keep, moment):
        return leaky(alpha, keep, moment)

    def open(self, alpha, keep, moment):
        return leaky(alpha, keep, moment)


OWN_SPARSE = {"function": sparsemax, "partial": partial(sparsemax, scale=2.0), "object": Sparsemax()}


@pytest.mark.parametrize("own", OWN_SPARSE.values(), ids=OWN_SPARSE)
def test_a_sparse_weighting_of_ones_own_goes_with_pruning_at_zero(own):
    assert replace(darts, weighting=own, pruning=pruning.exact_zero).weighting is own


@pytest.mark.parametrize("own", [leaky, Leaky()], ids=["function", "class"])
def test_gates_of_ones_own_are_treated_like_ours(own):
    mine = replace(gates, weighting=own)
    assert mine.pruning is pruning.shut
    with pytest.raises(ValueError, match=r"exact_zero needs_competition, and .*eaky.* declares competes=False"):
        replace(mine, pruning=pruning.exact_zero)
    with pytest.raises(ValueError, match="needs_competition"):
        replace(darts, weighting=own, stages=perturbation)
    with pytest.raises(ValueError, match="none_wins"):
        replace(mine, discretize=discretize.winners)


def test_gates_that_are_a_function_are_as_likely_open_as_they_weigh():
    keep = torch.tensor(nas_bench_201.offered)
    at = relax(leaky, torch.randn(keep.shape), keep, Moment(epoch=0, step=0, epochs=1, steps=1), nas_bench_201)
    assert torch.equal(at.open, at.mix)


@traits(needs_zeros=True, needs_alpha=True)
def drop_zeros(at):
    return at.keep & (at.mix != 0)


def test_a_pruning_rule_of_ones_own_is_refused_where_it_would_do_nothing():
    assert replace(darts, weighting=sparsemax, pruning=drop_zeros).pruning is drop_zeros
    with pytest.raises(ValueError, match=r"drop_zeros needs_zeros, and softmax .*gives_zeros.*Use an entmax weighting"):
        replace(darts, pruning=drop_zeros)
    with pytest.raises(ValueError, match=r"drop_zeros\(\) needs_zeros"):
        replace(darts, pruning=partial(drop_zeros))


def test_a_simplex_of_ones_own_needs_an_update_for_it_and_the_other_way_around():
    own_simplex = traits(on_simplex=True)(lambda alpha, keep, moment: weighting.simplex(alpha, keep, moment))
    own_update = traits(on_simplex=True)(partial(update.ExponentiatedGradient, lr=0.2))
    assert replace(gaea, weighting=own_simplex, update=own_update)
    with pytest.raises(ValueError, match="declares on_simplex"):
        replace(darts, weighting=own_simplex)
    with pytest.raises(ValueError, match="declares on_simplex"):
        replace(darts, update=own_update)


def test_a_pick_and_a_reading_of_ones_own_say_what_they_need():
    @traits(needs_held_out=True)
    def best(history, space, task):
        return 0

    @traits(needs_pruning=True)
    def rest(scores, keep, space):
        return discretize.survivors(scores, keep, space)

    with pytest.raises(ValueError, match="best needs_held_out"):
        compose("single-level", {}) and replace(compose("single-level", {}), pick=best)
    with pytest.raises(ValueError, match="rest needs_pruning"):
        replace(darts, discretize=rest)


def test_a_stop_of_ones_own_can_be_the_one_that_a_pick_undoes():
    @traits(stops_by="eigenvalue")
    def grown(history, space):
        return eigenvalue_growth(history, space)

    assert replace(r_darts, stopping=(grown,)).pick is pick.before_eigenvalue_growth


def test_bound_options_decide_traits():
    assert traits_of(partial(weighting.entmax, order=1.5)).gives_zeros
    assert not traits_of(partial(weighting.entmax, order=1)).gives_zeros
    assert traits_of(partial(discretize.winners, none=False)).none_wins == "never"


def test_what_is_declared_on_a_partial_or_a_subclass_adds_to_what_it_is_made_of():
    own = traits(follows_alpha=False)(partial(sparsemax, scale=0.0))
    assert (traits_of(own).gives_zeros, traits_of(own).follows_alpha) == (True, False)
    assert traits_of(sparsemax).follows_alpha

    @traits(gives_zeros=True)
    class Clipped(Leaky):
        pass

    assert (traits_of(Clipped()).gives_zeros, traits_of(Clipped()).competes) == (True, False)
    assert not traits_of(Leaky()).gives_zeros


def test_a_misspelt_trait_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown trait 'gives_zero'. Did you mean 'gives_zeros'"):
        traits(gives_zero=True)
    with pytest.raises(ValueError, match="the trait competes is True or False, not 'no'"):
        traits(competes="no")
    with pytest.raises(ValueError, match="cannot hold traits"):
        traits(competes=False)(torch.softmax)
