"""The verdict on a search: the found network compared with others of equal cost, all trained in the same way.

Held-out training pictures decide which network the user is handed. Test pictures decide nothing; they only show whether
the found network is better than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import scipy  # It imports scipy.stats when that is first needed: every command imports this file, and few need it.
from numpy.typing import NDArray

Kind: TypeAlias = Literal["found", "random", "hand"]
SURE = 0.95
"""The confidence level of all intervals."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A network of a contest, and the results of its trainings.

    Attributes:
        name: ``found``, ``random-1``, ``resnet``, ...
        kind: whether the network was found by the search, drawn at random, or made by hand.
        macs: multiply-adds for one picture, or one step of a sequence.
        parameters: how many numbers are learned.
        held_out: the accuracy on held-out training pictures, from 0 to 1, one number for each training.
        right: which test pictures are right, ``(trainings, pictures)``, bool.
        seconds: the mean time of a training.
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
        """The accuracy on test pictures, from 0 to 1, averaged over trainings."""
        return float(self.right.mean())

    def span(self) -> tuple[float, float]:
        """The range of the accuracy over trainings; with one training, its interval for other pictures."""
        accuracies = self.right.mean(axis=1)
        return (float(np.min(accuracies)), float(np.max(accuracies))) if len(accuracies) > 1 else self.interval()

    @property
    def chosen_by(self) -> float:
        """The accuracy on held-out training pictures, from 0 to 1, averaged over trainings."""
        return float(np.mean(self.held_out))

    def interval(self) -> tuple[float, float]:
        """The interval of the accuracy on other test pictures, by Wilson; it does not include the luck of seeds."""
        pictures = self.right.shape[1]
        found = scipy.stats.binomtest(round(self.accuracy * pictures), pictures).proportion_ci(SURE, method="wilson")
        return float(found.low), float(found.high)


class Difference(NamedTuple):
    """The difference of two accuracies, with its confidence interval.

    Attributes:
        value, low, high: the difference and the ends of the interval, as shares of pictures.
        seeds: whether the interval includes the spread between seeds. Both sides then have two trainings or more.
    """

    value: float
    low: float
    high: float
    seeds: bool

    @property
    def sign(self) -> int:
        """1 if the interval is above zero, -1 if it is below, 0 if it includes zero."""
        return int(self.low > 0) - int(self.high < 0)


def difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """The accuracy of ``first`` minus that of ``second``; both are ``(trainings, pictures)``, bool.

    The variance has three parts: that of the mean over pictures, which both sides share, and that of the mean over
    trainings, for each side. Their degrees of freedom are combined by Welch and Satterthwaite.
    """
    by_picture = first.mean(axis=0) - second.mean(axis=0)
    samples = [by_picture, *(side.mean(axis=1) for side in (first, second) if len(side) > 1)]
    parts = [(float(np.var(sample, ddof=1)) / len(sample), len(sample) - 1) for sample in samples]
    variance = sum(part for part, _ in parts)
    value = float(by_picture.mean())
    spread = sum(part**2 / freedom for part, freedom in parts)
    reach = float(scipy.stats.t.ppf((1 + SURE) / 2, variance**2 / spread)) * variance**0.5 if spread else 0.0
    return Difference(value, value - reach, value + reach, seeds=len(samples) == 3)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of a contest.

    Attributes:
        contenders: all networks, the found one first.
        handed: the name of the network that the user is handed: the best on held-out training pictures.
        hand: the name of the best hand-made network on held-out training pictures; None if there is none.
        over_hand: the accuracy of the found network minus that of ``hand``; None if there is none.
        over_random: the accuracy of the found network minus the mean of the random networks; None if there are none.
        search_seconds: the time of the search.
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
            told.append("Nothing shows that the search was worth its time here: random networks are as good.")
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
    """The verdict on the found network, which is the one contender of the kind ``found``.

    Raises:
        ValueError: if there is no other contender.
    """
    found = next(each for each in contenders if each.kind == "found")
    others = [each for each in contenders if each is not found]
    if not others:
        raise ValueError("the found network has no contenders; name some, such as --against random:3.")
    hands = [each for each in others if each.kind == "hand"]
    chance = [each.right for each in others if each.kind == "random"]
    # Held-out pictures choose the hand-made network. The best on test pictures would be the one with the most luck.
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
    """A difference in words. It claims nothing if the interval includes zero.

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
