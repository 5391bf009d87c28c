"""Comparisons of runs: what they found, how far seeds agree, and what they cost."""

from diffnas.report.compare.by import by_grid
from diffnas.report.compare.columns import Column
from diffnas.report.compare.found import Benchmark, Found, Group, grouped, read_found
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
from diffnas.report.compare.page import write_page
from diffnas.report.compare.paired import Paired, paired, paired_grid
from diffnas.report.compare.table1 import table1

__all__ = [
    "Benchmark",
    "Column",
    "Found",
    "Grid",
    "Group",
    "Paired",
    "by_grid",
    "cells_grid",
    "differing_grid",
    "epochs_grid",
    "group_grid",
    "grouped",
    "paired",
    "paired_grid",
    "read_found",
    "run_grid",
    "table1",
    "to_csv",
    "to_markdown",
    "write_page",
]
