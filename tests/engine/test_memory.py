from pathlib import Path

import pytest
import torch
from torch import nn

from diffnas.engine.cost import Prospect, footprint
from diffnas.engine.listen import OutOfMemory, Silent
from diffnas.engine.memory import Footprint, Watch, available, ran_out
from diffnas.engine.optimizers import parameter_count
from diffnas.engine.search_step import SearchStep
from diffnas.engine.settings import SearchSettings
from diffnas.genotype import read
from diffnas.method import METHODS
from diffnas.nets.least import least
from diffnas.nets.network import Network
from diffnas.nets.sites import chosen, offered
from diffnas.nets.sizes import sizes_of_genotype, sizes_of_space
from diffnas.nets.supernet import Supernet
from diffnas.space import SPACES

CPU = torch.device("cpu")
GIGABYTE = 2**30


def machine(root: Path, files: dict[str, str]) -> Path:
    """A file system as Linux shows it, with 8 GiB to be had."""
    for name, text in {"proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


GROUPS = {
    "no limit at all": ({}, 8.0),
    "version 2, no limit": ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 8.0),
    "version 2": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": f"{4 * GIGABYTE}\n",
            "sys/fs/cgroup/a/b/memory.current": f"{GIGABYTE}\n",
        },
        3.0,
    ),
    "version 2, a limit further up": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/memory.max": f"{2 * GIGABYTE}",
            "sys/fs/cgroup/a/memory.current": "0",
            "sys/fs/cgroup/a/b/memory.max": f"{4 * GIGABYTE}",
            "sys/fs/cgroup/a/b/memory.current": "0",
        },
        2.0,
    ),
    "version 2, in a container": (
        {
            "proc/self/cgroup": "0::/../outside\n",
            "sys/fs/cgroup/memory.max": f"{4 * GIGABYTE}",
            "sys/fs/cgroup/memory.current": f"{3 * GIGABYTE}",
            "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {2 * GIGABYTE}\n",
        },
        3.0,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{2 * GIGABYTE}",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": f"{GIGABYTE}",
        },
        1.0,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": "4:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
        },
        8.0,
    ),
    "used up": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "100",
            "sys/fs/cgroup/memory.current": "200",
        },
        0.0,
    ),
}


@pytest.mark.parametrize(("files", "gigabytes"), GROUPS.values(), ids=GROUPS)
def test_the_available_memory_is_what_the_tightest_limit_leaves(tmp_path: Path, files, gigabytes: float):
    assert available(CPU, machine(tmp_path, files)) == gigabytes * GIGABYTE


def test_this_machine_says_what_it_has():
    free = available(CPU)
    assert free is None or free > 2**20


def test_a_watch_sees_what_the_backward_pass_holds_and_that_it_lets_go():
    net = nn.Sequential(nn.Linear(10, 100, bias=False), nn.ReLU(), nn.Linear(100, 1, bias=False))
    weights = 4 * (1000 + 100)
    x = torch.zeros(5, 10)
    watch = Watch(net.parameters())
    assert watch.bytes == weights
    with watch:
        loss = net(x).sum()
        held = watch.bytes
        loss.backward()
        net.zero_grad()
        del loss
    # Kept for the gradients: the input of ReLU is freed, its output is not.
    assert held >= weights + 4 * 500
    assert max(watch.curve) >= weights + 4 * (500 + 1000 + 100)
    assert watch.bytes == weights


def test_memory_that_does_not_grow_with_the_batch_is_separated():
    weights, batches = 1000, (2, 4)
    few, many = ([weights + 10 * b, weights + 500 + 3 * b] for b in batches)
    step = Footprint.between(few, many, batches, 2.0)
    assert step.at(10) == 2 * (weights + 500 + 30)
    assert step.at(1000) == 2 * (weights + 10_000)
    assert step.largest(step.at(1000)) == 1000
    assert step.largest(2 * weights) == 0


