"""Streamed pictures: each batch is read before the step that needs it, and a run goes on in the middle of an epoch."""

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same
from torch import Tensor

from diffnas.data import DataSet, Files, Pictures
from diffnas.engine.listen import Interrupted
from diffnas.engine.search import search
from diffnas.engine.settings import SearchSettings
from diffnas.method import darts
from diffnas.space import nas_bench_201

SETTINGS = SearchSettings(epochs=2, batch=20, channels=4, depth=3, eigenvalue_every=2)


def streamed(split: Pictures) -> Files:
    return Files(
        read=lambda row: split.images[row],
        rows=torch.arange(len(split)),
        labels=split.labels,
        names=tuple(map(str, range(len(split)))),
        channels=split.channels,
        size=split.size,
        workers=1,
    )


def test_no_batch_of_a_search_is_read_while_a_step_waits_and_all_are_as_in_memory(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
):
    readers: list[threading.Thread] = []
    take = Files.take

    def noted(self: Files, indices: Tensor) -> tuple[Tensor, Tensor]:
        readers.append(threading.current_thread())
        return take(self, indices)

    monkeypatch.setattr(Files, "take", noted)
    files = replace(data, train=streamed(data.train), test=streamed(data.test))
    one, other = (
        search(each, space=nas_bench_201, method=darts, settings=SETTINGS, device="cpu") for each in (data, files)
    )
    assert readers
    assert threading.main_thread() not in readers
    for name in ("train", "held_out", "eigenvalue", "alpha"):
        assert [line[name] for line in one.trace] == [line[name] for line in other.trace]


def test_a_run_on_streamed_pictures_that_was_interrupted_in_an_epoch_goes_on_bit_for_bit(data: DataSet, tmp_path: Path):
    files = replace(data, train=streamed(data.train), test=streamed(data.test))
    once = partial(search, files, space=nas_bench_201, method=darts, settings=SETTINGS, device="cpu")
    once(out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        once(out=tmp_path / "cut", listener=Stop(4))
    once(out=tmp_path / "cut", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "cut")
