"""Telling the user how pictures were found and read, and which were not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffnas.api.notes import DataNote
from diffnas.data import DESCRIPTIONS, DataSet
from diffnas.engine.listen import Listener
from diffnas.files import write_atomically
from diffnas.run_files import RECORD, SKIPPED

_ALOUD = 3

MIRRORED = (
    "every second training picture, at random, is mirrored left to right. For digits, letters and all else whose two "
    "sides differ, this is wrong: switch it off by --no-flip (flip=False in Python); --flip keeps it, and this is not "
    "told again."
)


def tell(data: DataSet, listener: Listener | None, *, listed: bool = False) -> None:
    """Say what a data set's pictures were taken for, and the first of the files that were not read.

    Args:
        data: what was loaded.
        listener: hears it.
        listed: whether a run folder lists all those files.
    """
    if listener is None:
        return
    for remark in data.remarks:
        listener.warn(remark)
    if data.skipped:
        several = f"{len(data.skipped)} files were" if len(data.skipped) > 1 else "1 file was"
        more = "; ..." if len(data.skipped) > _ALOUD else ""
        where = f" All are in {SKIPPED} in the run folder." if more and listed else ""
        listener.warn(f"{several} skipped: {'; '.join(data.skipped[:_ALOUD])}{more}{where}")


@contextmanager
def told(
    data: DataSet, place: Path | None, listener: Listener, *, note: DataNote | None, flip: bool | None
) -> Iterator[None]:
    """Around a run on ``data``: what the user should know comes before it, and its folder lists every skipped file.

    Args:
        data: what was loaded.
        place: the run folder, if there is one.
        listener: hears it.
        note: how the data is loaded again; None if it was given as an object.
        flip: whether training pictures are mirrored; None is as the data says.
    """
    tell(data, listener, listed=place is not None)
    known = note is not None and note.what in DESCRIPTIONS
    if flip is None and data.augmentation.flip and not known:
        listener.note(MIRRORED)
    try:
        yield
    finally:
        # Also of a run that was interrupted; of one that was refused there is no folder.
        if data.skipped and place is not None and (place / RECORD).exists():
            write_atomically(place / SKIPPED, "\n".join(data.skipped) + "\n")
