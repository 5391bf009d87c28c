from __future__ import annotations

import sys
from io import BytesIO
from types import ModuleType

import numpy as np
import pytest
from PIL import Image as PilImage

from diffnas.data.hub import hub


class Image:
    """Stands for ``datasets.Image``."""

    def __init__(self, decode=True):
        self.decode = decode


class ClassLabel:
    """Stands for ``datasets.ClassLabel``."""

    def __init__(self, names):
        self.names = names


class Value:
    """Stands for ``datasets.Value``."""


class Rows:
    """Stands for ``datasets.Dataset``: columns by name, rows by number."""

    def __init__(self, features, columns):
        self.features, self.columns = features, columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        return {name: self.picture(values[key]) for name, values in self.columns.items()}

    def picture(self, value):
        if isinstance(value, Exception):
            raise value
        return value

    def select_columns(self, names):
        return Rows(self.features, {name: self.columns[name] for name in names})

    def cast_column(self, name, kind):
        assert not kind.decode
        return Rows(self.features, {name: [encoded(value) for value in self.columns[name]]})


def encoded(value):
    """A picture as ``datasets`` gives it undecoded: its file's bytes, or else where that lies."""
    if isinstance(value, Exception):
        return value
    if isinstance(value, PilImage.Image):
        file = BytesIO()
        value.save(file, "PNG")
        value = file.getvalue()
    return {"bytes": value, "path": None} if isinstance(value, bytes) else {"bytes": None, "path": str(value)}


FEATURES = {"img": Image(), "coarse": ClassLabel(["x", "y"]), "fine": ClassLabel(["a", "b", "c"])}


def picture(value: int, size: tuple[int, int] = (10, 10)) -> PilImage.Image:
    return PilImage.fromarray(np.full((*size, 3), value, np.uint8))


def rows(count: int, labels: bool = True, features=FEATURES) -> Rows:
    columns = {
        "img": [picture(number) for number in range(count)],
        "coarse": [0] * count,
        "fine": [number % 3 if labels else -1 for number in range(count)],
    }
    return Rows(features, columns)


@pytest.fixture
def library(monkeypatch):
    """A stand-in for the package, and the data sets it knows."""
    known = {}
    module = ModuleType("datasets")
    module.Image, module.ClassLabel = Image, ClassLabel
    module.load_dataset = lambda name, config=None: known[name, config]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return known


@pytest.mark.parametrize(("given", "key"), [("me/birds", ("me/birds", None)), ("me/birds:big", ("me/birds", "big"))])
def test_the_picture_and_the_finest_label_column_are_found(library, given, key):
    library[key] = {"train": rows(9), "test": rows(6)}
    data = hub(given)
    assert data.name == f"hub:{given}"
    assert data.classes == ("a", "b", "c")
    assert data.train.labels.tolist() == [0, 1, 2] * 3
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(9))
    assert len(data.test) == 6


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        ({"validation": rows(3)}, 12, 3),
        ({"test": rows(6), "validation": rows(3)}, 12, 6),
        ({"test": rows(6, labels=False), "validation": rows(3)}, 12, 3),
        ({}, 9, 3),
        ({"unsupervised": rows(6, labels=False)}, 9, 3),
    ],
    ids=["validation", "test first", "test without labels", "our own split", "other splits"],
)
def test_the_test_split_is_the_first_that_has_labels(library, splits, train, test):
    library["birds", None] = {"train": rows(12), **splits}
    data = hub("birds")
    assert (len(data.train), len(data.test)) == (train, test)


def test_splits_that_are_left_out_are_told(library):
    library["birds", None] = {"train": rows(12), "test": rows(6), "validation": rows(3)}
    assert hub("birds").remarks == ("hub:birds: the test is test; left out: validation.",)


def test_a_row_that_cannot_be_read_is_listed(library):
    train = rows(9)
    train.columns["img"][4] = OSError("broken")
    library["birds", None] = {"train": train, "test": rows(3)}
    data = hub("birds", size=8, memory_limit=0)
    assert data.skipped == ("train row 4: OSError: broken",)
    assert (len(data.train), data.size) == (8, (8, 8))


def test_a_document_in_a_row_is_listed_and_not_opened(library, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    train = rows(9)
    train.columns["img"][4] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    library["birds", None] = {"train": train, "test": rows(3)}
    (line,) = hub("birds").skipped
    assert line.startswith("train row 4: an EPS document")


def test_a_row_may_name_a_file_instead_of_holding_its_bytes(library, tmp_path):
    picture(4).save(tmp_path / "4.png")
    train = rows(9)
    train.columns["img"][4] = tmp_path / "4.png"
    library["birds", None] = {"train": train, "test": rows(3)}
    assert hub("birds").train.images[:, 0, 0, 0].tolist() == list(range(9))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": rows(3)}, "has no split 'train'; it has test"),
        ({"train": rows(3, labels=False)}, "'train' with no labels"),
        ({"train": rows(3, features={"img": Image(), "fine": Value()})}, r"it has img \(Image\), fine \(Value\)"),
        ({"train": rows(3, features={"fine": FEATURES["fine"]})}, "needs an Image and a ClassLabel"),
    ],
)
def test_a_data_set_that_does_not_fit_says_what_it_has(library, splits, message):
    library["birds", None] = splits
    with pytest.raises(ValueError, match=message):
        hub("birds")


def test_without_the_package_the_error_gives_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[hub\]"'):
        hub("birds")


@pytest.mark.filterwarnings("ignore::Warning")  # What datasets and its own dependencies warn about is theirs.
def test_the_real_package_is_read_like_the_stand_in(monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["a", "b"])})
    columns = {"img": [picture(number) for number in range(6)], "fine": [0, 1] * 3}
    train = datasets.Dataset.from_dict(columns, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: datasets.DatasetDict({"train": train, "test": train}))
    data = hub("birds")
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(6))
    assert data.test.labels.tolist() == [0, 1] * 3
