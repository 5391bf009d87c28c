"""What a step launches on a GPU, counted without one."""

import sys
from collections.abc import Iterator

import pytest
import torch
from counted_launches import Record, recording
from torch._subclasses import FakeTensorMode

from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, darts, nas_bench_201

MOST_PROGRAMS = 65_535  # on the second axis of a grid


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """A GPU's launches, written down."""
    return recording(monkeypatch)


@pytest.fixture
def meta() -> Iterator[None]:
    """Tensors have a shape and no numbers."""
    with torch.device("meta"):
        yield


def step(record: Record, space: SearchSpace, *, batch: int, **sizes: int) -> None:
    """Record the forward and the backward pass of a supernet for 32x32 pictures."""
    net = Supernet(space, classes=10, **sizes).to(memory_format=torch.channels_last)
    net.backend = record.backend
    mix = torch.zeros(len(space.edges), len(space.ops)).requires_grad_()
    pictures = torch.zeros(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with record.watching():
        net(pictures, EdgeWeights(mix)).sum().backward()


@pytest.mark.parametrize("channels", [16, 33])
def test_a_large_batch_can_be_launched(record, meta, channels: int):
    step(record, darts, batch=8192, channels=channels, depth=3)
    assert all(programs <= MOST_PROGRAMS for launch in record.launches for programs in launch.grid[1:])


@pytest.mark.parametrize(("space", "most"), [(darts, 1_320), (nas_bench_201, 1_340)], ids=["darts", "nas-bench-201"])
def test_a_step_of_the_published_size_takes_few_launches(record, meta, space: SearchSpace, most: int):
    step(record, space, batch=64)
    assert record.count < most


def test_a_cell_is_computed_on_the_device_of_its_inputs(record, monkeypatch: pytest.MonkeyPatch):
    current: list[torch.device] = []

    class Device:
        def __init__(self, device: torch.device) -> None:
            self.device = device

        def __enter__(self) -> None:
            current.append(self.device)

        def __exit__(self, *_: object) -> None:
            current.pop()

    monkeypatch.setattr(torch.cuda, "device", Device)
    backend = sys.modules["diffnas.backends.gpu.backend"]
    run = backend.OnItsDevice(lambda inputs, weights: list(current))
    with FakeTensorMode():
        assert run([torch.empty(1, device="cuda:1")], None) == [torch.device("cuda:1")]
        assert run([torch.empty(1)], None) == []
