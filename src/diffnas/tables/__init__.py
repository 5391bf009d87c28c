"""Tables of cells that others have trained: to look a cell up takes milliseconds, to train it hours. No torch."""

from diffnas.tables.files import load, save
from diffnas.tables.record import Entry, Table, Twin

__all__ = ["Entry", "Table", "Twin", "load", "save"]
