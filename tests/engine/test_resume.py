"""Interrupted anywhere and gone on with, a run ends as if nothing had happened, bit for bit."""

import os
import random
import signal
import subprocess
import sys
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
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import published
from diffnas.method import darts
from diffnas.space import s4


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


def test_a_failure_goes_back_to_the_last_epoch_and_ends_the_same(quick, tmp_path: Path):
    quick("sparse", out=tmp_path / "whole")
    with pytest.raises(RuntimeError, match="broken pipe"):
        quick("sparse", out=tmp_path / "parts", listener=Fail(9))
    quick("sparse", out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_failure_in_the_first_epoch_begins_again(quick, tmp_path: Path):
    quick("sparse", out=tmp_path / "whole")
    with pytest.raises(RuntimeError, match="broken pipe"):
        quick("sparse", out=tmp_path / "parts", listener=Fail(3))
    quick("sparse", out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


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


def test_a_damaged_checkpoint_is_named_with_a_way_out_that_works(quick, tmp_path: Path):
    quick("sparse", out=tmp_path / "whole", epochs=3)
    with pytest.raises(Interrupted):
        quick("sparse", out=tmp_path / "run", epochs=3, listener=Stop(14))
    last = tmp_path / "run" / "checkpoint" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last\.pt cannot be read.*Delete it to go on from.*previous\.pt"):
        quick("sparse", out=tmp_path / "run", epochs=3, resume=True)
    last.unlink()
    quick("sparse", out=tmp_path / "run", epochs=3, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_line_torn_by_a_crash_is_written_again(quick, tmp_path: Path):
    quick("sparse", out=tmp_path / "whole")
    with pytest.raises(RuntimeError):
        quick("sparse", out=tmp_path / "run", listener=Fail(9))
    with (tmp_path / "run" / "trace.jsonl").open("a") as file:
        file.write('{"epoch": 1, "train_lo')
    quick("sparse", out=tmp_path / "run", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_checkpoint_of_something_else_is_refused(quick, tmp_path: Path):
    quick("sparse", out=tmp_path / "run")
    torch.save({"epoch": 1}, tmp_path / "run" / "checkpoint" / "last.pt")
    with pytest.raises(ValueError, match="does not fit this run"):
        quick("sparse", out=tmp_path / "run", resume=True)


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
    assert (whole.accuracy, whole.loss) == (parts.accuracy, parts.loss)


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
