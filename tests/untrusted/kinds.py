"""A valid file of every kind that is read, what reads it, and a process that feeds damaged ones to that.

Run as a program, with a folder, a seed, and how many damaged files of each kind: prints what went wrong as JSON.
"""

from __future__ import annotations

import bz2
import faulthandler
import gzip
import io
import json
import pickle
import random
import resource
import shutil
import sys
import tarfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mutations import (
    Damage,
    damaged_bytes,
    damaged_field,
    damaged_json,
    damaged_json_line,
    damaged_lines,
    damaged_value,
)

import diffnas.tables
from diffnas.api.notes import load_noted, read_notes
from diffnas.api.planning import Request, plan_search
from diffnas.data.cifar import CIFAR10, load_release
from diffnas.deploy.source import source
from diffnas.engine import checkpoint
from diffnas.engine.same import check_same
from diffnas.engine.settings import EvaluateSettings, Source, merge_settings
from diffnas.genotype import load as load_genotype
from diffnas.genotype import to_text
from diffnas.nets import trained
from diffnas.report.compare import differing_grid, group_grid, grouped, read_found, run_grid, to_csv
from diffnas.report.draw import draw
from diffnas.report.page import page
from diffnas.report.reading import read_run
from diffnas.report.watch import Watched
from diffnas.run_folder import RunFolder
from diffnas.untrusted.arrays import parse_npy

SECONDS, MEMORY = 5, 1 << 30
CIFAR = replace(CIFAR10, train=50, test=10)
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|"


@dataclass(frozen=True)
class Kind:
    """A kind of file: where it lies below the folder, what reads it, and how it is damaged."""

    file: str
    read: Callable[[Path], Any]
    ways: tuple[Damage, ...] = (damaged_bytes, damaged_json, damaged_json)
    share: int = 1  # one in so many is tried: some take long


def plainly(pack: Callable[[Any], bytes], unpack: Callable[[bytes], Any]) -> Damage:
    """Damage to what a packed file says, packed again."""

    def damage(content: bytes, rng: random.Random) -> bytes:
        try:
            return pack(damaged_value(unpack(content), rng))
        except Exception:  # what is hostile may not be possible to pack
            return damaged_bytes(content, rng)

    return damage


def inside(unpack: Callable[[bytes], bytes], pack: Callable[[bytes], bytes]) -> Damage:
    """Damage to the bytes in a packed file, packed again."""
    return lambda content, rng: pack(damaged_bytes(unpack(content), rng))


def _packed_arrays(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **{str(name): np.array(value) for name, value in arrays.items()})
    return file.getvalue()


def _arrays(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content)) as file:
        return {name: file[name].tolist() for name in file}


def _state(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)


