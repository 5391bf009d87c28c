"""Files that no crash can tear and whose damage is noticed."""

import json
import os
from pathlib import Path

import pytest

from diffnas import files


def test_a_text_with_half_a_character_from_a_file_name_is_written_with_an_escape(tmp_path: Path):
    files.write_atomically(tmp_path / "skipped.txt", "caf\udce9/a.png: not a picture\n")
    assert (tmp_path / "skipped.txt").read_text(encoding="utf-8") == "caf\\udce9/a.png: not a picture\n"


def test_two_processes_write_two_partial_files(tmp_path: Path):
    partial = files.write_partial(tmp_path / "run.json", lambda file: file.write(b"{}"))
    assert partial == tmp_path / f"run.json.{os.getpid()}.partial"
    assert partial.read_bytes() == b"{}"


def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing_behind(tmp_path: Path):
    def fail(file) -> None:
        file.write(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        files.write_partial(tmp_path / "last.pt", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_checked_file_is_refused_once_it_is_not_what_was_written(tmp_path: Path):
    path = tmp_path / "genotype.json"
    files.write_checked(path, b"cells")
    files.check(path)
    path.write_bytes(b"sells")
    with pytest.raises(ValueError, match=rf"genotype\.json is damaged or was changed.*--resume {tmp_path}"):
        files.check(path)
    files.write_checked(path, b"cells")
    files.check(path)


def test_files_without_a_digest_are_taken_as_they_are(tmp_path: Path):
    (tmp_path / "genotype.json").write_bytes(b"cells")
    files.check(tmp_path / "genotype.json")
    (tmp_path / files.DIGESTS).write_text("{half")
    files.check(tmp_path / "genotype.json")


def test_a_sealed_file_may_change_after_it_is_unsealed(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    path.write_text("0\n")
    files.write_checked(tmp_path / "result.json", b"{}")
    files.seal(path)
    assert sorted(json.loads((tmp_path / files.DIGESTS).read_text())) == ["result.json", "trace.jsonl"]
    files.unseal(path)
    path.write_text("0\n1\n")
    files.check(path)
    files.check(tmp_path / "result.json")
