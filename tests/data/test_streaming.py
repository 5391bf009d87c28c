"""Pictures that stay where they lie: who streams, who opens what, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffnas.data import Files, Pictures, load
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
