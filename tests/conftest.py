from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Every test computes on one thread.

    How a sum is split over threads decides its last digits, and some tests compare two runs bit for bit; and several
    test processes side by side, each with all cores, are slower than one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
