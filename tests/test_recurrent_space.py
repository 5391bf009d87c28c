"""The recurrent space: its graph, its published cells as text, what methods it refuses, and the range of its costs."""

import math

import pytest
import torch

from diffnas.components import discretize
from diffnas.components.regularizer import chains, group_sparsity
from diffnas.components.relaxation import Relaxation
from diffnas.engine.checks import _check_changes
from diffnas.engine.costing import COUNTED, Reach
from diffnas.genotype import from_json, parse, read, to_json, to_text
from diffnas.method import METHODS
from diffnas.nets.sized import Size, SizedSpace
from diffnas.space import recurrent

AT = SizedSpace(space=recurrent, picture=(1,), classes=65, size=Size(10, 1), sequences={"tokens": True})
OFFERED = torch.tensor(recurrent.offered)


def test_it_has_36_edges_by_target_and_then_by_source_and_five_activations():
    edges = [edge for _, edge in recurrent.edges]
    assert [target * (target - 1) // 2 + source for source, target in edges] == list(range(36))
    assert recurrent.ops == ("none", "tanh", "relu", "sigmoid", "identity")
    assert recurrent.cells["recurrent"].output == tuple(range(1, 9))


def test_the_published_rule_finds_so_many_cells():
    assert math.factorial(8) * 4**8 == 2_642_411_520
    scores = torch.rand(36, 5, generator=torch.Generator().manual_seed(0))
    found = discretize.strongest_inputs(scores, OFFERED, recurrent)
    assert [each.target for each in found.cells["recurrent"].connections] == list(range(1, 9))
    assert found.problems() == ()


@pytest.mark.parametrize(("name", "depth"), [("DARTS_V1", 6), ("DARTS_V2", 4), ("ENAS", 6)])
def test_a_published_cell_is_read_printed_and_read_again(name, depth):
    genotype = read(name, sequences=True)
    text = to_text(genotype)
    assert text.startswith("Genotype(recurrent=[('")
    assert parse(text) == genotype == from_json(to_json(genotype)) == read(f"{name}_RNN")
    assert genotype.cells["recurrent"].depth == genotype.cells["recurrent"].learned_depth == depth
    assert genotype.problems() == ()


def test_a_name_that_pictures_and_sequences_share_depends_on_the_data():
    assert read("DARTS_V2").skeleton == "darts"
    assert read("DARTS_V2", sequences=True).skeleton == "recurrent"


def test_a_node_with_several_inputs_is_written_in_triples():
    text = "Genotype(recurrent=[('relu', 1, 0), ('tanh', 2, 0), ('tanh', 2, 1)], concat=range(1, 3))"
    assert to_text(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Genotype(recurrent=[('relu', 0)])", "expected the arguments recurrent, concat, each once"),
        ("Genotype(recurrent=[('relu', 0), ('relu', 5)], concat=[1])", "relu leads from node 5 into node 2"),
        ("Genotype(recurrent=[('relu', 0, 1, 1)], concat=[1])", "pairs, one for each node, or triples only"),
    ],
)
def test_a_text_that_is_no_recurrent_cell_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse(text)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_layer_of_pytorch_is_a_network_without_cells(name):
    genotype = read(name)
    assert (genotype.skeleton, dict(genotype.cells), genotype.problems()) == (name, {}, ())
    assert from_json(to_text(genotype)) == genotype


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("darts-plus", "skip_count"),
        ("fair-darts", "zero_one"),
        ("darts-minus", "an auxiliary skip"),
        ("p-darts", "dropped skips, few_skips"),
        ("pc-darts", "partial channels"),
    ],
)
def test_a_rule_for_skips_is_refused_with_the_reason(name, what):
    with pytest.raises(ValueError, match=rf"'{name}' has {what}.* has no skip connection: the gate of every edge"):
        _check_changes(recurrent, METHODS[name])


@pytest.mark.parametrize("name", ["sparse", "darts", "gates-group", "path-regularized", "gdas", "gaea", "darts-pt"])
def test_all_other_methods_are_taken(name):
    _check_changes(recurrent, METHODS[name])


def test_the_longest_chain_has_eight_edges():
    (rows,) = chains(recurrent).values()
    assert [tuple(recurrent.edges[row][1]) for row in rows] == [(node, node + 1) for node in range(8)]


def test_identity_stands_for_the_skip_in_group_sparsity():
    opened = torch.zeros(36, 5)
    opened[:, recurrent.ops.index("identity")] = 1
    at = Relaxation.__new__(Relaxation)
    for name, value in {"open": opened, "space": recurrent, "moment": None}.items():
        object.__setattr__(at, name, value)
    assert float(group_sparsity(at, skip=0.25, rest=0.5)) == 0.25


@pytest.mark.parametrize(
    ("rule", "macs", "params"),
    [
        (discretize.strongest_inputs, (20, 20), (20, 20)),
        (discretize.winners, (20, 76), (20, 20)),  # one edge a node, up to all; a node has its parameters once
    ],
)
def test_the_range_of_costs_holds_the_smallest_and_the_largest_network(rule, macs, params):
    head = 65 * 10 + 65
    for count, beside, squares in (("macs", 0, macs), ("params", head, params)):
        interval = Reach(COUNTED[count], AT, rule).interval(OFFERED)
        assert tuple(interval) == tuple(beside + each * 100 for each in squares)
