from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffnas.data.stratify import equal_per_class, stratified_split

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)


@given(labels=LABELS, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_a_split_has_every_picture_once_and_both_sides_see_every_class_that_allows_it(labels, fraction, seed):
    first, second = stratified_split(labels, fraction, seed)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(len(labels)))
    for label in labels.unique():
        here, there = int((labels[first] == label).sum()), int((labels[second] == label).sum())
        assert here >= 1
        assert there >= 1 or here == 1
        if 1 < there < here + there - 1:
            assert abs(there - fraction * (here + there)) <= 0.5


def test_the_seed_decides_the_split():
    labels = torch.arange(100) % 4
    first, again, other = (stratified_split(labels, 0.3, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan"), "half", True])
def test_a_fraction_that_leaves_one_side_empty_is_refused(fraction):
    with pytest.raises(ValueError, match="the test fraction must be a number above 0 and below 1"):
        stratified_split(torch.arange(4), fraction, 0)


def test_classes_too_small_for_an_equal_share_give_all_they_have():
    labels = torch.tensor([0] * 2 + [1] * 20 + [2] * 20)
    chosen = labels[equal_per_class(labels, ("a", "b", "c"), 21, seed=0)]
    assert torch.bincount(chosen).tolist() == [2, 10, 9]
