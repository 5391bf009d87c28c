"""What the experiments share: searches and trainings that continue if they are run again, and readers for tables.

A script in a folder beside this file imports it after ``sys.path.insert(1, str(Path(__file__).parents[1]))``.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import factorial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import torch
from scipy import stats

from diffnas.components.discretize import strongest_inputs, winners
from diffnas.data import DataSet, load, subsample
from diffnas.engine.aim import Aim, sized_for
from diffnas.engine.evaluate import evaluate
from diffnas.engine.scaling import nearest
from diffnas.engine.search import search
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.engine.target import parse
from diffnas.genotype import Genotype, read
from diffnas.genotype.own_space import own_space
from diffnas.method import METHODS, Method
from diffnas.nets.sized import Size
from diffnas.recipes import RECIPES
from diffnas.report.compare.differences import holm
from diffnas.run_folder import RunFolder
from diffnas.skeleton import StemKind
from diffnas.space import NAS_BENCH_201_OPS, SPACES, SearchSpace, darts, nas_bench_201

Result = TypeVar("Result")

SMALL = RECIPES["nas-bench-201-small"]


def continued(phase: Callable[..., Result], data: DataSet, *, out: Path, **options: Any) -> Result:
    """The result of ``diffnas.search`` or ``diffnas.run``. An interrupted one continues with its first options."""
    return phase(data, out=out, resume=True) if RunFolder(out).begun else phase(data, out=out, **options)


def searched(data: DataSet, *, space: SearchSpace, method: Method, settings: SearchSettings, out: Path) -> Genotype:
    """The cell that a search finds. An interrupted search continues; the result of a finished search is read."""
    if not RunFolder(out).genotype_file.exists():
        resume = RunFolder(out).begun
        search(data, space=space, method=method, settings=settings, out=out, resume=resume, device="cpu")
    return read(out / "genotype.json")


def trained(genotype: Genotype, data: DataSet, settings: EvaluateSettings, out: Path) -> None:
    """Train a cell's network and test it. An interrupted training continues; a finished one is not run again."""
    if not RunFolder(out).result_file.exists():
        resume = RunFolder(out).begun
        result = evaluate(genotype, data, settings=settings, out=out, resume=resume, device="cpu")
        print(f"{out}: test accuracy {result.test['accuracy']:.4f}", flush=True)


def small_pictures(data_dir: Path) -> DataSet:
    """The pictures of CIFAR-10 that the recipe ``nas-bench-201-small`` searches on."""
    return subsample(load("cifar10", data_dir=data_dir), SMALL.train, None)


def searched_small(data: DataSet, name: str, out: Path, **changes: Any) -> None:
    """Search by a method and ``nas-bench-201-small`` with other settings, and say how long that took."""
    method = METHODS[name]
    settings = merge_settings(SearchSettings, method.settings, SMALL.search, changes)
    searched(data, space=SPACES[SMALL.space], method=method, settings=settings, out=out)
    print(f"{out.name}: {spent(out)}", flush=True)


def spent(run: Path) -> str:
    """How many epochs a search had, and their seconds."""
    seconds = [line["seconds"] for line in trace(run)]
    return f"{len(seconds)} epochs in {sum(seconds):.0f} s"


def random_cell(seed: int) -> Genotype:
    """The genotype that DARTS would read off from random scores: two inputs a node, any operation but ``none``."""
    return strongest_inputs(*_random_scores(seed), darts)


def random_edges(seed: int) -> Genotype:
    """The genotype that the sparse method would read off from random scores: the winner of each edge, or ``none``."""
    return winners(*_random_scores(seed), darts)


def _random_scores(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    offered = torch.tensor(darts.offered)
    return torch.rand(offered.shape, generator=torch.Generator().manual_seed(seed)), offered


def size_of(cells: Genotype, target: str, stem: StemKind, data: DataSet, *, depth: int | None = None) -> Size:
    """The width at which cells come nearest to a target, with their depth and stem; the depth of a chain is its own."""
    aim = Aim(targets=parse(target), size=Size(16, depth or len(cells.cells), stem))
    return nearest(aim, sized_for(aim, own_space(cells), data), cells).size


class Difference(NamedTuple):
    """The difference of two means, its 95% interval, and p by Holm."""

    mean: float
    low: float
    high: float
    p: float


def welch(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[Difference]:
    """How the first of each pair differs from the second: Welch's test, and p by Holm over all pairs."""
    tests = [stats.ttest_ind(*pair, equal_var=False) for pair in pairs]
    return [
        Difference(fmean(one) - fmean(other), *test.confidence_interval(), p)
        for (one, other), test, p in zip(pairs, tests, holm([float(test.pvalue) for test in tests]), strict=True)
    ]


def correlated(points: Sequence[tuple[float, float]]) -> Any:
    """Spearman's correlation of two numbers, with the share of all orders that give one as large, of either sign."""
    firsts, seconds = (stats.zscore(stats.rankdata(each)) for each in zip(*points, strict=True))

    def statistic(order: Any, axis: int) -> Any:
        return (order * firsts).mean(axis=axis)

    return stats.permutation_test(
        (seconds,), statistic, permutation_type="pairings", vectorized=True, n_resamples=factorial(len(points))
    )


def begun(runs: Path) -> list[Path]:
    """The folders of the searches that have a trace, by name."""
    return _with(runs, "trace.jsonl")


def finished(runs: Path) -> list[Path]:
    """The folders of the finished searches, by name."""
    return _with(runs, "genotype.json")


def tested(runs: Path) -> list[Path]:
    """The folders of the finished trainings, by name."""
    return _with(runs, "result.json")


def _with(runs: Path, file: str) -> list[Path]:
    return [path.parent for path in sorted(runs.glob(f"*/{file}"))]


def trace(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's trace, one for each epoch; empty for a cell that was not searched."""
    return RunFolder(run).trace()


def kept(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of results; none if there is no file."""
    rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return rows


def keep(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of results, a line for each row."""
    file.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


def layers(chain: Genotype) -> list[str]:
    """What each layer of a chain does."""
    return [" + ".join(each.op for each in cell.connections) or "none" for cell in chain.cells.values()]


def short(genotype: Genotype) -> str:
    """The ops of edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2, a digit each: 0 none, 1 skip, 2 1x1, 3 3x3, 4 pool."""
    ops = {(c.source, c.target): c.op for c in genotype.cells["normal"].connections}
    edges = nas_bench_201.cells["normal"].edges
    return "".join(str(NAS_BENCH_201_OPS.index(ops.get((e.source, e.target), "none"))) for e in edges)
