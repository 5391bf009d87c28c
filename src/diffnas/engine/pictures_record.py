"""What a run folder says of the pictures that a run saw."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from diffnas.data import DataSet


def describe_data(data: DataSet) -> dict[str, Any]:
    """Which pictures a run saw, and how they were read, as plain data."""
    # Only where there are levels: the records of older runs have none, and these must fit when they go on.
    levels = {} if data.levels is None else {"levels": list(data.levels)}
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "train": len(data.train),
        "test": len(data.test),
        "classes": list(data.classes),
        "channels": data.channels,
        "size": list(data.size),
        "mean": list(data.mean),
        "std": list(data.std),
        "augmentation": asdict(data.augmentation),
        **levels,
    }
