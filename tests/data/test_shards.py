"""Shards: pictures in tar archives are those of a folder, in any order, and what is wrong is said in one line."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffnas.data import load
from diffnas.data.pictures import Files, Pictures
from diffnas.untrusted.tar import Inside, files_in


def png(value: int) -> bytes:
    """A picture of noise, 12x12, that differs with ``value``."""
    noise = np.random.default_rng(value).integers(0, 256, (12, 12, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(noise).save(made, "PNG")
    return made.getvalue()


def pack(path: Path, files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 0.5
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(numbers: range, label: str = "") -> dict[str, bytes]:
    """Samples as WebDataset writes them; the label of each is its number modulo 2."""
    pairs = ((f"{n:05}", n) for n in numbers)
    return {
        f"{key}.{suffix}": content
        for key, n in pairs
        for suffix, content in (("png", png(n)), ("cls", f"{label}{n % 2}\n".encode()))
    }


@pytest.mark.parametrize("stream", [None, True], ids=["memory", "streamed"])
@pytest.mark.parametrize("names", ["train/0.tar train/1.tar test/0.tar", "x-train-0.tar x-train-1.tar x-val-0.tar"])
def test_pictures_and_labels_come_from_shards_as_from_files(tmp_path: Path, names: str, stream: bool | None):
    for name, numbers in zip(names.split(), (range(6), range(6, 10), range(10, 14)), strict=True):
        pack(tmp_path / name, samples(numbers))
    data = load(tmp_path, stream=stream)
    assert isinstance(data.train, Files if stream else Pictures)
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1] * 5, [0, 1] * 2)
    images, labels = data.train.take(torch.tensor([7, 2]))
    for image, number in zip(images, (7, 2), strict=True):
        assert (image.permute(1, 2, 0).numpy() == np.array(Image.open(io.BytesIO(png(number))))).all()
    assert labels.tolist() == [1, 0]
    assert "2 shard(s) are taken for training, 1 for the test" in data.remarks[0]


def test_shards_of_no_split_are_split_by_the_seed_and_a_file_names_the_classes(tmp_path: Path):
    pack(tmp_path / "00.tar", samples(range(10)))
    assert load(tmp_path).classes == ("0", "1")
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.test)) == (8, 2)


def test_labels_may_be_names(tmp_path: Path):
    pack(tmp_path / "00.tar", samples(range(10), "class-"))
    assert load(tmp_path).classes == ("class-0", "class-1")


def test_what_cannot_be_read_in_a_shard_is_skipped_and_listed(tmp_path: Path):
    odd = {"a.png": png(0)[:60], "a.cls": b"0", "b.png": png(1), "c.cls": b"0", "d/e.f.png": png(2), "d/e.cls": b"1"}
    pack(tmp_path / "0.tar", samples(range(6)) | odd)
    data = load(tmp_path)
    assert len(data.train) + len(data.test) == 7
    assert data.skipped[0].startswith("0.tar/a.png (60 bytes): ")
    assert data.skipped[1:] == ("0.tar/b: no label, b.cls", "0.tar/c: no picture")


BAD: dict[str, tuple[str, dict[str, bytes] | bytes, str]] = {
    "junk": ("0.tar", b"x" * 2048, r"0\.tar cannot be read as a shard \(the head of a file in it is damaged\)"),
    "cut": ("0.tar", samples(range(8)), r"0\.tar cannot be read as a shard \(it ends too early\)"),
    "test alone": ("test-0.tar", samples(range(8)), "has shards of the test alone; call those with the training"),
    "no labels": ("0.tar", {"a.png": png(0)}, "no sample in 1 shard.* picture and a label.* 0.tar/a: no label, a.cls"),
    "two kinds of labels": (
        "0.tar",
        samples(range(4)) | samples(range(4, 8), "x"),
        "some labels are numbers, such as 0, and others are not, such as 'x0'",
    ),
    "no classes": ("0.tar", samples(range(4), "99999"), "labels run up to 999991"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_shards_are_refused_in_one_line(tmp_path: Path, kind: str):
    name, content, message = BAD[kind]
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else pack(path, content)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_file_of_an_archive_is_found_where_it_lies(tmp_path: Path, form: int):
    long = "/".join(["folder" * 3] * 5) + "/" + "name" * 20 + ".png"
    files = {"a.png": b"x" * 700, "b.cls": b"", long if form == tarfile.USTAR_FORMAT else f"{long * 2}": b"yz"}
    path = pack(tmp_path / "a.tar", files, form)
    with path.open("rb") as file:
        found = list(files_in(file))
    content = path.read_bytes()
    assert {each.name: content[each.start : each.start + each.size] for each in found} == files
    assert isinstance(found[0], Inside)
