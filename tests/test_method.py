import math
from dataclasses import FrozenInstanceError, replace
from functools import partial
from types import ModuleType

import pytest

import diffnas.method
from diffnas.catalog import CATALOG
from diffnas.components import level, pick, pruning, schedule, weighting
from diffnas.components.supernet_options import FADING
from diffnas.components.weighting import LearnedEntmax
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import (
    COMPONENTS,
    METHODS,
    Method,
    component,
    components,
    compose,
    darts,
    describe,
    gaea,
    gates,
    gold_nas,
    r_darts,
    sparse,
)
from diffnas.method.facts import FACTS, Facts
from diffnas.method.named import values_of


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


def test_darts_minus_is_darts_with_a_fading_skip_beside():
    told, kept = components(METHODS["darts-minus"]), components(darts)
    assert {role for role in told if told[role] != kept[role]} == {"supernet"}
    assert METHODS["darts-minus"].supernet.auxiliary is FADING
    assert METHODS["darts-minus"].settings == darts.settings


def test_pc_darts_is_what_its_paper_says():
    told = components(METHODS["pc-darts"])
    assert (told["edges"], told["supernet"], told["pruning"]) == ("softmax", "SupernetOptions(one_in=4)", "None")
    assert told["update"] == "Adam(lr=0.0006, betas=(0.5, 0.999), weight_decay=0.001)"
    settings = merge_settings(SearchSettings, METHODS["pc-darts"].settings)
    assert [settings.warming_up(epoch) for epoch in (0, 14, 15, 49)] == [True, True, False, False]
    assert (settings.epochs, settings.batch, settings.lr, settings.lr_min) == (50, 256, 0.1, 0.0)


def test_gaea_pc_darts_is_gaea_on_that_supernet():
    told, on_gaea, on_partial = (components(METHODS[name]) for name in ("gaea-pc-darts", "gaea", "pc-darts"))
    assert {role for role in told if told[role] != on_gaea[role]} == {"edges", "supernet"}
    assert told["supernet"] == on_partial["supernet"]
    assert told["edges"] == "simplex"
    settings = merge_settings(SearchSettings, METHODS["gaea-pc-darts"].settings)
    assert (settings.alpha_warmup, settings.alpha_init, settings.batch, settings.lr) == (0, 0.0, 256, 0.1)


def test_snas_draws_soft_weights_on_one_level_and_pays_for_what_they_are_expected_to_cost():
    told = components(METHODS["snas"])
    assert told["weighting"] == "concrete"
    assert (told["level"], told["discretize"], told["pruning"]) == ("single", "winners", "None")
    assert told["regularizers"] == "(expected_cost(weight=0.01))"
    settings = merge_settings(SearchSettings, METHODS["snas"].settings)
    assert (settings.epochs, settings.batch, settings.lr, settings.lr_min) == (150, 64, 0.025, 0.001)
    constraints = [component("regularizers", f"expected-cost-{name}") for name in ("mild", "moderate", "aggressive")]
    assert [describe(rule) for (rule,) in constraints] == [
        "expected_cost(weight=0.0015)",
        "expected_cost(weight=0.01)",
        "expected_cost(weight=0.05)",
    ]


def test_every_method_can_be_asked_for_by_name_and_says_what_it_is():
    assert list(METHODS) == list(CATALOG)
    for name, method in METHODS.items():
        assert compose(name) is method
        assert len(CATALOG[method.name]) > 40


def test_a_misspelt_method_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown method 'dart'. Did you mean 'darts'"):
        compose("dart")


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in COMPONENTS.items() for name in names])
def test_every_component_can_be_named(role: str, name: str):
    made = component(role, f"{name}:a/path" if name in ("run", "file") else name)
    bases = {"exact-zero": sparse, "shut": gates, "simplex": gaea, "exponentiated": gaea}
    more = {"smallest-shares": gold_nas, "survivors": gold_nas, "before-growth": r_darts}
    base = {**bases, **more}.get(name, darts)
    replaced = replace(base, **{role: made})
    assert components(replaced)[role] == describe(made)


