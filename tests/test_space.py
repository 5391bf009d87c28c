from dataclasses import replace

import pytest

from diffnas.skeleton import DARTS
from diffnas.space import (
    DARTS_OPS,
    NAS_BENCH_201_OPS,
    SPACES,
    CellGraph,
    Edge,
    SearchSpace,
    darts,
    dense_cell,
    nas_bench_201,
    s1,
    with_own_cells,
    without,
)

CELL = dense_cell(inputs=2, nodes=2, ops=("skip_connect", "sep_conv_3x3"))


def space(**changes):
    fields = {"name": "mine", "cells": {"normal": CELL, "reduce": CELL}, "ops": ("skip_connect", "sep_conv_3x3")}
    return SearchSpace(**{**fields, **changes})


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_the_row_of_a_darts_edge_is_the_offset_of_its_target_plus_its_source(kind):
    offset = {2: 0, 3: 2, 4: 5, 5: 9}
    edges = darts.cells[kind].edges
    assert len(edges) == 14
    assert [offset[edge.target] + edge.source for edge in edges] == list(range(14))


def test_the_rows_of_all_cells_follow_each_other_without_a_gap():
    assert darts.rows == {"normal": slice(0, 14), "reduce": slice(14, 28)}
    assert darts.edges[14] == ("reduce", Edge(0, 2))
    assert len(darts.edges) == len(darts.offered) == 28


def test_nas_bench_201_rows_are_in_the_order_of_its_strings():
    assert [tuple(edge) for _, edge in nas_bench_201.edges] == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    assert nas_bench_201.cells["normal"].output == (3,)
    assert len(nas_bench_201.ops) ** len(nas_bench_201.edges) == 15_625


def test_incoming_lists_the_rows_of_a_node():
    assert darts.cells["normal"].incoming(4) == [5, 6, 7, 8]
    assert darts.cells["normal"].incoming(0) == []


@pytest.mark.parametrize(
    ("row", "ops"),
    [
        (0, {"skip_connect", "dil_conv_3x3"}),
        (5, {"max_pool_3x3", "skip_connect"}),
        (13, {"dil_conv_3x3", "dil_conv_5x5"}),
        (14, {"max_pool_3x3", "avg_pool_3x3"}),
        (20, {"max_pool_3x3", "sep_conv_3x3"}),
        (27, {"skip_connect", "dil_conv_5x5"}),
    ],
)
def test_s1_offers_two_chosen_operations_on_an_edge(row, ops):
    assert {op for op, offered in zip(s1.ops, s1.offered[row], strict=True) if offered} == ops


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("darts", DARTS_OPS),
        ("s2", ("skip_connect", "sep_conv_3x3")),
        ("s3", ("none", "skip_connect", "sep_conv_3x3")),
        ("s4", ("sep_conv_3x3", "noise")),
        ("nas-bench-201", NAS_BENCH_201_OPS),
    ],
)
def test_a_space_offers_all_its_operations_everywhere(name, ops):
    assert SPACES[name].ops == ops
    assert all(all(row) for row in SPACES[name].offered)


def test_offered_has_two_true_entries_in_every_row_of_s1():
    assert [sum(row) for row in s1.offered] == [2] * 28


def test_column_finds_an_operation_or_says_none():
    assert darts.column("none") == 0
    assert darts.column("dil_conv_5x5") == 7
    assert s1.column("none") is None


def test_without_removes_an_operation_from_every_edge_and_from_the_columns():
    smaller = without(darts, "none")
    assert smaller.ops == DARTS_OPS[1:]
    assert smaller.name == "darts-without-none"
    assert {names for cell in smaller.cells.values() for names in cell.ops} == {DARTS_OPS[1:]}
    assert darts.ops == DARTS_OPS


def test_without_refuses_an_operation_that_the_space_lacks():
    with pytest.raises(ValueError, match="has no operation 'none'; it has skip_connect, sep_conv_3x3"):
        without(SPACES["s2"], "none")


def test_without_refuses_to_leave_an_edge_empty():
    with pytest.raises(ValueError, match="edge 0->2 needs distinct operations"):
        without(without(SPACES["s2"], "skip_connect"), "sep_conv_3x3")


@pytest.mark.parametrize(
    ("depth", "reductions"), [(8, {2, 5}), (20, {6, 13}), (14, {4, 9}), (5, {1, 3}), (11, {3, 7}), (17, {5, 11})]
)
def test_reductions_stand_at_a_third_and_two_thirds(depth, reductions):
    net = DARTS.places(depth)
    assert len(net) == depth
    assert {index for index, place in enumerate(net) if place.reduces} == reductions
    assert all(place.kind == ("reduce" if place.reduces else "normal") for place in net)


