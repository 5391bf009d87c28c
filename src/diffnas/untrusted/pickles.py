"""Reading pickles with an interpreter of our own: plain containers, numbers and text, and what the caller allows.

Python's own reader has two dangers. It hashes any object that a file uses as a key, and a few hundred bytes can build a
key whose hash takes for ever. And it allocates memory before it knows that the file has so many bytes. Our interpreter
has only the instructions that data needs. Each takes bounded time and memory, and their number is limited.
"""

from __future__ import annotations

import codecs
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Known: TypeAlias = Mapping[tuple[str, str], Any]
"""The names that a file may use, by module and name: a function that makes a stand-in, or a text, never callable."""

OUTSIDE = "", "what lies outside the file"
"""The name in ``Known`` of the function for data outside the pickle; it gets the file's reference to that data."""

_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})
_LONGEST_KEY = 8, 1000  # parts, and letters in each; the keys of known files have 2 parts and a hundred letters
_LONGEST_NUMBER = 64  # digits


class StandIn(ABC):
    """Stands for an object while a file is read. The file makes it first and gives its state later, by ``build``."""

    @abstractmethod
    def build(self, state: Any) -> None:
        """Take the state that the file gives; a ValueError if the state has an unknown form."""


def unpickle(content: bytes, known: Known, *, steps: int) -> Any:
    """The value in a pickle; text that Python 2 wrote comes back as bytes.

    Args:
        content: the pickle, of protocol 0 to 5.
        known: the names that the pickle may use.
        steps: the most instructions. Each takes at most 200 bytes of memory, besides the bytes in the file itself.

    Raises:
        ValueError: if the pickle is broken or too long, or uses any other name; "it" in the message is the pickle.

    >>> unpickle(b"(lp0\\nI1\\naI2\\na.", {}, steps=100)
    [1, 2]
    >>> unpickle(b"cos\\nsystem\\n.", {}, steps=100)
    Traceback (most recent call last):
    ...
    ValueError: it asks for os.system
    """
    reader = _Reader(content, known)
    try:
        return reader.run(steps)
    except IndexError:
        raise ValueError("it ends too early, or takes what it did not put") from None
    except (KeyError, TypeError, OverflowError, struct.error, UnicodeError) as error:
        raise ValueError(f"it is broken ({type(error).__name__})") from None


