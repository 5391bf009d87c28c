from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffnas.data.cifar import CIFAR10, CIFAR100, Layout, Release, cifar10, load_release

# The official files are too large for a test: the same releases, with a few pictures.
TINY = {
    "cifar10": replace(CIFAR10, train=50, test=10),
    "cifar100": replace(CIFAR100, train=200, test=100),
}
CASES = [
    pytest.param(TINY[name], TINY[name].layouts[index], id=TINY[name].layouts[index].folder)
    for name in TINY
    for index in (0, 1)
]


def content(release: Release, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The pictures and labels that the tiny files of one split hold."""
    count = release.train if part == "train" else release.test
    random = np.random.default_rng(count)
    return random.integers(0, 256, (count, 3072), np.uint8), np.arange(count) % release.classes


def one_file(release: Release, layout: Layout, images: np.ndarray, labels: np.ndarray) -> bytes:
    if not layout.pickled:
        coarse = np.full((len(labels), release.label_bytes - 1), 7, np.uint8)
        return np.concatenate([coarse, labels[:, None].astype(np.uint8), images], 1).tobytes()
    return pickle.dumps({b"data": images, release.labels_key.encode(): labels.tolist()}, protocol=2)


def official(release: Release, layout: Layout) -> dict[str, bytes]:
    images, labels = content(release, "train")
    count = len(layout.train)
    files = {
        name: one_file(release, layout, *part)
        for name, *part in zip(layout.train, np.split(images, count), np.split(labels, count), strict=True)
    }
    files[layout.test] = one_file(release, layout, *content(release, "test"))
    names = [f"class-{label}" for label in range(release.classes)]
    listed = pickle.dumps({release.names_key: names}, protocol=2)
    files[layout.names] = listed if layout.pickled else "\n".join([*names, ""]).encode()
    return files


def write_folder(place: Path, files: dict[str, bytes]) -> Path:
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_bytes(text)
    return place


def write_tar(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


@pytest.mark.parametrize(("release", "layout"), CASES)
@pytest.mark.parametrize("place", ["folder", "parent", "tar", "folder of tar"])
def test_every_official_form_gives_the_same_pictures(release, layout, place, tmp_path):
    files = official(release, layout)
    if "tar" in place:
        given = write_tar(tmp_path / layout.archive, layout.folder, files)
    else:
        given = write_folder(tmp_path / layout.folder, files)
    data = load_release(release, given if place in ("folder", "tar") else tmp_path)
    for split, part in ((data.train, "train"), (data.test, "test")):
        images, labels = content(release, part)
        assert np.array_equal(split.images.flatten(1).numpy(), images)
        assert split.labels.tolist() == labels.tolist()
    assert data.classes[:2] == ("class-0", "class-1")
    assert (data.name, data.size, data.channels) == (release.name, (32, 32), 3)
    assert (data.augmentation.pad, data.augmentation.flip) == (4, True)
    assert data.mean == release.mean


@pytest.mark.parametrize(("release", "layout"), CASES)
def test_a_file_of_a_wrong_length_says_what_was_found_and_expected(release, layout, tmp_path):
    files = official(release, layout)
    images, labels = content(release, "test")
    files[layout.test] = one_file(release, layout, images[:-1], labels[:-1])
    write_folder(tmp_path / layout.folder, files)
    found = f"({len(labels) - 1}, 3072)" if layout.pickled else f"{len(files[layout.test]):,} bytes"
    with pytest.raises(ValueError, match=f"{layout.test} has") as error:
        load_release(release, tmp_path)
    assert found in str(error.value)
    assert f"{len(labels)}" in str(error.value)


@pytest.mark.parametrize(("release", "layout"), CASES)
def test_a_missing_file_is_named(release, layout, tmp_path):
    files = official(release, layout)
    del files[layout.names]
    write_folder(tmp_path / layout.folder, files)
    with pytest.raises(FileNotFoundError, match=f"lacks {layout.names}"):
        load_release(release, tmp_path)


def test_a_wrong_number_of_class_names_is_refused(tmp_path):
    release = TINY["cifar10"]
    files = {**official(release, release.layouts[0]), release.layouts[0].names: b"cat dog"}
    write_folder(tmp_path / release.layouts[0].folder, files)
    with pytest.raises(ValueError, match="names 2 classes; 10 were expected"):
        load_release(release, tmp_path)


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    release = TINY["cifar10"]
    layout = release.layouts[1]
    mark = tmp_path / "mark"

    class Attack:
        def __reduce__(self):
            return Path.touch, (mark,)

    files = {**official(release, layout), layout.test: pickle.dumps({"data": Attack()})}
    write_folder(tmp_path / layout.folder, files)
    with pytest.raises(ValueError, match="test_batch is refused: it asks for"):
        load_release(release, tmp_path)
    assert not mark.exists()


def test_a_damaged_archive_is_named(tmp_path):
    release = TINY["cifar10"]
    layout = release.layouts[0]
    path = write_tar(tmp_path / layout.archive, layout.folder, official(release, layout))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        load_release(release, path)


def test_archive_members_outside_the_official_folder_and_links_are_not_read(tmp_path):
    release = TINY["cifar10"]
    layout = release.layouts[0]
    files = official(release, layout)
    text = files.pop(layout.test)
    path = tmp_path / layout.archive
    with tarfile.open(path, "w:gz") as archive:
        for name, part in [*((f"{layout.folder}/{name}", part) for name, part in files.items())]:
            member = tarfile.TarInfo(name)
            member.size = len(part)
            archive.addfile(member, io.BytesIO(part))
        stray = tarfile.TarInfo(f"../{layout.test}")
        stray.size = len(text)
        archive.addfile(stray, io.BytesIO(text))
        link = tarfile.TarInfo(f"{layout.folder}/{layout.test}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    with pytest.raises(FileNotFoundError, match=f"lacks {layout.test}"):
        load_release(release, path)


def test_a_missing_data_set_is_an_error_with_the_expected_files_and_the_next_step(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        cifar10(tmp_path)
    for word in ("cifar-10-batches-bin", "cifar-10-python.tar.gz", "--data-dir", "--download"):
        assert word in str(error.value)


def test_the_default_place_is_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    release = TINY["cifar10"]
    layout = release.layouts[0]
    write_folder(tmp_path / "diffnas" / layout.folder, official(release, layout))
    assert len(load_release(release).train) == 50


class TestDownload:
    @pytest.fixture
    def site(self, tmp_path) -> Path:
        (tmp_path / "site").mkdir()
        release = TINY["cifar10"]
        layout = release.layouts[0]
        return write_tar(tmp_path / "site" / layout.archive, layout.folder, official(release, layout))

    def release(self, site: Path, md5: str) -> Release:
        layout = replace(CIFAR10.layouts[0], md5=md5)
        return replace(TINY["cifar10"], layouts=(layout,), url=f"{site.parent.as_uri()}/")

    def test_an_archive_is_fetched_once_and_found_again(self, site, tmp_path):
        release = self.release(site, hashlib.md5(site.read_bytes()).hexdigest())
        first = load_release(release, tmp_path / "new", download=True)
        site.unlink()
        again = load_release(release, tmp_path / "new", download=True)
        assert torch.equal(first.train.images, again.train.images)
        assert [file.name for file in (tmp_path / "new").iterdir()] == [site.name]

    def test_a_wrong_checksum_leaves_nothing_behind(self, site, tmp_path):
        with pytest.raises(ValueError, match=r"has MD5 .* the download was deleted"):
            load_release(self.release(site, "0" * 32), tmp_path / "new", download=True)
        assert list((tmp_path / "new").iterdir()) == []

    def test_no_network_says_what_to_do(self, site, tmp_path):
        release = self.release(site, "0" * 32)
        site.unlink()
        with pytest.raises(ConnectionError, match="Fetch it by other means"):
            load_release(release, tmp_path / "new", download=True)
        assert list((tmp_path / "new").iterdir()) == []

    def test_nothing_is_fetched_unasked(self, site, tmp_path):
        with pytest.raises(FileNotFoundError):
            load_release(self.release(site, "0" * 32), tmp_path / "new")


@pytest.mark.parametrize("label", ["3", None, 1.5, 10, -1, 2**70, True])
def test_a_label_that_is_no_class_is_refused(label, tmp_path):
    release = TINY["cifar10"]
    layout = release.layouts[1]
    images, labels = content(release, "test")
    changed = pickle.dumps({"data": images, "labels": [label, *labels.tolist()[1:]]}, protocol=2)
    write_folder(tmp_path / layout.folder, {**official(release, layout), layout.test: changed})
    with pytest.raises(ValueError, match=r"test_batch (has labels that are no numbers from 0 to 9|is refused)"):
        load_release(release, tmp_path)


@pytest.mark.parametrize("names", [None, 5, [b"\xff"] * 10, [1] * 10])
def test_names_of_classes_that_are_no_text_are_refused(names, tmp_path):
    release = TINY["cifar10"]
    layout = release.layouts[1]
    listed = pickle.dumps({"label_names": names}, protocol=2)
    write_folder(tmp_path / layout.folder, {**official(release, layout), layout.names: listed})
    with pytest.raises(ValueError, match=r"batches\.meta holds no list of 'label_names'"):
        load_release(release, tmp_path)


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    layout = TINY["cifar10"].layouts[1]
    path = tmp_path / layout.archive
    path.write_bytes(gzip.compress(bytes(300 * 1024**2), compresslevel=1))
    with pytest.raises(ValueError, match=r"holds more than the data set has.*damaged or incomplete"):
        load_release(TINY["cifar10"], path)
