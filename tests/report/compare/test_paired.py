"""Paired tests, beside scipy's own and beside numbers of the literature."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from diffnas.genotype import parse
from diffnas.report.compare import Found, Group, paired, paired_grid
from diffnas.report.compare.paired import holm
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
    (found,) = paired([group("a", FIRST), group("b", SECOND)])
    twin = stats.ttest_rel(FIRST, SECOND)
    interval = twin.confidence_interval(0.95)
    assert found.p == pytest.approx(twin.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(np.mean(FIRST) - np.mean(SECOND))
    differences = np.subtract(FIRST, SECOND)
    # The factor for four degrees of freedom, from the table of Hedges (1981).
    assert found.effect == pytest.approx(differences.mean() / differences.std(ddof=1) * 0.7979, abs=1e-3)
    assert found.seeds == 5


def test_only_seeds_that_both_have_are_compared_in_whatever_order_they_come():
    first = group("a", FIRST, seeds=[4, 3, 2, 1, 0])
    second = group("b", [*SECOND[:3], None], seeds=[0, 1, 2, 3])
    (found,) = paired([first, second])
    assert found.seeds == 3
    assert found.difference == pytest.approx(np.mean(np.subtract(FIRST[:1:-1], SECOND[:3])))


def test_a_run_without_a_record_is_compared_with_one_whose_other_seeds_follow_from_the_first():
    recorded = group("b", SECOND)
    follow = {"seed": None, "weights_seed": None, "order_seed": None}
    runs = tuple(replace(run, seeds={**follow, "seed": run.seed}) for run in recorded.runs)
    (found,) = paired([group("a", FIRST), Group(label="b", runs=runs)])
    assert found.seeds == 5
    others = tuple(replace(run, seeds={**follow, "weights_seed": 7}) for run in recorded.runs)
    assert paired([group("a", FIRST), Group(label="b", runs=others)]) == []


def test_probabilities_and_intervals_are_corrected_for_how_many_were_compared():
    groups = [group("a", FIRST), group("b", SECOND), group("c", [0.9, 0.94, 0.9, 0.95, 0.92])]
    found = paired(groups)
    alone = [paired([one, other])[0] for one, other in ((groups[0], groups[1]), (groups[0], groups[2]), groups[1:])]
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
        false += any(each.p is not None and each.p < 0.05 for each in paired(groups))
    assert false <= 10  # 5 are expected


def test_what_cannot_be_compared_is_left_out():
    assert paired([group("a", FIRST), group("b", SECOND, data="cifar10")]) == []
    assert paired([group("a", FIRST), group("b", SECOND, seeds=range(10, 15))]) == []
    assert paired_grid([group("a", FIRST)]).rows == ()
    (same,) = paired([group("a", FIRST), group("b", FIRST)])
    assert (same.difference, same.low, same.high, same.effect, same.p) == (0.0, 0.0, 0.0, None, None)


def test_the_table_tells_points_of_accuracy():
    (row,) = paired_grid([group("a", FIRST), group("b", SECOND)]).rows
    assert row[:4] == ("a - b", "test accuracy", "5", "+2.20")
