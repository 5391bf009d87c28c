"""Interrupted anywhere and gone on with, a run ends as if nothing had happened, bit for bit."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted import Stop, assert_same, remains

from diffnas.components.weighting import LearnedEntmax
from diffnas.data import DataSet
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Interrupted, Silent
from diffnas.engine.search import search
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.genotype import published, read
from diffnas.method import METHODS, darts
from diffnas.report.reading import read_run
from diffnas.space import nas_bench_201, s4


class Fail(Stop):
    """Raises after ``steps`` steps, as a broken progress bar would."""

    def step(self, loss: float, accuracy: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("broken pipe")


def live(folder: Path) -> int:
    return int(remains(folder)[1]["keep"].sum())


LEARNED = replace(darts, name="learned", weighting=LearnedEntmax(1.5))

# Beside every method as it is, in test_every_method.py. Six steps an epoch with one level, three with two: stops within
# an epoch, at its very last step, and at the end.
SEARCHES: dict[str, tuple[Any, dict[str, Any], list[int]]] = {
    "one level, operations leave before and after": ("sparse", {"epochs": 3}, [4, 5]),
    "the last step of an epoch": ("sparse", {}, [6]),
    "the last step of all": ("sparse", {}, [12]),
    "removals at the end of an epoch": ("sparse", {"prune_every": "epoch", "alpha_lr": 0.1}, [6, 3]),
    "two levels": ("entmax3", {"epochs": 3}, [2, 2]),
    "rising order": ("sparse-progressive", {"epochs": 3}, [7]),
    "warm-ups": ("sparse", {"alpha_warmup": 1, "prune_warmup": 2, "epochs": 3, "alpha_lr": 0.1}, [5, 8]),
    "a learned order": (LEARNED, {}, [4]),
    "noise": ("entmax3", {"space": s4, "channels": 2, "epochs": 1}, [2]),
    "gates, operations leave before and after": ("path-regularized", {"epochs": 4, "alpha_lr": 1.0}, [8, 3]),
    "gates on one level": ("gates-single", {"prune_every": "epoch", "alpha_lr": 1.0}, [7]),
    "nesterov": ("sparse", {"nesterov": True, "clip": 0.0}, [5]),
}


@pytest.mark.parametrize(("method", "options", "stops"), SEARCHES.values(), ids=SEARCHES)
def test_an_interrupted_search_ends_as_one_left_alone(quick, tmp_path: Path, method, options, stops: list[int]):
    quick(method, out=tmp_path / "whole", **options)
    for number, steps in enumerate(stops):
        with pytest.raises(Interrupted, match="--resume"):
            quick(method, out=tmp_path / "parts", resume=number > 0, listener=Stop(steps), **options)
        assert not (tmp_path / "parts" / "genotype.json").exists()
    quick(method, out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_operations_leave_before_and_after_an_interruption(quick, tmp_path: Path):
    options = {"epochs": 3, "out": tmp_path / "run"}
    with pytest.raises(Interrupted):
        quick("sparse", listener=Stop(4), **options)
    middle = live(tmp_path / "run")
    quick("sparse", resume=True, **options)
    assert 30 > middle > live(tmp_path / "run")


@pytest.fixture(scope="module")
def left_alone(quick, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("left alone") / "whole"
    quick("sparse", out=folder)
    return folder


def test_a_failure_goes_back_to_the_last_epoch_and_ends_the_same(quick, left_alone: Path, tmp_path: Path):
    with pytest.raises(RuntimeError, match="broken pipe"):
        quick("sparse", out=tmp_path / "parts", listener=Fail(9))
    quick("sparse", out=tmp_path / "parts", resume=True)
    assert_same(left_alone, tmp_path / "parts")


def test_a_failure_in_the_first_epoch_begins_again(quick, left_alone: Path, tmp_path: Path):
    with pytest.raises(RuntimeError, match="broken pipe"):
        quick("sparse", out=tmp_path / "parts", listener=Fail(3))
    quick("sparse", out=tmp_path / "parts", resume=True)
    assert_same(left_alone, tmp_path / "parts")


def test_resuming_a_finished_search_changes_nothing(quick, tmp_path: Path):
    first = quick("sparse", out=tmp_path / "run")
    before = remains(tmp_path / "run")
    second = quick("sparse", out=tmp_path / "run", resume=True)
    after = remains(tmp_path / "run")
    assert before[0] == after[0]
    assert before[2] == after[2]
    assert (first.genotype, first.discarded, first.trace) == (second.genotype, second.discarded, second.trace)


def test_interrupt_and_terminate_are_heard_and_handlers_are_given_back(quick, tmp_path: Path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught:
            quick("darts", out=tmp_path / str(number), listener=Stop(2, number))
        assert caught.value.folder == tmp_path / str(number)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupted_search_without_a_folder_says_that_it_is_lost(quick):
    with pytest.raises(Interrupted, match="nothing is saved"):
        quick("darts", listener=Stop(1))


def test_a_second_signal_is_not_swallowed(quick, tmp_path: Path):
    class Impatient(Silent):
        def step(self, loss: float, accuracy: float) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    # A process in the background may have been started with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            quick("darts", out=tmp_path / "run", listener=Impatient())
    finally:
        signal.signal(signal.SIGINT, before)


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "a setting": ({"lr": 0.5}, "another settings: lr was 0.025 and is 0.5"),
    "the seed": ({"seed": 7}, "seed was 0 and is 7"),
    "the method": ({"method": "darts"}, "another method: name was 'sparse' and is 'darts'"),
    "the space": ({"space": s4}, "another space: name was 'nas-bench-201' and is 's4'"),
}


@pytest.mark.parametrize(("change", "message"), CHANGED.values(), ids=CHANGED)
def test_a_run_goes_on_only_as_it_was_begun(quick, tmp_path: Path, change: dict[str, Any], message: str):
    quick("sparse", epochs=1, out=tmp_path / "run")
    before = remains(tmp_path / "run")
    options = {"method": "sparse", "epochs": 1, **change}
    with pytest.raises(ValueError) as error:
        quick(options.pop("method"), out=tmp_path / "run", resume=True, **options)
    assert message in str(error.value)
    assert remains(tmp_path / "run")[0] == before[0]


def test_other_pictures_are_noticed(quick, data: DataSet, tmp_path: Path):
    quick("sparse", epochs=1, out=tmp_path / "run")
    fewer = replace(data, test=data.test.subset(torch.arange(49)))
    with pytest.raises(ValueError, match="another data: fingerprint was"):
        quick("sparse", epochs=1, out=tmp_path / "run", resume=True, data=fewer)


def test_a_folder_with_a_run_is_never_overwritten(quick, tmp_path: Path):
    quick("sparse", epochs=1, out=tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="already holds a run"):
        quick("darts", out=tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_there_must_be_something_to_resume(quick, tmp_path: Path):
    with pytest.raises(ValueError, match="not a run folder"):
        quick("sparse", out=tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Ear(Stop):
    """Hears warnings."""

    def __init__(self) -> None:
        super().__init__(0)
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def broken_off(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two searches of three epochs: ``whole``, and ``cut``, which ended within its third."""
    place = tmp_path_factory.mktemp("broken off")
    settings = merge_settings(
        SearchSettings, {"batch": 20, "channels": 4, "depth": 3, "alpha_lr": 0.03, "epochs": 3}, {}
    )
    asked: dict[str, Any] = {"space": nas_bench_201, "method": METHODS["sparse"], "settings": settings, "device": "cpu"}
    search(data, out=place / "whole", **asked)
    with pytest.raises(Interrupted):
        search(data, out=place / "cut", listener=Stop(14), **asked)
    return place


