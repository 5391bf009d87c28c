"""What all tests share: one thread, and a search that takes seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fences import Fences

from diffnas.data import DataSet, load, subsample
from diffnas.engine.search import SearchResult, search
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.method import METHODS
from diffnas.space import nas_bench_201


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Every test computes on one thread, and so does every fixture that several tests share.

    How a sum is split over threads decides its last digits, and some tests compare two runs bit for bit; and several
    test processes side by side, each with all cores, are slower than one.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    """A test that takes more threads leaves one to the next test."""
    yield
    torch.set_num_threads(1)


# Seconds for a search, and alpha fast enough for operations to be removed within it.
TINY = {"epochs": 2, "batch": 20, "channels": 4, "depth": 3, "alpha_lr": 0.03}


@pytest.fixture(scope="session")
def data() -> DataSet:
    """120 digits to train on and 50 to test on."""
    return subsample(load("digits"), 120, 50)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of two lines, again and again, in a folder of its own."""
    path = tmp_path_factory.mktemp("texts") / "book.txt"
    path.write_text("the cat sat on the mat.\nthe dog sat on the log.\n" * 40)
    return path


@pytest.fixture(scope="session")
def quick(data: DataSet) -> Callable[..., SearchResult]:
    """A small search: the method's name or value, anything ``search`` takes, and settings by name."""

    def run(method: Any = "sparse", **options: Any) -> SearchResult:
        arguments = {"data": data, "space": nas_bench_201, "device": "cpu"}
        names = ("data", "space", "out", "resume", "listener", "precision", "notes", "device")
        arguments |= {name: options.pop(name) for name in names if name in options}
        chosen = METHODS[method] if isinstance(method, str) else method
        settings = merge_settings(SearchSettings, TINY, options)
        return search(arguments.pop("data"), method=chosen, settings=settings, **arguments)

    return run


@pytest.fixture
def fences(monkeypatch: pytest.MonkeyPatch) -> Fences:
    """Memory between fences, for kernels to write over."""
    return Fences(monkeypatch)
