from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffnas.data.decode import fitted, plain
from diffnas.data.folder import folder
from diffnas.data.pictures import Files, Pictures
from diffnas.run_folder import RunFolder


def draw(path: Path, size: tuple[int, int] = (12, 12), mode: str = "RGB", value: int = 0) -> Path:
    """A picture of noise, width and height ``size``, that differs with ``value``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def classes_of(root: Path, classes: str = "ab", count: int = 5, **how) -> Path:
    for label, name in enumerate(classes):
        for number in range(count):
            draw(root / name / f"{number}.png", value=100 * label + number, **how)
    return root


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize("test", ["test", "val", "valid"])
def test_train_and_test_folders_become_the_splits(test, tmp_path):
    classes_of(tmp_path / "train")
    classes_of(tmp_path / test, count=2)
    data = folder(tmp_path)
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.test)) == (10, 4)
    assert data.name == tmp_path.name
    assert torch.equal(data.train.images[5], pixels(tmp_path / "train" / "b" / "0.png"))
    assert data.train.labels.tolist() == [0] * 5 + [1] * 5
    assert (data.augmentation.pad, data.augmentation.flip) == (1, True)


def test_test_wins_over_val(tmp_path):
    classes_of(tmp_path / "train")
    classes_of(tmp_path / "val", count=3)
    classes_of(tmp_path / "test", count=2)
    assert len(folder(tmp_path).test) == 4


@pytest.mark.parametrize("inside", ["", "train"])
def test_without_a_test_folder_each_class_is_split_by_the_seed(inside, tmp_path):
    classes_of(tmp_path / inside, count=10)
    data = folder(tmp_path, test_fraction=0.3)
    assert torch.bincount(data.train.labels).tolist() == [7, 7]
    assert torch.bincount(data.test.labels).tolist() == [3, 3]
    assert data.fingerprint == folder(tmp_path, test_fraction=0.3).fingerprint
    assert data.fingerprint != folder(tmp_path, test_fraction=0.3, seed=1).fingerprint
    every = torch.cat([data.train.images, data.test.images]).flatten(1)
    assert len(torch.unique(every, dim=0)) == 20


def test_a_class_may_be_called_train(tmp_path):
    classes_of(tmp_path, classes=["boat", "train"])
    assert folder(tmp_path).classes == ("boat", "train")


def test_files_at_any_depth_of_a_class_are_read_and_all_others_are_listed(tmp_path):
    classes_of(tmp_path, count=4)
    draw(tmp_path / "a" / "more" / "x.png")
    for hidden in (".DS_Store", ".cache/y.png", "__MACOSX/z.png"):
        place = tmp_path / "a" / hidden
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"not a picture")
    (tmp_path / ".git").mkdir()
    (tmp_path / "notes.txt").write_text("about the pictures")
    data = folder(tmp_path)
    assert len(data.train) + len(data.test) == 9
    hidden = "hidden, or the system's own"
    assert data.skipped == (
        "notes.txt: beside the class folders, so in no class",
        f".git: {hidden}",
        f"a/.DS_Store: {hidden}",
        f"a/.cache/y.png: {hidden}",
        f"a/__MACOSX/z.png: {hidden}",
    )


@pytest.mark.parametrize("limit", [2**31, 0], ids=["memory", "streamed"])
def test_unreadable_files_are_skipped_and_listed(limit, tmp_path):
    classes_of(tmp_path, count=6)
    whole = draw(tmp_path / "a" / "cut.jpg", size=(40, 40)).read_bytes()
    (tmp_path / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    cut = (tmp_path / "b" / "0.png").read_bytes()
    (tmp_path / "b" / "cut.png").write_bytes(cut[:-100])
    (tmp_path / "b" / "empty.png").write_bytes(b"")
    (tmp_path / "b" / "notes.txt").write_text("not a picture")
    data = folder(tmp_path, memory_limit=limit)
    assert [line.split()[0] for line in data.skipped] == ["a/cut.jpg", "b/cut.png", "b/empty.png", "b/notes.txt"]
    assert "truncated" in data.skipped[0]
    assert data.skipped[2:] == (
        "b/empty.png (0 bytes): empty, or not a picture",
        "b/notes.txt (13 bytes): empty, or not a picture",
    )
    assert len(data.train) + len(data.test) == 12


def test_streamed_pictures_are_those_in_memory(tmp_path):
    for number in range(8):
        draw(tmp_path / "a" / f"{number}.png", size=(9 + number, 20), value=number)
        draw(tmp_path / "b" / f"{number}.jpg", size=(30, 9 + number), value=50 + number)
    memory, streamed = folder(tmp_path), folder(tmp_path, memory_limit=100)
    assert isinstance(memory.train, Pictures)
    assert isinstance(streamed.train, Files)
    indices = torch.tensor([5, 0, 11])
    for one, other in ((memory.train, streamed.train), (memory.test, streamed.test)):
        found = zip(one.take(indices % len(one)), other.take(indices % len(one)), strict=True)
        assert all(torch.equal(left, right) for left, right in found)
    assert streamed.mean == pytest.approx(memory.mean)
    assert streamed.fingerprint == folder(tmp_path, memory_limit=0).fingerprint


def test_a_streamed_fingerprint_changes_with_a_file(tmp_path):
    classes_of(tmp_path)
    before = folder(tmp_path, memory_limit=0).fingerprint
    draw(tmp_path / "a" / "0.png", value=77, mode="L")
    assert folder(tmp_path, memory_limit=0).fingerprint != before


@pytest.mark.parametrize(
    ("sizes", "asked", "expected"),
    [
        ([(12, 16)], None, (16, 12)),
        ([(12, 16)], 10, (10, 10)),
        ([(13, 40), (21, 30), (50, 33)], None, (20, 20)),
        ([(2, 3), (4, 3)], None, (8, 8)),
        ([(5, 5)], None, (8, 8)),
        ([(300, 240)], None, (224, 224)),
    ],
    ids=["one size is kept", "asked", "median, made even", "too small", "one too small", "too large"],
)
def test_the_size_is_as_documented(sizes, asked, expected, tmp_path):
    for number in range(6):
        for name in "ab":
            draw(tmp_path / "train" / name / f"{number}.png", size=sizes[number % len(sizes)])
            draw(tmp_path / "test" / name / f"{number}.png", size=sizes[0])
    assert folder(tmp_path, size=asked).size == expected


def test_the_size_of_test_pictures_decides_nothing(tmp_path):
    classes_of(tmp_path / "train", size=(20, 24))
    classes_of(tmp_path / "test", size=(90, 90))
    assert folder(tmp_path).size == (24, 20)


@pytest.mark.parametrize(
    ("modes", "asked", "expected"),
    [("L1", None, 1), (["L", "RGB"], None, 3), (["L", "L"], 3, 3), (["RGB", "RGB"], 1, 1)],
)
def test_channels_are_one_if_every_picture_is_grey_unless_asked(modes, asked, expected, tmp_path):
    classes_of(tmp_path, "a", mode=modes[0])
    classes_of(tmp_path, "b", mode=modes[1])
    assert folder(tmp_path, channels=asked).channels == expected


def color(mode: str, value: object) -> Image.Image:
    return Image.new(mode, (8, 8), value)


def palette(*colors: int) -> Image.Image:
    image = color("P", 1)
    image.putpalette([0, 0, 0, *colors])
    return image


@pytest.mark.parametrize(
    ("image", "mode", "expected"),
    [
        (color("1", 1), "L", 255),
        (color("L", 77), "L", 77),
        (color("LA", (77, 255)), "L", 77),
        (color("LA", (0, 0)), "L", 255),
        (color("RGB", (1, 2, 3)), "RGB", (1, 2, 3)),
        (color("RGBA", (1, 2, 3, 255)), "RGB", (1, 2, 3)),
        (color("RGBA", (1, 2, 3, 0)), "RGB", (255, 255, 255)),
        (palette(9, 9, 9), "L", 9),
        (palette(9, 8, 7), "RGB", (9, 8, 7)),
        (color("CMYK", (0, 0, 0, 0)), "RGB", (255, 255, 255)),
        (color("YCbCr", (128, 128, 128)), "RGB", (128, 128, 128)),
        (color("I", 65535), "L", 255),
        (color("I", 257 * 12), "L", 12),
        (color("I;16", 257 * 200), "L", 200),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_every_mode_becomes_grey_or_color(image, mode, expected):
    found = plain(image)
    assert found.mode == mode
    assert found.getpixel((3, 3)) == expected


def test_floating_point_pixels_are_refused():
    with pytest.raises(ValueError, match="no stated range"):
        plain(color("F", 0.5))


@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_sixteen_bit_files_are_scaled_not_clipped(extension, tmp_path):
    deep = np.full((9, 9), 257 * 60, np.uint16)
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(deep).save(tmp_path / name / f"{number}.{extension}")
    data = folder(tmp_path)
    assert data.channels == 1
    assert data.train.images.unique().tolist() == [60]


def deep(root: Path, values: np.ndarray, extension: str = "png", count: int = 4) -> Path:
    """A folder of two classes whose pictures all hold ``values``."""
    for name in "ab":
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(values).save(root / name / f"{number}.{extension}")
    return root


RAMP = np.arange(64).reshape(8, 8)


@pytest.mark.parametrize(
    ("values", "extension"),
    [
        (np.uint16(RAMP * 65), "png"),
        (np.uint16(RAMP * 65), "tiff"),
        (np.uint16(30_000 + RAMP * 65), "png"),
        (np.int32(RAMP * 1_000_000 - 5_000_000), "tiff"),
        (np.float32(RAMP / 7 - 3), "tiff"),
    ],
    ids=["12 bits", "12 bits, TIFF", "a part of the range", "32 bits, signed", "floating point"],
)
@pytest.mark.parametrize("limit", [2**31, 0], ids=["memory", "streamed"])
def test_deep_grey_fills_the_bytes_whatever_part_of_its_range_it_fills(values, extension, limit, tmp_path):
    data = folder(deep(tmp_path / "set", values, extension), memory_limit=limit)
    expected = np.rint(RAMP * 255 / 63).astype(np.uint8)
    for split in (data.train, data.test):
        assert (split.take(torch.tensor([0]))[0][0, 0].numpy() == expected).all()
    assert data.levels == (values.min(), values.max())
    assert "is black and" in data.remarks[0]


def test_the_levels_are_those_of_the_training_pictures(tmp_path):
    deep(tmp_path / "train", np.uint16(1000 + RAMP))
    deep(tmp_path / "test", np.uint16(990 + 2 * RAMP))
    data = folder(tmp_path)
    assert data.levels == (1000, 1063)
    assert data.test.images[0, 0, 0, 0] == 0
    assert data.test.images[0, 0, -1, -1] == 255


def test_pictures_of_8_bits_have_no_levels(tmp_path):
    data = folder(classes_of(tmp_path))
    assert (data.levels, data.remarks) == (None, ())


def test_floating_point_pictures_without_levels_are_refused(tmp_path):
    classes_of(tmp_path / "train", mode="L")
    deep(tmp_path / "test", np.float32(RAMP), "tiff")
    with pytest.raises(ValueError, match=r"test/a/0.tiff .* has floating-point pixels, .* training pictures give none"):
        folder(tmp_path)


def test_every_file_of_a_class_is_read_or_listed_with_its_reason(tmp_path):
    classes_of(tmp_path, count=4)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "link.png").symlink_to("0.png")
    (tmp_path / "a" / "broken.png").symlink_to("nowhere.png")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "document.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (tmp_path / "a" / "two\nlines\x1b[31m.png").write_bytes(b"")
    with open(os.fsencode(tmp_path / "a") + b"/\xff.png", "wb"):
        pass
    data = folder(tmp_path)
    assert len(data.train) + len(data.test) == 9
    assert [line.partition(": ") for line in data.skipped] == [
        ("a/broken.png (11 bytes)", ": ", "there is no such file, or a link leads nowhere"),
        (
            "a/document.eps (24 bytes)",
            ": ",
            "an EPS document, which only another program could draw; save it as PNG",
        ),
        ("a/pipe.png (0 bytes)", ": ", "a pipe, which is never opened"),
        ("a/two\\nlines\\x1b[31m.png (0 bytes)", ": ", "empty, or not a picture"),
        ("a/\\xff.png (0 bytes)", ": ", "empty, or not a picture"),
        ("a/self", ": ", "a link to a folder that was read already"),
    ]


def test_a_class_without_a_file_says_what_was_left_out(tmp_path):
    classes_of(tmp_path)
    (tmp_path / "c").symlink_to(".")
    with pytest.raises(ValueError, match=r"c is empty \(c: a link to a folder that was read already\); add pictures"):
        folder(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to the superuser")
def test_a_file_that_may_not_be_read_is_listed(tmp_path):
    classes_of(tmp_path)
    (tmp_path / "a" / "0.png").chmod(0)
    assert "a/0.png" in folder(tmp_path).skipped[0]
    assert folder(tmp_path).skipped[0].endswith("Permission denied")


@pytest.mark.parametrize("limit", [2**31, 0], ids=["memory", "streamed"])
def test_names_that_are_not_utf_8_are_escaped_everywhere(limit, tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
    classes_of(root, classes=["a", os.fsdecode(b"\xff\n")])
    data = folder(root, memory_limit=limit)
    assert (data.name, data.classes) == ("\\xfe", ("a", "\\xff\\n"))
    assert len(data.fingerprint) == 64


def test_files_of_a_run_in_the_folder_change_nothing(tmp_path):
    before = folder(classes_of(tmp_path / "set")).fingerprint
    run = tmp_path / "set" / "runs" / "mine"
    RunFolder.create(run, {"phase": "search"})
    draw(run / "cell.png")
    data = folder(tmp_path / "set")
    assert data.fingerprint == before
    assert data.remarks == (f"{tmp_path / 'set'}: left out: runs/ (written by diffnas)",)


def test_validation_pictures_are_trained_on_if_there_is_a_test(tmp_path):
    for name, count in {"train": 4, "val": 3, "test": 2}.items():
        classes_of(tmp_path / name, count=count)
    data = folder(tmp_path)
    assert (len(data.train), len(data.test)) == (14, 4)
    assert data.train.labels.tolist() == [0] * 7 + [1] * 7


def test_a_class_with_one_picture_is_told_to_be_untested(tmp_path):
    classes_of(tmp_path, count=3)
    draw(tmp_path / "c" / "0.png")
    assert folder(tmp_path).remarks == (f"{tmp_path.name}: the test has no picture of class c.",)


def test_the_orientation_note_of_a_camera_is_followed(tmp_path):
    image = Image.new("L", (8, 12), 0)
    image.paste(255, (0, 0, 8, 6))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as file:
        turned = plain(file)
    assert turned.size == (12, 8)
    assert turned.getpixel((0, 0)) == 0
    assert turned.getpixel((11, 0)) == 255


def test_a_wide_picture_is_cropped_at_the_center():
    image = Image.new("L", (32, 8), 0)
    image.paste(200, (12, 0, 20, 8))
    assert np.unique(fitted(image, 1, (8, 8))).tolist() == [200]
    assert fitted(image, 3, (8, 8)).shape == (3, 8, 8)


def no_folder(root: Path) -> None:
    root.rmdir()


def empty_class(root: Path) -> None:
    classes_of(root)
    (root / "cat").mkdir()


def unreadable_class(root: Path) -> None:
    classes_of(root)
    (root / "cat").mkdir()
    (root / "cat" / "x.png").write_bytes(b"")


def other_classes(root: Path) -> None:
    classes_of(root / "train", "abd")
    classes_of(root / "test", "abc")


def one_class(root: Path) -> None:
    classes_of(root, "a")


def loose_files(root: Path) -> None:
    draw(root / "x.png")


def one_picture_each(root: Path) -> None:
    classes_of(root, count=1)


def an_archive(root: Path) -> None:
    root.rmdir()
    root.write_bytes(b"PK")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (no_folder, FileNotFoundError, "no folder at .* Expected PATH/train"),
        (empty_class, ValueError, "cat is empty"),
        (unreadable_class, ValueError, "not one picture can be read of class cat"),
        (other_classes, ValueError, "test lacks d. train lacks c"),
        (one_class, ValueError, "has one class folder, a; at least 2"),
        (loose_files, ValueError, "has no class folder; at least 2 .* Expected"),
        (one_picture_each, ValueError, "one picture of each class can be read, so none is left for the test"),
        (an_archive, ValueError, "set is a file. Unpack it if it is an archive"),
        (unreadable_class, ValueError, r"cat/x.png \(0 bytes\): empty, or not a picture"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(make, kind, message, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    make(root)
    with pytest.raises(kind, match=message):
        folder(root)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"size": 7}, "size must be a whole number from 8 to 4,096, got 7"),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        ({"test_fraction": 1.0}, "test_fraction must be a number above 0 and below 1, got 1.0"),
    ],
)
def test_a_bad_argument_is_refused(argument, message, tmp_path):
    classes_of(tmp_path)
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, **argument)
