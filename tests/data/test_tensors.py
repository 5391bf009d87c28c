from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from diffnas.data.pictures import Files, Pictures
from diffnas.data.tensors import from_dataset, from_tensors

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def some(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_bytes_and_floats_give_the_same_pictures(kind):
    images = some(6, 3, 16, 8)
    given = images if kind == torch.uint8 else (images.double() / 255).to(kind)
    data = from_tensors((given, LABELS), (given[:2], LABELS[:2]))
    assert torch.equal(data.train.images, images)
    assert torch.equal(data.test.images, images[:2])
    assert data.classes == ("0", "1", "2")
    assert (data.augmentation.pad, data.augmentation.flip) == (1, True)


def test_grey_pictures_may_leave_the_channel_out():
    images = some(6, 9, 9)
    data = from_tensors((images, LABELS.int()), (images, LABELS), classes=("x", "y", "z"), name="mine")
    assert torch.equal(data.train.images[:, 0], images)
    assert (data.name, data.classes, data.channels) == ("mine", ("x", "y", "z"), 1)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.full((6, 3, 8, 8), 1.5), LABELS, "run from 1.5 to 1.5; floats must be from 0 to 1"),
        (torch.full((6, 3, 8, 8), float("nan")), LABELS, "floats must be from 0 to 1"),
        (torch.zeros(6, 3, 8, 8).long(), LABELS, "must be uint8, or floats"),
        (some(6, 3, 8, 8), LABELS.float(), "labels must be whole numbers, not torch.float32"),
        (some(6, 3, 8, 8), LABELS[:5], "one for each picture"),
        (some(6, 2, 8, 8), LABELS, "2 channels"),
        (some(6, 3, 8, 8), LABELS * 2, "no training picture for class 1, 3"),
        (some(0, 3, 8, 8), LABELS[:0], "there is no training picture"),
    ],
)
def test_tensors_that_cannot_be_used_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        from_tensors((images, labels), (some(6, images.shape[1], 8, 8), LABELS))


class Listed(Dataset):
    """A torch data set of a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


def items(as_picture, images: torch.Tensor) -> Listed:
    return Listed([(as_picture(image), int(label)) for image, label in zip(images, LABELS, strict=True)])


AS_PICTURE = {
    "bytes": lambda image: image,
    "floats": lambda image: image.float() / 255,
    "pil": lambda image: Image.fromarray(image.permute(1, 2, 0).numpy()),
}


@pytest.mark.parametrize("limit", [2**31, 0], ids=["memory", "streamed"])
@pytest.mark.parametrize("form", AS_PICTURE)
def test_a_torch_data_set_gives_its_pictures(form, limit):
    images = some(6, 3, 10, 12)
    given = items(AS_PICTURE[form], images)
    data = from_dataset(given, given, memory_limit=limit)
    assert isinstance(data.train, Files if limit == 0 else Pictures)
    found, labels = data.train.take(torch.arange(6))
    assert torch.equal(found, images)
    assert torch.equal(labels, LABELS)


def test_a_torch_data_set_without_a_test_part_is_split_and_may_name_its_classes():
    given = items(AS_PICTURE["pil"], some(6, 3, 10, 12))
    given.classes = ["x", "y", "z"]
    data = from_dataset(given, size=8, channels=1)
    assert (len(data.train), len(data.test)) == (3, 3)
    assert (data.size, data.channels, data.classes) == ((8, 8), 1, ("x", "y", "z"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Listed([]), "no training picture"),
        (Listed([(torch.rand(3, 8, 8), -1)]), "item 0 has label -1"),
        (Listed([(torch.rand(3, 8, 8) * 9, 0), (torch.rand(3, 8, 8), 0)]), "1 picture.* floats must be"),
        (Listed([("x.png", 0), (torch.rand(3, 8, 8), 0)]), "must be a PIL image or .* not str"),
        (Listed([(torch.rand(2, 8, 8), 0), (torch.rand(3, 8, 8), 0)]), "2 channels"),
    ],
)
def test_a_torch_data_set_that_cannot_be_used_is_refused(given, message):
    good = [(torch.rand(3, 8, 8), label) for label in (0, 1)] * 2
    with pytest.raises(ValueError, match=message):
        from_dataset(Listed([*given.items, *good]) if given.items else given, Listed(good))