@pytest.fixture
def cut(broken_off: Path, tmp_path: Path) -> Path:
    """A copy of the search that ended within its third epoch, to be damaged."""
    return Path(shutil.copytree(broken_off / "cut", tmp_path / "cut"))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def change_the_rate(path: Path) -> None:
    """Change a number of the last epoch in a trace."""
    lines = path.read_text().splitlines()
    lines[-1] = json.dumps({**json.loads(lines[-1]), "lr": 0.5})
    path.write_text("\n".join(lines) + "\n")


BAD_CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "cut": shorten,
    "a flipped bit": lambda path: flip(path, 20_000),
}


@pytest.mark.parametrize("damage", BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_a_run_goes_back_to_the_checkpoint_before_a_damaged_one_and_ends_the_same(
    quick, broken_off: Path, cut: Path, damage: Callable[[Path], None]
):
    damage(cut / "checkpoint" / "last.pt")
    ear = Ear()
    quick("sparse", out=cut, epochs=3, resume=True, listener=ear)
    assert_same(broken_off / "whole", cut)
    (warning,) = ear.warnings
    assert re.search(r"last\.pt cannot be read .* goes on from the checkpoint before it, in epoch 3", warning)


def test_a_changed_line_that_the_checkpoint_before_does_not_know_is_written_again(quick, broken_off: Path, tmp_path):
    run, ear = Path(shutil.copytree(broken_off / "whole", tmp_path / "run")), Ear()
    change_the_rate(run / "trace.jsonl")
    quick("sparse", out=run, epochs=3, resume=True, listener=ear)
    assert_same(broken_off / "whole", run)
    assert "trace.jsonl is damaged or was changed" in ear.warnings[0]


def damage_both(run: Path) -> None:
    for path in (run / "checkpoint").iterdir():
        shorten(path)


def swap_lines(run: Path) -> None:
    trace = run / "trace.jsonl"
    trace.write_text("".join(reversed(trace.read_text().splitlines(keepends=True))))


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "both checkpoints damaged": (damage_both, r"last\.pt cannot be read.*previous\.pt cannot be read.*start anew"),
    "a number of the trace": (
        lambda run: change_the_rate(run / "trace.jsonl"),
        "is not what the run wrote.*start anew",
    ),
    "epochs out of order": (swap_lines, r"trace\.jsonl is damaged: line 1 is of epoch 1, not 0.*start anew"),
    "no checkpoint at all": (lambda run: shutil.rmtree(run / "checkpoint"), "2 epochs in its trace and no checkpoint"),
}