@pytest.mark.parametrize(
    ("role", "text", "described"),
    [
        ("weighting", "entmax:1.5", "entmax(order=1.5)"),
        ("weighting", "softmax:0.5", "softmax(temperature=0.5)"),
        ("weighting", "annealed", "softmax(temperature=geometric(start=1.6, factor=0.95))"),
        ("weighting", "annealed:2:0.9", "softmax(temperature=geometric(start=2.0, factor=0.9))"),
        ("pruning", "threshold:0.5", "threshold(share=0.5)"),
        ("pruning", "exact-zero:0.15", "exact_zero(start=0.15)"),
        ("weighting", "learned-entmax:2", "LearnedEntmax(order=2, low=1.05, high=3.5)"),
        ("weighting", "gates:0.5", "HardConcrete(temperature=0.5, low=-0.1, high=1.1)"),
        (
            "weighting",
            "strongest-gates:1",
            "StrongestGates(gates=HardConcrete(temperature=stairs(start=1.0, stop=0.1), low=-0.1, "
            "high=1.1), count=1, exclude=0.4)",
        ),
        ("pruning", "shut:0.1", "shut(below=0.1)"),
        ("regularizers", "none", "()"),
        ("regularizers", "groups:0.2:0.1, path:0.1", "(group_sparsity(skip=0.2, rest=0.1), path_depth(weight=0.1))"),
        ("supernet", "none", "None"),
        ("supernet", "partial-channels:2", "SupernetOptions(one_in=2)"),
        (
            "supernet",
            "auxiliary-skip:0.5, skip-dropout:0.1",
            "SupernetOptions(auxiliary=linear(start=0.5, stop=0.0, every='epoch'), dropout=0.1)",
        ),
        ("supernet", "auxiliary-skip-constant", "SupernetOptions(auxiliary=1.0)"),
        ("weighting", "concrete:0.5", "concrete(temperature=0.5)"),
        ("regularizers", "expected-cost:0.1", "(expected_cost(weight=0.1))"),
        ("regularizers", "expected-cost-linear:0.1", "(expected_cost(logarithm=False, weight=0.1))"),
        ("regularizers", "path-sum", "(path_depth(joined='sum'))"),
        ("discretize", "strongest-pairs:0.5", "strongest_pairs(absent_below=0.5)"),
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
        ("supernet", "partial-channels:2:3"),
        ("supernet", "none:1"),
        ("weighting", "gates:0"),
        ("weighting", "strongest-gates:0"),
    ],
)
def test_options_that_a_component_does_not_take_are_refused(role: str, text: str):
    with pytest.raises(ValueError, match=f"{role} '{text}' cannot be read"):
        component(role, text)


OPTIONS = [
    (role, name, position, option, number)
    for role, names in COMPONENTS.items()
    for name, named in names.items()
    for position, (option, number) in enumerate(named.options.items())
]


@pytest.mark.parametrize(("role", "name", "position", "option", "number"), OPTIONS)
def test_every_option_of_a_component_is_a_number_within_its_bounds(role, name, position, option, number):
    wrong = ["inf", "-inf", "nan", "1e400", "-1e300", "1e300", "", "x", *(["1.5"] if number.whole else [])]
    for text in wrong:
        texts = [f"{other.high}" for other in COMPONENTS[role][name].options.values()]
        texts[position] = text
        with pytest.raises(ValueError) as error:
            component(role, ":".join([name, *texts]))
        assert f"cannot be read: {option} must be {number}, got" in str(error.value)


def test_another_number_of_options_than_a_component_takes_is_refused_with_their_names():
    with pytest.raises(
        ValueError, match=r"cannot be read: of numbers it takes 2 after its name, skip:rest, or none, not 1\.$"
    ):
        component("regularizers", "groups:1")
    with pytest.raises(ValueError, match=r"cannot be read: of numbers it takes none, not 1\.$"):
        component("level", "single:1")


def test_one_thing_cannot_be_changed_twice():
    with pytest.raises(ValueError, match="gives one option twice"):
        component("supernet", "auxiliary-skip,auxiliary-skip-cosine")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auxiliary-skip", [1, 0.5, 0.02]),
        ("auxiliary-skip-cosine", [1, 0.5, (1 + math.cos(0.98 * math.pi)) / 2]),
        ("auxiliary-skip-late-cosine", [1, math.sqrt(0.5), math.cos(0.49 * math.pi)]),
        ("auxiliary-skip-constant", [1, 1, 1]),
    ],
)
def test_the_auxiliary_skip_fades_as_published(name: str, expected: list[float]):
    weight = component("supernet", name).auxiliary
    moments = [schedule.Moment(epoch=epoch, step=7, epochs=50, steps=9) for epoch in (0, 25, 49)]
    assert [schedule.value(weight, moment) for moment in moments] == pytest.approx(expected)


def test_an_unknown_component_or_role_gets_a_suggestion():
    with pytest.raises(
        ValueError,
        match=r"unknown weighting 'sofmax'. Did you mean 'softmax'.*Your own: in Python, replace\(method, weighting=",
    ):
        component("weighting", "sofmax")
    with pytest.raises(ValueError, match=r"unknown component 'weightings'. Did you mean 'weighting'"):
        component("weightings", "softmax")


def test_an_option_that_a_component_does_not_have_is_refused_where_the_method_is_made():
    def powered(alpha, keep, moment, power=2.0): ...

    for part in (partial(powered, pwr=3), partial(partial(powered, power=2), pwr=3)):
        with pytest.raises(ValueError) as error:
            replace(darts, weighting=part)
        assert str(error.value) == "the weighting powered has no option 'pwr'. Its options: power."
    with pytest.raises(ValueError, match=r"the pick last has no option 'epoch'\. Its options: none\."):
        replace(darts, pick=partial(pick.last, epoch=3))


@pytest.mark.parametrize("weigh", [weighting.softmax, weighting.uniform, partial(weighting.softmax, temperature=0.1)])
def test_pruning_at_zero_is_refused_where_no_weight_is_ever_zero(weigh):
    with pytest.raises(ValueError, match="never gives a weight of exactly zero"):
        replace(darts, weighting=weigh, pruning=pruning.exact_zero)
    with pytest.raises(ValueError, match="never gives a weight of exactly zero"):
        replace(darts, weighting=weigh, pruning=partial(pruning.exact_zero, start=0.5))


