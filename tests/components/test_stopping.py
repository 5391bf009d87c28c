from functools import partial
from typing import Any

import pytest

from diffnas.components import pick
from diffnas.components.stopping import all_decided, skip_count, small_enough, stable_ranks
from diffnas.space import DARTS_OPS, darts, nas_bench_201, s2
from diffnas.task import Metric, Task, classification

OPEN, DECIDED = {"keep": [[True, True], [False, True]]}, {"keep": [[True, False], [False, True]]}


@pytest.mark.parametrize(
    ("history", "stops"), [([], False), ([OPEN], False), ([OPEN, DECIDED], True), ([DECIDED, OPEN], False)]
)
def test_a_search_stops_once_its_last_epoch_left_every_edge_decided(history, stops: bool):
    assert (all_decided(history, nas_bench_201) is not None) == stops


@pytest.mark.parametrize(
    ("sizes", "stops"), [([], False), ([101], False), ([100], True), ([None], False), ([50, 101], False)]
)
def test_a_search_stops_once_its_network_is_as_small_as_was_wanted(sizes: list[int | None], stops: bool):
    history = [{"found_parameters": size} for size in sizes]
    assert (small_enough(history, nas_bench_201, parameters=100) is not None) == stops


def cells(skips: int) -> dict[str, Any]:
    """A line of a trace whose normal cell has so many skips; those of a reduction cell do not count."""
    connections = [{"op": "skip_connect"}] * skips + [{"op": "nor_conv_3x3"}] * 3
    both = {"normal": {"connections": connections}, "reduce": {"connections": connections * 2}}
    return {"genotype": {"skeleton": "darts", "cells": both}}


def test_where_cells_are_apart_those_that_keep_the_resolution_are_looked_at_one_by_one():
    own = {f"cell{i}": {"connections": [{"op": "skip_connect"}] * count} for i, count in enumerate((1, 9, 2, 9, 0))}
    assert pick.count_skips({"genotype": {"skeleton": "darts", "cells": own}}) == 2


@pytest.mark.parametrize(
    ("skips", "stops", "picked"),
    [
        ([0], False, 0),
        ([0, 1], False, 1),
        ([0, 1, 2], True, 1),
        ([1, 0, 3], True, 1),
        ([2], True, 0),
        ([3, 2], True, 0),
        ([2, 1], False, 1),
    ],
)
def test_two_skips_end_a_search_and_the_last_cell_with_fewer_is_its_result(skips: list[int], stops: bool, picked: int):
    history = [cells(count) for count in skips]
    assert (skip_count(history, nas_bench_201) is not None) == stops
    assert pick.fewer_skips(history, nas_bench_201, classification) == picked
    assert pick.last(history, nas_bench_201, classification) == len(skips) - 1


def test_other_numbers_of_skips_may_be_asked_for():
    assert skip_count([cells(2)], nas_bench_201, count=3) is None
    assert "3 skip" in str(skip_count([cells(3)], nas_bench_201, count=3))
    assert skip_count([], nas_bench_201) is None


def test_the_best_epoch_is_the_one_with_most_held_out_pictures_right_and_of_two_the_later():
    history = [{"held_out": {"loss": 1.0, "accuracy": share}} for share in (0.5, 0.8, 0.8, 0.7)]
    assert pick.best_held_out(history, nas_bench_201, classification) == 2
    assert pick.best_held_out([{"held_out": None}, *history], nas_bench_201, classification) == 3


def ranked(*firsts: int) -> dict[str, Any]:
    """A line of a trace of NAS-Bench-201 in which edge i prefers the 1x1 (2) or the 3x3 convolution (3)."""
    alpha = [[9.0, 9.0, float(first == 2), float(first == 3), 9.0] for first in firsts]
    return {"alpha": alpha, "keep": [[True] * 5] * 6}


A, B = ranked(2, 2, 2, 3, 3, 3), ranked(2, 2, 2, 3, 3, 2)
ALL, ANY = partial(stable_ranks, epochs=2), partial(stable_ranks, epochs=2, edges="any")


@pytest.mark.parametrize(
    ("history", "all_stable", "any_stable"),
    [
        ([], False, False),
        ([A, A], False, False),
        ([A, A, A], True, True),
        ([A, A, B], False, True),
        ([A, B, B], False, True),
        ([A, B, B, B], True, True),
        ([B, A, A, A, B], False, True),
        ([A, ranked(3, 3, 3, 2, 2, 2), A], False, False),
    ],
)
def test_a_ranking_that_has_not_changed_for_two_epochs_ends_a_search(history, all_stable: bool, any_stable: bool):
    assert (ALL(history, nas_bench_201) is not None) == all_stable
    assert (ANY(history, nas_bench_201) is not None) == any_stable


def test_only_operations_that_learn_and_are_kept_are_ranked():
    skips_win = {**A, "alpha": [[0.0, 50.0, *row[2:4], 0.0] for row in A["alpha"]]}
    assert ALL([A, skips_win, A], nas_bench_201)
    pruned = {**A, "keep": [[True, True, False, True, True], *A["keep"][1:]]}
    assert ALL([A, A, pruned], nas_bench_201) is None
    lonely = {"alpha": [[0.0, 1.0]] * 28, "keep": [[True, True]] * 28}
    assert ANY([lonely] * 9, s2) is None, "there is one operation that learns, and nothing to rank"


def test_the_full_order_may_be_asked_for():
    """Three operations that learn: the first stays, the others change places."""

    def line(*strengths: float) -> dict[str, Any]:
        row = [0.0] * 4 + [*strengths, 0.0]
        return {"alpha": [row] * 28, "keep": [[True] * len(DARTS_OPS)] * 28}

    history = [line(3.0, 2.0, 1.0), line(3.0, 1.0, 2.0), line(3.0, 2.0, 1.0)]
    assert ALL(history, darts)
    assert stable_ranks(history, darts, epochs=2, ranks="full") is None


def test_the_best_held_out_epoch_of_a_task_whose_error_should_be_low_is_the_lowest():
    task = Task(
        name="distance",
        loss=lambda outputs, targets: (outputs - targets).square().mean(),
        metrics={"error": Metric(sum=lambda outputs, targets: (outputs - targets).abs().sum(), better="lower")},
    )
    history = [{"held_out": {"loss": 1.0, "error": error}} for error in (0.5, 0.2, 0.7)]
    assert pick.best_held_out([{"held_out": None}, *history], nas_bench_201, task) == 2
