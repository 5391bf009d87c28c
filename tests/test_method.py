from dataclasses import FrozenInstanceError, replace
from functools import partial

import pytest

from diffnas.components import level, pruning, schedule, weighting
from diffnas.components.weighting import LearnedEntmax
from diffnas.method import COMPONENTS, METHODS, component, components, compose, darts, describe, sparse


def test_the_published_methods_are_what_their_papers_say():
    told = {name: components(method) for name, method in METHODS.items()}
    assert told["darts"]["weighting"] == told["single-level"]["weighting"] == "softmax"
    assert [told[name]["level"] for name in ("darts", "single-level", "sparse", "entmax3")] == [
        "bilevel",
        "single",
        "single",
        "bilevel",
    ]
    assert [told[name]["weighting"] for name in ("sparse", "entmax2", "entmax2-single", "entmax3")] == [
        "entmax(order=3.0)",
        "entmax(order=2.0)",
        "entmax(order=2.0)",
        "entmax(order=3.0)",
    ]
    assert told["darts"]["discretize"] == "strongest_inputs"
    assert told["darts"]["pruning"] == "None"
    assert told["sparse"]["pruning"] == "exact_zero"
    assert told["sparse"]["discretize"] == "winners"
    assert told["sparse"]["update"] == "Adam(lr=0.0003, betas=(0.5, 0.999), weight_decay=0.001)"
    assert sparse.settings == {"epochs": 200}


def test_every_method_can_be_asked_for_by_name_and_says_what_it_is():
    for name, method in METHODS.items():
        assert compose(name) is method
        assert len(method.about) > 40


def test_a_misspelt_method_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown method 'dart'. Did you mean 'darts'"):
        compose("dart")


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in COMPONENTS.items() for name in names])
def test_every_component_can_be_named(role: str, name: str):
    made = component(role, name)
    replaced = replace(darts if role != "pruning" else sparse, **{role: made})
    assert components(replaced)[role] == describe(made)


@pytest.mark.parametrize(
    ("role", "text", "described"),
    [
        ("weighting", "entmax:1.5", "entmax(order=1.5)"),
        ("weighting", "softmax:0.5", "softmax(temperature=0.5)"),
        ("pruning", "exact-zero:0.15", "exact_zero(start=0.15)"),
        ("weighting", "learned-entmax:2", "LearnedEntmax(order=2, low=1.05, high=3.5)"),
    ],
)
def test_options_follow_a_colon(role: str, text: str, described: str):
    assert describe(component(role, text)) == described


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("weighting", "entmax:three"),
        ("weighting", "entmax:2:3"),
        ("weighting", "uniform:3"),
        ("weighting", "learned-entmax:9"),
        ("level", "single:1"),
        ("pruning", "none:1"),
        ("discretize", "winners:2"),
    ],
)
def test_options_that_a_component_does_not_take_are_refused(role: str, text: str):
    with pytest.raises(ValueError, match=f"{role} '{text}' cannot be read"):
        component(role, text)


def test_an_unknown_component_or_role_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown weighting 'sofmax'. Did you mean 'softmax'"):
        component("weighting", "sofmax")
    with pytest.raises(ValueError, match=r"unknown component 'weightings'. Did you mean 'weighting'"):
        component("weightings", "softmax")


@pytest.mark.parametrize("weigh", [weighting.softmax, weighting.uniform, partial(weighting.softmax, temperature=0.1)])
def test_pruning_at_zero_is_refused_where_no_weight_is_ever_zero(weigh):
    with pytest.raises(ValueError, match="never gives a weight of exactly zero"):
        replace(darts, weighting=weigh, pruning=pruning.exact_zero)
    with pytest.raises(ValueError, match="never gives a weight of exactly zero"):
        replace(darts, weighting=weigh, pruning=partial(pruning.exact_zero, start=0.5))


@pytest.mark.parametrize("weigh", [weighting.entmax, partial(weighting.entmax, order=1.5), LearnedEntmax()])
def test_pruning_at_zero_goes_with_every_entmax(weigh):
    assert replace(darts, weighting=weigh, pruning=pruning.exact_zero).weighting is weigh


def test_components_replace_those_of_a_method():
    mine = compose("sparse", {"level": "bilevel", "pruning": "none", "weighting": "softmax"})
    told, kept = components(mine), components(sparse)
    assert (told["level"], told["pruning"], told["weighting"]) == ("bilevel", "None", "softmax")
    assert told["discretize"] == kept["discretize"]
    assert mine.level is level.bilevel


def test_a_method_cannot_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        darts.weighting = weighting.uniform  # type: ignore[misc]


def test_text_tells_apart_whatever_can_differ():
    rising = partial(weighting.entmax, order=partial(schedule.linear, start=1.0, stop=3.0))
    told = [describe(part) for part in (rising, weighting.entmax, LearnedEntmax(1.5), LearnedEntmax(2.0), None, ())]
    assert told[0] == "entmax(order=linear(start=1.0, stop=3.0))"
    assert len(set(told)) == len(told)
