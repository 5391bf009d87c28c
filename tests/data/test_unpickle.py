from __future__ import annotations

import collections
import functools
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from diffnas.data.unpickle import read_arrays


class Reduced:
    """Pickles as a call of something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4)),
        np.array([1, -2, 300000], np.int64),
        np.array([1, -2, 300000], ">i4"),
    ],
    ids=["bytes", "fortran", "long", "big-endian"],
)
def test_arrays_of_every_old_protocol_come_back(array, protocol):
    content = pickle.dumps({"data": array, "labels": [1, 2], b"name": b"x"}, protocol=protocol)
    found = read_arrays(content, "file")
    assert np.array_equal(found["data"], array)
    assert found["labels"] == [1, 2]
    assert found["name"] == b"x"


def test_a_pickle_that_python_2_wrote_is_read():
    old = (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
        b"K\x00\x85U\x01b\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x05\xfftbu."
    )
    assert read_arrays(old, "file")["data"].tolist() == [5, 255]


@pytest.mark.parametrize(
    "bad",
    [
        os.system,
        Path("x"),
        collections.OrderedDict(a=1),
        functools.partial(print, "x"),
        Reduced(eval, "1 + 1"),
        Reduced(np.load, "x.npy"),
        np.array(["text"], dtype=object),
        np.array([1.5]),
        np.float64(1.5),
        np.array([(1, 2)], dtype=[("a", "u1"), ("b", "u1")]),
    ],
    ids=lambda bad: type(bad).__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_anything_but_plain_arrays_is_refused(bad, protocol):
    with pytest.raises(ValueError, match=r"file is refused: it .*Only arrays, lists and text are read"):
        read_arrays(pickle.dumps({"data": bad}, protocol=protocol), "file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        pickle.dumps({"data": np.zeros(9, np.uint8)}, protocol=2)[:-9],
        # The type of arrays, called: a stand-in answers to nothing.
        b"cnumpy\nndarray\n(I5\ntR.",
        # Text turned into bytes by a codec that unpacks.
        b"c_codecs\nencode\n(Vx\nVzip\ntR.",
        # An array whose content is shorter than its shape.
        pickle.dumps({"data": np.zeros(9, np.uint8)}, protocol=2).replace(b"K\x09\x85", b"K\x7f\x85"),
    ],
    ids=["empty", "junk", "cut", "called type", "codec", "short"],
)
def test_a_broken_or_crafted_pickle_is_refused(content):
    with pytest.raises(ValueError, match="file is refused"):
        read_arrays(content, "file")


def test_a_pickle_of_something_else_than_a_dictionary_is_refused():
    with pytest.raises(ValueError, match="file holds a list, not a dictionary"):
        read_arrays(pickle.dumps([1]), "file")
