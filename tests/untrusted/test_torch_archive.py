"""Checkpoints of strangers: what would make torch hash or unpack without end is refused before torch sees it."""

import io
import time
import zipfile

import pytest
import torch

from diffnas.engine import checkpoint
from diffnas.untrusted.torch_archive import check

EXPLODING = b"\x80\x02}(K\x00K\x00\x86" + b"q\x01h\x01\x86" * 40 + b"K\x01u."
STATE = {"weights": {"a.b": torch.zeros(2, 3), "c": torch.ones(4, dtype=torch.bfloat16)}, "epoch": 3, "events": [1.5]}


def saved() -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file)
    return file.getvalue()


def packed(pickle: bytes | None = None, packing: int = zipfile.ZIP_STORED) -> bytes:
    """The same checkpoint with another pickle, or packed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved())) as old, zipfile.ZipFile(made, "w", packing) as new:
        for name in old.namelist():
            new.writestr(name, pickle if pickle and name.endswith("data.pkl") else old.read(name))
    return made.getvalue()


def test_a_saved_state_passes_the_check_and_its_file_is_rewound():
    file = io.BytesIO(saved())
    check(file)
    found = torch.load(file, weights_only=True)
    assert found["epoch"] == 3
    assert torch.equal(found["weights"]["c"], STATE["weights"]["c"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed(EXPLODING), "a key that is neither"),
        (packed(packing=zipfile.ZIP_DEFLATED), "compressed, and torch compresses no file"),
        (b"nonsense", "no archive of torch's"),
        (b"", "no archive of torch's"),
    ],
    ids=["hash", "packed", "nonsense", "empty"],
)
def test_what_would_take_time_or_memory_is_refused(content, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        check(io.BytesIO(content))
    (tmp_path / "last.pt").write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"last\.pt cannot be read"):
        checkpoint.load(tmp_path / "last.pt")
    assert time.perf_counter() - started < 5


def test_parts_that_share_their_bytes_are_refused():
    content = saved()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        directory = content.index(b"PK\x01\x02")
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    claimed = content[directory:].replace(largest.file_size.to_bytes(4, "little") * 2, b"\x00\x00\x00\x40" * 2)
    with pytest.raises(ValueError, match="its parts are larger than it is"):
        check(io.BytesIO(content[:directory] + claimed))
