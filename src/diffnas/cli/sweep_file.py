"""The TOML file of a sweep, which has the words of the command line. No torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffnas.untrusted.whole import MEGA, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST = MEGA


def read_words(path: Path) -> list[str]:
    """The words of a command line that says the same as a file: ``epochs = [1, 2]`` is ``--epochs 1 --epochs 2``.

    Raises:
        ValueError: if it is no TOML, or a value is neither text nor a number, a flag, or a list of these.
        FileNotFoundError: if there is no such file.
    """
    try:
        read = tomllib.loads(read_text(path, _LARGEST))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}.") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {str(path)!r} with the words of a sweep.") from None
    return [word for name, value in read.items() for word in _words(path, name, value)]


def _words(path: Path, name: str, value: Any) -> Iterator[str]:
    option = f"--{name.replace('_', '-')}"
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, bool):
            yield option if each else f"--no-{option[2:]}"
        elif not isinstance(each, str | int | float):
            raise ValueError(
                f"{path}: {name} must be text, a number, true, false, or a list of these. Settings of a phase are "
                'written set = ["search.batch=32"].'
            )
        elif name == "data":
            yield str(each)
        else:
            yield f"{option}={each}"
