from collections.abc import Callable

import pytest
import torch
from torch import nn

from diffnas.data import load
from diffnas.genotype import Genotype, parse
from diffnas.nets.network import Network
from diffnas.nets.trained import Trained


def make(
    genotype: Genotype | str, *, size: int = 8, channels: int = 1, stem: str = "cifar", depth: int | None = 3
) -> Trained:
    """A network with weights and batch statistics at random, as if it had been trained."""
    cells = parse(genotype) if isinstance(genotype, str) else genotype
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = {"channels": 4, "depth": depth, "stem": stem}
        network = Network(cells, classes=10, in_channels=channels, picture=(size, size), **built)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return Trained(
        network=network.eval().to(memory_format=torch.channels_last),
        genotype=cells,
        classes=("zero", "it's", *map(str, range(2, 10))),
        channels=channels,
        size=(size, size),
        mean=(0.3,) * channels,
        std=(0.37,) * channels,
        built=built,
    )


@pytest.fixture
def trained() -> Callable[..., Trained]:
    return make


@pytest.fixture(scope="session")
def digits() -> torch.Tensor:
    """A hundred real pictures, uint8 ``(100, 1, 8, 8)``."""
    return load("digits").test.take(torch.arange(100))[0]


@pytest.fixture
def pictures(digits) -> Callable[[Trained], torch.Tensor]:
    """The same as a network takes them: of its size, grey or color."""

    def fit(network: Trained) -> torch.Tensor:
        scaled = nn.functional.interpolate(digits.float(), network.size, mode="nearest").to(torch.uint8)
        return scaled.expand(-1, network.channels, -1, -1).contiguous()

    return fit
