"""The family of convolutions: names, members, and the changes between them, against the rules as they were released."""

import itertools

import pytest

from diffnas.convolutions import CONVOLUTIONS, DARTS_LIKE, DEPTH_RESTRICTED, changed
from diffnas.space import DARTS_OPS, NAS_BENCH_201_OPS, prune_and_replace_dl, prune_and_replace_dr

# Kernel, dilation, and how many times the channels there are between two layers; of one layer, nothing is between.
Numbers = tuple[int, int, tuple[int, ...]]


def numbers(name: str) -> Numbers:
    known = CONVOLUTIONS[name]
    return known.kernel, known.dilation, (known.width,) if known.layers == 2 else ()


def released(of: Numbers, *, smallest: int, widest: int) -> set[Numbers]:
    """What the released code may make of a convolution: kernels up to 7, dilations up to 2, one layer more."""
    kernel, dilation, between = of
    made: set[Numbers] = set()
    if kernel + 2 <= 7:
        made.add((kernel + 2, dilation, between))
    if kernel - 2 >= smallest and not (kernel - 2 == 1 and dilation >= 2):
        made.add((kernel - 2, dilation, between))
    if kernel > 1 and dilation < 2:
        made.add((kernel, dilation + 1, between))
    if dilation > 1:
        made.add((kernel, dilation - 1, between))
    if not between:
        made.add((kernel, dilation, (1,)))
    if between and between[0] < widest:
        made.add((kernel, dilation, (between[0] + 1,)))
    return made


SPACES = [(prune_and_replace_dl, DARTS_LIKE, 3, 1, 12), (prune_and_replace_dr, DEPTH_RESTRICTED, 1, 5, 42)]


@pytest.mark.parametrize(("space", "family", "smallest", "widest", "size"), SPACES, ids=["DL", "DR"])
def test_a_space_holds_all_that_the_released_changes_can_reach_and_no_more(space, family, smallest, widest, size):
    reached: set[Numbers] = set()
    open_: set[Numbers] = {(3, 1, ())}
    while open_:
        reached |= open_
        open_ = set().union(*(released(each, smallest=smallest, widest=widest) for each in open_)) - reached
    names = {op for op in space.ops if op in CONVOLUTIONS}
    assert names == {each.name for each in family}
    assert {numbers(name) for name in names} == reached
    assert len(names) == size
    assert set(space.ops) - names == {"max_pool_3x3", "avg_pool_3x3", "skip_connect"}
    for name in names:
        found = [op for op in changed(name) if op in names]
        assert len(set(found)) == len(found)
        assert {numbers(op) for op in found} == released(numbers(name), smallest=smallest, widest=widest)


def test_names_are_distinct_and_those_of_other_spaces_mean_what_they_mean_there():
    assert len(CONVOLUTIONS) == 44
    assert {op for op in (*DARTS_OPS, *NAS_BENCH_201_OPS) if "conv" in op} <= set(CONVOLUTIONS)
    assert numbers("sep_conv_5x5") == (5, 1, (1,))
    assert numbers("dil_conv_5x5") == (5, 2, ())
    assert numbers("sep_conv_7x7_layers1") == (7, 1, ())
    assert numbers("dil_conv_3x3_layers2_width4") == (3, 2, (4,))


def test_kernels_and_dilations_change_back_and_other_kinds_do_not_change_at_all():
    for one, other in itertools.product(CONVOLUTIONS, repeat=2):
        apart = numbers(one)[2] != numbers(other)[2]
        assert apart or (other in changed(one)) == (one in changed(other))
    assert changed("nor_conv_1x1") == ("nor_conv_3x3",)
    assert changed("conv_7x1_1x7") == changed("none") == changed("of_my_own") == ()
