from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from diffnas.data import DESCRIPTIONS, from_tensors, load, set_aside, subsample
from diffnas.data.sample import digits


@pytest.fixture(scope="module")
def data():
    return digits()


def test_digits_are_the_same_for_everybody(data):
    assert data.fingerprint == "e5a5d1a14abb994d0a0d85c0ff5abfe46676b0868348b7d43c7409035c556192"


def test_digits_share_out_every_class_and_use_the_whole_range_of_bytes(data):
    train, test = (torch.bincount(split.labels, minlength=10) for split in (data.train, data.test))
    assert (train.sum().item(), test.sum().item()) == (1347, 450)
    assert ((test / (train + test) - 0.25).abs() < 0.01).all()
    assert data.train.images.unique().numel() == 17
    assert (int(data.train.images.min()), int(data.train.images.max())) == (0, 255)
    assert (data.augmentation.pad, data.augmentation.flip) == (1, False)


def test_no_digit_is_in_both_splits(data):
    both = torch.cat([data.train.images, data.test.images]).flatten(1)
    assert len(torch.unique(both, dim=0)) == 1797


def test_a_data_set_is_returned_as_it_is(data):
    assert load(data) is data


def test_a_path_or_its_text_is_read_as_a_folder(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.full((20, 20), number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    for what in (tmp_path / "mine", str(tmp_path / "mine"), "mine"):
        found = load(what, size=16, channels=3)
        assert (found.name, found.size, found.channels) == ("mine", (16, 16), 3)


@pytest.mark.parametrize(
    ("what", "arguments", "kind", "message"),
    [
        ("cifar11", {}, ValueError, "unknown data set 'cifar11'. Did you mean 'cifar10'[?] Known: digits, cifar10,"),
        ("zebra", {}, ValueError, "unknown data set 'zebra'. Known: "),
        (torch.zeros(2), {}, ValueError, "not by a Tensor. diffnas.from_tensors makes one of tensors"),
        ("digits", {"size": 16}, ValueError, "leave size and channels out"),
        ("cifar10", {"channels": 1}, ValueError, "leave size and channels out"),
        ("some/where", {}, FileNotFoundError, "no folder at some/where"),
        ("cifar10", {"data_dir": "no/where"}, FileNotFoundError, "no cifar10 at no/where"),
        ("cifar100", {"data_dir": "no/where"}, FileNotFoundError, "no cifar100 at no/where"),
    ],
)
def test_what_cannot_be_loaded_says_what_can(what, arguments, kind, message):
    with pytest.raises(kind, match=message):
        load(what, **arguments)


def test_the_hub_is_asked_by_its_prefix(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="hub"):
        load("hub:me/birds")


def test_every_description_is_one_line():
    assert set(DESCRIPTIONS) >= {"digits", "cifar10", "cifar100"}
    assert all(text and "\n" not in text for text in DESCRIPTIONS.values())


def test_importing_brings_in_no_library_that_may_not_be_needed():
    code = (
        "import sys, diffnas.data; "
        "print([name for name in ('sklearn', 'PIL', 'datasets', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("train", "test", "name", "lengths"),
    [
        (100, 50, "digits[100,50]", (100, 50)),
        (100, None, "digits[100]", (100, 450)),
        (None, 50, "digits[all,50]", (1347, 50)),
        (None, None, "digits", (1347, 450)),
    ],
)
def test_a_subsample_is_named_after_its_numbers(data, train, test, name, lengths):
    small = subsample(data, train, test, seed=1)
    assert (small.name, (len(small.train), len(small.test))) == (name, lengths)
    assert (small.mean, small.augmentation) == (data.mean, data.augmentation)
    assert (small.fingerprint == data.fingerprint) == (name == "digits")


def test_a_subsample_has_as_many_of_each_class_and_the_seed_decides_which(data):
    small = subsample(data, 104, None, seed=1)
    assert torch.bincount(small.train.labels).tolist() == [11] * 4 + [10] * 6
    assert small.fingerprint == subsample(data, 104, None, seed=1).fingerprint
    assert small.fingerprint != subsample(data, 104, None, seed=2).fingerprint


def test_a_smaller_subsample_is_part_of_a_larger_one(data):
    small, large = (subsample(data, count, None, seed=3).train for count in (50, 200))
    larger = {image.numpy().tobytes() for image in large.images}
    assert all(image.numpy().tobytes() in larger for image in small.images)


def test_what_is_set_aside_is_no_part_of_what_is_left_and_is_the_same_each_time(data):
    less, aside = set_aside(data, 0.1)
    left = {image.numpy().tobytes() for image in less.train.images}
    taken = {image.numpy().tobytes() for image in aside.images}
    assert len(less.train) + len(aside) == len(data.train)
    assert not left & taken
    assert torch.equal(aside.images, set_aside(data, 0.1)[1].images)
    shares = torch.bincount(aside.labels) / torch.bincount(data.train.labels)
    assert shares.sub(0.1).abs().max() < 0.01
    assert less.test is data.test


def test_a_subsample_that_cannot_be_taken_says_what_can():
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    images = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    pair = from_tensors((images, labels), (images, labels), classes=("a", "b"))
    with pytest.raises(ValueError, match=r"were asked for and there are \d+. Ask for that many or fewer"):
        subsample(pair, 7, None)
    with pytest.raises(ValueError, match="1 pictures cannot cover 2 classes"):
        subsample(pair, 1, None)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_folder_called_like_a_data_set_is_told_apart(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    told = f"{name} is the data set of this name; the folder {name} that is here is called ./{name}."
    if name == "digits":
        assert load(name).remarks == (told,)
    else:
        with pytest.raises(FileNotFoundError, match=re.escape(told)):
            load(name)


def test_an_empty_name_does_not_mean_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"the name of the data is empty\. Known: digits"):
        load("")


def test_an_archive_beside_is_to_be_unpacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"pets\.zip is a file\. Unpack it"):
        load("pets.zip")
