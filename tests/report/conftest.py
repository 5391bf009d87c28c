import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import diffnas
from diffnas.genotype import parse, to_json
from diffnas.report.sweep.record import CellRecord, EndRecord, SweepRecord, write_end, write_sweep
from diffnas.space import nas_bench_201

TINY = {"epochs": 3, "channels": 4, "depth": 3}


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture
def contrast() -> Callable[[str, str], float]:
    """The contrast of two colors, as WCAG has it: 1 to 21."""

    def between(a: str, b: str) -> float:
        dark, light = sorted((luminance(a), luminance(b)))
        return (light + 0.05) / (dark + 0.05)

    return between


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run on a few digits, in which operations die."""
    out = tmp_path_factory.mktemp("report") / "tiny"
    diffnas.run(
        "digits",
        out=out,
        space="nas-bench-201",
        train=100,
        search_settings={**TINY, "alpha_lr": 0.03},
        evaluate_settings={**TINY, "epochs": 2},
    )
    return out


Epoch = tuple[str, Sequence[Sequence[float]]]


@pytest.fixture
def write_search(tmp_path: Path) -> Callable[..., Path]:
    """Writes the folder of a search on NAS-Bench-201: a cell and weights, ``(edges, ops)``, for every epoch."""

    def write(
        epochs: Sequence[Epoch],
        *,
        planned: int | None = None,
        finished: bool = True,
        evaluated: bool = False,
        method: str = "sparse",
        **more: Any,
    ) -> Path:
        cell = nas_bench_201.cells["normal"]
        record = {
            "schema": "diffnas/run",
            "version": 1,
            "phase": "search",
            "space": {
                "name": "nas-bench-201",
                "skeleton": "nas-bench-201",
                "ops": list(nas_bench_201.ops),
                "cells": {"normal": {"inputs": 1, "edges": cell.edges, "ops": cell.ops, "output": cell.output}},
            },
            "method": {"name": method},
            "settings": {"epochs": planned or len(epochs), "seed": 0, "channels": 4, "depth": 5},
            "data": {"name": "digits", "train": 10, "test": 5, "classes": ["0", "1"], "size": [8, 8]},
            "made_with": {"command": ["diffnas", "search", "digits"]},
        }
        folder = tmp_path / more.pop("name", "searched")
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(record))
        lines = [_line(number, text, mix, more) for number, (text, mix) in enumerate(epochs)]
        (folder / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if finished:
            (folder / "genotype.json").write_text(to_json(parse(epochs[-1][0])))
        if evaluated:
            _write_evaluation(folder / "evaluation", epochs[-1][0], record)
        return folder

    return write


def _line(number: int, text: str, mix: Sequence[Sequence[float]], more: dict[str, Any]) -> dict[str, Any]:
    keep = [[w > 0 for w in row] for row in mix]
    return {
        "epoch": number,
        "train_loss": 2.0 / (number + 1),
        "train_accuracy": 0.5,
        "lr": 0.1,
        "seconds": 2.0,
        "steps": 4,
        "parameters": 1000,
        "macs": 5000,
        "peak_memory": 10**8,
        "indicators": {"none_share": sum(row[0] for row in mix) / len(mix), **more.get("indicators", {})},
        "genotype": json.loads(to_json(parse(text))),
        "mix": mix,
        "keep": keep,
    }


def _write_evaluation(folder: Path, text: str, search: dict[str, Any]) -> None:
    """The folder of the evaluation of what a search found: two epochs and the result."""
    folder.mkdir()
    genotype = json.loads(to_json(parse(text)))
    shared = {name: search[name] for name in ("schema", "version", "settings", "data", "made_with")}
    (folder / "run.json").write_text(json.dumps({**shared, "phase": "evaluate", "genotype": genotype}))
    epochs = [{"train_loss": 1.0, "train_accuracy": 0.6}, {"train_loss": 0.5, "train_accuracy": 0.9}]
    lines = [{"epoch": number, "lr": 0.1, "seconds": 2.0, **epoch} for number, epoch in enumerate(epochs)]
    (folder / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"test_pictures": 5, "accuracy": 0.8, "loss": 0.7, "parameters": 1234, "macs": 56789, "seconds": 4.0}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def sweep_folder(write_search: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of a sweep of five runs, each of which is in another state and has its name."""
    place, names = tmp_path / "s", ("done", "running", "stopped", "waiting", "failed")
    cells = {name: CellRecord(values={"seed": str(k)}, options={}, memory=0) for k, name in enumerate(names)}
    write_sweep(place, SweepRecord(cells=cells))
    epoch, live = ("|skip_connect~0|+|none~0|nor_conv_3x3~1|", [[0.2] * 5] * 6), {"live_ops": 27}
    for name in ("running", "stopped", "failed"):
        write_search([epoch], planned=4, finished=False, indicators=live, name=f"s/{name}")
    write_search([epoch] * 4, evaluated=True, indicators=live, name="s/done")
    (place / "running" / "lock").write_text("process 1 on host")
    write_end(place, "done", EndRecord(done=True))
    write_end(place, "failed", EndRecord(done=False, reason="the loss became <b>infinite</b>."))
    return place