def test_steps_of_different_lengths_are_compared_by_their_peaks():
    step = Footprint.between([20, 5], [30, 5, 5], (2, 4), 1.0)
    assert step.at(10) == 60


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FULL = {
    "Python": MemoryError(),
    "PyTorch on a CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    "PyTorch on a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "oneDNN": RuntimeError("could not create a primitive"),
    "native code that hides it": caused(SystemError("returned a result with an exception set"), MemoryError()),
    "native code that forgets it": SystemError("<built-in> returned NULL without setting an exception"),
    "the system": OSError(12, "Cannot allocate memory"),
}


@pytest.mark.parametrize("error", FULL.values(), ids=FULL)
def test_a_run_out_of_memory_keeps_its_checkpoint_and_says_what_needs_less(quick, tmp_path: Path, monkeypatch, error):
    real = SearchStep.take

    def take(self, batch) -> None:
        if self.running.state.epoch == 1:
            raise error
        real(self, batch)

    monkeypatch.setattr(SearchStep, "take", take)
    with pytest.raises(OutOfMemory) as full:
        quick("sparse", out=tmp_path / "run")
    assert str(full.value) == (
        f"memory ran out. The last checkpoint is untouched; to go on from it: --resume {tmp_path / 'run'}. "
        "A new run needs less with --batch 10, or --channels 2, or --recompute."
    )
    monkeypatch.setattr(SearchStep, "take", real)
    assert len(quick("sparse", out=tmp_path / "run", resume=True).trace) == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not fit"), ValueError("out of memory"), SystemError("bad call")]
)
def test_other_errors_do_not_count_as_out_of_memory(error: Exception):
    assert not ran_out(error)


def test_the_sentence_on_what_is_left_of_a_run_is_true(quick, tmp_path: Path):
    class Full(Silent):
        def step(self, loss: float, accuracy: float) -> None:
            raise MemoryError

    with pytest.raises(OutOfMemory, match="has no folder, so nothing is saved"):
        quick("sparse", listener=Full())
    with pytest.raises(OutOfMemory, match="No checkpoint was written yet"):
        quick("sparse", out=tmp_path / "run", listener=Full())


@pytest.mark.parametrize(
    ("space", "name", "recompute"), [("s2", "darts", False), ("s2", "pc-darts", True), ("nas-bench-201", "gdas", False)]
)
def test_the_least_that_training_takes_is_less_than_a_step_holds(data, space: str, name: str, recompute: bool):
    method, settings = METHODS[name], SearchSettings(channels=8, depth=4, recompute=recompute)
    options = method.supernet
    step = footprint(Prospect(data=data, space=SPACES[space], method=method, settings=settings, device="cpu"))
    sizes = sizes_of_space(SPACES[space], 2, data.channels, channels=8, depth=4)
    net = least(sizes, offered(SPACES[space]), (data.channels, *data.size), one_in=options.one_in)
    for batch in (1, 1000):
        needed = net.bytes(batch, inside=not (recompute or options.drawn))
        assert 0 < needed < step.at(batch) / step.overhead


@pytest.mark.parametrize("space", ["darts", "nas-bench-201", "s2"])
def test_weights_are_counted_without_the_net(space):
    with torch.device("meta"):
        net = Supernet(SPACES[space], classes=2, channels=8, depth=4)
    sizes = sizes_of_space(SPACES[space], 2, 3, channels=8, depth=4)
    assert least(sizes, offered(SPACES[space]), (3, 8, 8)).weights == parameter_count(net)


@pytest.mark.parametrize("name", ["DARTS_V2", "FairDARTS_a"])
def test_a_network_s_weights_are_counted_without_it(name):
    with torch.device("meta"):
        net = Network(read(name), classes=2, channels=8, depth=4)
    sizes = sizes_of_genotype(read(name), 2, 3, channels=8, depth=4)
    assert least(sizes, chosen(read(name)), (3, 8, 8)).weights == parameter_count(net)
