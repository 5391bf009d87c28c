"""How the data are read in an epoch: pictures in an order drawn anew, streams in order and window by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from diffnas.data import Columns, DataSet, Series, Split, Stream
from diffnas.engine import seeds
from diffnas.engine.ranks import Ranks
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.nets import carried
from diffnas.nets.frames import Dropouts, Reading
from diffnas.skeleton import Skeleton

TRAIN, HELD_OUT, JUDGED = "train", "held_out", "judged"
"""The streams whose states a recurrent net carries."""

Settings: TypeAlias = SearchSettings | EvaluateSettings

MOST_STEPS = 2048
"""The most steps that a net without a state reads at once: attention takes memory for each pair of them."""

_HALVED = 0.05
"""The share of windows of half the length, as in AWD-LSTM (Merity et al., 2018)."""
_SPREAD, _SHORTEST, _LONGER = 5.0, 5, 20


def epoch_batches(split: Split, indices: Tensor, settings: Settings, epoch: int, ranks: Ranks) -> list[Tensor]:
    """What this rank takes of each batch of an epoch: indices of pictures, or the places of a window, ``(B, T)``."""
    if isinstance(split, Stream):
        columns = Columns.of(indices, settings.batch)
        return [ranks.part(window) for window in columns.windows(lengths(columns.predicted, settings, epoch))]
    order = seeds.epoch_order(len(indices), settings.seed_for("order"), epoch)
    return ranks.batches(indices[order], settings.batch)


def in_turn(split: Split, indices: Tensor, batch: int, window: int, ranks: Ranks) -> list[Tensor]:
    """The same, in order and in windows of one length, to judge a net."""
    if isinstance(split, Stream):
        columns = Columns.of(indices, batch)
        return [ranks.part(each) for each in columns.windows(_alike(columns.predicted, window))]
    return ranks.batches(indices, batch)


def beside(held_out: Tensor, batches: Sequence[Tensor], settings: Settings) -> list[Tensor]:
    """The windows of held-out columns for each step, which begin where the training windows begin in theirs.

    They have the full length, so they overlap after a short training window. As in DARTS' code, they begin anew when
    the held-out columns end.
    """
    columns = Columns.of(held_out, settings.batch)
    rows = list(accumulate((batch.shape[1] for batch in batches[:-1]), initial=0))
    begins = [row % columns.predicted for row in rows]
    return [columns.window(row, min(settings.window, columns.predicted - row)) for row in begins]


def lengths(rows: int, settings: Settings, epoch: int) -> list[int]:
    """The lengths of the windows of an epoch, whose sum is ``rows``. The last one is what is left.

    >>> lengths(80, SearchSettings(window=35), 0)
    [35, 35, 10]
    """
    if settings.windows == "fixed":
        return _alike(rows, settings.window)
    drawn = seeds.generator(settings.seed_for("order"), "windows", epoch)
    found: list[int] = []
    while (left := rows - sum(found)) > 0:
        length = settings.window / 2 if float(torch.rand((), generator=drawn)) < _HALVED else float(settings.window)
        if settings.windows == "varied":
            length += _SPREAD * float(torch.randn((), generator=drawn))
            length = min(max(_SHORTEST, length), settings.window + _LONGER)
        found.append(min(max(1, int(length)), left))
    return found


def _alike(rows: int, window: int) -> list[int]:
    return [min(window, rows - row) for row in range(0, rows, window)]


def reading_of(data: DataSet, settings: Settings) -> Reading:
    """How a net reads the sequences of a data set, as arguments of ``Network``; empty for pictures."""
    if not data.in_steps:
        return {}
    shares = Dropouts(**{name: getattr(settings, name) for name in Dropouts._fields})
    return Reading(tokens=data.tokens is not None, forecast=data.forecasts, dropouts=shares, start=settings.start)


def as_read(data: DataSet, skeleton: Skeleton, window: int) -> DataSet:
    """The data with the number of steps that the nets of a skeleton read at once, for which their cost is counted.

    A net with a state reads step by step. Any other one reads a window of a stream, or a whole sequence with a label.

    Raises:
        ValueError: for more steps than such a net can read.
    """
    if not skeleton.tokens or not data.in_steps:
        return data
    if not data.in_order:
        window = max(split.steps.shape[1] for split in (data.train, data.test) if isinstance(split, Series))
    if window > MOST_STEPS:
        raise ValueError(
            f"{data.name}: {window:,} steps are read at once, and a net of the skeleton {skeleton.name!r} reads "
            f"{MOST_STEPS:,} at most. Take shorter sequences, a smaller window, or --space recurrent."
        )
    return replace(data, window=window)


def inputs_of(data: DataSet, settings: Settings) -> dict[str, Any]:
    """What a net must know of its inputs, as arguments of ``Network``, ``Supernet`` and the sizes of both."""
    return {"picture": data.size, **reading_of(data, settings)}


def check_stream(split: Split, indices: Tensor, settings: Settings, name: str, skeleton: Skeleton) -> None:
    """Refuse a stream that is too short for its columns, or whose windows are too long for a net.

    Raises:
        ValueError: if a column has fewer than two windows, or if windows of drawn lengths may be longer than a table of
            positions; with what is there and what would work.
    """
    if not isinstance(split, Stream):
        return
    if skeleton.tokens and settings.windows == "varied":
        raise ValueError(
            f"windows=varied draws longer windows than {settings.window} steps, for which a net of the skeleton "
            f"{skeleton.name!r} has positions. Take --set windows=fixed, or halved."
        )
    needed = 2 * settings.window + 1
    columns = Columns.of(indices, settings.batch)
    if columns.rows < needed:
        fitting = len(indices) // needed
        way = f"use --batch {fitting} or more data" if fitting > 1 else "use more data, or a shorter --set window"
        raise ValueError(
            f"{name}: {settings.batch} columns of {len(indices):,} steps have {columns.rows} each, and two windows of "
            f"{settings.window} need {needed}: {way}."
        )


def rewind(net: nn.Module, stream: str, states: Mapping[str, list[Tensor]]) -> None:
    """Give a net the state of a stream as it was; ``states`` are what ``carried`` returned then."""
    now = {name: state for name, state in carried.carried(net).items() if name != stream}
    carried.restore(net, {**now, **({stream: states[stream]} if stream in states else {})})
