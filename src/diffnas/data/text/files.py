"""Texts in a user's files."""

from __future__ import annotations

from pathlib import Path

from diffnas.data.text.corpus import Corpus, in_three
from diffnas.data.walk import files_in
from diffnas.names import showable
from diffnas.untrusted.whole import MEGA, read_bytes

ENDINGS = (".txt", ".md", ".tokens")
_LARGEST = 2048 * MEGA
_PARTS = "train", "valid", "test"
_ENCODING = "utf-8"


def is_text(place: Path) -> bool:
    """Whether a path is a text: a file with the ending of one, a folder of texts only, or one with a training text."""
    if not place.is_dir():
        return place.suffix.lower() in ENDINGS
    if _part(place, "train"):
        return True
    found = files_in(place).files
    return bool(found) and all(path.suffix.lower() in ENDINGS for path in found)


def read_corpus(place: Path, encoding: str | None) -> Corpus:
    """The texts of a file or a folder.

    A folder may have ``train*.txt``, ``valid*.txt`` and ``test*.txt``, as the Penn Treebank has, or
    ``wiki.train.tokens`` and so on. Otherwise all its texts are cut in three, in the order of their paths.

    Args:
        place: the file or folder.
        encoding: how the files are encoded; None for UTF-8.

    Raises:
        ValueError: for a file that is empty or no text, for a part that is missing, or for an unknown encoding.
    """
    encoding = _known(encoding)
    if not place.exists():
        raise FileNotFoundError(f"no file at {showable(str(place))}. Name a text, or a folder of .txt or .md files.")
    if not place.is_dir():
        return in_three([_read(place, encoding)])
    parts = [_part(place, name) for name in _PARTS]
    if parts[0]:
        for name, found in zip(_PARTS, parts, strict=True):
            if not found:
                raise ValueError(
                    f"{showable(str(place))} has a text train and none for {name}. Add {name}.txt, or give the "
                    "training text alone: it is cut in three."
                )
        return Corpus(*("\n".join(_read(path, encoding) for path in found) for found in parts))
    return in_three([_read(path, encoding) for path in files_in(place).files])


def _part(folder: Path, name: str) -> list[Path]:
    """The files of one part of a corpus, such as ``train.txt``, ``ptb.train.txt`` or ``wiki.train.tokens``."""
    patterns = [f"{start}{name}*{ending}" for start in ("", "*.") for ending in ENDINGS]
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _known(encoding: str | None) -> str:
    try:
        bytes(4).decode(encoding or _ENCODING)  # Python looks for no encoding if there is nothing to decode
    except LookupError:
        raise ValueError(
            f"unknown encoding {encoding!r}. Known are those of Python, such as utf-8, latin-1 and cp1252."
        ) from None
    return encoding or _ENCODING


def _read(path: Path, encoding: str) -> str:
    """The text of a file, with Unix line ends and without a byte order mark."""
    name, content = showable(str(path)), read_bytes(path, _LARGEST)
    if b"\0" in content and encoding == _ENCODING:
        raise ValueError(
            f"{name} has a NUL byte at {content.index(0):,}, so it is no text, or in another encoding: --encoding "
            "utf-16, say."
        )
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not {encoding}: the byte {content[error.start]:#04x} at {error.start:,} does not fit. Name its "
            "encoding, such as --encoding latin-1."
        ) from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ValueError(f"{name} is empty. Name a file with text, or remove it from its folder.")
    return text
