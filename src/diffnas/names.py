"""Names of files, folders and classes as text that can be shown and stored anywhere. No torch."""

from __future__ import annotations

from unicodedata import category

# Invisible joiners, which belong to words in Persian and Hindi, and to emoji.
_JOINERS = "\u200c\u200d"


def showable(text: str) -> str:
    """The text in one line of valid Unicode, without characters that a terminal would obey.

    Line breaks, control characters and marks that change the direction of writing are escaped, as ``\\n``, ``\\x1b`` or
    ``\\u202e``. A byte of a file's name that is not UTF-8 becomes ``\\xff``. All other text stays as it is.

    >>> print(showable("cat\\nnap"), showable("b\\udcff.png"), showable("chó"))
    cat\\nnap b\\xff.png chó
    """
    return "".join(map(_showable, text))


def _showable(letter: str) -> str:
    """One character, escaped if it has to be."""
    kind = category(letter)
    if kind not in ("Cc", "Cs", "Zl", "Zp") and (kind != "Cf" or letter in _JOINERS):
        return letter
    # Python stores a byte of a file's name that is not UTF-8 in this range.
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape", "backslashreplace").decode()


def showable_text(text: str) -> str:
    r"""The same with its line breaks and tabs.

    >>> showable_text("to be\nor \x1b not")
    'to be\nor \\x1b not'
    """
    return "".join(letter if letter in "\n\t" else _showable(letter) for letter in text)


def first_line(error: Exception) -> str:
    """What an error says first, or what it is called if it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]
