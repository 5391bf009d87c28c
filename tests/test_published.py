"""Every published cell against a short form of it, written down from the file where its authors published it."""

import re

import pytest

from diffnas.genotype import PUBLISHED, Connection, published, read
from diffnas.genotype.published import SEQUENCES

OPS = {
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "sk": "skip_connect",
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "s7": "sep_conv_7x7",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
    "c7": "conv_7x1_1x7",
}

# A connection is its operation and its source; those into one node are joined by commas. Nodes come in turn, from the
# first that is no input on, unless a number names them.
CELLS = {
    "DARTS_V1": ("s31,s30 sk0,s31 sk0,s31 s30,sk2", "mp0,mp1 sk2,mp0 mp0,sk2 sk2,ap0"),
    "DARTS_V2": ("s30,s31 s30,s31 s31,sk0 sk0,d32", "mp0,mp1 sk2,mp1 mp0,sk2 sk2,mp1"),
    "PC_DARTS_cifar": ("s31,sk0 s30,d31 s50,s31 ap0,d31", "s51,mp0 s51,s52 s30,s33 s31,s32"),
    "PC_DARTS_image": ("sk1,s30 s30,sk1 s31,s33 s31,d54", "s30,sk1 d52,mp1 s32,s31 s50,s33"),
    "PDARTS": ("sk0,d31 sk0,s31 s31,s33 s30,d54", "ap0,s51 s30,d52 mp0,d31 d31,d53"),
    "GDAS_V1": ("sk0,sk1 sk0,s52 s33,sk0 s54,s33", "s50,s31 s52,s51 d52,s31 s50,s51"),
    "SNAS_mild": ("s30,s31 sk0,d31 sk0,sk1 sk0,s31", "mp0,mp1 mp1,sk2 mp1,sk2 mp0,d52"),
    "SNAS_moderate": ("d50,sk1 s30,sk1 sk0,sk1 s30,d51", "mp0,mp1 s50,d51 s50,s51 s50,s51"),
    "MdeNAS": ("s51,s30 sk0,s51 s53,s31 d53,mp4", "mp0,s51 sk0,sk1 s33,sk2 d33,s50"),
    "NASNet": ("s51,s30 s50,s30 ap1,sk0 ap0,ap0 s31,sk1", "s51,s70 mp1,s70 ap1,s50 sk3,ap2 s32,mp1"),
    "AmoebaNet": ("ap0,mp1 s30,s52 s30,ap3 s31,sk1 sk0,ap1", "ap0,s31 mp0,s72 s70,ap1 mp0,mp1 c70,s35"),
    "ENASNet": ("s31,sk1 s51,sk0 ap0,s31 s30,ap1 s51,ap0", "s50,s31 s31,ap1 s31,ap1 ap1,s54 s35,s50"),
    "DARTS-_cifar10_s0_0": ("s30,s51 s31,d32 sk1,s30 sk1,s30", "s30,mp1 sk2,mp0 sk2,sk3 sk2,sk3"),
    "DARTS-_cifar10_s0_1": ("s30,d51 s30,s31 d51,s30 sk1,s30", "s31,mp0 sk2,mp1 sk2,sk3 sk2,sk3"),
    "DARTS-_cifar10_s0_2": ("s51,s30 s30,s31 sk1,s50 s30,sk1", "s31,s30 sk2,mp1 sk2,sk3 sk2,sk3"),
    "DARTS-_cifar10_s0_3": ("s30,s31 s30,s31 s30,d51 sk1,sk0", "mp0,mp1 sk2,s50 sk3,sk2 sk3,sk2"),
    "DARTS-_cifar10_s0_4": ("s30,s51 s31,s30 sk1,d30 sk1,s50", "mp0,mp1 mp0,sk2 sk2,sk3 sk2,sk3"),
    "DARTS-_cifar100_s0_0": ("d50,d31 s31,d30 d50,d31 s31,d50", "mp0,s51 sk2,s50 sk2,sk3 sk2,sk3"),
    "DARTS-_cifar100_s0_1": ("s31,d30 d51,d50 d51,d30 s31,s30", "ap1,ap0 ap1,sk2 sk2,ap1 sk2,sk3"),
    "DARTS-_cifar100_s0_2": ("d30,s31 d30,s51 s31,d30 sk1,d30", "ap1,sk0 sk2,ap1 sk2,sk3 sk2,sk3"),
    "DARTS-_cifar100_s0_3": ("d50,s51 s30,sk1 s31,s30 sk1,d30", "s31,s30 sk2,ap0 sk2,sk3 sk2,sk3"),
    "PT_darts_pt_s5_0": ("s30,s31 s50,d31 sk0,sk2 sk0,mp4", "s30,ap1 d51,d32 ap0,mp2 s32,sk4"),
    "PT_darts_pt_s5_1": ("s30,s31 s30,d31 mp0,sk2 sk0,d34", "d50,ap1 mp0,s52 mp1,d33 s50,s34"),
    "PT_darts_pt_s5_2": ("sk0,s31 s30,d31 sk2,d33 mp1,sk2", "ap0,mp1 ap0,s31 d52,sk3 s32,s54"),
    "PT_darts_pt_s5_3": ("s30,s31 s30,s31 sk0,sk2 s31,sk3", "ap0,s51 mp1,sk2 d51,mp3 s52,sk3"),
    "PT_blank_pt_s5_0": ("s30,s51 s30,s31 ap1,sk3 mp0,ap2", "sk0,s51 d31,s52 mp0,sk3 mp0,mp2"),
    "PT_blank_pt_s5_1": ("ap0,ap1 s30,mp2 sk2,s33 s50,s51", "mp0,d51 s30,sk1 ap2,mp3 s53,s54"),
    "PT_blank_pt_s5_2": ("ap0,d31 s50,mp1 mp0,sk1 s51,ap2", "s30,ap1 ap0,s51 mp0,s53 mp2,d54"),
    "PT_blank_pt_s5_3": ("s30,s31 s30,sk1 mp2,s33 ap0,s51", "d50,s51 s50,d31 ap1,sk2 mp0,sk4"),
    "MiLeNAS_r101_e50_48_n7r3": ("s31,s30 d30,s31 sk0,s31 s30,s51", "d30,s31 sk2,mp0 sk2,d53 sk2,mp0"),
    "MiLeNAS_r118_e100_92_n4r1": ("sk0,s31 s30,s31 sk0,s31 sk0,sk1", "mp0,mp1 mp0,s32 ap1,sk2 sk2,mp0"),
    "MiLeNAS_v2_r5_e200": ("s30,sk1 sk0,sk2 s30,sk2 mp0,sk2", "mp0,mp1 ap0,mp1 mp0,sk2 mp0,sk2"),
    "MiLeNAS_GDAS_MIXED_LEVEL2": ("d30,s31 s30,d52 s50,s53 s34,d32", "ap1,sk0 sk2,s50 s33,s30 mp0,sk4"),
    "GAEA_edarts4": ("s30,sk1 sk0,sk1 sk0,sk2 sk0,d33", "d31,mp0 sk2,ap0 sk3,sk2 sk3,sk4"),
    "UNNAS_IMAGENET_CLS": ("s31,s30 s31,s30 s30,s32 s51,s30", "mp0,sk1 mp0,d52 mp0,s32 s34,d53"),
    "UNNAS_IMAGENET_ROT": ("s30,s31 s30,s31 s31,s30 s30,s31", "s31,s30 s32,s31 s31,s32 s34,s52"),
    "UNNAS_IMAGENET_COL": ("sk0,s31 s31,sk0 s30,s33 s30,s32", "mp0,s31 mp0,s31 mp0,s53 mp0,s34"),
    "UNNAS_IMAGENET_JIG": ("s30,s31 s30,s31 s30,s33 s31,s50", "s50,s31 s30,s31 s30,s31 s50,s31"),
    "UNNAS_CITYSCAPES_COL": ("d31,s30 sk0,s52 d33,sk0 sk0,s31", "ap1,ap0 ap1,ap0 ap1,ap0 ap1,sk4"),
    "FairDARTS_a": ("2=s30,s51 4=mp0 5=s30", "mp0,ap1 ap0,d51 ap0,s51 sk0,sk1"),
    "FairDARTS_b": ("s30,s31 s31 d30,s51 d51", "sk0,d31 sk0,d31 mp0,s31 sk2,mp0"),
    "FairDARTS_c": ("2=mp0,s51 4=d30,d52 5=sk3,s30", "d31,d50 d30,s31 s50,s53 s50,sk1"),
    "FairDARTS_d": ("s30,s51 d31,mp0 d30,d31 s30,d51", "mp0,s51 ap0,d52 d33,ap0 ap0,sk3"),
    "FairDARTS_e": ("2=s30,s31 4=d31,d32 5=d30,d51", "mp1,mp0 mp1,mp0 s51,mp0 ap0,d51"),
    "FairDARTS_f": ("mp0,s31 d31 s51 s30,s31", "mp0,mp1 mp0,d31 d32,mp0 mp0,s31"),
    "FairDARTS_g": ("2=s30,s31 4=sk3,s51 5=d30,s31", "ap1,sk0 sk2,mp1 s53,mp0 d31,d34"),
    "PR_DARTS": ("sk0,s31 d32,s30 d33,s31 d34,d31", "ap0,d51 s30,d52 s51,d33 d54,d51"),
}
OUTPUTS = {
    "NASNet": ((2, 3, 4, 5, 6), (4, 5, 6)),
    "AmoebaNet": ((4, 5, 6), (3, 4, 6)),
    "ENASNet": ((2, 3, 4, 5, 6), (2, 3, 4, 5, 6)),
}


