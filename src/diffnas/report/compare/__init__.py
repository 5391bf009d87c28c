"""Comparisons of runs: what they found, how far seeds agree, and what they cost."""

from diffnas.report.compare.by import by_grid
from diffnas.report.compare.changes import changes_grid
from diffnas.report.compare.columns import Column
from diffnas.report.compare.differences import Difference, differences, differences_grid
from diffnas.report.compare.found import Benchmark, Found, read_found
from diffnas.report.compare.grids import (
    Grid,
    cells_grid,
    differing_grid,
    epochs_grid,
    group_grid,
    run_grid,
    to_csv,
    to_markdown,
)
from diffnas.report.compare.groups import Group, grouped
from diffnas.report.compare.page import write_page
from diffnas.report.compare.table1 import table1

__all__ = [
    "Benchmark",
    "Column",
    "Difference",
    "Found",
    "Grid",
    "Group",
    "by_grid",
    "cells_grid",
    "changes_grid",
    "differences",
    "differences_grid",
    "differing_grid",
    "epochs_grid",
    "group_grid",
    "grouped",
    "read_found",
    "run_grid",
    "table1",
    "to_csv",
    "to_markdown",
    "write_page",
]
