"""JSON: numbers are finite, nesting is shallow, and every refusal says what and where."""

import pytest

from diffnas.untrusted.json_text import parse, read_object


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("1e999", "1e999 is too large a number"),
        ("9223372036854775808", "too large an integer"),
        ("9" * 5000, "too large an integer"),
        ("[" * 100_000, "nests deeper than 32"),
        ("[" * 40 + "]" * 40, "nests deeper than 32"),
        ('{"a":' * 40 + "1" + "}" * 40, "nests deeper than 32"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a": 1\n"b"}', "not JSON.*line 2"),
    ],
)
def test_json_beyond_the_limits_of_our_files_is_refused(text, reason):
    with pytest.raises(ValueError, match=f"^(not JSON.*|.*){reason}"):
        parse(text)


def test_json_within_the_limits_of_our_files_is_read():
    assert parse('[-9223372036854775808, 1e-400, "\\ud83d\\ude00", true, {"a": [[]]}]') == [
        -(2**63),
        0.0,
        "😀",
        True,
        {"a": [[]]},
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff{}", "byte 0 is not text"),
        (b"[]", "does not hold an object"),
        (b"{", "not JSON"),
        (b" " * (17 * 1024**2), "more than 16,777,216 bytes"),
    ],
    ids=["bytes", "list", "half", "large"],
)
def test_a_file_that_is_refused_is_named(content, reason, tmp_path):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"run\.json .*{reason}"):
        read_object(tmp_path / "run.json")