@pytest.mark.parametrize("weigh", [weighting.entmax, partial(weighting.entmax, order=1.5), LearnedEntmax()])
def test_pruning_at_zero_goes_with_every_entmax(weigh):
    assert replace(darts, weighting=weigh, pruning=pruning.exact_zero).weighting is weigh


REFUSED = {
    "exact zeros of gates": ("gates", {"pruning": "exact-zero"}, "an edge could lose all its operations"),
    "gates with the pruning of entmax": ("sparse", {"weighting": "gates"}, "an edge could lose all its operations"),
    "a threshold for competing weights": ("darts", {"pruning": "shut"}, "has no gates"),
    "a threshold for gates": ("gates", {"pruning": "threshold"}, "an edge could lose all its operations"),
    "a threshold for even weights": ("asap", {"weighting": "uniform"}, "never fall below an even share"),
    "a threshold above an even share": (
        "asap",
        {"pruning": "threshold:1"},
        "between 0 and 1, where 1 stands for an even share of an edge; got 1",
    ),
    "a threshold of nothing": ("asap", {"pruning": "threshold:0"}, "between 0 and 1"),
    "shares of what competes on an edge": ("gold-nas", {"weighting": "softmax"}, "an edge cannot lose its last"),
    "survivors of nothing": ("darts", {"discretize": "survivors"}, "without pruning, all operations survive"),
    "a simplex moved otherwise": ("darts", {"weighting": "simplex"}, "Add --update exponentiated"),
    "another weighting moved as a simplex": ("darts", {"update": "exponentiated"}, "Add --weighting simplex"),
    "perturbation of gates": ("gates", {"stages": "perturbation"}, "the last one need not have weight 1"),
    "perturbation on one level": ("single-level", {"stages": "perturbation"}, "holds no pictures out"),
    "perturbation, and an earlier epoch": ("darts-pt", {"pick": "best-held-out"}, "decides the cells in its last"),
    "going back without the stop": ("r-darts", {"stopping": "none"}, "needs the stopping rule for that growth"),
    "going back by another factor": ("r-darts", {"pick": "before-growth:2"}, "Stop by eigenvalue:2"),
    "the best of no held-out pictures": ("sparse", {"pick": "best-held-out"}, "holds no pictures out"),
    "strengths moved otherwise": ("darts", {"edges": "simplex"}, "one update moves"),
    "softmax strengths beside a simplex": ("gaea", {"edges": "softmax"}, "one update moves"),
    "thresholds for what strengths multiplied": ("fair-darts", {"edges": "softmax"}, "takes scores for probabilities"),
    "shares of what strengths multiplied": (
        "path-regularized-released",
        {"edges": "softmax"},
        "takes scores for probabilities",
    ),
    "gates won by none": ("gates", {"discretize": "winners"}, "a gate of 'none' multiplies zeros"),
}


@pytest.mark.parametrize(("method", "parts", "reason"), REFUSED.values(), ids=REFUSED)
def test_parts_that_cannot_work_together_are_refused_with_the_reason(method: str, parts: dict[str, str], reason: str):
    with pytest.raises(ValueError, match=reason):
        compose(method, parts)


def test_path_regularized_is_its_ablations_put_together():
    parts = {name: METHODS[name].regularizers for name in ("gates", "gates-group", "gates-path", "path-regularized")}
    assert parts["gates"] == ()
    assert parts["gates-group"] + parts["gates-path"] == parts["path-regularized"]
    told = [components(METHODS[name]) for name in parts]
    assert len({tuple(part for role, part in each.items() if role != "regularizers") for each in told}) == 1
    assert told[3]["regularizers"] == "(group_sparsity(skip=0.01, rest=0.005), path_depth(weight=0.005))"
    assert told[0]["weighting"] == ("HardConcrete(temperature=stairs(start=1.0, stop=0.1), low=-0.1, high=1.1)")
    assert (told[0]["level"], told[0]["pruning"]) == ("bilevel", "shut")


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


def test_a_method_is_found_by_its_variable_and_has_that_name():
    aliases = {name: method.name for name, method in METHODS.items() if method.name != name}
    assert aliases == {"entmax3-single": "sparse"}
    for name, method in METHODS.items():
        assert getattr(diffnas.method, name.replace("-", "_")) is method


def test_a_method_and_its_facts_are_all_that_a_new_one_takes():
    family, known = ModuleType("family"), ModuleType("known")
    family.mine_too, family.level = replace(darts, name="mine-too"), level  # type: ignore[attr-defined]
    known.mine_too = FACTS["darts"]  # type: ignore[attr-defined]
    assert values_of(Method, [family]) == {"mine-too": family.mine_too}
    assert values_of(Facts, [known]) == {"mine-too": known.mine_too}
    assert set(FACTS) == {method.name for method in METHODS.values()}
