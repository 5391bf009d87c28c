"""Messages about how pictures were found and read, and which files were skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffnas.api.notes import DataNote
from diffnas.data import DESCRIPTIONS, DataSet
from diffnas.engine.listen import Listener
from diffnas.files import write_atomically
from diffnas.run_files import SKIPPED
from diffnas.run_folder import RunFolder

_ALOUD = 3

MIRRORED = (
    "every second training picture, at random, is mirrored left to right. This is wrong for digits, letters and "
    "everything else whose sides differ: --no-flip switches it off (flip=False in Python). --flip keeps it and stops "
    "this message."
)


def tell(data: DataSet, listener: Listener | None, *, listed: bool = False) -> None:
    """Tell a listener how a data set was read, and the first of its skipped files.

    Args:
        data: the data set.
        listener: hears the messages; None for nobody.
        listed: whether a run folder will list all skipped files.
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
    """A context for a run on ``data``. The messages come first; at the end, the run folder lists all skipped files.

    Args:
        data: the data set.
        place: the run folder; None if there is none.
        listener: hears the messages.
        note: how to load the data again; None if it was given as an object.
        flip: whether training pictures are mirrored; None leaves it to the data set.
    """
    tell(data, listener, listed=place is not None)
    known = note is not None and note.what in DESCRIPTIONS
    if flip is None and data.augmentation.flip and not known:
        listener.note(MIRRORED)
    try:
        yield
    finally:
        # This is also for interrupted runs. A refused run has no folder.
        if data.skipped and place is not None and RunFolder(place).begun:
            write_atomically(place / SKIPPED, "\n".join(data.skipped) + "\n")