@pytest.mark.parametrize(("damage", "complaint"), REFUSED.values(), ids=REFUSED)
def test_a_run_of_which_nothing_good_is_left_is_refused_and_left_as_it_is(
    quick, cut: Path, damage: Callable[[Path], None], complaint: str
):
    damage(cut)
    before = files_of(cut)
    with pytest.raises(ValueError, match=complaint):
        quick("sparse", out=cut, epochs=3, resume=True)
    assert files_of(cut) == before


def test_a_record_that_was_changed_after_the_run_began_is_refused(quick, cut: Path):
    record = json.loads((cut / "run.json").read_text())
    record["settings"]["seed"] = 7
    (cut / "run.json").write_text(json.dumps(record))
    before = files_of(cut)
    with pytest.raises(ValueError, match=r"run\.json was changed .* settings: seed was 0 and is 7\. Undo the change"):
        quick("sparse", out=cut, epochs=3, resume=True, seed=7)
    assert files_of(cut) == before


def test_a_run_from_before_there_were_digests_goes_on(quick, broken_off: Path, cut: Path):
    for path in (cut / "checkpoint").iterdir():
        state = torch.load(path, weights_only=True)
        del state["folder"]
        torch.save(state, path)
    quick("sparse", out=cut, epochs=3, resume=True)
    assert_same(broken_off / "whole", cut)


