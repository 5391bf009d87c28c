"""Pickles that are made to take time or memory are refused at once, and honest ones are read as Python reads them."""

import collections
import pickle
import tracemalloc

import pytest

from diffnas.data.unpickle import read_arrays
from diffnas.untrusted.pickles import unpickle

# Tuples of equal tuples, 40 deep, as a key: to hash it takes 2 ** 40 steps.
EXPLODING = b"\x80\x02}(K\x00K\x00\x86" + b"q\x01h\x01\x86" * 40 + b"K\x01u."
FAR = b"\x80\x02}r\xff\xff\xff\x0f."
HUGE_BYTES = b"\x80\x04\x8e\xff\xff\xff\xff\x7f\x00\x00\x00."


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        [1, -1, 255, 256, 65536, -(2**31), 2**62, True, False, None],
        {"a": 1.5, b"b": "text", ("cifar10", 777): [], 3: {}},
        ["", "x" * 300, "ü", b"", b"y" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        [[1, 2]] * 3,
    ],
    ids=["numbers", "keys", "texts", "shared"],
)
def test_plain_data_of_every_protocol_is_read_as_python_reads_it(value, protocol):
    known = {("_codecs", "encode"): lambda text, encoding: text.encode(encoding)}
    known |= {("__builtin__", "bytes"): bytes, ("builtins", "bytes"): bytes}
    assert unpickle(pickle.dumps(value, protocol=protocol), known, steps=1000) == value


def test_a_set_is_read_as_python_reads_it():
    assert unpickle(pickle.dumps({1, 2, "a"}, protocol=4), {}, steps=100) == {1, 2, "a"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (EXPLODING, "a key that is neither a short text nor a number"),
        (EXPLODING.replace(b"}(", b"\x8f(").replace(b"K\x01u", b"\x90"), "a key that is neither"),
        (HUGE_BYTES, "ends too early"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f.", "the instruction 0x8b"),
        (b"}" * 2000 + b".", "more than 1,000 instructions"),
        (b"(" * 2000 + b".", "more than 1,000 instructions"),
        (b"I" + b"1" * 5000 + b"\n.", "a line without an end"),
        (b"}X\xd0\x07\x00\x00" + b"k" * 2000 + b"K\x01s.", "a key of more than 1,000 letters"),
        (b"cos\nsystem\n.", r"asks for os\.system"),
        (b"co\x1ds\n\xff\n.", "broken"),
        (b"co\x1ds\nx\n.", r"asks for o\\x1ds\.x"),
        (b"}.junk", None),
        (b"h\x05.", "broken"),
        (b"(t", "too early"),
    ],
)
def test_what_is_made_to_take_time_or_memory_is_refused(content, reason):
    tracemalloc.start()
    try:
        if reason is None:
            assert unpickle(content, {}, steps=1000) == {}
            return
        with pytest.raises(ValueError, match=f"it .*{reason}"):
            unpickle(content, {}, steps=1000)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_far_number_for_a_value_takes_no_memory():
    tracemalloc.start()
    assert read_arrays(FAR, "file") == {}
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_long_text_cannot_be_passed_to_calls_many_times():
    text = b"X\x10\x27\x00\x00" + b"x" * 10_000 + b"q\x00X\x06\x00\x00\x00latin1q\x01c_codecs\nencode\nq\x02"
    content = b"](" + text + b"h\x02h\x00h\x01\x86R" * 50 + b"e."
    with pytest.raises(ValueError, match="passes more data to calls than it holds"):
        read_arrays(content, "file")


def test_what_a_file_names_is_never_looked_up():
    with pytest.raises(ValueError, match=r"asks for collections\.OrderedDict"):
        unpickle(pickle.dumps(collections.OrderedDict()), {}, steps=100)
