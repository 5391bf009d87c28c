from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from diffnas.data import subsample
from diffnas.data.pictures import Files, Pictures
from diffnas.data.stratify import stratified_split
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
        (torch.full((6, 3, 8, 8), 1.5), LABELS, "are float32 from 1.5 to 1.5; uint8 works, or floats from 0 to 1"),
        (torch.full((6, 3, 8, 8), float("nan")), LABELS, "from nan to nan; .* Some of them are not finite numbers"),
        (torch.zeros(6, 3, 8, 8).cfloat(), LABELS, "are torch.complex64; uint8 works"),
        (torch.randn(6, 3, 8, 8) * 9, LABELS, "They look normalized: pass them before any normalization"),
        (torch.full((6, 3, 8, 8), 999.0), LABELS, "Scale them to 0 to 255"),
        (torch.zeros(6, 3), LABELS, r"have shape \(6, 3\); \(pictures, channels, H, W\) works"),
        (LABELS, some(6, 3, 8, 8), r"\(labels, pictures\). Pass \(pictures, labels\)"),
        ([some(3, 8, 8)] * 6, LABELS, "must be a tensor or a NumPy array, not a list"),
        (np.array([None] * 6), LABELS, "are an array of object"),
        (some(6, 3, 8, 8), ["cat"] * 6, "are text or objects. Number them, and pass classes=names: names ="),
        (some(6, 3, 8, 8), torch.tensor(3), r"have shape \(\); \(pictures,\) works"),
        (some(6, 3, 8, 8), None, "labels must be a tensor or a NumPy array, not a NoneType"),
        (some(6, 3, 8, 8), LABELS + 2**62, "and there are 6 training pictures. .* Renumber them"),
        (some(6, 3, 8, 8), LABELS - 2**62, "training labels run from -4611686018427387904 to"),
        (some(6, 3, 8, 8), LABELS.float(), "labels must be whole numbers, not torch.float32"),
        (some(6, 3, 8, 8), LABELS.float(), "real numbers cannot be learned yet"),
        (some(6, 3, 8, 8), LABELS[:5], "one for each picture"),
        (some(6, 2, 8, 8), LABELS, "2 channels"),
        (some(6, 3, 8, 8), LABELS * 2, r"no training picture for class 1, 3\. Add some"),
        (some(0, 3, 8, 8), LABELS[:0], "there is no training picture"),
    ],
)
def test_tensors_that_cannot_be_used_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        from_tensors((images, labels), (some(6, 2 if "2 channels" in message else 3, 8, 8), LABELS))


HOT = torch.eye(3)[LABELS]
MENDED = {
    "floats that are bytes": (some(6, 3, 8, 8).float(), LABELS),
    "arrays of floats that are bytes": (some(6, 3, 8, 8).double().numpy(), LABELS),
    "int64 bytes": (some(6, 3, 8, 8).long(), LABELS),
    "uint16 bytes": (some(6, 3, 8, 8).numpy().astype("uint16"), LABELS),
    "black and white": (some(6, 3, 8, 8) > 99, LABELS),
    "channels last": (some(6, 8, 9, 3), LABELS),
    "an array with the channels last": (some(6, 8, 9, 3).numpy(), LABELS),
    "RGBA with the channels last": (some(6, 8, 9, 4), LABELS),
    "RGBA": (some(6, 4, 9, 9), LABELS),
    "one-hot labels": (some(6, 3, 8, 8), HOT),
    "an array of one-hot labels": (some(6, 3, 8, 8), HOT.numpy()),
    "float labels": (some(6, 3, 8, 8), LABELS.float()),
    "an array of bool labels": (some(6, 3, 8, 8), (LABELS > 1).numpy()),
    "labels with gaps": (some(6, 3, 8, 8), LABELS * 1000),
    "a list of labels with gaps": (some(6, 3, 8, 8), [1000, 5, 1000, 5, 5, 5]),
}


