"""JSON as every file of ours holds it: finite numbers, integers of 64 bits, and no deep nesting."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from diffnas.untrusted.whole import MEGA, read_text

LARGEST = 16 * MEGA  # bytes; a record has thousands
DEEPEST = 32  # a record nests 8 deep
_DIGITS = 19  # of an integer of 64 bits, the sign aside


def parse(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: if it is no JSON, or holds what a file of ours cannot: numbers that are not finite or too large,
            lists deeper than 32, text that no encoding has.

    >>> parse('{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse("[1, NaN]")
    Traceback (most recent call last):
    ...
    ValueError: NaN is not a number
    """
    try:
        read = json.loads(text, parse_constant=_refuse, parse_float=_float, parse_int=_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"it nests deeper than {DEEPEST}") from None
    _check_depth(read)
    if "\\u" in text:
        _check_text(read)
    return read


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError: if it holds anything else; the message names the file and the place.
        OSError: if it cannot be read.
    """
    return parse_object(read_text(path, LARGEST), str(path))


def parse_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object that a text is; a ValueError that begins with ``what`` if it is anything else."""
    try:
        read = parse(text)
    except ValueError as error:
        raise ValueError(f"{what} is damaged: {error}.") from None
    if not isinstance(read, dict):
        raise ValueError(f"{what} is damaged: it does not hold an object.")
    return read


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _int(digits: str) -> int:
    if len(digits.lstrip("-")) <= _DIGITS and -(1 << 63) <= int(digits) < 1 << 63:
        return int(digits)
    raise ValueError(f"{digits[:20]} is too large an integer")


def _check_depth(read: Any) -> None:
    """Refuse deep nesting, which what comes after would walk into until the stack is full."""
    layer = [read] if isinstance(read, dict | list) else []
    for _ in range(DEEPEST):
        parts = (part for whole in layer for part in (whole.values() if isinstance(whole, dict) else whole))
        layer = [part for part in parts if isinstance(part, dict | list)]
        if not layer:
            return
    raise ValueError(f"it nests deeper than {DEEPEST}")


def _check_text(read: Any) -> None:
    """Refuse half a character, ``\\ud800``: it is a text in memory, and in no file or terminal."""
    try:
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it has half a character") from None
