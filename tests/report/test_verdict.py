"""Whether a search paid: what is claimed, and what is not."""

import numpy as np
import pytest

from diffnas.report.verdict import Contender, difference, verdict

PICTURES = 1000


def right(*counts: int, offset: int = 0) -> np.ndarray:
    """Trainings that have so many of the test pictures right, the first ones, from ``offset`` on."""
    return np.stack([np.roll(np.arange(PICTURES) < count, offset) for count in counts])


def contender(name: str, kind: str, *counts: int, held_out: tuple[float, ...] = (0.5,), offset: int = 0) -> Contender:
    found = right(*counts, offset=offset)
    return Contender(name=name, kind=kind, macs=10, parameters=5, held_out=held_out, right=found, seconds=10.0)  # type: ignore[arg-type]


def test_a_difference_of_single_trainings_is_the_paired_interval_over_pictures():
    first, second = right(800), right(750, offset=0)
    found = difference(first, second)
    assert found.value == pytest.approx(0.05)
    # 50 of 1,000 pictures differ, all one way: the standard error is sqrt(0.05 * 0.95 / 999).
    error = (0.05 * 0.95 / 999) ** 0.5
    assert (found.high - found.low) / 2 == pytest.approx(1.9623 * error, rel=1e-3)
    assert not found.seeds


def test_more_seeds_that_agree_narrow_the_interval_and_seeds_that_do_not_widen_it():
    agree, apart = right(800, 801, 799), right(850, 750, 800)
    other = right(750, 751, 749)
    assert difference(agree, other).sign == 1
    assert difference(apart, other).sign == 0
    assert difference(apart, other).seeds


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    hard = random.random(500)
    for _ in range(400):
        # Each training has a luck of its own, of 2 points; the true difference is 3 points.
        sides = []
        for skill in (0.73, 0.70):
            lucky = skill + 0.02 * random.standard_normal((3, 1))
            pictures = random.choice(hard, 500)
            sides.append(random.random((3, 500)) < np.clip(lucky + 0.4 * (pictures - hard.mean()), 0, 1))
        found = difference(*sides)
        held += found.low <= 0.03 <= found.high
    assert held >= 0.93 * 400


def test_equal_networks_give_no_difference_and_no_division_by_zero():
    found = difference(right(800), right(800))
    assert tuple(found[:3]) == (0.0, 0.0, 0.0)
    assert found.sign == 0


def test_who_is_handed_over_is_decided_by_held_out_pictures_and_not_by_test_pictures():
    found = contender("found", "found", 700, held_out=(0.70,))
    hand = contender("resnet", "hand", 600, held_out=(0.80,))
    lucky = contender("mobilenet", "hand", 900, held_out=(0.60,))
    said = verdict([hand, found, lucky], search_seconds=20)
    assert said.handed == "resnet"
    assert said.hand == "resnet"
    assert said.over_hand.value == pytest.approx(0.1)
    assert [each.name for each in said.contenders] == ["found", "resnet", "mobilenet"]
    assert "not found by the search" in said.sentences[-1]


def test_a_search_that_is_no_better_than_chance_is_told_so():
    found = contender("found", "found", 700, 702, held_out=(0.7, 0.7))
    drawn = [contender(f"random-{k}", "random", 699 + k, 701 + k) for k in range(3)]
    sentences = verdict([found, *drawn], search_seconds=30).sentences
    assert "neither better nor worse than random networks of equal cost" in sentences[0]
    assert "Nothing shows that the search was worth its time" in sentences[1]
    assert "3.0 times as long" in sentences[2]


def test_a_better_network_is_called_better_with_its_interval():
    found = contender("found", "found", 800, 801, 802, held_out=(0.8, 0.8, 0.8))
    hand = contender("resnet", "hand", 701, 700, 702)
    said = verdict([found, hand], search_seconds=0)
    assert said.sentences[0].startswith(
        "The found network is better than the best hand-made network of equal cost (resnet) by 10.0 points ("
    )
    assert said.as_record()["over_hand"]["low"] > 0
    assert said.as_record()["contenders"][0]["accuracies"] == [0.8, 0.801, 0.802]


def test_a_contest_of_one_is_refused():
    with pytest.raises(ValueError, match="has no contenders"):
        verdict([contender("found", "found", 1)], search_seconds=0)


def test_an_accuracy_has_wilsons_interval():
    low, high = contender("found", "found", 800).interval()
    assert (low, high) == (pytest.approx(0.7741, abs=1e-4), pytest.approx(0.8236, abs=1e-4))