@pytest.mark.parametrize(("pictures", "labels"), MENDED.values(), ids=MENDED)
def test_the_code_in_an_error_mends_the_data(pictures, labels):
    with pytest.raises(ValueError) as error:
        from_tensors((pictures, labels), (some(6, 3, 8, 9), LABELS))
    code = re.search(r"(?:[Pp]ass|Renumber them:) ((?:pictures|labels|torch)[.\[].*?)\.?$", str(error.value))[1]
    mended = eval(code, {"torch": torch, "pictures": pictures, "labels": labels})
    split = (mended, labels) if "pictures" in code else (pictures, mended)
    data = from_tensors(split, split)
    assert data.channels == 3
    assert len(data.classes) in (2, 3)


SAME = {
    "an array": (lambda images: images.numpy(), lambda labels: labels.numpy()),
    "an array that cannot be written to": (lambda images: np.broadcast_to(images.numpy(), images.shape), list),
    "lists of numbers": (lambda images: images, lambda labels: labels.tolist()),
    "lists of tensors": (lambda images: images, list),
    "a column": (lambda images: images, lambda labels: labels[:, None].numpy()),
    "what is differentiated": (lambda images: (images / 255).requires_grad_(), lambda labels: labels.to(torch.uint8)),
}


@pytest.mark.parametrize(("pictures", "labels"), SAME.values(), ids=SAME)
def test_input_of_certain_meaning_is_accepted(pictures, labels):
    images = some(6, 3, 8, 8)
    split = pictures(images), labels(LABELS)
    data = from_tensors(split, split)
    assert torch.equal(data.train.images, images)
    assert torch.equal(data.train.labels, LABELS)
    assert not data.train.images.requires_grad


@pytest.mark.parametrize("split", [some(6, 3, 8, 8), (some(6, 3, 8, 8),), None])
def test_a_split_is_a_pair(split):
    with pytest.raises(ValueError, match=r"training data must be a pair \(pictures, labels\), not a"):
        from_tensors(split, split)


def test_a_huge_label_costs_neither_time_nor_memory():
    huge = torch.tensor([0, 1, 2**62, 0, 1, 2])
    for train, test in ((huge, LABELS), (LABELS, huge)):
        with pytest.raises(ValueError, match="labels run up to 4611686018427387904"):
            from_tensors((some(6, 3, 8, 8), train), (some(6, 3, 8, 8), test))
        with pytest.raises(ValueError, match="labels run up to 4611686018427387904, and classes from 0 to 2"):
            from_tensors((some(6, 3, 8, 8), train), (some(6, 3, 8, 8), test), classes=("a", "b", "c"))
    assert [len(part) for part in stratified_split(huge, 0.5, 0)] == [4, 2]
    given = [(image, int(label)) for image, label in zip(some(6, 3, 8, 8), huge, strict=True)]
    for classes in (None, ("a", "b", "c")):
        with pytest.raises(ValueError, match="labels run up to 4611686018427387904"):
            from_dataset(given, classes=classes)


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
    "arrays": lambda image: image.numpy(),
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
        (Listed([(torch.rand(3, 8, 8) * 9, 0)]), "1 picture.* They look like bytes: pass picture.to"),
        (Listed([(torch.randn(3, 8, 8) * 9, 2)]), "not one picture can be read of class 2. .* They look normalized"),
        (Listed([(torch.rand(8, 9, 3), 0)]), r"The channels look last: pass picture.permute\(2, 0, 1\)"),
        (Listed([(torch.rand(8, 9, 3).numpy(), 0)]), r"The channels look last: pass picture.transpose\(2, 0, 1\)"),
        (Listed([(torch.rand(4, 8, 8), 0)]), r"They look like RGBA: pass picture\[:3\]"),
        (Listed([("x.png", 0), (torch.rand(3, 8, 8), 0)]), "must be a PIL image or .* not a str"),
        (Listed([(torch.rand(3, 8, 8), "cat")]), "training item 0 has the label 'cat': text. Pass names.index"),
        (Listed([(torch.rand(3, 8, 8), 1.0)]), r"has the label 1.0; whole numbers work. Pass int\(label\)"),
        (Listed([(torch.rand(3, 8, 8), True)]), r"has the label True; whole numbers work. Pass int\(label\)"),
        (Listed([(torch.rand(3, 8, 8), None)]), "has the label None; whole numbers work"),
        (Listed([(torch.rand(3, 8, 8), torch.eye(3)[0])]), r"label of shape \(3,\); .* pass int\(label.argmax\(\)\)"),
        (Listed([(1, torch.rand(3, 8, 8))]), "has 1 where its picture should be"),
        (Listed([torch.rand(3, 8, 8)]), "training item 0 is a Tensor; a pair"),
        (Listed([(torch.rand(3, 8, 8), 0, 0)]), "training item 0 is a tuple of 3; a pair"),
        (Listed([{"pixels": 1, "label": 0}]), "has the keys 'pixels', 'label'; 'image' and 'label' work"),
        (Listed([(torch.rand(2, 8, 8), 0), (torch.rand(3, 8, 8), 0)]), "2 channels"),
    ],
)
def test_a_torch_data_set_that_cannot_be_used_is_refused(given, message):
    good = [(torch.rand(3, 8, 8), label) for label in (0, 1)] * 2
    with pytest.raises(ValueError, match=message):
        from_dataset(Listed([*given.items, *good]) if given.items else given, Listed(good))


