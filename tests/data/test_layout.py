"""What the folders in a folder are taken for, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffnas.data.layout import layout
from diffnas.run_folder import RunFolder

BOTH = ("a/1.png", "b/1.png")


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def splits(root: Path, *names: str) -> Path:
    """Folders of these names, each with the class folders a and b."""
    return tree(root, *(f"{name}/{file}" for name in names for file in BOTH))


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        ("Train Test", "Train", "Test"),
        ("training testing", "training", "testing"),
        ("TRAIN VAL", "TRAIN", "VAL"),
        ("train validation", "train", "validation"),
        ("train valid", "train", "valid"),
        ("train dev", "train", "dev"),
        ("train eval", "train", "eval"),
        ("train holdout", "train", "holdout"),
        ("train Held-out", "train", "Held-out"),
        ("training_set test_set", "training_set", "test_set"),
        ("train_images val-data", "train_images", "val-data"),
        ("trainset testset", "trainset", "testset"),
        ("tr te", "tr", "te"),
        ("train val test", "train val", "test"),
        ("train val dev", "train dev", "val"),
        ("train", "train", None),
    ],
)
def test_the_usual_names_of_splits_are_known_and_told(names, train, test, tmp_path):
    found = layout(splits(tmp_path, *names.split()))
    assert [place.name for place in found.train] == train.split()
    assert (found.test.name if found.test else None) == test
    assert found.classes == ("a", "b")
    (remark,) = found.remarks
    for name in names.split():
        assert f"{name}/" in remark
    assert "for training" in remark
    assert "for the test" in remark


def test_what_is_in_no_split_is_told(tmp_path):
    tree(splits(tmp_path, "train", "test"), "unlabeled/1.png", "train.csv", "train/stray.png")
    found = layout(tmp_path)
    assert found.remarks == (
        "train/ is taken for training, test/ for the test; left out: unlabeled/ (not called like a split)",
    )
    assert [(left.path.name, left.reason) for left in found.left] == [
        ("train.csv", "beside the class folders, so in no class"),
        ("stray.png", "beside the class folders, so in no class"),
    ]


@pytest.mark.parametrize("unlabeled", ["test/1.png", "test/unknown/1.png"])
def test_a_test_without_classes_is_left_out_for_a_validation_with_them(unlabeled, tmp_path):
    tree(splits(tmp_path, "train", "val"), unlabeled)
    found = layout(tmp_path)
    assert found.test == tmp_path / "val"
    assert "val/ for the test; left out: test/ (without" in found.remarks[0]


@pytest.mark.parametrize("name", ["test", "train", "dev", "Training"])
def test_a_class_may_be_called_like_a_split_and_is_told(name, tmp_path):
    found = layout(tree(tmp_path, "boat/1.png", f"{name}/1.png", f"{name}/more/2.png"))
    assert found.classes == tuple(sorted(["boat", name]))
    assert found.train == (tmp_path,)
    assert f"{tmp_path}: taken for classes: {name}." in found.remarks[0]


def test_classes_that_hold_only_folders_are_told(tmp_path):
    found = layout(tree(tmp_path, "cat/persian/1.png", "cat/siamese/1.png", "dog/1.png"))
    assert found.classes == ("cat", "dog")
    assert found.remarks == (
        f"{tmp_path}: classes that hold only folders: cat. The pictures in all folders of a class (persian, siamese) "
        "are of that class.",
    )


def test_a_folder_that_diffnas_wrote_is_no_class_and_is_told(tmp_path):
    tree(tmp_path, *BOTH)
    RunFolder.create(tmp_path / "runs" / "mine", {"phase": "search"})
    found = layout(tmp_path)
    assert found.classes == ("a", "b")
    assert found.remarks == (f"{tmp_path}: left out: runs/ (written by diffnas)",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["deeper/a/1.png", "deeper/b/1.png"], "one class folder, deeper; .* holds a, b: perhaps you mean .*deeper"),
        (["deeper/train/a/1.png", "deeper/test/a/1.png"], "It holds test, train: perhaps you mean"),
        (["1.png", "2.jpg"], "no class folder; at least 2 .* Sort its 2 pictures into folders named after"),
        (["a/train/1.png", "a/test/1.png", "b/train/1.png", "b/test/1.png"], "splits in its class folders: a holds"),
        (["val/a/1.png", "val/b/1.png", "test/a/1.png", "test/b/1.png"], "test, val .* no folder called train"),
        (["mine/a/1.png", "mine/b/1.png", "test/a/1.png", "test/b/1.png"], "test .* no folder called train"),
        (["train/a/1", "train/b/1", "Train_set/a/1", "Train_set/b/1"], "Train_set, train, which mean the same"),
        (["train/a/1", "train/b/1", "test/a/1", "test/c/1"], "test lacks b. train lacks c"),
        (["train/a/1", "train/b/1", "val/a/1", "val/c/1", "test/a/1", "test/b/1"], "val lacks b"),
    ],
    ids=[
        "too deep",
        "splits too deep",
        "loose",
        "inverted",
        "no train",
        "other train",
        "twice",
        "differ",
        "val differs",
    ],
)
def test_a_folder_that_is_laid_out_otherwise_is_refused_with_the_way_out(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        layout(tree(tmp_path, *files))


def test_the_folders_of_a_run_that_was_left_beside_the_classes_are_no_classes(tmp_path):
    RunFolder.create(tree(tmp_path, *BOTH), {"phase": "search"})
    tree(tmp_path, "checkpoint/last.pt")
    RunFolder.create(tmp_path / "evaluation", {"phase": "evaluate"})
    found = layout(tmp_path)
    assert found.classes == ("a", "b")
    assert "left out: checkpoint/ (written by diffnas), evaluation/ (written by diffnas)" in found.remarks[0]
