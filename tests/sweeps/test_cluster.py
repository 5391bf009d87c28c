"""Sweeps on a cluster of two nodes on this machine, whose workers, nodes and drivers die.

Needs Ray, the extra ``cluster``.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from interrupted import assert_same

from diffnas.cli import main
from diffnas.run_files import LOCK
from diffnas.sweeps.sweep import SweepResult, states, sweep

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[cluster]'")

SIZES = {"channels": 4, "depth": 3, "epochs": 1}
SPACE = ["--spaces", "nas-bench-201", "--train", "60", "--evaluate-epochs", "1", "--threads", "1"]
SPACE += [f"--set={phase}.{size}" for phase in ("search", "evaluate") for size in ("channels=4", "depth=3")]
SMALL = [*SPACE, "--epochs", "1"]
LONGER = ["--set=search.batch=2"]  # steps enough for a worker to be killed in


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of one node with one CPU; tests add others."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def wait(until: Callable[[], Any], seconds: float = 240) -> Any:
    """What ``until`` returns, once that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := until():
            return found
        time.sleep(0.05)
    raise AssertionError("waited too long")


def owners(folder: Path) -> dict[str, int]:
    """The processes that work on runs of a sweep now, by run."""
    found = {}
    for lock in folder.glob(f"*/{LOCK}"):
        try:
            words = lock.read_text().split()
            os.kill(int(words[1]), 0)
        except (OSError, IndexError):
            continue
        found[lock.parent.name] = int(words[1])
    return found


def parent(process: int) -> int:
    """The process that began another one."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def drive(log: Path, *words: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        command = [sys.executable, "-m", "diffnas", "sweep", *words]
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)


def test_a_sweep_on_a_cluster_is_what_its_runs_are_alone(cluster: Any, tmp_path: Path) -> None:
    alone = ["run", "--space", *SMALL[1:], "--method", "darts", "--out", str(tmp_path / "alone"), "--quiet"]
    assert main(alone) == 0
    done: SweepResult = sweep(
        out=tmp_path / "s",
        methods="darts",
        spaces="nas-bench-201",
        train=60,
        threads=1,
        search_settings=SIZES,
        evaluate_settings=SIZES,
        address=cluster.address,
    )
    assert [run.state for run in done.runs] == ["done"]
    assert_same(tmp_path / "alone", tmp_path / "s/darts")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the test looks for processes in /proc")
def test_all_runs_end_as_alone_though_a_worker_a_node_and_the_driver_die(cluster: Any, tmp_path: Path) -> None:
    second, folder = cluster.add_node(num_cpus=1), tmp_path / "s"
    cluster.wait_for_nodes()
    grid = ["--methods", "sparse,darts", "--seeds", "0:6", *SMALL, *LONGER, "--out", str(folder)]
    log = tmp_path / "driver.txt"
    driver = drive(log, *grid, "--address", cluster.address)
    # A worker of Ray dies, which ends the process of its run.
    wait(lambda: len(owners(folder)) == 2)
    name, process = min(owners(folder).items())
    os.kill(parent(process), signal.SIGKILL)
    wait(lambda: owners(folder).get(name) != process)
    # A node dies while it works.
    done = sum(run.state == "done" for run in states(folder))
    wait(lambda: sum(run.state == "done" for run in states(folder)) > done and len(owners(folder)) == 2)
    cluster.remove_node(second, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    # The driver dies, and another one goes on.
    done = sum(run.state == "done" for run in states(folder))
    wait(lambda: sum(run.state == "done" for run in states(folder)) > done and owners(folder))
    driver.kill()
    driver.wait()
    assert not all(run.state == "done" for run in states(folder))
    again = drive(log, "--resume", str(folder), "--address", cluster.address)
    assert again.wait(timeout=900) == 0, log.read_text()
    assert [run.state for run in states(folder)] == ["done"] * 12
    for run in states(folder):
        alone = tmp_path / "alone" / run.name
        words = ["run", "--space", *SMALL[1:], *LONGER, "--method", run.values["method"], "--seed", run.values["seed"]]
        assert main([*words, "--out", str(alone), "--quiet"]) == 0
        assert_same(alone, folder / run.name)
        assert_same(alone / "evaluation", folder / run.name / "evaluation")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_told_to_end_ends_its_runs_with_checkpoints(number: int, tmp_path: Path) -> None:
    folder, log = tmp_path / "s", tmp_path / "driver.txt"
    grid = ["--method", "sparse", "--seeds", "0:2", *SPACE, "--epochs", "500", "--out", str(folder)]
    driver = drive(log, *grid, "--address", "local")
    wait(lambda: (folder / "sparse-seed0/checkpoint/last.pt").exists())
    driver.send_signal(number)
    assert driver.wait(timeout=120) == 128 + number, log.read_text()
    assert owners(folder) == {}
    assert {run.state for run in states(folder)} <= {"stopped", "waiting"}
    assert "interrupted by SIGTERM" in (folder / "logs/sparse-seed0.txt").read_text()
