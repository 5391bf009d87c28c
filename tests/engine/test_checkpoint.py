import os
import pickle
import random
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from diffnas.engine import checkpoint
from diffnas.run_folder import Damaged, saved


def numbered(number: int) -> dict:
    return {"epoch": number, "number": number, "weights": torch.full((3,), float(number))}


def last(folder: Path) -> dict:
    """The checkpoint that a run in ``folder`` would go on from."""
    return checkpoint.load(saved(folder)[0])


def test_there_is_nothing_to_load_at_first(tmp_path: Path):
    assert saved(tmp_path) == []


def test_the_last_checkpoint_is_loaded_and_the_one_before_is_kept(tmp_path: Path):
    for number in range(3):
        checkpoint.save(tmp_path / "checkpoint", numbered(number))
    loaded = last(tmp_path / "checkpoint")
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
    assert last(tmp_path)["number"] == expected
    checkpoint.save(tmp_path, numbered(3))
    assert last(tmp_path)["number"] == 3


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "text", "cut"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: bytes | None):
    checkpoint.save(tmp_path, numbered(0))
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:300] if damage is None else damage)
    with pytest.raises(Damaged, match=rf"checkpoint {path} cannot be read \(.+\)"):
        checkpoint.load(path)


def saved_before_digests(path: Path, state: dict) -> None:
    torch.save(state, path)


@pytest.mark.parametrize("write", [lambda path, state: checkpoint.save(path.parent, state), saved_before_digests])
def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path: Path, write):
    path = tmp_path / "last.pt"
    write(path, numbered(3))
    whole = path.read_bytes()
    flips = random.Random(0)
    for place in [flips.randrange(8 * len(whole)) for _ in range(150)]:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with suppress(Damaged):  # one in the mark of the digest, or in a gap of the archive, changes no number
            loaded = checkpoint.load(path)
            assert (loaded["number"], loaded["weights"].tolist()) == (3, [3.0] * 3), f"bit {place}"


def test_a_checkpoint_is_an_archive_as_torch_writes_it(tmp_path: Path):
    checkpoint.save(tmp_path, numbered(3))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["number"] == 3


def test_a_damaged_checkpoint_is_kept_under_another_name(tmp_path: Path):
    for number in range(2):
        checkpoint.save(tmp_path, numbered(number))
    checkpoint.set_aside(tmp_path / "last.pt")
    assert last(tmp_path)["number"] == 0
    checkpoint.save(tmp_path, numbered(2))
    assert last(tmp_path)["number"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.pt", "last.pt", "previous.pt"]


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, write):
    write({"number": Payload(tmp_path / "ran")}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoint.load(tmp_path / "last.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_holds_no_state_is_refused(tmp_path: Path):
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(ValueError, match="does not hold the state"):
        checkpoint.load(tmp_path / "last.pt")
