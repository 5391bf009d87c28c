"""The tables and figures of the experiments can be made again from the traces that are kept beside them."""

import itertools
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diffnas.cli import main
from diffnas.space import NAS_BENCH_201_OPS

EXPERIMENTS = Path(__file__).parent.parent / "experiments"

# Script, folder of traces, and whether it looks cells up.
TABLES = {
    "all-methods": ("all-methods", "traces", True),
    "vote": ("vote", "../nas-bench-201/traces", True),
}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all cells, with invented accuracies."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    lines = ["arch,cifar10_test_200"]
    for number, (a, b, c, d, e, f) in enumerate(itertools.product(NAS_BENCH_201_OPS, repeat=6)):
        lines.append(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|,{50 + number / 1000:.3f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """What runs a script of an experiment with some words."""

    def run(script: str, *words: object) -> None:
        place = EXPERIMENTS / script
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        monkeypatch.setattr(sys, "path", [str(place.parent), *sys.path])
        runpy.run_path(str(place), run_name="__main__")

    forget()
    yield run
    forget()


def forget() -> None:
    """Forget the modules that several experiments have beside their scripts: these may be those of another one."""
    for name in ("common", "drawing", "run"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("name", "traces", "looks_up"), TABLES.values(), ids=TABLES)
def test_a_table_is_printed_from_the_traces(
    benchmark: Path,
    run_script: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    name: str,
    traces: str,
    looks_up: bool,
) -> None:
    place = EXPERIMENTS / name / traces
    run_script(f"{name}/table.py", "--runs", place, *(["--table", benchmark] if looks_up else []))
    printed = capsys.readouterr().out
    runs = sorted(path.parent.name for path in place.glob("*/genotype.json"))
    assert runs
    assert all(run.rsplit("-", 1)[0] in printed for run in runs)


def test_level_and_steps_are_compared(
    benchmark: Path, run_script: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_script("nas-bench-201/steps.py", "--table", benchmark)
    printed = capsys.readouterr().out
    assert re.search(r"\| darts \| 60 \| (\d+\.\d\d, ){4}\d", printed)
    assert "single-level, 15 epochs - darts, 30 epochs" in printed


@pytest.mark.parametrize(
    ("traces", "columns"),
    [
        ("nas-bench-201/traces", "benchmark,without_none,rank,live,discarded,first,last,seconds"),
        ("nas-bench-201/steps/60", "benchmark,without_none,skips,empty,discarded,seconds"),
        ("collapse/traces/nas-bench-201", "benchmark,without_none,skips,empty,live,discarded"),
        ("collapse/traces/s2", "normal/skip_connect,reduce/skip_connect,convolutions,connections,live,discarded"),
        ("collapse/traces/s4", "normal/noise,reduce/noise,convolutions,connections,live,discarded"),
        ("cifar/traces/cifar10", "connections,skips,convolutions,empty,live,macs_first,parameters,accuracy"),
        ("path-regularized/strength", "normal/skip_connect,reduce/skip_connect,convolutions,depth,live,accuracy"),
        ("cifar/traces/cifar100", "connections,skips,convolutions,empty,live,macs_first,parameters,accuracy"),
    ],
)
def test_traces_are_compared(benchmark: Path, capsys: pytest.CaptureFixture[str], traces: str, columns: str) -> None:
    words = ["compare", str(EXPERIMENTS / traces), "--table", str(benchmark), "--columns", columns, "--json"]
    assert main([*words, "--epochs", "skips", "--every", "5"]) == 0
    methods, runs, *_, skips = json.loads(capsys.readouterr().out)["tables"]
    assert len(methods["header"]) == 2 + len(columns.split(",")) + 3
    assert {row[0].removesuffix(" (not finished)") for row in runs["rows"]} == {
        path.name for path in (EXPERIMENTS / traces).iterdir()
    }
    assert skips["rows"]


def test_trainings_at_equal_cost_are_compared_with_random_ones(capsys: pytest.CaptureFixture[str]) -> None:
    parts = [str(EXPERIMENTS / "worth" / "trainings" / part) for part in ("random", "equal")]
    assert main(["compare", *parts, "--across", "channels", "--against", "random", "--json"]) == 0
    differences = json.loads(capsys.readouterr().out)["tables"][3]
    assert {"sparse - random", "darts - random", "path-regularized - random"} < {row[0] for row in differences["rows"]}
    assert {row[2] for row in differences["rows"]} == {"5 and 20", "2 and 20"}


@pytest.mark.parametrize("method", ["darts", "sparse"])
def test_changed_searches_are_compared_with_the_unchanged_one(capsys: pytest.CaptureFixture[str], method: str) -> None:
    traces = sorted((EXPERIMENTS / "variance" / "traces").glob(f"{method}-*"))
    assert main(["compare", *map(str, traces), "--changes-from", f"{method}-nothing", "--json"]) == 0
    changes = json.loads(capsys.readouterr().out)["tables"][0]
    assert {row[0]: row[1] for row in changes["rows"]} == {
        **dict.fromkeys(["seed", "weights_seed", "alpha_seed", "order_seed"], "3"),
        "backend=plain": "1",
        f"({method}-nothing)": "1",
    }


# Script, trace, and what it prints.
FIGURES = {
    "collapsed": ("figures/traces/deep", "normal cell: 0 of 8 connections are skips"),
    "weights": ("cifar/traces/cifar10/sparse-0", "plot.svg"),
}


@pytest.mark.parametrize("script", FIGURES)
def test_a_figure_is_drawn_from_a_trace(
    tmp_path: Path, run_script: Callable[..., None], capsys: pytest.CaptureFixture[str], script: str
) -> None:
    trace, printed = FIGURES[script]
    run_script(f"figures/{script}.py", EXPERIMENTS / trace, "--out", tmp_path / "plot")
    assert printed in capsys.readouterr().out
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".png"}


# Script, its words, and a text in its plot. {table} and {plot} are paths.
PLOTS = {
    "collapse in S2": ("collapse/plot.py", "s2 --out {plot}", "skips in the reduction cell"),
    "collapse in S4": ("collapse/plot.py", "s4 --out {plot}", "noise in the reduction cell"),
    "collapse": ("collapse/plot.py", "nas-bench-201 --table {table} --out {plot}", "single-level"),
    "sparse-recipe": ("sparse-recipe/plot.py", "--out {plot}", "rate-10-late-pruning"),
    "variance": ("variance/plot.py", "--out {plot}", "rounding"),
    "worth": ("worth/budget.py", "--plot {plot}", "random-edges, equal cost"),
    "path-regularized": ("path-regularized/penalties.py", "{strength} --plot {plot}", "gates-group"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_drawn_from_what_is_kept(
    tmp_path: Path, benchmark: Path, run_script: Callable[..., None], name: str
) -> None:
    script, words, text = PLOTS[name]
    plot = tmp_path / "plot.svg"
    paths = {"table": benchmark, "plot": plot, "strength": EXPERIMENTS / name / "strength"}
    run_script(script, *(word.format(**paths) for word in words.split()))
    assert text in plot.read_text()