class _Reader:
    """The state of the interpreter: the place in the file, the stack of values, and the memo of numbered values."""

    def __init__(self, content: bytes, known: Known) -> None:
        self.content, self.known = content, known
        self.at = 0
        self.values: list[Any] = []
        self.outer: list[list[Any]] = []  # for each open mark, the values below it
        self.numbered: dict[int, Any] = {}
        self.room = 2 * len(content)  # the most bytes and items that all calls together may get as arguments

    def run(self, steps: int) -> Any:
        content = self.content
        for _ in range(steps):
            code = content[self.at]
            if code == _STOP:
                return self.values.pop()
            self.at += 1
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise ValueError(f"it has the instruction {code:#04x}, which data does not need")
            instruction(self)
        raise ValueError(f"it has more than {steps:,} instructions, which no valid file needs")

    def take(self, count: int) -> bytes:
        """The next bytes of the file."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.content):
            raise ValueError("it ends too early")
        return self.content[start : self.at]

    def number(self, size: int) -> int:
        """The next bytes as a number."""
        return int.from_bytes(self.take(size), "little")

    def line(self, most: int | None = None) -> bytes:
        """The rest of a line."""
        end = self.content.find(b"\n", self.at)
        if end < 0 or (most is not None and end - self.at > most):
            raise ValueError("it has a line without an end")
        line = self.content[self.at : end]
        self.at = end + 1
        return line

    def digits(self) -> int:
        """A line as a number."""
        line = self.line(_LONGEST_NUMBER)
        try:
            return int(line.rstrip(b"L"))
        except ValueError:
            raise ValueError("it has a line that is no number") from None

    def marked(self) -> list[Any]:
        """The values since the last mark."""
        found, self.values = self.values, self.outer.pop()
        return found

    def target(self, kind: type) -> Any:
        """The container on top of the stack, which an instruction is about to fill."""
        found = self.values[-1]
        if type(found) is not kind:
            raise ValueError(f"it fills a {type(found).__name__} as if it were a {kind.__name__}")
        return found

    def fill(self, listed: list[Any]) -> None:
        """Put keys and values, in turn, into a dictionary."""
        target = self.target(dict)
        if len(listed) % 2:
            raise ValueError("it has a key without a value")
        for key, value in zip(listed[::2], listed[1::2], strict=True):
            target[checked_key(key)] = value

    def mark(self) -> None:
        self.outer.append(self.values)
        self.values = []

    def find(self, module: Any, name: Any) -> None:
        found = self.known.get((module, name)) if type(module) is type(name) is str else None
        if found is None:
            asked = f"{str(module)[:80]}.{str(name)[:80]}"
            raise ValueError(f"it asks for {asked.encode('unicode_escape').decode()}")
        self.values.append(found)

    def call(self) -> None:
        arguments, function = self.values.pop(), self.values.pop()
        if not callable(function) or type(arguments) is not tuple:
            raise ValueError("it calls what is no function")
        # Each call may copy its arguments, so a file that passes a long text many times would take much memory.
        self.room -= sum(len(part) for part in arguments if isinstance(part, str | bytes | list))
        if self.room < 0:
            raise ValueError("it passes more data to calls than it holds")
        self.values.append(function(*arguments))

    def build(self) -> None:
        state, target = self.values.pop(), self.values[-1]
        if not isinstance(target, StandIn):
            raise ValueError(f"it gives state to a {type(target).__name__}")
        target.build(state)


def checked_key(key: Any) -> Any:
    """The key itself, if its hash takes little time: a short text, a number, or a tuple of a few of these.

    Raises:
        ValueError: for any other key.

    >>> checked_key(("cifar10", 777))
    ('cifar10', 777)
    >>> checked_key((("cifar10",), 777))
    Traceback (most recent call last):
    ...
    ValueError: it has a key that is neither a short text nor a number
    """
    parts_limit, letters_limit = _LONGEST_KEY
    if type(key) is str and len(key) <= letters_limit:  # nearly all keys are
        return key
    parts = key if type(key) is tuple else (key,)
    if len(parts) > parts_limit or any(type(part) not in _PLAIN for part in parts):
        raise ValueError("it has a key that is neither a short text nor a number")
    if any(len(part) > letters_limit for part in parts if isinstance(part, str | bytes)):
        raise ValueError(f"it has a key of more than {letters_limit:,} letters")
    return key


_Instruction: TypeAlias = Callable[[_Reader], None]
_STOP = ord(".")
_DOUBLE = struct.Struct(">d")


def _puts(value: Callable[[_Reader], Any]) -> _Instruction:
    """The instruction that pushes the result of ``value``."""

    def put(reader: _Reader) -> None:
        found = value(reader)  # before reader.values is read: the call may replace that list
        reader.values.append(found)

    return put


def _skips(size: int) -> _Instruction:
    """The instruction that skips an argument of ``size`` bytes, which has no meaning here."""

    def skip(reader: _Reader) -> None:
        reader.take(size)

    return skip


def _text(size: int, encoding: str | None) -> _Instruction:
    """The instruction that pushes a text, or bytes if ``encoding`` is None; ``size`` bytes before it say its length."""

    def put(reader: _Reader) -> None:
        found = reader.take(reader.number(size))
        reader.values.append(found if encoding is None else found.decode(encoding))

    return put


def _tuple(count: int) -> _Instruction:
    """The instruction that replaces the last ``count`` values by a tuple of them."""

    def make(reader: _Reader) -> None:
        if len(reader.values) < count:
            raise ValueError("it takes what it did not put")
        reader.values[-count:] = [tuple(reader.values[-count:])]

    return make


def _numbers(size: int | None) -> _Instruction:
    """The instruction that stores the last value under a number, of ``size`` bytes or, if None, in a line of digits."""

    def number(reader: _Reader) -> None:
        reader.numbered[reader.number(size) if size else reader.digits()] = reader.values[-1]

    return number


def _again(size: int | None) -> _Instruction:
    """The instruction that pushes the value stored under a number, of ``size`` bytes or, if None, in a line."""

    def put(reader: _Reader) -> None:
        reader.values.append(reader.numbered[reader.number(size) if size else reader.digits()])

    return put


# A table has millions of these three instructions, so they are written without inner calls.
def _again_short(reader: _Reader) -> None:
    reader.values.append(reader.numbered[reader.content[reader.at]])
    reader.at += 1


def _number_next(reader: _Reader) -> None:
    reader.numbered[len(reader.numbered)] = reader.values[-1]


def _double(reader: _Reader) -> None:
    reader.values += _DOUBLE.unpack_from(reader.content, reader.at)
    reader.at += 8


def _whole(reader: _Reader) -> int | bool:
    """A whole number in a line; or a truth value, which protocols 0 and 1 write as 00 and 01."""
    truth = {b"00\n": False, b"01\n": True}.get(reader.content[reader.at : reader.at + 3])
    number = reader.digits()
    return number if truth is None else truth


def _fraction(reader: _Reader) -> float:
    """A floating-point number in a line."""
    try:
        return float(reader.line(_LONGEST_NUMBER))
    except ValueError:
        raise ValueError("it has a line that is no number") from None


def _signed(reader: _Reader) -> int:
    """A signed number; the byte before it says its length."""
    size = reader.number(1)
    if size > 9:
        raise ValueError("it has a number of more than 64 bits")
    return int.from_bytes(reader.take(size), "little", signed=True)


def _quoted(reader: _Reader) -> bytes:
    """A text of protocol 0, as Python 2 wrote it."""
    line = reader.line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1] != line[0]:
        raise ValueError("it has a text without quotes")
    return codecs.escape_decode(line[1:-1])[0]


def _named(reader: _Reader) -> None:
    module, name = reader.line(200).decode(), reader.line(200).decode()
    reader.find(module, name)


def _named_on_stack(reader: _Reader) -> None:
    name, module = reader.values.pop(), reader.values.pop()
    reader.find(module, name)


def _outside(reader: _Reader) -> None:
    said = reader.values.pop()
    reader.find(*OUTSIDE)
    reader.values.append((said,))
    reader.call()


def _dict(reader: _Reader) -> None:
    listed = reader.marked()
    reader.values.append({})
    reader.fill(listed)


def _add(reader: _Reader) -> None:
    found = [checked_key(part) for part in reader.marked()]
    reader.target(set).update(found)


def _set_item(reader: _Reader) -> None:
    value, key = reader.values.pop(), reader.values.pop()
    reader.fill([key, value])


def _append(reader: _Reader) -> None:
    value = reader.values.pop()
    reader.target(list).append(value)


def _extend(reader: _Reader) -> None:
    found = reader.marked()
    reader.target(list).extend(found)


_INSTRUCTIONS: dict[int, _Instruction] = {
    0x80: _skips(1),  # the protocol
    0x95: _skips(8),  # how much to read at once
    ord("("): _Reader.mark,
    ord("N"): _puts(lambda reader: None),
    0x88: _puts(lambda reader: True),
    0x89: _puts(lambda reader: False),
    ord("I"): _puts(_whole),
    ord("L"): _puts(_whole),
    ord("J"): _puts(lambda reader: int.from_bytes(reader.take(4), "little", signed=True)),
    ord("K"): _puts(lambda reader: reader.number(1)),
    ord("M"): _puts(lambda reader: reader.number(2)),
    0x8A: _puts(_signed),
    ord("F"): _puts(_fraction),
    ord("G"): _double,
    ord("S"): _puts(_quoted),
    ord("T"): _text(4, None),
    ord("U"): _text(1, None),
    ord("V"): _puts(lambda reader: reader.line().decode("raw-unicode-escape")),
    ord("X"): _text(4, "utf-8"),
    0x8C: _text(1, "utf-8"),
    0x8D: _text(8, "utf-8"),
    ord("B"): _text(4, None),
    ord("C"): _text(1, None),
    0x8E: _text(8, None),
    ord("]"): _puts(lambda reader: []),
    ord("l"): _puts(_Reader.marked),
    ord("a"): _append,
    ord("e"): _extend,
    ord(")"): _puts(lambda reader: ()),
    ord("t"): _puts(lambda reader: tuple(reader.marked())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("}"): _puts(lambda reader: {}),
    ord("d"): _dict,
    ord("s"): _set_item,
    ord("u"): lambda reader: reader.fill(reader.marked()),
    0x8F: _puts(lambda reader: set()),
    0x90: _add,
    ord("p"): _numbers(None),
    ord("q"): _numbers(1),
    ord("r"): _numbers(4),
    0x94: _number_next,
    ord("g"): _again(None),
    ord("h"): _again_short,
    ord("j"): _again(4),
    ord("c"): _named,
    0x93: _named_on_stack,
    ord("Q"): _outside,
    ord("R"): _Reader.call,
    ord("b"): _Reader.build,
}
