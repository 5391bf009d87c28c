"""Reading JSON with the limits that all our files keep: finite numbers, integers of 64 bits, no deep nesting."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from diffnas.untrusted.whole import MEGA, read_text

LARGEST = 16 * MEGA  # bytes; our files have thousands
DEEPEST = 32  # levels of nesting; our files have 8
_DIGITS = 19  # in an integer of 64 bits, without the sign


def parse(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: if it is no JSON, or exceeds the limits of our files: a number that is not finite or too large,
            lists that nest deeper than 32, text that UTF-8 cannot encode.

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
        ValueError: if the file holds anything else; the message names the file and the place.
        OSError: if the file cannot be read.
    """
    return parse_object(read_text(path, LARGEST), str(path))


def parse_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object in a text; a ValueError that begins with ``what`` if the text is anything else."""
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
    """Refuse deep nesting, because later code walks the value recursively and would overflow the stack."""
    layer = [read] if isinstance(read, dict | list) else []
    for _ in range(DEEPEST):
        parts = (part for whole in layer for part in (whole.values() if isinstance(whole, dict) else whole))
        layer = [part for part in parts if isinstance(part, dict | list)]
        if not layer:
            return
    raise ValueError(f"it nests deeper than {DEEPEST}")


def _check_text(read: Any) -> None:
    """Refuse half of a surrogate pair, such as ``\\ud800``: Python can hold it, but no file or terminal can."""
    try:
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it has half a character") from None
