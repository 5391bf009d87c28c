"""The benchmarks run, at sizes that measure nothing: they verify what they compare, and print their tables."""

import importlib
import json
import runpy
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

SMALL = {
    "supernet_step.py": "--space nas-bench-201 --channels 2 --cells 5 --size 8 --batch 4 --rounds 1 --survivors 5 late "
    "--threads 1",
    "supernet_as_run.py": "--space nas-bench-201 --channels 2 --cells 5 --size 8 --batch 4 --rounds 1 --survivors 2",
    "memory.py": "--space nas-bench-201 --channels 4 --cells 5 --batch 8 --steps 1",
    "recurrent_step.py": "--channels 4 --batch 3 --window 2 --rounds 1",
    "evaluation_step.py": "--channels 4 --cells 3 --batch 4 --rounds 1 --genotype PDARTS FOUND",
    "augmentation.py": "--batch 4 --size 16 --rounds 1 --repeats 1",
    "same_search.py": "--pictures 40 --channels 2 --batch 20 --epochs 1 --seeds 0",
    "ranks.py": "--channels 2 --depth 3 --batch 20 --pictures 40 --epochs 1 --rounds 1",
    "streaming.py": "--pictures 60",
    "communication.py": "--cases 3",
    "startup.py": "--rounds 1 --warm-up 0",
    "whole_search.py": "--data digits --recipe nas-bench-201-small --pictures 20 --channels 2 --cells 5 --batch 10 "
    "--epochs 1 --times 2 --rounds 1",
}

# Searches as long as these, and processes that all import torch, take a while.
LONG = {
    "augmentation.py",
    "communication.py",
    "memory.py",
    "ranks.py",
    "same_search.py",
    "startup.py",
    "supernet_as_run.py",
    "whole_search.py",
}


def test_every_benchmark_is_run_here():
    scripts = {path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert scripts == {*SMALL, "gpu.py"}


@pytest.mark.slow
def test_a_visit_to_a_gpu_is_rehearsed_part_by_part():
    pytest.importorskip("numba")
    command = [sys.executable, BENCHMARKS / "gpu.py", "--rehearse"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    parts = ["machine", "correct", "steps", "pruned", "kernels", "epoch", "depthwise", "evaluate", "alone"]
    assert [part for part, _ in groupby(row["part"] for row in rows)] == parts
    assert not [row for row in rows if "failed" in row or "cut" in row]
    assert all(row["ok"] for row in rows if row["part"] == "correct")


def test_a_part_that_hangs_or_fails_ends_alone_and_keeps_its_lines(monkeypatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    gpu = importlib.import_module("gpu")

    def hangs(visit):
        yield {"first": visit.device}
        time.sleep(60)

    def fails(visit):
        yield {"first": visit.device}
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(gpu, "PARTS", {"hangs": (hangs, 2), "fails": (fails, 60)})
    for part in gpu.PARTS:
        gpu.run(part, gpu.REHEARSAL, tmp_path / "visit.jsonl")
    assert [json.loads(line) for line in (tmp_path / "visit.jsonl").read_text().splitlines()] == [
        {"part": "hangs", "first": "cpu"},
        {"part": "hangs", "cut": "the part's time is over"},
        {"part": "fails", "first": "cpu"},
        {"part": "fails", "failed": "RuntimeError: an illegal memory access"},
    ]


def assert_machine_and_table(printed: str) -> None:
    assert "- CPU: " in printed
    assert len([line for line in printed.splitlines() if line.startswith("| ")]) >= 3
    for _, table in groupby(printed.splitlines(), key=lambda line: line.startswith("| ")):
        rows = list(table)
        assert not rows[0].startswith("| ") or len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize("script", [name for name in SMALL if name not in LONG])
def test_a_benchmark_prints_the_machine_and_a_table_of_ratios(script, monkeypatch, capsys):
    """In this process: another one would take longer to import torch than to measure."""
    pytest.importorskip("numba")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [script, *SMALL[script].split()])
    runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    assert_machine_and_table(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(LONG))
def test_a_long_benchmark_prints_them_too(script, tmp_path):
    pytest.importorskip("numba")
    out = ["--out", tmp_path] if script == "whole_search.py" else []
    command = [sys.executable, BENCHMARKS / script, *SMALL[script].split(), *out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_machine_and_table(done.stdout)
