"""Whether a search paid: the network that it found beside others of equal cost, all trained in one way.

Two things are kept apart. Which network the user is handed is decided by held-out training pictures. Whether it is
better than the others is judged on test pictures, which decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Kind: TypeAlias = Literal["found", "random", "hand"]
SURE = 0.95
"""How sure an interval is."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A network, and what its trainings gave.

    Attributes:
        name: ``found``, ``random-1``, ``resnet``, ...
        kind: whether a search found it, chance drew it, or a hand made it.
        macs, parameters: multiply-adds for one picture, and learned numbers.
        held_out: share of held-out training pictures that are right, one number a training.
        right: which test pictures are right, ``(trainings, pictures)``, bool.
        seconds: of one training, on average.
    """

    name: str
    kind: Kind
    macs: int
    parameters: int
    held_out: tuple[float, ...]
    right: NDArray[np.bool_]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of test pictures that are right, the mean over trainings."""
        return float(self.right.mean())

    @property
    def chosen_by(self) -> float:
        """Share of held-out training pictures that are right, the mean over trainings."""
        return float(np.mean(self.held_out))

    def interval(self) -> tuple[float, float]:
        """Where the accuracy would lie on other pictures; Wilson's interval, which knows nothing of seeds."""
        pictures = self.right.shape[1]
        found = stats.binomtest(round(self.accuracy * pictures), pictures).proportion_ci(SURE, method="wilson")
        return float(found.low), float(found.high)


class Difference(NamedTuple):
    """By how much one accuracy is above another, with the interval in which it would lie if all were done again.

    Attributes:
        value, low, high: shares of pictures.
        seeds: whether the spread between seeds is in the interval, which takes two trainings of each at least.
    """

    value: float
    low: float
    high: float
    seeds: bool

    @property
    def sign(self) -> int:
        """1 if the interval lies above zero, -1 if below, 0 if zero lies in it."""
        return int(self.low > 0) - int(self.high < 0)


def difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """How far the accuracy of ``first`` is above that of ``second``; both are ``(trainings, pictures)``.

    The variance is the sum of three parts: of the mean over pictures, which both sides share, and of the mean over the
    trainings of either side. Their degrees of freedom are joined as Welch and Satterthwaite do.
    """
    by_picture = first.mean(axis=0) - second.mean(axis=0)
    samples = [by_picture, *(side.mean(axis=1) for side in (first, second) if len(side) > 1)]
    parts = [(float(np.var(sample, ddof=1)) / len(sample), len(sample) - 1) for sample in samples]
    variance = sum(part for part, _ in parts)
    value = float(by_picture.mean())
    spread = sum(part**2 / freedom for part, freedom in parts)
    reach = float(stats.t.ppf((1 + SURE) / 2, variance**2 / spread)) * variance**0.5 if spread else 0.0
    return Difference(value, value - reach, value + reach, seeds=len(samples) == 3)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a contest says.

    Attributes:
        contenders: all networks, the found one first.
        handed: the name of the network that the user is handed: the best on held-out training pictures.
        hand: the best hand-made network on held-out training pictures; None if there is none.
        over_hand: how far the found network's accuracy is above that one's.
        over_random: how far it is above the mean of the random networks; None if there is none.
        search_seconds: time of the search.
    """

    contenders: tuple[Contender, ...]
    handed: str
    hand: str | None
    over_hand: Difference | None
    over_random: Difference | None
    search_seconds: float

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, the most important first."""
        told = []
        if self.over_hand is not None:
            told.append(_against(self.over_hand, f"the best hand-made network of equal cost ({self.hand})"))
        if self.over_random is not None:
            told.append(_against(self.over_random, "random networks of equal cost"))
        if self.over_random is not None and self.over_random.sign <= 0:
            told.append("Nothing shows that the search was worth its time here: random networks do as well.")
        found = self.contenders[0]
        times = self.search_seconds / found.seconds if found.seconds else 0.0
        told.append(f"The search took {times:.1f} times as long as one training of the network that it found.")
        own = "found by the search" if self.handed == found.name else "not found by the search"
        told.append(f"You are handed {self.handed}, {own}: it is the best on held-out training pictures.")
        return tuple(told)

    def as_record(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "handed": self.handed,
            "sentences": list(self.sentences),
            "over_hand": self.over_hand and {"hand": self.hand, **self.over_hand._asdict()},
            "over_random": self.over_random and self.over_random._asdict(),
            "search_seconds": self.search_seconds,
            "contenders": [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "macs": each.macs,
                    "parameters": each.parameters,
                    "held_out": each.chosen_by,
                    "accuracy": each.accuracy,
                    "accuracies": each.right.mean(axis=1).tolist(),
                    "interval": list(each.interval()),
                    "seconds": each.seconds,
                }
                for each in self.contenders
            ],
        }


def verdict(contenders: Sequence[Contender], *, search_seconds: float) -> Verdict:
    """Judge the found network, the one contender of the kind ``found``, against the others.

    Raises:
        ValueError: if there is no other contender.
    """
    found = next(each for each in contenders if each.kind == "found")
    others = [each for each in contenders if each is not found]
    if not others:
        raise ValueError("there is nothing to compare the found network with: name contenders, such as random:3.")
    hands = [each for each in others if each.kind == "hand"]
    chance = [each.right for each in others if each.kind == "random"]
    # By held-out pictures: the best by test pictures would be the luckiest.
    hand = max(hands, key=lambda each: each.chosen_by) if hands else None
    return Verdict(
        contenders=(found, *others),
        handed=max((found, *others), key=lambda each: each.chosen_by).name,
        hand=hand.name if hand else None,
        over_hand=difference(found.right, hand.right) if hand else None,
        over_random=difference(found.right, np.concatenate(chance)) if chance else None,
        search_seconds=search_seconds,
    )


def _against(over: Difference, whom: str) -> str:
    """A difference in words; nothing is claimed that lies inside the noise.

    >>> _against(Difference(0.018, 0.006, 0.03, seeds=True), "resnet")
    'The found network is better than resnet by 1.8 points (0.6 to 3.0).'
    >>> _against(Difference(0.018, -0.006, 0.042, seeds=True), "resnet")
    'The found network is neither better nor worse than resnet as far as this shows: +1.8 points (-0.6 to +4.2).'
    """
    luck = "" if over.seeds else "; with one seed, the luck of the seed is not in the interval"
    if not over.sign:
        value, low, high = (f"{100 * part:+.1f}" for part in over[:3])
        return (
            f"The found network is neither better nor worse than {whom} as far as this shows: {value} points "
            f"({low} to {high}{luck})."
        )
    near, by, far = sorted(100 * abs(part) for part in over[:3])
    word = "better" if over.sign > 0 else "worse"
    return f"The found network is {word} than {whom} by {by:.1f} points ({near:.1f} to {far:.1f}{luck})."
