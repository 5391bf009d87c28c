"""Docstrings as Markdown: what they are written in is nearly that."""

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def as_markdown(text: str) -> str:
    """A docstring whose roles and doctests Markdown understands.

    >>> print(as_markdown("See :func:`diffnas.run`::\\n\\n>>> 1 + 1\\n2"))
    See `diffnas.run`:
    <BLANKLINE>
    Examples:
        >>> 1 + 1
        2
    """
    paragraphs = _ROLE.sub(r"`\1`", text).replace("::\n", ":\n").split("\n\n")
    return "\n\n".join(_example(each) if each.startswith(">>>") else each for each in paragraphs)


def _example(paragraph: str) -> str:
    return "Examples:\n" + "\n".join(f"    {line}" for line in paragraph.splitlines())


class Docstrings(Extension):
    """Brings every docstring that is collected into that form."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
