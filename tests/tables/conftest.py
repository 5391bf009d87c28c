import os
from pathlib import Path

import pytest

import diffnas.tables
from diffnas.tables import Table

NAME = "nats-bench-tss-cifar10.csv"


@pytest.fixture(scope="session")
def benchmark() -> Table:
    """The whole table of CIFAR-10 test accuracies after 200 epochs, where it is to be had."""
    beside = Path(__file__).parents[3] / "shared" / "data" / NAME
    path = Path(os.environ.get("NATS_BENCH_CSV", beside))
    if not path.exists():
        pytest.skip(f"there is no {NAME} beside the checkout, and NATS_BENCH_CSV does not say where it is")
    return diffnas.tables.load(path)