def test_a_result_that_was_changed_is_refused_until_it_is_written_again(quick, broken_off: Path, tmp_path: Path):
    run = Path(shutil.copytree(broken_off / "whole", tmp_path / "run"))
    other = json.loads((run / "genotype.json").read_text())
    first = other["cells"]["normal"]["connections"][0]
    first["op"] = "skip_connect" if first["op"] != "skip_connect" else "nor_conv_1x1"
    (run / "genotype.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=rf"genotype\.json is damaged or was changed.*--resume {run}"):
        read(run)
    quick("sparse", out=run, epochs=3, resume=True)
    assert read(run) == read(broken_off / "whole")


@pytest.mark.parametrize("known", [5, {"run.json": 5, "trace.jsonl": 5}], ids=str)
def test_a_checkpoint_that_knows_nonsense_of_its_folder_is_refused_in_words(quick, cut: Path, known: Any):
    last = cut / "checkpoint" / "last.pt"
    state = torch.load(last, weights_only=True)
    torch.save({**state, "folder": known}, last)
    with pytest.raises(ValueError, match="does not fit this run"):
        quick("sparse", out=cut, epochs=3, resume=True)


@pytest.mark.parametrize("name", ["trace.jsonl", "genotype.json"])
def test_who_reads_a_finished_run_notices_a_changed_number(broken_off: Path, tmp_path: Path, name: str):
    run = Path(shutil.copytree(broken_off / "whole", tmp_path / "run"))
    (run / name).write_text((run / name).read_text().replace("1", "2", 1))
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        read_run(run)


def test_the_number_of_a_dead_process_on_a_partial_file_lets_it_be_removed(quick, cut: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"trace.jsonl.{dead.pid}.partial", f"checkpoint/last.pt.{dead.pid}.partial"):
        (cut / name).write_text("half")
    alive = cut / f"report.html.{os.getppid()}.partial"
    alive.write_text("half")
    quick("sparse", out=cut, epochs=3, resume=True)
    assert list(cut.rglob("*.partial")) == [alive]


def test_a_line_torn_by_a_crash_is_written_again(quick, left_alone: Path, tmp_path: Path):
    with pytest.raises(RuntimeError):
        quick("sparse", out=tmp_path / "run", listener=Fail(9))
    with (tmp_path / "run" / "trace.jsonl").open("a") as file:
        file.write('{"epoch": 1, "train_lo')
    quick("sparse", out=tmp_path / "run", resume=True)
    assert_same(left_alone, tmp_path / "run")


def test_a_checkpoint_of_something_else_is_refused(quick, cut: Path):
    torch.save({"epoch": 1}, cut / "checkpoint" / "last.pt")
    with pytest.raises(ValueError, match="does not fit this run"):
        quick("sparse", out=cut, epochs=3, resume=True)


# The evaluation.

TRAIN = EvaluateSettings(epochs=2, batch=40, channels=4, depth=3, drop_path=0.5, auxiliary=0.4, cutout=2)


@pytest.mark.parametrize("stops", [[2, 2], [3], [6]], ids=str)
def test_an_interrupted_evaluation_ends_as_one_left_alone(data: DataSet, tmp_path: Path, stops: list[int]):
    def run(folder: str, **options: Any):
        return evaluate(published("DARTS_V2"), data, settings=TRAIN, out=tmp_path / folder, device="cpu", **options)

    whole = run("whole")
    for number, steps in enumerate(stops):
        with pytest.raises(Interrupted):
            run("parts", resume=number > 0, listener=Stop(steps))
    parts = run("parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert whole.test == parts.test


# Killed without warning.

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from diffnas.data import load, subsample
from diffnas.engine.listen import Silent
from diffnas.engine.search import search
from diffnas.engine.settings import SearchSettings
from diffnas.method import METHODS
from diffnas.space import nas_bench_201

folder, left = Path(sys.argv[1]), int(sys.argv[2])

def tick():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Ticking(Silent):
    def step(self, loss, accuracy):
        tick()

rename = os.replace
def replace(source, target):  # every file that matters comes to its place by a rename: die before and after each
    tick()
    rename(source, target)
    tick()
os.replace = replace

search(
    subsample(load("digits"), 120, 50), space=nas_bench_201, method=METHODS["sparse"], out=folder, device="cpu",
    settings=SearchSettings(epochs=3, batch=20, channels=4, depth=3, alpha_lr=0.03),
    resume=(folder / "run.json").exists(), listener=Ticking(),
)
"""


def killed(folder: Path, after: int) -> int:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(after)], capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_search_killed_again_and_again_ends_as_one_left_alone(quick, tmp_path: Path, seed: int):
    quick("sparse", out=tmp_path / "whole", epochs=3)
    moments = random.Random(seed)
    kills = [killed(tmp_path / "parts", moments.randrange(2, 16)) for _ in range(5)]
    assert -signal.SIGKILL in kills
    assert killed(tmp_path / "parts", 0) == 0
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_resuming_needs_a_folder(quick):
    with pytest.raises(ValueError, match="which run"):
        quick("sparse", resume=True)
