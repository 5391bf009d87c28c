"""Names of files, folders and classes as text that can be shown and stored anywhere. No torch."""

from __future__ import annotations

from unicodedata import category

# Joiners, which are part of words in Persian and Hindi and of emoji, though they are invisible themselves.
_JOINERS = "\u200c\u200d"


def showable(text: str) -> str:
    """The text on one line of valid Unicode, with what a terminal or a list would take for a command escaped.

    Line breaks, control characters and marks that turn the direction of writing become ``\\n``, ``\\x1b`` or
    ``\\u202e``; a byte of a file's name that is not UTF-8 becomes ``\\xff``. All other text stays as it is.

    >>> print(showable("cat\\nnap"), showable("b\\udcff.png"), showable("chó"))
    cat\\nnap b\\xff.png chó
    """
    return "".join(map(_showable, text))


def _showable(letter: str) -> str:
    """One character, escaped if it has to be."""
    kind = category(letter)
    if kind not in ("Cc", "Cs", "Zl", "Zp") and (kind != "Cf" or letter in _JOINERS):
        return letter
    # How Python keeps a byte that is not UTF-8 in the name of a file.
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape", "backslashreplace").decode()


def first_line(error: Exception) -> str:
    """What an error says first, or what it is called if it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]