def test_nas_bench_201_has_five_cells_a_stage_and_residual_blocks_between():
    kinds = [place.kind for place in nas_bench_201.places()]
    assert kinds == (["normal"] * 5 + [None]) * 2 + ["normal"] * 5


def test_places_uses_the_depth_of_the_space_unless_told():
    assert len(darts.places()) == 8
    assert len(darts.places(20)) == 20


def test_a_net_too_shallow_to_reduce_twice_is_refused():
    with pytest.raises(ValueError, match="at least 3 cells"):
        DARTS.places(2)


def test_dense_cell_takes_operations_for_each_edge_in_turn():
    cell = dense_cell(inputs=1, nodes=2, ops=[["a"], ["b", "c"], ["d"]], output="last")
    assert cell.ops == (("a",), ("b", "c"), ("d",))
    assert cell.output == (2,)
    assert cell.nodes == 3


GRAPH = {"inputs": 2, "edges": (Edge(0, 2), Edge(1, 3)), "ops": (("a",), ("a",)), "output": (2, 3)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 3}, "1 or 2 inputs"),
        ({"ops": (("a",),)}, "2 edges need 2 tuples of ops, not 1"),
        ({"edges": (Edge(1, 3), Edge(0, 2))}, "sorted by target"),
        ({"edges": (Edge(0, 2), Edge(0, 2))}, "distinct and sorted"),
        ({"edges": (Edge(0, 1), Edge(1, 2))}, "edge 0->1 must lead"),
        ({"edges": (Edge(2, 2), Edge(1, 3))}, "edge 2->2 must lead"),
        ({"edges": (Edge(0, 2), Edge(1, 4))}, "no edge leads into node 3"),
        ({"ops": (("a",), ())}, r"edge 1->3 needs distinct operations, got \(\)"),
        ({"ops": (("a",), ("a", "a"))}, "edge 1->3 needs distinct operations"),
        ({"output": ()}, "output must name computed nodes"),
        ({"output": (1, 2)}, "output must name computed nodes"),
        ({"output": (4,)}, r"\(2 to 3\), got \(4,\)"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(changes, message):
    assert CellGraph(**GRAPH).nodes == 4
    with pytest.raises(ValueError, match=message):
        CellGraph(**{**GRAPH, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": {}}, "has no cells"),
        ({"ops": ("skip_connect",)}, "ops must list each of"),
        ({"ops": ("skip_connect", "sep_conv_3x3", "none")}, "ops must list each of"),
        ({"ops": ("skip_connect", "sep_conv_3x3", "skip_connect")}, "ops must list each of"),
        ({"cells": {"normal": CELL}}, r"takes cells of the kinds \['normal', 'reduce'\]"),
        ({"skeleton": "nas-bench-201"}, r"takes cells of the kinds \['normal'\]"),
        ({"skeleton": "nas-bench-201", "cells": {"normal": CELL}}, "one input, and only its last node"),
    ],
)
def test_a_space_that_no_net_can_be_built_from_is_refused(changes, message):
    assert space().depth == 8
    with pytest.raises(ValueError, match=message):
        space(**changes)


# --- cells of their own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "depth"), [("darts", 8), ("darts", 3), ("s1", 5), ("nas-bench-201", 17)])
def test_cells_apart_have_rows_of_their_own_at_every_place(name: str, depth: int):
    whole = SPACES[name]
    space = with_own_cells(whole, depth)
    kinds = [place.kind for place in whole.places(depth)]
    assert list(space.cells) == [f"cell{index}" for index, kind in enumerate(kinds) if kind is not None]
    assert space.edges == tuple(
        (f"cell{index}", edge) for index, kind in enumerate(kinds) if kind for edge in whole.cells[kind].edges
    )
    assert space.offered == [row for kind in kinds if kind for row in whole.offered[whole.rows[kind]]]
    assert (space.depth, space.ops, space.in_degree) == (depth, whole.ops, whole.in_degree)
    assert with_own_cells(space) is with_own_cells(space, depth) is space


def test_a_space_whose_cells_are_apart_has_one_depth():
    assert with_own_cells(darts).depth == 8
    with pytest.raises(ValueError, match="a cell of its own for each of 8 places, not of 5"):
        with_own_cells(with_own_cells(darts), 5)
    with pytest.raises(ValueError, match="takes cells of the kinds"):
        replace(darts, cells={"cell0": darts.cells["normal"], "cell2": darts.cells["normal"]})


def test_the_cells_that_keep_the_resolution_are_found_by_their_places():
    assert with_own_cells(darts, 5).normal_cells == ["cell0", "cell2", "cell4"]
    assert with_own_cells(nas_bench_201, 5).normal_cells == ["cell0", "cell2", "cell4"]
    assert DARTS.normal_cells(["reduce", "normal"]) == ["normal"]
