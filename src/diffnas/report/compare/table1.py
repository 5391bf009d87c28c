"""Table 1 of the sparse-connections paper, with the printed numbers and our own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import mean, stdev

from diffnas.report.compare.found import Found
from diffnas.report.compare.grids import Grid
from diffnas.report.compare.groups import Group

_COLUMNS = (("darts", "cifar10"), ("darts", "cifar100"), ("nas-bench-201", "cifar10"), ("nas-bench-201", "cifar100"))
_HEADER = ("DARTS, CIFAR-10", "DARTS, CIFAR-100", "NAS-Bench-201, CIFAR-10", "NAS-Bench-201, CIFAR-100")

# The rows as printed: test accuracy in percent, None where the paper has a dash; and our name of the method. Two empty
# rows, "Single-level DARTS 3" and "4", are left out.
_PRINTED: dict[str, tuple[tuple[float | None, float | None, float | None, float | None], str | None]] = {
    "DARTS": ((97.24, None, 54.30, 15.61), None),
    "DARTS-": ((97.37, 82.49, 93.80, 71.53), "darts-minus"),
    "PC-DARTS": ((97.43, None, None, None), "pc-darts"),
    "P-DARTS": ((97.50, 84.08, None, None), "p-darts"),
    "PR-DARTS": ((97.26, 82.63, None, None), "prune-and-replace"),
    "GOLD-NAS": ((97.23, None, None, None), "gold-nas"),
    "MiLeNAS": ((97.49, None, None, None), "milenas"),
    "Single-level DARTS (Hou et al.)": ((None, None, 94.36, 73.51), "single-level-sigmoid"),
    "GAEA": ((97.50, None, 94.10, 72.60), "gaea"),
    "ASAP": ((98.32, None, None, None), "asap"),
    "DARTS+PT": ((97.39, None, None, None), "darts-pt"),
    "Vanilla DARTS, run again": ((97.24, 80.85, 97.34, 81.40), "darts"),
    "Single-level DARTS": ((95.99, 79.80, None, None), "single-level"),
    "2-entmax, prune": ((97.24, 73.01, None, None), "entmax2"),
    "3-entmax, prune": ((97.35, 82.57, None, None), "entmax3"),
    "2-entmax, prune, single-level": ((97.42, 82.64, None, None), "entmax2-single"),
    "3-entmax, prune, single-level": ((97.58, 82.97, 97.68, 81.75), "sparse"),
}
_ITS_OWN = tuple(_PRINTED)[11:]

_NOTE = (
    "Test accuracy in percent. c: printed in the paper, which copied it from other papers; on NAS-Bench-201 it comes "
    "from the table of the benchmark, where 54.30 and 15.61 are the cell of only skips. p: printed, from the paper's "
    "own runs, without spread or seeds. r: like p, but the cell was trained anew. No cell has as much in the table of "
    "NAS-Bench-201, so do not compare r with c or b. b: ours, looked up in that table. Numbers in brackets: ours, "
    "trained anew:"
)


def table1(groups: Sequence[Group]) -> Grid:
    """A table with the layout of the paper's Table 1: the printed numbers and ours, each marked with its origin."""
    recipes: dict[str, int] = {}
    rows = []
    for name, (printed, method) in _PRINTED.items():
        fields = []
        for (space, data), value in zip(_COLUMNS, printed, strict=True):
            mine = [run for group in groups for run in group.runs if run.method == method and run.space == space]
            said = [_printed(name, space, value), *_looked_up(mine, data), *_trained(mine, data, recipes)]
            fields.append("; ".join(text for text in said if text) or "-")
        rows.append((name, *fields))
    trained = " ".join(f"[{number}] {recipe}." for recipe, number in recipes.items()) or "none."
    return Grid(
        title="Table 1 of the sparse-connections paper",
        header=("method", *_HEADER),
        rows=tuple(rows),
        note=f"{_NOTE} {trained}",
    )


def _printed(name: str, space: str, value: float | None) -> str:
    if value is None:
        return ""
    if name not in _ITS_OWN:
        return f"{value:.2f} c"
    return f"{value:.2f} {'r' if space == 'nas-bench-201' else 'p'}"


def _looked_up(mine: Sequence[Found], data: str) -> list[str]:
    """Our number from the benchmark's table, if it is for ``data``.

    The column names the data, also if the search had other data. Only if it does not, the data of the search counts.
    """
    values = [
        run.benchmark.accuracy
        for run in mine
        if run.benchmark and _is_on(data, run.benchmark.column if "cifar" in run.benchmark.column else run.data)
    ]
    return [f"{_spread(values)} b"] if values else []


def _trained(mine: Sequence[Found], data: str, recipes: dict[str, int]) -> list[str]:
    """Our numbers trained anew, one text for each recipe. The recipes are numbered in the order in which they come."""
    trained: dict[str, list[float]] = {}
    for run in mine:
        if "accuracy" in run.tested.get("test", {}) and _is_on(data, run.data):
            trained.setdefault(_recipe(run), []).append(100 * run.tested["test"]["accuracy"])
    return [f"{_spread(values)} [{recipes.setdefault(recipe, len(recipes) + 1)}]" for recipe, values in trained.items()]


def _is_on(data: str, name: str) -> bool:
    """Whether a name such as ``cifar10[5000]`` or ``cifar10_test_200`` belongs to the data set ``data``."""
    return re.match(rf"{data}(?!\d)", name) is not None


def _recipe(run: Found) -> str:
    """How a network was trained, in one line."""
    about = run.evaluation
    if not about:
        return f"after a search on {run.data}; its folder does not say how"
    size = f"{about.get('channels')} channels, {about.get('depth')} cells"
    return f"{about.get('epochs')} epochs on {about.get('data')}, {size}"


def _spread(values: Sequence[float]) -> str:
    seeds = f"{len(values)} seed{'s' * (len(values) > 1)}"
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "") + f" ({seeds})"
