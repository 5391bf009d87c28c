"""Reading a pickle of arrays, lists, numbers and text; a pickle that asks for anything else is refused."""

from __future__ import annotations

from typing import Any

from diffnas.untrusted.pickles import unpickle
from diffnas.untrusted.stand_ins import ARRAYS, revealed

_STEPS = 1_000_000
"""The most instructions of a pickle. The longest official file, CIFAR-100's training pictures, has 250,000."""


def read_arrays(content: bytes, what: str) -> dict[str, Any]:
    """The dictionary in a pickle, made of arrays, lists, numbers and text only.

    Args:
        content: the pickle, of protocol 0 to 5, written by Python 2 or 3.
        what: the file's name, for errors.

    Raises:
        ValueError: it is no pickle of a dictionary, or it asks for any other object. Nothing that the file
            names is ever imported or called.

    >>> import pickle
    >>> read_arrays(pickle.dumps({"labels": [3, 1]}), "example")
    {'labels': [3, 1]}
    >>> read_arrays(pickle.dumps(print), "example")
    Traceback (most recent call last):
    ...
    ValueError: example is refused: it asks for builtins.print. Only arrays, lists and text are read.
    """
    try:
        found = unpickle(content, ARRAYS, steps=_STEPS)
    except ValueError as error:
        raise ValueError(f"{what} is refused: {error}. Only arrays, lists and text are read.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{what} holds a {type(found).__name__}, not a dictionary.")
    return {_text(key): value for key, value in revealed(found).items()}


def _text(key: object) -> str:
    """A key as text; Python 2 wrote bytes."""
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
