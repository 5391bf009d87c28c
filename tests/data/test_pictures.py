from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from diffnas.data.batches import batches
from diffnas.data.data_set import DataSet
from diffnas.data.pictures import Files, Pictures
from diffnas.data.statistics import channel_statistics


def pictures(count: int = 6, channels: int = 3, size: tuple[int, int] = (8, 9), classes: int = 2) -> Pictures:
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8, generator=generator)
    return Pictures(images=images, labels=torch.arange(count) % classes)


def streamed(split: Pictures) -> Files:
    return Files(
        read=lambda row: split.images[row],
        rows=torch.arange(len(split)),
        labels=split.labels,
        names=tuple(f"picture {row}" for row in range(len(split))),
        channels=split.channels,
        size=split.size,
        workers=2,
    )


def data_set(**changes) -> DataSet:
    values = {
        "name": "small",
        "train": pictures(6),
        "test": pictures(4),
        "classes": ("a", "b"),
        "mean": (0.5,) * 3,
        "std": (0.2,) * 3,
    }
    return DataSet(**{**values, **changes})


@pytest.mark.parametrize("kind", [lambda split: split, streamed], ids=["memory", "streamed"])
class TestBothKindsOfSplit:
    def test_take_gives_the_pictures_in_the_order_asked(self, kind):
        split = pictures()
        images, labels = kind(split).take(torch.tensor([5, 0, 5]))
        assert torch.equal(images, split.images[[5, 0, 5]])
        assert labels.tolist() == [1, 0, 1]
        assert images.dtype == torch.uint8

    def test_take_of_nothing_is_empty(self, kind):
        images, labels = kind(pictures()).take(torch.tensor([], dtype=torch.int64))
        assert images.shape == (0, 3, 8, 9)
        assert labels.shape == (0,)

    def test_indices_into_a_subset_count_its_own_pictures(self, kind):
        split = pictures()
        part = kind(split).subset(torch.tensor([5, 3, 1])).subset(torch.tensor([2, 0]))
        assert len(part) == 2
        assert torch.equal(part.take(torch.arange(2))[0], split.images[[1, 5]])
        assert part.labels.tolist() == split.labels[[1, 5]].tolist()

    def test_to_a_device_keeps_everything(self, kind):
        split = kind(pictures())
        assert torch.equal(split.to("cpu").take(torch.tensor([2]))[0], split.take(torch.tensor([2]))[0])

    @pytest.mark.parametrize("start", [0, 1, 3, 4])
    def test_batches_are_consecutive_and_keep_the_short_last_one(self, kind, start):
        split = pictures(7)
        indices = torch.tensor([6, 5, 4, 3, 2, 1, 0])
        expected = [[6, 5], [4, 3], [2, 1], [0]][start:]
        found = list(batches(kind(split), indices, 2, start=start, device="cpu"))
        assert len(found) == len(expected)
        for (images, labels), rows in zip(found, expected, strict=True):
            assert torch.equal(images, split.images[rows])
            assert torch.equal(labels, split.labels[rows])

    def test_a_batch_below_one_is_refused(self, kind):
        with pytest.raises(ValueError, match="batch must be at least 1"):
            next(batches(kind(pictures()), torch.arange(2), 0, device="cpu"))

    def test_statistics_are_those_of_the_pixels(self, kind):
        split = pictures(40)
        floats = split.images.double() / 255
        mean, std = channel_statistics(kind(split))
        assert mean == pytest.approx(floats.mean((0, 2, 3)).tolist())
        assert std == pytest.approx(floats.std((0, 2, 3), correction=0).tolist())


def test_streamed_batches_are_read_ahead_but_not_all_at_once():
    split, read, third = pictures(20), [], threading.Event()

    def note(row: int) -> torch.Tensor:
        read.append(row)
        if row == 2:
            third.set()
        return split.images[row]

    stream = batches(replace(streamed(split), read=note), torch.arange(20), 1, device="cpu")
    next(stream)
    assert third.wait(5), "the batches after the first one are read without being asked for"
    stream.close()
    assert max(read) <= 3


def test_an_error_while_streaming_reaches_the_caller():
    def fail(row: int) -> torch.Tensor:
        raise OSError(f"picture {row} is gone")

    with pytest.raises(OSError, match="picture 4 is gone"):
        list(batches(replace(streamed(pictures()), read=fail), torch.tensor([4]), 1, device="cpu"))


def test_a_constant_channel_has_a_deviation_of_one():
    flat = Pictures(images=torch.full((2, 1, 8, 8), 51, dtype=torch.uint8), labels=torch.tensor([0, 1]))
    assert channel_statistics(flat) == (pytest.approx((0.2,)), (1.0,))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 8, 8), torch.zeros(2).long(), "images must be uint8"),
        (torch.zeros(2, 8, 8).byte(), torch.zeros(2).long(), "images must be uint8"),
        (torch.zeros(2, 3, 8, 8).byte(), torch.zeros(3).long(), r"labels must be int64 \(2,\)"),
        (torch.zeros(2, 3, 8, 8).byte(), torch.zeros(2).int(), "labels must be int64"),
    ],
)
def test_tensors_of_a_wrong_type_or_shape_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Pictures(images=images, labels=labels)


def labeled(*labels: int) -> Pictures:
    return replace(pictures(len(labels)), labels=torch.tensor(labels, dtype=torch.int64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a",)}, "1 class"),
        ({"classes": ("a", "a")}, "same name"),
        ({"classes": ("a", "b", "cat")}, "no training picture for class cat"),
        ({"train": labeled(0, 1, 2)}, "training labels run from 0 to 2, classes from 0 to 1"),
        ({"test": labeled(-1, 1)}, "test labels run from -1 to 1"),
        ({"test": labeled()}, "no test picture"),
        ({"test": pictures(4, size=(8, 8))}, "must agree"),
        ({"train": pictures(4, 2), "test": pictures(4, 2)}, "2 channels; 1"),
        ({"train": pictures(4, 3, (8, 7)), "test": pictures(4, 3, (8, 7))}, "8x7; at least 8x8"),
        ({"mean": (0.5,)}, "mean has 1 values for 3 channels"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be a number above 0"),
    ],
)
def test_a_data_set_that_cannot_be_learned_from_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        data_set(**changes)


def test_a_class_without_test_pictures_is_fine():
    assert len(data_set(test=labeled(0, 0)).test) == 2


def test_the_fingerprint_follows_pixels_labels_and_splits_and_nothing_else():
    data = data_set()
    images = data.train.images.clone()
    images[0, 0, 0, 0] += 1
    others = [
        data_set(train=Pictures(images=images, labels=data.train.labels)),
        data_set(train=labeled(0, 1, 0, 1, 1, 0)),
        data_set(train=data.test, test=data.train),
        data_set(train=streamed(data.train)),
    ]
    assert data.fingerprint == data_set(name="renamed", mean=(0.1,) * 3).fingerprint
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_a_streamed_fingerprint_follows_names_and_labels():
    data = data_set(train=streamed(pictures(6)))
    renamed = replace(data.train, names=("other", *data.train.names[1:]))
    assert data.fingerprint == data_set(train=streamed(pictures(6))).fingerprint
    assert data.fingerprint != replace(data, train=renamed).fingerprint
