"""Archives: what is asked for is read, and no claim of a size is believed."""

import gzip
import io
import tarfile
import tracemalloc

import pytest

from diffnas.untrusted.tar import read_files
from diffnas.untrusted.whole import MEGA


def archive(form: int = tarfile.USTAR_FORMAT, **files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./data/{name}")
            member.size, member.mtime = len(content), 0.5
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def head(kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo("data/a")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_come_back_from_every_form_of_archive(form):
    whole = archive(form, a=b"x" * 1000, b=b"", c=b"z")
    assert read_files(io.BytesIO(whole), {"data/a", "data/b"}, MEGA) == {"data/a": b"x" * 1000, "data/b": b""}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(bytes(64 * MEGA)), "more than the data set has"),
        (gzip.compress(head(b"x", 64 * MEGA) + bytes(64 * MEGA)), "more than the data set has"),
        (gzip.compress(head(b"L", 64 * MEGA) + bytes(64 * MEGA)), "more than the data set has"),
        (gzip.compress(head(b"0", 1000) + b"x" * 512), "ends too early"),
        (gzip.compress(b"x" * 512), "head of a file in it is damaged"),
        (gzip.compress(b""), "ends too early"),
    ],
    ids=["zeros", "notes", "long name", "short", "junk", "empty"],
)
def test_an_archive_that_is_damaged_or_unpacks_without_end_is_refused(content, reason):
    tracemalloc.start()
    try:
        with gzip.open(io.BytesIO(content)) as file, pytest.raises(ValueError, match=reason):
            read_files(file, {"data/a"}, 8 * MEGA)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGA
    finally:
        tracemalloc.stop()


def test_a_changed_byte_of_a_packed_picture_is_noticed(tmp_path):
    packed = bytearray(gzip.compress(archive(a=bytes(range(256)) * 40), compresslevel=0))
    packed[5000] ^= 1
    with gzip.open(io.BytesIO(bytes(packed))) as file, pytest.raises(OSError, match="CRC"):
        read_files(file, {"data/a"}, MEGA)
