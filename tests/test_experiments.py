"""The tables and figures of the experiments can be made again from the traces that are kept beside them."""

import itertools
import json
import runpy
import sys
from pathlib import Path

import pytest

from diffnas.cli import main
from diffnas.space import NAS_BENCH_201_OPS

EXPERIMENTS = Path(__file__).parent.parent / "experiments"

# Script, folder of traces, and whether it looks cells up.
TABLES = {
    "all-methods": ("all-methods", "traces", True),
    "vote": ("vote", "../nas-bench-201/traces", True),
    "path-regularized": ("path-regularized", "traces", False),
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


@pytest.mark.parametrize(("name", "traces", "looks_up"), TABLES.values(), ids=TABLES)
def test_a_table_is_printed_from_the_traces(
    benchmark: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    traces: str,
    looks_up: bool,
) -> None:
    folder = EXPERIMENTS / name
    runs = sorted(path.parent.name for path in (folder / traces).glob("*/genotype.json"))
    monkeypatch.setattr(sys, "argv", ["table.py", "--runs", str(folder / traces)])
    if looks_up:
        monkeypatch.setattr(sys, "argv", [*sys.argv, "--table", str(benchmark)])
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, "common", raising=False)
    runpy.run_path(str(folder / "table.py"), run_name="__main__")
    monkeypatch.delitem(sys.modules, "common")
    printed = capsys.readouterr().out
    assert runs
    assert all(run.rsplit("-", 1)[0] in printed for run in runs)


@pytest.mark.parametrize(
    ("traces", "columns"),
    [
        ("nas-bench-201/traces", "benchmark,without_none,rank,live,discarded,first,last,seconds"),
        ("collapse/traces", "benchmark,without_none,skips,empty,live,discarded"),
        ("cifar/traces/cifar10", "connections,skips,convolutions,empty,live,macs_first,parameters,accuracy"),
        ("cifar/traces/cifar100", "connections,skips,convolutions,empty,live,macs_first,parameters,accuracy"),
    ],
)
def test_traces_are_compared(benchmark: Path, capsys: pytest.CaptureFixture[str], traces: str, columns: str) -> None:
    words = ["compare", str(EXPERIMENTS / traces), "--table", str(benchmark), "--columns", columns, "--json"]
    assert main([*words, "--epochs", "skips", "--every", "5"]) == 0
    methods, runs, *_, skips = json.loads(capsys.readouterr().out)["tables"]
    assert len(methods["header"]) == 2 + len(columns.split(",")) + 3
    assert {row[0] for row in runs["rows"]} == {
        path.parent.name for path in (EXPERIMENTS / traces).glob("*/genotype.json")
    }
    assert skips["rows"]


# Script, trace, and what it prints.
FIGURES = {
    "collapsed": ("figures/traces/deep", "normal cell: 0 of 8 connections are skips"),
    "weights": ("cifar/traces/cifar10/sparse-0", "plot.svg"),
}


@pytest.mark.parametrize("script", FIGURES)
def test_a_figure_is_drawn_from_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    trace, printed = FIGURES[script]
    monkeypatch.setattr(sys, "argv", [script, str(EXPERIMENTS / trace), "--out", str(tmp_path / "plot")])
    runpy.run_path(str(EXPERIMENTS / "figures" / f"{script}.py"), run_name="__main__")
    assert printed in capsys.readouterr().out
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".png"}