def connections(short: str) -> tuple[Connection, ...]:
    """The connections of a cell's short form."""
    found = []
    for place, group in enumerate(short.split(), 2):
        node, edges = re.fullmatch(r"(?:(\d)=)?(.*)", group).groups()
        found += [Connection(OPS[edge[:2]], int(edge[2]), int(node or place)) for edge in edges.split(",")]
    return tuple(found)


def test_every_published_cell_has_been_compared():
    assert set(CELLS) == {name for name in PUBLISHED if not name.endswith(SEQUENCES)}


@pytest.mark.parametrize("name", CELLS)
def test_a_published_cell_is_the_one_that_its_authors_published(name: str):
    cells = published(name).cells
    assert tuple(cells) == ("normal", "reduce")
    for cell, short, output in zip(
        cells.values(), CELLS[name], OUTPUTS.get(name, ((2, 3, 4, 5), (2, 3, 4, 5))), strict=True
    ):
        assert cell.connections == connections(short)
        assert cell.output == output


def test_snas_is_the_cell_of_the_mild_constraint_as_others_call_it():
    assert "SNAS" not in list(PUBLISHED)
    assert "SNAS" in PUBLISHED
    assert PUBLISHED["SNAS"] is PUBLISHED["SNAS_mild"]
    assert read("SNAS") == published("SNAS") == published("SNAS_mild")


def test_a_misspelt_cell_is_answered_with_names_that_are_not_aliases():
    with pytest.raises(ValueError, match="Did you mean 'SNAS_moderate'") as error:
        published("SNAS_modest")
    assert " SNAS," not in str(error.value)
