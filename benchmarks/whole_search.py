"""Time a whole pruned search against a dense one: ``sparse``, and ``darts`` for a quarter of its epochs.

    python benchmarks/whole_search.py --data-dir DATA --out runs/whole
    python benchmarks/whole_search.py --data-dir DATA --out runs/whole --pictures 2000 --epochs 3

``darts`` (bilevel, softmax, nothing pruned) halves the pictures, so its epoch is as many passes through the supernet
as one of ``sparse``: half as many steps, each with one pass for the weights and one for alpha. Both supernets are fast.

Both searches run in this process and take turns: the next epoch is that of the search that is further behind. So other
work on the machine slows both alike. At the end of an epoch a search stops at its checkpoint, and its next turn resumes
from there. An epoch is timed from its first step until its checkpoint is written. CPU seconds include all threads of
this process and no other process. If the command is run again, it continues; the measurements are in
``OUT/epochs.jsonl``. The curve is measured afterwards: a step of the whole supernet, and of the supernet that each
epoch left, in turn, on one thread.

The learning rate of alpha is the same for both, by the rule of experiments/cifar: rate times steps is the same as in
DARTS' own search (3e-4 times 19,550), but the rate is at most 3e-3, less than a third of the smallest gap at which
3-entmax removes one of 8 operations.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import allocate, interleaved, machine, spread

from diffnas.data import DataSet, load, subsample
from diffnas.engine.listen import Interrupted
from diffnas.engine.search import SearchResult, search
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.engine.trial import trial
from diffnas.genotype.text import to_text
from diffnas.method import METHODS
from diffnas.recipes import RECIPES
from diffnas.run_folder import RunFolder
from diffnas.space import SPACES, SearchSpace

DENSE, PRUNED = "darts", "sparse"

# A line of the log: an epoch, or a part of an epoch.
Line = dict[str, Any]
CLOCKS = ("seconds", "cpu_seconds")


class Paused(Exception):  # noqa: N818 - not an error: it is the other search's turn
    """Raised when an epoch is over and its checkpoint is written."""


class Stopwatch:
    """A listener that times one epoch of a search, and then stops the search."""

    def __init__(self) -> None:
        self.begun = (0.0, 0.0)
        self.marks: list[float] = []
        self.closed: Mapping[str, Any] | None = None

    def taken(self) -> Line:
        """Seconds by both clocks since the first step began, and the CPU seconds of every step."""
        wall, cpu = (now - then for now, then in zip(clocks(), self.begun, strict=True))
        steps = [round(later - earlier, 4) for earlier, later in pairwise(self.marks)]
        return {"seconds": wall, "cpu_seconds": cpu, "steps": steps}

    def begin(self, phase: str, epochs: int, steps: int, done: int, task: object) -> None:
        self.begun = clocks()
        self.marks = [self.begun[1]]

    def step(self, loss: float, accuracy: float) -> None:
        self.marks.append(time.process_time())

    def epoch(self, line: Mapping[str, Any]) -> None:
        self.closed = line
        raise Paused

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass

    def end(self) -> None:
        pass


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@dataclass(frozen=True, kw_only=True)
class Log:
    """The measurements: a line for every epoch, or for each of its parts if it was interrupted."""

    path: Path

    def lines(self, name: str | None = None) -> list[Line]:
        texts = self.path.read_text().splitlines() if self.path.exists() else []
        return [line for line in map(json.loads, texts) if name in (None, line["search"])]

    def append(self, line: Line) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One of the two searches, with its folder and the log that both share."""

    name: str
    data: DataSet
    space: SearchSpace
    settings: SearchSettings
    out: Path
    log: Log
    threads: int

    @property
    def done(self) -> int:
        """How many of its epochs are over and measured."""
        return sum("epoch" in line for line in self.log.lines(self.name))

    @property
    def share(self) -> float:
        return self.done / self.settings.epochs

    def arguments(self) -> dict[str, Any]:
        return {"space": self.space, "method": METHODS[self.name], "settings": self.settings, "device": "cpu"}

    def go_on(self, watch: Stopwatch) -> SearchResult:
        folder = self.out / self.name
        resume = RunFolder(folder).begun
        return search(
            self.data, out=folder, resume=resume, listener=watch, threads=self.threads, **self.arguments()
        )  # fmt: skip

    def take_turn(self) -> None:
        """Run and measure one epoch."""
        watch = Stopwatch()
        try:
            self.go_on(watch)
        except Paused:
            self.log.append({"search": self.name, **self.closed(watch), **watch.taken()})
        except Interrupted as told:
            self.log.append({"search": self.name, **watch.taken()})
            raise SystemExit(str(told)) from None
        else:
            raise SystemExit(f"{self.name} was killed before its last epoch was measured; take another --out.")

    def closed(self, watch: Stopwatch) -> Line:
        """The number of the epoch that is over, with the operations and multiply-adds that are left."""
        assert watch.closed is not None
        keep = torch.tensor(watch.closed["keep"])
        live = {"live_ops": int(keep.sum()), "live_convolutions": int((keep & convolving(self.space)).sum())}
        return {"epoch": watch.closed["epoch"], **live, "macs": watch.closed["macs"]}