@pytest.mark.parametrize("label", [int, torch.tensor, np.int64, lambda label: torch.tensor([label])])
@pytest.mark.parametrize("name", ["image", "img", None])
def test_items_may_be_mappings_as_in_the_hub_and_labels_of_every_kind(label, name):
    images = some(6, 3, 8, 8)
    pairs = zip(images, LABELS.tolist(), strict=True)
    given = [{name: image, "label": label(k)} if name else (image, label(k)) for image, k in pairs]
    data = from_dataset(given, given)
    assert torch.equal(data.train.images, images)
    assert torch.equal(data.train.labels, LABELS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"train": [], "test": []},
            "training data are a mapping with the keys 'train', 'test'; pass from_dataset",
        ),
        (iter([1]), "training item 0 is a int; a pair"),
        (5, "training data, a int, have no length and no items"),
        (
            [(torch.rand(3, 8, 8), label) for label in range(3)],
            "one picture of each class can be read, so none is left for the test",
        ),
    ],
)
def test_objects_that_are_no_data_set_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        from_dataset(given)


TAGS = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]])


@pytest.mark.parametrize("given", [TAGS, TAGS.bool(), TAGS.double().numpy(), TAGS.tolist()])
def test_labels_of_several_classes_a_picture_are_0_or_1_for_each_class(given):
    data = from_tensors((some(6, 3, 8, 8), given), (some(6, 3, 8, 8), given), classes=("a", "b", "c"))
    assert data.several
    assert torch.equal(data.train.take(torch.tensor([3]))[1], torch.tensor([[1.0, 0.0, 1.0]]))
    assert data.fingerprint != replace(data, train=data.train.subset(torch.tensor([1, 0, 2, 3, 4, 5]))).fingerprint


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (TAGS * 2, None, r"have shape \(6, 3\); \(pictures,\) works, or \(pictures, classes\) of 0 and 1"),
        (TAGS, ("a", "b"), "training labels are for 3 classes, and there are 2"),
        (TAGS * torch.tensor([1, 0, 1]), None, "no training picture for class 1"),
        (LABELS, None, "pictures of one split have one label each, and those of the other have several"),
    ],
)
def test_labels_of_several_classes_that_cannot_be_used_are_refused(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        from_tensors((some(6, 3, 8, 8), labels), (some(6, 3, 8, 8), TAGS), classes=classes)


def test_pictures_of_several_classes_are_not_chosen_by_class():
    data = from_tensors((some(6, 3, 8, 8), TAGS), (some(6, 3, 8, 8), TAGS))
    with pytest.raises(ValueError, match="cannot be chosen by class"):
        subsample(data, 4, None)
