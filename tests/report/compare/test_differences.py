"""Tests between groups, beside formulas in their plainest form and numbers of the literature."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from diffnas.genotype import parse
from diffnas.report.compare import Found, Group, differences, differences_grid
from diffnas.report.compare.differences import holm
from diffnas.report.records import task_of

FIRST = [0.91, 0.93, 0.92, 0.95, 0.94]
SECOND = [0.90, 0.90, 0.91, 0.93, 0.90]


def group(label, accuracies, *, data="digits", seeds=None):
    """A group of runs with these accuracies."""
    runs = [
        Found(
            name=f"{label}-{seed}",
            beside="",
            method=label,
            space="nas-bench-201",
            data=data,
            seed=seed,
            genotype=parse("|skip_connect~0|"),
            finished=True,
            lines=(),
            task=task_of(None),
            tested={} if accuracy is None else {"test": {"accuracy": accuracy}},
            search={},
            evaluation={},
        )
        for seed, accuracy in zip(seeds or range(len(accuracies)), accuracies, strict=True)
    ]
    return Group(label=label, runs=tuple(runs))


def test_two_methods_are_compared_seed_by_seed_as_scipy_does():
    (found,) = differences([group("a", FIRST), group("b", SECOND)])
    each = np.subtract(FIRST, SECOND)
    error = each.std(ddof=1) / 5**0.5
    # 2.776 is the quantile of Student's t for four degrees of freedom, from a table.
    assert (found.low, found.high) == pytest.approx(
        (each.mean() - 2.776 * error, each.mean() + 2.776 * error), abs=1e-4
    )
    assert found.p == pytest.approx(2 * stats.t.sf(each.mean() / error, 4))
    assert found.difference == pytest.approx(np.mean(FIRST) - np.mean(SECOND))
    # The factor for four degrees of freedom, from the table of Hedges (1981).
    assert found.effect == pytest.approx(each.mean() / each.std(ddof=1) * 0.7979, abs=1e-3)
    assert (found.runs, found.paired) == ((5, 5), True)


def test_groups_without_common_seeds_are_compared_by_all_their_runs_as_welch_does():
    second = [0.90, 0.86, 0.95]
    (found,) = differences([group("a", FIRST), group("b", second, seeds=[7, 8, 9])])
    assert (found.runs, found.paired) == ((5, 3), False)
    one, other = np.var(FIRST, ddof=1) / 5, np.var(second, ddof=1) / 3
    error = (one + other) ** 0.5
    freedom = (one + other) ** 2 / (one**2 / 4 + other**2 / 2)
    assert found.difference == pytest.approx(np.mean(FIRST) - np.mean(second))
    assert found.p == pytest.approx(2 * stats.t.sf(found.difference / error, freedom))
    assert found.high - found.difference == pytest.approx(stats.t.ppf(0.975, freedom) * error)
    pooled = ((4 * np.var(FIRST, ddof=1) + 2 * np.var(second, ddof=1)) / 6) ** 0.5
    # The factor for six degrees of freedom, from the table of Hedges (1981).
    assert found.effect == pytest.approx(found.difference / pooled * 0.8686, abs=1e-3)


def test_runs_of_the_same_seed_are_not_paired():
    """Twenty random cells that are all trained from seed 0 have nothing that pairs them with others."""
    (found,) = differences([group("a", FIRST, seeds=[0] * 5), group("b", SECOND)])
    assert (found.runs, found.paired) == ((5, 5), False)


def test_few_common_seeds_are_no_reason_to_leave_the_other_runs_out():
    """Twenty cells with seeds 0 to 19 and five with seeds 0 to 4 are compared by all of them."""
    many = list(np.random.default_rng(0).normal(0.9, 0.01, 20))
    (found,) = differences([group("a", many), group("b", FIRST)])
    assert (found.runs, found.paired) == ((20, 5), False)
    assert found.difference == pytest.approx(np.mean(many) - np.mean(FIRST))


def test_searches_and_trainings_alone_are_no_pairs_though_their_seeds_are_the_same():
    trained = tuple(replace(run, evaluation={"epochs": 5}) for run in group("b", SECOND).runs)
    searched = tuple(replace(run, search={"epochs": 5}) for run in group("a", FIRST).runs)
    (found,) = differences([Group(label="a", runs=searched), Group(label="b", runs=trained)])
    assert not found.paired
    (found,) = differences([Group(label="a", runs=trained), Group(label="b", runs=trained[:4])])
    assert found.paired


def test_runs_whose_seed_is_unknown_are_not_paired_by_their_names():
    groups = [group("a", FIRST), group("b", SECOND)]
    unknown = [
        Group(label=each.label, runs=tuple(replace(run, seed=None, name="same") for run in each.runs))
        for each in groups
    ]
    (found,) = differences(unknown)
    assert (found.runs, found.paired) == ((5, 5), False)


def test_each_group_can_be_tested_against_one_alone():
    groups = [group("a", FIRST), group("b", SECOND), group("c", [0.9, 0.94, 0.9, 0.95, 0.92])]
    found = differences(groups, against="b")
    assert [(each.first, each.second) for each in found] == [("a", "b"), ("c", "b")]
    assert found[0].p < differences(groups)[0].p  # corrected for two comparisons, and not for three
    with pytest.raises(ValueError, match="unknown group 'd'"):
        differences(groups, against="d")
    with pytest.raises(ValueError, match="nothing can be compared with 'b'"):
        differences_grid([group("a", FIRST, data="cifar10"), group("b", SECOND)], against="b")


def test_only_seeds_that_both_have_are_compared_in_whatever_order_they_come():
    first = group("a", FIRST, seeds=[4, 3, 2, 1, 0])
    second = group("b", [*SECOND[:3], None], seeds=[0, 1, 2, 3])
    (found,) = differences([first, second])
    assert (found.runs, found.paired) == ((3, 3), True)
    assert found.difference == pytest.approx(np.mean(np.subtract(FIRST[:1:-1], SECOND[:3])))


def test_a_run_without_a_record_is_compared_with_one_whose_other_seeds_follow_from_the_first():
    recorded = group("b", SECOND)
    follow = {"seed": None, "weights_seed": None, "order_seed": None}
    runs = tuple(replace(run, seeds={**follow, "seed": run.seed}) for run in recorded.runs)
    (found,) = differences([group("a", FIRST), Group(label="b", runs=runs)])
    assert found.paired
    others = tuple(replace(run, seeds={**follow, "weights_seed": 7}) for run in recorded.runs)
    (found,) = differences([group("a", FIRST), Group(label="b", runs=others)])
    assert not found.paired


def test_probabilities_and_intervals_are_corrected_for_how_many_were_compared():
    groups = [group("a", FIRST), group("b", SECOND), group("c", [0.9, 0.94, 0.9, 0.95, 0.92])]
    found = differences(groups)
    alone = [
        differences([one, other])[0] for one, other in ((groups[0], groups[1]), (groups[0], groups[2]), groups[1:])
    ]
    assert [each.p for each in found] == holm([each.p for each in alone])
    for together, single in zip(found, alone, strict=True):
        assert together.low < single.low < single.high < together.high


def test_holm_never_lets_a_larger_probability_become_the_smaller_one():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, None, 0.8]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_chance_alone_seldom_makes_a_difference_among_many_methods():
    draw = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        groups = [group(f"m{number}", list(draw.normal(0.9, 0.01, 5))) for number in range(4)]
        false += any(each.p is not None and each.p < 0.05 for each in differences(groups))
    assert false <= 10  # 5 are expected


def test_what_cannot_be_compared_is_left_out():
    assert differences([group("a", FIRST), group("b", SECOND, data="cifar10")]) == []
    assert differences([group("a", FIRST), group("b", SECOND[:1], seeds=[10])]) == []
    assert differences_grid([group("a", FIRST)]).rows == ()
    (same,) = differences([group("a", FIRST), group("b", FIRST)])
    assert (same.difference, same.low, same.high, same.effect, same.p) == (0.0, None, None, None, None)
    (row,) = differences_grid([group("a", FIRST), group("b", FIRST)]).rows
    assert row[3:] == ("+0.00", "", "", "", "")


def test_the_table_tells_points_of_accuracy():
    (row,) = differences_grid([group("a", FIRST), group("b", SECOND)]).rows
    assert row[:4] == ("a - b", "test accuracy", "5 pairs", "+2.20")
    (row,) = differences_grid([group("a", FIRST), group("b", SECOND[:3], seeds=[7, 8, 9])]).rows
    assert row[2] == "5 and 3"
