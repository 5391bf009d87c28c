"""Ways to damage a file: its bytes, its lines, and what its JSON, its pickles and its arrays say."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    10**18,
    10**40,
    -(10**19),
    0.5,
    1e300,
    -1e-300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "x" * 5000,
    "\n\n",
    "\x00",
    "\ud800",
    "+" * 3000,
    "(" * 3000,
    "1",
    "|" * 500,
    '"""\nimport os\n"""',
    [],
    {},
    [[]],
    [None],
    {"": None},
    DEEP,
    [0] * 3000,
    {"a": [1, 2, {"b": "c"}]},
)


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """The same with bits turned over, a piece lost, doubled, moved or made up, or the end cut off."""
    if not content:
        return rng.randbytes(9)
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        # Heads are where formats say how much is to come.
        at = rng.randrange(min(len(made), rng.choice((64, 1024, len(made)))) or 1)
        size = rng.choice((1, 4, 16, 200))
        piece = bytes(made[at : at + size])
        match rng.randrange(7):
            case 0:
                made[at : at + 1] = bytes([(made[at] if at < len(made) else 0) ^ 1 << rng.randrange(8)])
            case 1:
                del made[at:]
            case 2:
                del made[at : at + size]
            case 3:
                made[at:at] = piece * rng.choice((1, 2, 50))
            case 4:
                made[at : at + size] = rng.randbytes(len(piece))
            case 5:
                made[at : at + 4] = rng.choice((b"\xff" * 4, b"\x00" * 4, b"9999", b"\x7f\xff\xff\xff"))
            case 6:
                made += rng.randbytes(size)
    return bytes(made)


def damaged_lines(content: bytes, rng: random.Random) -> bytes:
    """The same with a line lost, doubled, moved, emptied or replaced."""
    lines = content.splitlines(keepends=True) or [b""]
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines[at:at] = [lines[at]] * rng.choice((1, 3))
        case 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        case 3:
            lines[at] = b"\n"
        case 4:
            lines[at] = rng.choice((b"null\n", b"[]\n", b"{}\n", b"0\n", b'"x"\n', b"\xff\xfe\n", b"{\n"))
    return b"".join(lines)


def damaged_value(value: Any, rng: random.Random) -> Any:
    """The same plain data with something in it replaced, lost, added or doubled."""
    made = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2))):
        made = _damage(made, rng)
    return made


def _damage(whole: Any, rng: random.Random) -> Any:
    if not isinstance(whole, dict | list) or not whole or rng.random() < 0.03:
        return _hostile(rng)
    inner = whole
    while True:
        key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        if not isinstance(inner[key], dict | list) or not inner[key] or rng.random() < 0.25:
            break
        inner = inner[key]
    match rng.randrange(6):
        case 0 | 1 | 2:
            inner[key] = _hostile(rng)
        case 3:
            del inner[key]
        case 4:
            found = copy.deepcopy(inner[key])
            if isinstance(inner, list):
                inner[key:key] = [found] * rng.choice((1, 30))
            else:
                inner[rng.choice(("more", "", "x" * 200))] = found
        case 5:
            inner[key] = _other_type(inner[key], rng)
    return whole


def _hostile(rng: random.Random) -> Any:
    """A value that hardly any place holds; a copy, for it may be damaged in turn."""
    return copy.deepcopy(rng.choice(HOSTILE))


def _other_type(value: Any, rng: random.Random) -> Any:
    """The same as another type says it."""
    match value:
        case dict():
            return [*value.items()]
        case list():
            return {str(index): part for index, part in enumerate(value)}
        case str():
            return [*value[:50]]
    return rng.choice((str(value), [value], {"value": value}))


def damaged_json(content: bytes, rng: random.Random) -> bytes:
    """The same JSON with something in it changed."""
    return json.dumps(damaged_value(json.loads(content), rng)).encode()


def damaged_json_line(content: bytes, rng: random.Random) -> bytes:
    """The same lines of JSON with something changed in one."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = damaged_json(lines[at], rng) + b"\n"
    return b"".join(lines)


def damaged_field(content: bytes, rng: random.Random) -> bytes:
    """The same CSV with a field changed."""
    rows = [line.split(b",") for line in content.split(b"\n")]
    row = rng.choice(rows)
    value = _hostile(rng)
    row[rng.randrange(len(row))] = str(value).encode(errors="replace")
    if rng.random() < 0.2:
        rows.append(row)
    return b"\n".join(b",".join(row) for row in rows)


Damage = Callable[[bytes, random.Random], bytes]
