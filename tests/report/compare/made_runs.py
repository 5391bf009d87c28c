"""Run folders as ``diffnas compare`` reads them, made by hand."""

import json
from pathlib import Path

from diffnas.genotype import Genotype, parse, to_json
from diffnas.report.compare import Group, grouped, read_found

MIXED = "|nor_conv_3x3~0|+|skip_connect~0|none~1|"
OTHER = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|"


def write(place: Path, content: object) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(content) + "\n")


def make_run(
    folder: Path,
    cell: str | Genotype = MIXED,
    *,
    method: str = "sparse",
    seed: int = 0,
    finished: bool = True,
    accuracy: float | None = None,
    evaluation_epochs: int = 5,
    data: str = "cifar10[100]",
    space: str = "nas-bench-201",
    **settings: object,
) -> Path:
    """A run folder, with what compare reads of one."""
    genotype = json.loads(to_json(parse(cell) if isinstance(cell, str) else cell))
    pictures = {"name": data, "train": 80, "classes": ["a", "b"], "size": [32, 32]}
    record = {"schema": "diffnas/run", "version": 1, "data": pictures}
    kinds = {kind: {"edges": [[0, 2]], "ops": [["none"]]} for kind in genotype["cells"]}
    described = {"name": space, "skeleton": genotype["skeleton"], "ops": ["none"], "cells": kinds}
    search = {"phase": "search", "method": {"name": method}, "space": described}
    write(folder / "run.json", {**record, **search, "settings": {"seed": seed, "epochs": 2, **settings}})
    line = {"seconds": 30.0 + seed, "macs": 1000, "indicators": {"live_ops": 20 + seed}, "genotype": genotype}
    line |= {"train_loss": 1.0, "train_accuracy": 0.5, "lr": 0.1, "parameters": 10, "stage": "whole"}
    line |= {"mix": [[1.0]] * len(kinds), "keep": [[True]] * len(kinds)}
    (folder / "trace.jsonl").write_text("".join(json.dumps({"epoch": epoch, **line}) + "\n" for epoch in range(2)))
    if finished:
        write(folder / "genotype.json", genotype)
    if accuracy is not None:
        tested = {
            "test_pictures": 20,
            "loss": 1.0,
            "accuracy": accuracy,
            "parameters": 1000 + seed,
            "macs": 2_000_000,
            "seconds": 60.0,
        }
        how = {"epochs": evaluation_epochs, "channels": 16, "depth": 5, "seed": seed}
        evaluation = {**record, "phase": "evaluate", "genotype": genotype, "settings": how}
        write(folder / "evaluation" / "run.json", evaluation)
        write(folder / "evaluation" / "result.json", tested)
    return folder


def changed(file: Path, **changes: object) -> None:
    """Change entries of a file of a run."""
    read = json.loads(file.read_text()) if file.exists() else {}
    write(file, {**read, **changes})


def groups_of(folder: Path) -> list[Group]:
    """The groups of the runs in a folder."""
    return grouped(read_found(path) for path in sorted(folder.iterdir()) if path.is_dir())