def _saved_state(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _compare(place: Path) -> None:
    groups = grouped([read_found(place / "run")])
    for grid in (group_grid(groups), run_grid(groups), differing_grid(groups)):
        assert grid.header
    to_csv(groups)


def _resume(place: Path) -> None:
    _, record = read_notes(place / "run", "search")
    folder = RunFolder.open(place / "run")
    check_same(folder, record)
    folder.trace(2)


def _plan(place: Path) -> None:
    """What goes on by a record, but for the search itself: a record may well ask for a long one."""
    plan_search(Request(), place / "run")


def _plan_training(place: Path) -> None:
    notes, record = read_notes(place / "run" / "evaluation", "evaluate")
    merge_settings(EvaluateSettings, record["settings"])
    load_noted(notes.data, None, Source())


def _network(place: Path) -> None:
    found = trained.load(place / "run")
    found.predict(torch.zeros(1, found.channels, *found.size, dtype=torch.uint8))
    source(found)


def _draw(place: Path) -> None:
    draw(load_genotype(place / "run" / "genotype.json"), place / "cell.svg")


LINES = (damaged_bytes, damaged_lines, damaged_json_line, damaged_json_line)
BYTES = (damaged_bytes,)
PICKLE = (damaged_bytes, plainly(lambda value: pickle.dumps(value, protocol=4), pickle.loads))
BZ2 = (
    damaged_bytes,
    inside(bz2.decompress, bz2.compress),
    plainly(lambda value: bz2.compress(pickle.dumps(value, protocol=4)), lambda c: pickle.loads(bz2.decompress(c))),
)
GZIP = (damaged_bytes, inside(gzip.decompress, lambda content: gzip.compress(content, compresslevel=1)))
STATE = (damaged_bytes, plainly(_saved_state, _state))
NATS = "NATS-tss-v1_0-3ffb9-simple"

KINDS: dict[str, Kind] = {
    "a genotype": Kind("run/genotype.json", lambda place: to_text(load_genotype(place / "run" / "genotype.json"))),
    "a genotype that is drawn": Kind("run/genotype.json", _draw),
    "a genotype in DARTS' words": Kind("darts.txt", lambda place: load_genotype(place / "darts.txt"), BYTES),
    "a genotype in NAS-Bench-201's": Kind("cell.txt", lambda place: load_genotype(place / "cell.txt"), BYTES),
    "a search's record": Kind("run/run.json", lambda place: page(read_run(place / "run"))),
    "a search's trace": Kind("run/trace.jsonl", lambda place: page(read_run(place / "run")), LINES),
    "a search's result": Kind("run/genotype.json", lambda place: page(read_run(place / "run"))),
    "an evaluation's record": Kind("run/evaluation/run.json", lambda place: page(read_run(place / "run"))),
    "an evaluation's trace": Kind("run/evaluation/trace.jsonl", lambda place: page(read_run(place / "run")), LINES),
    "an evaluation's result": Kind("run/evaluation/result.json", lambda place: page(read_run(place / "run"))),
    "a record that is compared": Kind("run/run.json", _compare),
    "a trace that is compared": Kind("run/trace.jsonl", _compare, LINES),
    "a trained record that is compared": Kind("run/evaluation/run.json", _compare),
    "a result that is compared": Kind("run/evaluation/result.json", _compare),
    "a trace that is watched": Kind("run/trace.jsonl", lambda place: Watched(place / "run"), LINES),
    "a record that is resumed": Kind("run/run.json", _resume),
    "a trace that is resumed": Kind("run/trace.jsonl", _resume, LINES),
    "a checkpoint": Kind(
        "run/checkpoint/last.pt",
        lambda place: checkpoint.load(place / "run" / "checkpoint" / "last.pt"),
        STATE,
    ),
    "a record that plans what goes on": Kind("run/run.json", _plan, share=5),
    "a trained record that plans what goes on": Kind("run/evaluation/run.json", _plan_training, share=5),
    "a network's record": Kind("run/evaluation/network.json", _network),
    "a network's weights": Kind("run/evaluation/network.safetensors", _network, BYTES),
    "a table in CSV": Kind(
        "table.csv",
        lambda place: diffnas.tables.load(place / "table.csv").classes,
        (damaged_bytes, damaged_lines, damaged_field),
    ),
    "a saved table": Kind(
        "table.npz",
        lambda place: diffnas.tables.load(place / "table.npz").classes,
        (damaged_bytes, plainly(_packed_arrays, _arrays)),
    ),
    "an array": Kind("array.npy", lambda place: parse_npy((place / "array.npy").read_bytes(), "x"), BYTES),
    "NATS-Bench's list": Kind(f"{NATS}/meta.pickle.pbz2", lambda place: diffnas.tables.load(place / NATS), BZ2),
    "NATS-Bench's cell": Kind(f"{NATS}/000000.pickle.pbz2", lambda place: diffnas.tables.load(place / NATS), BZ2),
    "CIFAR's pickles": Kind("py/test_batch", lambda place: load_release(CIFAR, place / "py"), PICKLE),
    "CIFAR's names in a pickle": Kind("py/batches.meta", lambda place: load_release(CIFAR, place / "py"), PICKLE),
    "CIFAR's bytes": Kind("bin/test_batch.bin", lambda place: load_release(CIFAR, place / "bin"), BYTES),
    "CIFAR's names": Kind("bin/batches.meta.txt", lambda place: load_release(CIFAR, place / "bin"), BYTES),
    "CIFAR's archive": Kind(
        CIFAR.layouts[0].archive, lambda place: load_release(CIFAR, place / CIFAR.layouts[0].archive), GZIP
    ),
}


def write_all(place: Path) -> None:
    """Write a valid file of every kind."""
    tiny = {"epochs": 2, "channels": 4, "depth": 3}
    given = {"space": "nas-bench-201", "train": 60, "search_settings": tiny, "evaluate_settings": tiny}
    diffnas.run("digits", out=place / "run", **given)
    for digests in (place / "run").rglob("digests.json"):  # a stranger's folder need not have any
        digests.unlink()
    (place / "darts.txt").write_text(diffnas.genotype.PUBLISHED["DARTS_V2"].text)
    (place / "cell.txt").write_text(CELL)
    (place / "table.csv").write_text(f"arch,test,valid\n{CELL},90.5,80\n|none~0|+|none~0|none~1|,10,\n")
    diffnas.tables.save(diffnas.tables.load(place / "table.csv"), place / "table.npz")
    np.save(place / "array.npy", np.arange(12.0).reshape(3, 4))
    _write_nats(place / NATS)
    _write_cifar(place)


def _write_nats(folder: Path) -> None:
    from nats_bench import api_utils as nats

    folder.mkdir()
    results = nats.ArchResults(0, CELL)
    trial = nats.ResultsCount("cifar10", None, {}, {}, 0.1, 10.0, {}, 777, 2, None)
    evaluations = {f"ori-test@{epoch}": 90.0 + epoch for epoch in range(2)}
    trial.update_eval(evaluations, evaluations, dict.fromkeys(evaluations, np.float64(1.0)))
    results.update("cifar10", 777, trial)
    nats.pickle_save({"12": results.state_dict(), "200": results.state_dict()}, folder / "000000.pickle")
    nats.pickle_save({"meta_archs": [CELL], "evaluated_indexes": {0}}, folder / "meta.pickle")


def _write_cifar(place: Path) -> None:
    binary, pickled = CIFAR.layouts
    names = [f"class-{number}" for number in range(10)]
    for layout, folder in ((binary, place / "bin"), (pickled, place / "py")):
        folder.mkdir()
        for file, count in (*((name, 10) for name in layout.train), (layout.test, 10)):
            images = np.random.default_rng(count).integers(0, 256, (count, 3072), np.uint8)
            labels = np.arange(count, dtype=np.uint8)
            packed = pickle.dumps({b"data": images, b"labels": labels.tolist()}, protocol=2)
            (folder / file).write_bytes(
                packed if layout.pickled else np.concatenate([labels[:, None], images], 1).tobytes()
            )
        listed = pickle.dumps({b"label_names": names}, protocol=2) if layout.pickled else "\n".join(names).encode()
        (folder / layout.names).write_bytes(listed)
    with tarfile.open(place / binary.archive, "w:gz") as archive:
        archive.add(place / "bin", arcname=binary.folder)


def feed(place: Path, kind: Kind, seed: int, count: int) -> list[str]:
    """What went wrong with ``count`` damaged files of a kind: other errors than ours, or too long."""
    path, wrong = place / kind.file, []
    content = path.read_bytes()
    for number in range(count):
        rng = random.Random(f"{seed} {kind.file} {number}")
        damaged = rng.choice(kind.ways)(content, rng)
        path.write_bytes(damaged)
        # Ends the process with a traceback: what hangs in C cannot be interrupted otherwise.
        faulthandler.dump_traceback_later(4 * SECONDS, exit=True)
        started = time.process_time()
        try:
            kind.read(place)
        except (ValueError, FileNotFoundError) as error:
            if len(str(error).splitlines()) != 1 or len(str(error)) > 2000:
                wrong.append(f"{number}: not one line: {error!r:.300}")
            if type(error) not in (ValueError, FileNotFoundError) and not type(error).__module__.startswith("diffnas"):
                wrong.append(f"{number}: {type(error).__name__}: {error!r:.300}")
        except Exception:
            wrong.append(f"{number}: {''.join(traceback.format_exc().splitlines(keepends=True)[-9:])}")
        if time.process_time() - started > SECONDS:
            wrong.append(f"{number}: took {time.process_time() - started:.1f} s")
    faulthandler.cancel_dump_traceback_later()
    path.write_bytes(content)
    return wrong


def main(valid: Path, seed: int, count: int, names: list[str]) -> None:
    """Feed damaged files of some kinds, and print what went wrong."""
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        place = Path(folder) / "files"
        shutil.copytree(valid, place)
        for kind in KINDS.values():  # what is loaded on first use is no growth
            kind.read(place)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        for name in names:
            print(name, file=sys.stderr, flush=True)
            share = count // KINDS[name].share
            found[name] = share, feed(place, KINDS[name], seed, share)
    print(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