def convolving(space: SearchSpace) -> torch.Tensor:
    """Which columns of alpha stand for convolutions, ``(ops,)``, bool."""
    return torch.tensor(["conv" in op for op in space.ops])


def epochs_of(lines: Sequence[Line]) -> list[Line]:
    """One line for each epoch; the parts of an interrupted epoch are added up."""
    whole: list[Line] = []
    parts: list[Line] = []
    for line in lines:
        parts.append(line)
        if "epoch" in line:
            summed = {clock: sum(part[clock] for part in parts) for clock in CLOCKS}
            whole.append({**line, **summed, "steps": [step for part in parts for step in part["steps"]]})
            parts = []
    return whole


def totals(dense: Sequence[Line], pruned: Sequence[Line]) -> str:
    """The table of both searches, and the ratio of their wall-clock times."""
    rows = ["| search | epochs | steps | seconds | CPU seconds | live ops | convolutions | times darts' CPU seconds |"]
    rows.append("| --- " * 8 + "|")
    base = sum(line["cpu_seconds"] for line in dense)
    for name, lines in ((DENSE, dense), (PRUNED, pruned)):
        wall, cpu = (sum(line[clock] for line in lines) for clock in CLOCKS)
        steps, last = sum(len(line["steps"]) for line in lines), lines[-1]
        rows.append(
            f"| {name} | {len(lines)} | {steps} | {wall:.0f} | {cpu:.0f} | {last['live_ops']} | "
            f"{last['live_convolutions']} | {cpu / base:.2f} |"
        )
    wall = sum(line["seconds"] for line in pruned) / sum(line["seconds"] for line in dense)
    return "\n".join([*rows, f"\nBy the clock on the wall {PRUNED} took {wall:.2f} times as long as {DENSE}."])


def curve(pruned: Contestant, rounds: int) -> str:
    """The table of the time of a step, for the whole supernet and for the supernet after each epoch."""
    kept = [torch.tensor(line["keep"]) for line in RunFolder.open(pruned.out / pruned.name).trace()]
    kept = [torch.tensor(pruned.space.offered), *kept]
    names = ["whole", *(f"after epoch {epoch}" for epoch in range(1, len(kept)))]
    # Epochs that removed nothing are left out.
    left = {
        name: keep
        for at, (name, keep) in enumerate(zip(names, kept, strict=True))
        if not at or keep.ne(kept[at - 1]).any()
    }
    steps = {name: trial(pruned.data, **pruned.arguments(), keep=keep).step for name, keep in left.items()}
    seconds = interleaved(steps, rounds=rounds, warm_up=2, clock=time.process_time)
    rows = [
        "| supernet | live ops | convolutions | CPU seconds a step | share of the whole one's |",
        "| --- " * 5 + "|",
    ]
    points: list[list[float]] = []
    for name, keep in left.items():
        shares = [mine / whole for mine, whole in zip(seconds[name], seconds["whole"], strict=True)]
        ops, convolutions = int(keep.sum()), int((keep & convolving(pruned.space)).sum())
        rows.append(f"| {name} | {ops} | {convolutions} | {median(seconds[name]):.4f} | {spread(shares)} |")
        points.append([ops, convolutions, median(shares)])
    return "\n".join(rows) + "\n\n" + together(torch.tensor(points, dtype=torch.float64))


