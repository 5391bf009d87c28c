"""Every file of a folder is found once, or left out with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffnas.data.walk import AGAIN, HIDDEN, OURS, UNREADABLE, files_in, is_ours
from diffnas.run_folder import RunFolder


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def found(place: Path, **how) -> tuple[list[str], dict[str, str]]:
    """The names of the files found, and the reasons for what was left out by name."""
    files, left = files_in(place, **how)
    return (
        [file.relative_to(place).as_posix() for file in files],
        {each.path.relative_to(place).as_posix(): each.reason for each in left},
    )


def test_files_at_any_depth_are_found_and_hidden_ones_listed_one_by_one(tmp_path):
    deep = tmp_path.joinpath(*"abcdefghij" * 12)
    touch(deep / "x.png")
    for name in ("y.png", ".z.png", ".cache/1/2.png", "__MACOSX/3.png"):
        touch(tmp_path / name)
    files, left = found(tmp_path)
    assert files == [(deep / "x.png").relative_to(tmp_path).as_posix(), "y.png"]
    assert left == dict.fromkeys([".z.png", ".cache/1/2.png", "__MACOSX/3.png"], HIDDEN)


def test_links_are_followed_and_no_folder_is_entered_twice(tmp_path):
    touch(tmp_path / "set" / "cat" / "real" / "x.png")
    touch(tmp_path / "far" / "y.png")
    cat = tmp_path / "set" / "cat"
    for name, target in {"0": "real", "far": tmp_path / "far", "up": "..", "self": ".", "loop": "loop"}.items():
        (cat / name).symlink_to(target)
    (cat / "z.png").symlink_to(tmp_path / "far" / "y.png")
    (cat / "gone.png").symlink_to("nowhere.png")
    files, left = found(cat)
    # What leads nowhere is found as a file: opening it gives the reason.
    assert files == ["far/y.png", "gone.png", "loop", "real/x.png", "z.png"]
    assert left == {"0": AGAIN, "up": AGAIN, "self": AGAIN}


def test_many_links_to_one_another_end(tmp_path):
    for number in range(40):
        (tmp_path / str(number)).mkdir()
        for name in "ab" if number < 39 else "":
            (tmp_path / str(number) / name).symlink_to(f"../{number + 1}")
    touch(tmp_path / "39" / "x.png")
    assert found(tmp_path)[0] == ["39/x.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to the superuser")
def test_a_folder_that_may_not_be_read_is_listed(tmp_path):
    touch(tmp_path / "shut" / "x.png").parent.chmod(0)
    try:
        assert found(tmp_path)[1]["shut"].startswith(UNREADABLE)
    finally:
        (tmp_path / "shut").chmod(0o700)


def test_a_folder_whose_reading_fails_is_listed(tmp_path, monkeypatch):
    touch(tmp_path / "shut" / "x.png")
    iterdir = Path.iterdir

    def fail(self):
        if self.name == "shut":
            raise PermissionError(13, "Permission denied", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", fail)
    assert found(tmp_path) == ([], {"shut": f"{UNREADABLE}: Permission denied"})


def a_run(path: Path) -> Path:
    RunFolder.create(path, {"phase": "search"})
    touch(path / "cell.png")
    return path


def test_folders_that_diffnas_wrote_are_left_out_at_any_depth(tmp_path):
    touch(tmp_path / "a" / "x.png")
    a_run(tmp_path / "a" / "runs" / "digits-sparse-seed0")
    touch(tmp_path / "a" / "runs" / "compare.html")
    a_run(tmp_path / "mine")
    touch(tmp_path / "export" / "network.onnx")
    touch(tmp_path / "export" / "preprocess.py")
    files, left = found(tmp_path)
    assert files == ["a/x.png"]
    assert left == dict.fromkeys(["a/runs", "mine", "export"], OURS)


def test_a_folder_with_pictures_and_a_run_keeps_its_pictures(tmp_path):
    touch(tmp_path / "cat" / "x.png")
    a_run(tmp_path / "cat" / "run")
    touch(tmp_path / "dog" / "breed" / "y.png")
    a_run(tmp_path / "dog" / "run")
    files, left = found(tmp_path)
    assert files == ["cat/x.png", "dog/breed/y.png"]
    assert left == {"cat/run": OURS, "dog/run": OURS}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema": "other"}', b"\xff"])
def test_a_run_json_of_others_marks_nothing(content, tmp_path):
    (tmp_path / "run.json").write_bytes(content)
    assert not is_ours(tmp_path)
