"""What settings ask of the data, checked before anything is built."""

from __future__ import annotations

from diffnas.data import DataSet
from diffnas.engine.settings import EvaluateSettings, SearchSettings

_SHRINKS = {"cifar": 1, "cifar-half": 2, "imagenet": 8}


def check_last_batch(data: DataSet, count: int, settings: SearchSettings | EvaluateSettings) -> None:
    """Refuse a last batch of one picture where the net ends in maps of one pixel: batch norm would have one value.

    Args:
        data: where the pictures are from.
        count: how many of them an epoch takes.
        settings: with the stem and the batch.

    Raises:
        ValueError: with what to change.
    """
    # Two reductions after the stem, each rounding up.
    shrink = 4 * _SHRINKS[settings.stem]
    if max(data.size) <= shrink and count % settings.batch == 1:
        height, width = data.size
        raise ValueError(
            f"{data.name}: {count} pictures in batches of {settings.batch} leave a last batch of one, and with the "
            f"stem {settings.stem!r} pictures of {height}x{width} shrink to one pixel: batch norm cannot work on that. "
            f"Use --batch {settings.batch + 1}, or --set stem=cifar."
        )
