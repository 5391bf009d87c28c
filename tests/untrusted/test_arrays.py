"""Arrays in files: a header's claim is held against the bytes before anything is made of it."""

import io
import zipfile

import numpy as np
import pytest

from diffnas.untrusted.arrays import parse_npy, read_npz


def npy(array: np.ndarray, **changed: object) -> bytes:
    file = io.BytesIO()
    head = np.lib.format.header_data_from_array_1_0(array) | changed
    np.lib.format.write_array_header_1_0(file, head)
    return file.getvalue() + array.tobytes()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array("text"), np.zeros((0, 3), np.int32)])
def test_an_array_comes_back(array):
    assert np.array_equal(parse_npy(npy(array), "x"), array)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"shape": (10**12,)}, "claims"),
        ({"shape": (-3,)}, "claims|no array"),
        ({"shape": (2**63, 2**63)}, "claims"),
        ({"descr": "|O"}, "claims"),
        ({"descr": "nonsense"}, "no array"),
        ({"shape": "x"}, "no array"),
    ],
)
def test_a_header_that_claims_something_else_is_refused(changed, reason):
    with pytest.raises(ValueError, match=f"x .*({reason})"):
        parse_npy(npy(np.zeros(3), **changed), "x")


@pytest.mark.parametrize(
    ("name", "size", "packing", "reason"),
    [
        ("x.npy", 2000, zipfile.ZIP_DEFLATED, "more than 1,000 bytes"),
        ("y.npy", 10, zipfile.ZIP_STORED, "no archive of x"),
        ("x.npy", 10, zipfile.ZIP_LZMA, "packed in a way"),
    ],
)
def test_an_archive_of_something_else_is_refused(name, size, packing, reason, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as archive:
        archive.writestr(name, bytes(size))
    with pytest.raises(ValueError, match=reason):
        read_npz(tmp_path / "a.npz", ["x"], 1000)
