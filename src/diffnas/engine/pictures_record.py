"""The record of a run's pictures, for its folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from diffnas.data import DataSet


def describe_data(data: DataSet) -> dict[str, Any]:
    """Which pictures or sequences a run saw, and how they were read, as plain data."""
    # Without levels there is no entry, so that records from before there were levels still fit on a resume.
    levels = {} if data.levels is None else {"levels": list(data.levels)}
    kind = {"kind": data.kind} if data.in_steps else {}
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
        **kind,
    }
