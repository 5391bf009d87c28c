"""Every name can be shown on one line of any terminal, and stored in any file."""

import pytest

from diffnas.names import showable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        ("Grüße 猫 👩‍🔬", "Grüße 猫 👩‍🔬"),
        ("two\nlines", "two\\nlines"),
        ("red\x1b[31m", "red\\x1b[31m"),
        ("turned\u202egnp", "turned\\u202egnp"),
        ("next\u2028line", "next\\u2028line"),
        ("not\udcffutf", "not\\xffutf"),
        ("half\ud800", "half\\ud800"),
    ],
    ids=["plain", "letters of any script", "line break", "escape", "direction", "separator", "byte", "surrogate"],
)
def test_what_cannot_be_shown_is_escaped_and_all_else_stays(name, shown):
    assert showable(name) == shown
    assert showable(shown) == shown
    shown.encode()
