"""Small searches for the tests of several processes; run as a script, they are computed by two of them.

``python shared_runs.py FOLDER CASE...``. With --talk, the processes first check what they tell one another, and in the
end the second one fails.
"""

import errno
import os
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from talk import check_talk

from diffnas.components.level import Batch
from diffnas.data import load, subsample
from diffnas.engine import checkpoint
from diffnas.engine.launch import joined, together
from diffnas.engine.search import SearchResult, search
from diffnas.engine.search_step import SearchStep
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import METHODS
from diffnas.space import darts, dense_cell, nas_bench_201

# The DARTS space with two nodes a cell instead of four, and without separable convolutions, for a fraction of the time.
OPS = tuple(op for op in darts.ops if not op.startswith("sep_conv"))
SMALL_DARTS = replace(darts, ops=OPS, cells={kind: dense_cell(inputs=2, nodes=2, ops=OPS) for kind in darts.cells})
SPACES = {"darts": SMALL_DARTS, "nas-bench-201": nas_bench_201}

# Batches of 7 pictures, of which one process takes 4 and the other 3; the last one of an epoch has 5 or 6.
TINY: dict[str, Any] = {"batch": 7, "channels": 2, "depth": 3, "alpha_lr": 0.1}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A method in a space, and how it is computed."""

    method: str
    space: str = "darts"
    precision: str = "64-true"
    backend: str = "plain"
    epochs: int = 2
    eigenvalue_every: int = 0
    sync_norm: bool = False
    seed: int = 0

    def run(self, out: Path | None, *, resume: bool = False) -> SearchResult:
        method = METHODS[self.method]
        epochs = max(self.epochs, len(method.stages(darts, 100)))
        names = ("backend", "eigenvalue_every", "sync_norm", "seed")
        own = {name: getattr(self, name) for name in names} | {"epochs": epochs}
        settings = merge_settings(SearchSettings, method.settings, TINY, own)
        # A subsample has as many pictures of each class.
        data = subsample(load("digits"), 30, 10)
        data = replace(data, train=data.train.subset(torch.arange(26)))
        torch.set_num_threads(1)
        return search(
            data,
            space=SPACES[self.space],
            method=method,
            settings=settings,
            out=out,
            resume=resume,
            device="cpu",
            precision=self.precision,
        )


IN_DOUBLE = {
    "sparse": Case(method="sparse", space="nas-bench-201", eigenvalue_every=2),
    **{
        name: Case(method=name)
        for name in ("darts", "darts-2nd", "path-regularized", "gdas", "p-darts", "prune-and-replace")
    },
}

# The fast way, in single precision. Selection by perturbation measures on all held-out pictures.
FAST = {
    "fast": Case(method="sparse", space="nas-bench-201", precision="32-true", backend="auto"),
    "measuring": Case(method="darts-pt", space="nas-bench-201", precision="32-true", backend="auto"),
}

# The same with other seeds, which the slow tests compute.
SEEDED = {f"fast-{seed}": replace(FAST["fast"], seed=seed) for seed in (1, 2)}

# Batch norm over both processes, which makes them one process that takes whole batches.
SYNCHRONIZED = {
    "sparse-synchronized": Case(method="sparse", space="nas-bench-201", eigenvalue_every=2, sync_norm=True),
    **{f"{name}-synchronized": Case(method=name, sync_norm=True) for name in ("darts", "darts-2nd")},
}

CASES = IN_DOUBLE | SYNCHRONIZED | FAST


def stop_at(step: int, number: int) -> None:
    """Have this process get a signal in a step of its search, counted from 1."""
    take, taken = SearchStep.take, []

    def counted(self: SearchStep, batch: Batch) -> None:
        take(self, batch)
        taken.append(step)
        if len(taken) == step:
            os.kill(os.getpid(), number)

    SearchStep.take = counted  # type: ignore[method-assign]


def fill_the_disk_after(epochs: int) -> None:
    """Have the disk of this process be full once so many checkpoints are written."""
    save, saved = checkpoint.save, []

    def saving(folder: Path, state: Mapping[str, Any]) -> None:
        if len(saved) == epochs:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(folder, state)
        saved.append(folder)

    checkpoint.save = saving


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--talk", action="store_true")
    parser.add_argument("--full", type=int, metavar="EPOCHS")
    parser.add_argument("--stop", type=int, nargs=3, metavar=("RANK", "SIGNAL", "STEP"))
    given = parser.parse_args()
    ranks = joined(given.devices)
    if given.stop and given.stop[0] == ranks.number:
        stop_at(given.stop[2], given.stop[1])
    if given.full is not None:
        fill_the_disk_after(given.full)
    if given.talk:
        check_talk(ranks)
    for name in given.cases:
        with together(given.folder / name):
            found = (CASES | SEEDED)[name].run(given.folder / name if ranks.first else None, resume=given.resume)
            traces = ranks.gather(found.trace)
            assert all(trace == traces[0] for trace in traces), "all processes have one trace"
    with together(given.folder):
        if given.talk and not ranks.first:
            raise ValueError("the second process has no pictures.")
        ranks.agree(0)


if __name__ == "__main__":
    main()
