"""Transformers as genotypes: text, JSON, what can be wrong with them, and their names."""

import pytest

from diffnas.genotype import Genotype, from_json, handmade, parse, read, to_json, to_text
from diffnas.genotype.chain import is_chain
from diffnas.skeleton import skeleton_of, transformer
from diffnas.space import SPACES, with_own_cells

FORMS = [
    "transformer | attn_4 | mlp_4",
    "transformer | attn_4 | mlp_4 | none | glu_2",
    "transformer:rms:attend | attn_2+pool_3 | mlp_1 | window_4 | none",
]


@pytest.mark.parametrize("text", FORMS)
def test_a_transformer_is_one_line_of_text_that_every_command_reads(text: str) -> None:
    genotype = read(text)
    assert to_text(genotype) == text
    assert from_json(to_json(genotype)) == genotype == parse(to_text(genotype))
    assert is_chain(genotype)


def test_two_operations_are_those_of_all_layers_and_more_are_those_of_each() -> None:
    assert (read(FORMS[0]).depth, list(read(FORMS[0]).cells)) == (None, ["mixer", "channel"])
    assert (read(FORMS[1]).depth, list(read(FORMS[1]).cells)) == (2, ["mixer0", "channel0", "mixer1", "channel1"])


def test_a_single_layer_of_its_own_is_written_as_json() -> None:
    cells = parse(FORMS[0]).cells
    one = Genotype(skeleton="transformer", cells={f"{kind}0": cell for kind, cell in cells.items()})
    assert one.depth == 1
    assert from_json(to_text(one)) == one


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "transformer | attn_4",
            r"two branches in each layer, but 1 operations are given\. Write transformer \| attn_4",
        ),
        ("transformer | attn_4 | mlp_4 | none", "but 3 operations are given"),
        ("transformer:big | attn_4 | mlp_4", "'big' is no part of a transformer's name"),
        ("transformer-graph | attn_4 | mlp_4", "'transformer-graph' is not a chain"),
    ],
)
def test_a_text_that_is_no_transformer_is_refused_with_what_would_be_one(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(text)


def test_cells_of_other_names_are_refused_with_those_that_would_do() -> None:
    cells = parse(FORMS[1]).cells
    with pytest.raises(ValueError, match="mixer0, channel0, mixer1, channel1"):
        Genotype(skeleton="transformer", cells=dict(reversed(cells.items())))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("transformer | none | none | none | none", "nothing is left but the stem"),
        ("transformer | none | mlp_4 | none | glu_2", "no layer mixes tokens"),
        ("transformer | attn_4 | none | pool_3 | none", "no layer mixes channels"),
        ("transformer | attn_4 | none | none | mlp_1", None),
        ("transformer | of_my_own | none", None),
    ],
)
def test_a_degenerate_transformer_is_told(text: str, problem: str | None) -> None:
    found = parse(text).problems()
    assert (found == ()) if problem is None else (len(found) == 1 and found[0].startswith(problem))


@pytest.mark.parametrize("name", ["deit-like", "poolformer-like", "convformer-like"])
def test_a_hand_made_transformer_repeats_its_layer_and_is_sound(name: str) -> None:
    found = handmade(name)
    assert found.depth is None
    assert found.problems() == ()


def test_a_skeleton_is_known_by_a_name_that_says_all_its_options() -> None:
    made = transformer(norm="rms", pool="attend")
    again = skeleton_of(made.name)
    assert (again.name, again.norm, again.pool) == ("transformer:rms:attend", "rms", "attend")


def test_a_space_has_a_cell_for_each_branch_if_each_has_its_own_alpha() -> None:
    own = with_own_cells(SPACES["transformer"], 3)
    assert len(own.edges) == 6
    assert [kind for kind, _ in own.edges[:3]] == ["mixer0", "channel0", "mixer1"]
    assert sum(map(sum, own.offered)) == 3 * (8 + 4)
    with pytest.raises(ValueError, match="needs at least 1 layer"):
        SPACES["transformer"].places(0)