def together(points: torch.Tensor) -> str:
    """How time correlates with what is left, in words; ``points``: live ops, convolutions, time, ``(supernets, 3)``."""
    if len(points) < 3:
        return "Too little was removed to say what time follows."
    of = torch.corrcoef(points.T)[2]
    return f"Correlation of the time with the live operations {of[0]:.3f}, with the live convolutions {of[1]:.3f}."


def alpha_rate(steps: int) -> float:
    """The learning rate of alpha for a search of so many steps."""
    return min(3e-4 * 19_550 / steps, 3e-3)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", choices=["cifar10", "cifar100", "digits"])
    parser.add_argument("--data-dir", type=Path, help="where the files of CIFAR are")
    parser.add_argument("--out", type=Path, required=True, help="where searches and measurements are kept")
    parser.add_argument("--recipe", default="darts-small", choices=["darts-small", "nas-bench-201-small"])
    parser.add_argument("--pictures", type=int, help="training pictures; the recipe's number by default")
    parser.add_argument("--epochs", type=int, default=5, help=f"of {DENSE}")
    parser.add_argument("--times", type=int, default=4, help=f"epochs of {PRUNED} for each of those")
    parser.add_argument("--channels", type=int, help="of the first cell; the recipe's by default")
    parser.add_argument("--cells", type=int, help="the recipe's number by default")
    parser.add_argument("--batch", type=int, help="the recipe's by default")
    parser.add_argument("--alpha-lr", type=float, help="by the rule above by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="steps of every supernet, for the curve")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def contestants(options: argparse.Namespace) -> list[Contestant]:
    recipe = RECIPES[options.recipe]
    data_dir = {} if options.data == "digits" else {"data_dir": options.data_dir}
    data = subsample(load(options.data, **data_dir), options.pictures or recipe.train, None)
    sizes = {"channels": options.channels, "depth": options.cells, "batch": options.batch}
    given = {name: value for name, value in sizes.items() if value is not None}
    epochs = {DENSE: options.epochs, PRUNED: options.times * options.epochs}
    batch = options.batch or recipe.search["batch"]
    steps = epochs[PRUNED] * -(-len(data.train) // batch)
    alpha_lr = options.alpha_lr or alpha_rate(steps)
    return [
        Contestant(
            name=name,
            data=data,
            space=SPACES[recipe.space],
            settings=merge_settings(
                SearchSettings, METHODS[name].settings, recipe.search, given,
                {"epochs": epochs[name], "alpha_lr": alpha_lr, "seed": options.seed},
            ),
            out=options.out,
            log=Log(path=options.out / "epochs.jsonl"),
            threads=options.threads,
        )
        for name in (DENSE, PRUNED)
    ]  # fmt: skip


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    made = contestants(options)
    dense, pruned = made
    print(f"# Whole searches: {PRUNED} against {DENSE}, {options.recipe}, {dense.data.name}\n\n{machine()}")
    print(allocate("kept"))  # a search does so by itself
    settings = pruned.settings
    print(f"- {settings.channels} channels, {settings.depth} cells, batch {settings.batch}, ", end="")
    print(f"learning rate of alpha {settings.alpha_lr:g}, seed {settings.seed}\n", flush=True)
    for each in made:
        # What a process loads and compiles once is not part of a search.
        trial(each.data, **each.arguments()).step()
    while min(each.share for each in made) < 1:
        min(made, key=lambda each: each.share).take_turn()
    lines = [epochs_of(each.log.lines(each.name)) for each in made]
    print(totals(*lines))
    print(f"\n## A step on the way of {PRUNED}, {options.rounds} rounds\n")
    print(curve(pruned, options.rounds))
    for each in made:
        print(f"\n{each.name}: `{to_text(each.go_on(Stopwatch()).genotype)}`")


if __name__ == "__main__":
    main()
