"""Pictures that stay where they lie: who streams, who opens what, and that nothing else changes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from diffnas.data import Files, Pictures, from_dataset, load
from diffnas.data.gather import Source, Wish, gather


def folder(root: Path) -> Path:
    for number in range(12):
        path = root / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9), 20 * number, np.uint8)).save(path)
    return root


def test_the_user_may_choose_what_is_streamed_and_is_told_when_it_is(tmp_path: Path):
    kinds = {stream: load(folder(tmp_path), stream=stream) for stream in (None, True, False)}
    assert {stream: type(data.train) for stream, data in kinds.items()} == {
        None: Pictures,
        True: Files,
        False: Pictures,
    }
    assert (
        kinds[True]
        .remarks[-1]
        .endswith(
            "12 pictures are streamed: each epoch reads them anew. --no-stream (stream=False in Python) keeps them in "
            "memory, which takes 1 MiB."
        )
    )
    assert kinds[None].remarks == ()


def test_data_that_are_always_in_memory_are_not_streamed():
    with pytest.raises(ValueError, match="digits is small, and always kept in memory; leave stream out"):
        load("digits", stream=True)


class Half:
    """One of two processes, which knows what the other one gives."""

    def __init__(self, number: int, others: list[Any]) -> None:
        self.number, self.others, self.given = number, others, []

    def part(self, indices: Tensor) -> Tensor:
        return indices.tensor_split(2)[self.number]

    def gather(self, value: Any) -> list[Any]:
        self.given.append(value)
        other = self.others.pop(0) if self.others else value
        return [value, other] if self.number == 0 else [other, value]


def opened(crew: Half, names: str = "abcdefgh") -> tuple[list[int], Any]:
    """The rows that a process opens before it streams, and its data set."""
    rows: list[int] = []

    def read(row: int) -> Image.Image:
        rows.append(row)
        return Image.fromarray(np.full((8 + 2 * row, 30), row, np.uint8))

    source = Source(read=read, names=tuple(names), labels=(0, 1) * 4)
    data = gather("halves", ("a", "b"), source, None, Wish(memory_limit=0, workers=1), crew)
    return rows[:4], data


def test_each_process_opens_its_share_of_the_pictures_and_all_find_the_same():
    second = Half(1, [])
    opened(second)
    rows, data = opened(first := Half(0, list(second.given)))
    assert rows == [0, 1, 2, 3]
    rows, other = opened(Half(1, first.given))
    assert rows == [4, 5, 6, 7]
    source = Source(
        read=lambda row: Image.fromarray(np.full((8 + 2 * row, 30), row, np.uint8)),
        names=tuple("abcdefgh"),
        labels=(0, 1) * 4,
    )
    alone = gather("halves", ("a", "b"), source, None, Wish(memory_limit=0, workers=1))
    assert data.size == other.size == alone.size
    assert data.fingerprint == other.fingerprint == alone.fingerprint
    assert torch.equal(data.train.labels, alone.train.labels)


def test_processes_that_find_other_pictures_are_refused():
    second = Half(1, [])
    opened(second, "abcdefgx")
    with pytest.raises(ValueError, match="the processes of this run find other files there"):
        opened(Half(0, second.given))


class Passing(IterableDataset[tuple[Image.Image, int]]):
    """Pictures that come one after the other, of several modes and sizes."""

    def __init__(self, modes: str, count: int = 12) -> None:
        self.modes, self.count, self.passes = modes.split(), count, 0

    def __iter__(self) -> Any:
        self.passes += 1
        return iter(self[number] for number in range(self.count))

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        noise = np.random.default_rng(number).integers(0, 256, (9 + number % 3, 11, 3), np.uint8)
        mode = self.modes[number % len(self.modes)]
        image = Image.fromarray(noise.astype(np.uint16)[:, :, 0]) if mode == "I;16" else Image.fromarray(noise)
        return (image if mode == "I;16" else image.convert(mode)), number % 2


@pytest.mark.parametrize("memory_limit", [0, 2**31], ids=["streamed", "memory"])
@pytest.mark.parametrize("options", [{}, {"size": 8}, {"size": 8, "channels": 1}], ids=["as they are", "8", "8, grey"])
@pytest.mark.parametrize("modes", ["RGB L P RGBA", "L LA", "I;16 L"])
def test_pictures_that_come_once_are_those_of_a_list(modes: str, options: dict[str, int], memory_limit: int):
    passing = Passing(modes)
    data = from_dataset(passing, memory_limit=memory_limit, **options)
    listed = from_dataset([passing[number] for number in range(12)], memory_limit=memory_limit, **options)
    assert passing.passes == 1, "each is fetched once"
    assert (data.size, data.channels, data.levels) == (listed.size, listed.channels, listed.levels)
    for one, other in ((data.train, listed.train), (data.test, listed.test)):
        every = torch.arange(len(one))
        assert all(torch.equal(mine, its) for mine, its in zip(one.take(every), other.take(every), strict=True))


def test_other_pictures_or_another_order_are_noticed_when_a_run_goes_on():
    one, other = (from_dataset(iter(each), memory_limit=0) for each in (Passing("RGB"), Passing("L RGB")))
    assert one.fingerprint == from_dataset(Passing("RGB"), memory_limit=0).fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (iter([]), "there is no training picture"),
        (iter([("a.png", 0)]), "training item 0 cannot be used: a picture must be a PIL image or"),
        (iter([(Image.new("RGB", (9, 9)), -1)]), "training item 0 has label -1; labels start at 0"),
    ],
    ids=["none", "no picture", "no label"],
)
def test_items_that_come_once_and_are_no_pictures_are_refused(items: Any, message: str):
    with pytest.raises(ValueError, match=message):
        from_dataset(items)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_named_with_what_helps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda prefix: io.FileIO("/dev/full", "wb"))
    with pytest.raises(
        OSError, match=r"No space left on device, while pictures are kept in .*; set TMPDIR to a folder"
    ):
        from_dataset(Passing("RGB"))
