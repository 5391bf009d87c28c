import os
import pickle
from pathlib import Path

import pytest
import torch

from diffnas.engine import checkpoint


def numbered(number: int) -> dict:
    return {"epoch": number, "number": number, "weights": torch.full((3,), float(number))}


def test_there_is_nothing_to_load_at_first(tmp_path: Path):
    assert checkpoint.load(tmp_path) is None


def test_the_last_checkpoint_is_loaded_and_the_one_before_is_kept(tmp_path: Path):
    for number in range(3):
        checkpoint.save(tmp_path / "checkpoint", numbered(number))
    loaded = checkpoint.load(tmp_path / "checkpoint")
    assert loaded is not None
    assert loaded["number"] == 2
    assert torch.equal(loaded["weights"], torch.full((3,), 2.0))
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == ["last.pt", "previous.pt"]


class CrashError(Exception):
    pass


@pytest.mark.parametrize(("crash_at", "expected"), [("write", 1), ("sync", 1), (0, 1), (1, 1)])
def test_a_crash_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch, crash_at, expected: int):
    """While it is written, before it is synced, before the first rename, and between the two."""
    for number in range(2):
        checkpoint.save(tmp_path, numbered(number))
    renames = []

    def crash(*arguments, **options):
        raise CrashError

    def rename(source, target, real=os.replace):
        if len(renames) == crash_at:
            raise CrashError
        renames.append(target)
        real(source, target)

    def half(state, file):
        file.write(b"PK half a checkpoint")
        raise CrashError

    with monkeypatch.context() as patched:
        if crash_at == "write":
            patched.setattr(torch, "save", half)
        elif crash_at == "sync":
            patched.setattr(os, "fsync", crash)
        else:
            patched.setattr(os, "replace", rename)
        with pytest.raises(CrashError):
            checkpoint.save(tmp_path, numbered(2))
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["number"] == expected
    checkpoint.save(tmp_path, numbered(3))
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["number"] == 3


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "text", "cut"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_pointed_to(tmp_path: Path, damage: bytes | None):
    for number in range(2):
        checkpoint.save(tmp_path, numbered(number))
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:300] if damage is None else damage)
    with pytest.raises(ValueError) as error:
        checkpoint.load(tmp_path)
    assert str(last) in str(error.value)
    assert f"Delete it to go on from {tmp_path / 'previous.pt'}" in str(error.value)
    last.unlink()
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["number"] == 0


def test_a_damaged_checkpoint_without_one_before_promises_nothing(tmp_path: Path):
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(ValueError) as error:
        checkpoint.load(tmp_path)
    assert "Delete" not in str(error.value)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, write):
    write({"number": Payload(tmp_path / "ran")}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_holds_no_state_is_refused(tmp_path: Path):
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(ValueError, match="does not hold the state"):
        checkpoint.load(tmp_path)
