"""Genotypes in files, and genotypes by the names that a user may give: a path, a text, a published cell."""

from __future__ import annotations

import os
import re
from pathlib import Path

from diffnas.files import check, write_partial
from diffnas.genotype.handmade import HANDMADE, handmade
from diffnas.genotype.json_form import to_json
from diffnas.genotype.published import PUBLISHED, SEQUENCES, published
from diffnas.genotype.record import Genotype
from diffnas.genotype.text import parse
from diffnas.lookup import lookup
from diffnas.run_folder import RunFolder
from diffnas.untrusted import json_text
from diffnas.untrusted.whole import read_text


def save(genotype: Genotype, path: Path) -> None:
    """Write the genotype's JSON; a reader sees the whole old file or the whole new one."""
    text = f"{to_json(genotype)}\n"
    os.replace(write_partial(path, lambda file: file.write(text.encode())), path)


def load(path: Path) -> Genotype:
    """The genotype in a file, in any form that ``parse`` reads.

    Raises:
        ValueError: if the file holds no genotype, or a run wrote it and it was changed; the message names the file.
        OSError: if the file cannot be read.
    """
    text = read_text(path, json_text.LARGEST)
    try:
        found = parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    check(path)
    return found


def read(what: str | Path, *, sequences: bool = False) -> Genotype:
    """The genotype that ``what`` names: a file, a run folder, a text that ``parse`` reads, a published cell, or a
    hand-made network.

    Args:
        what: the name.
        sequences: whether a name that cells for pictures and recurrent cells share, such as ``DARTS_V2``, is that of
            the recurrent one.

    Raises:
        ValueError: if ``what`` is none of these; a misspelt name gets a suggestion.
    """
    if isinstance(what, str) and re.match(r"\s*(\||\{|(chain|transformer)\S*\s*\||(\w+\s*=\s*)?Genotype\s*\()", what):
        return parse(what)
    if sequences and f"{what}{SEQUENCES}" in PUBLISHED:
        return published(f"{what}{SEQUENCES}")
    if isinstance(what, str) and what in PUBLISHED:
        return published(what)
    if isinstance(what, str) and what in HANDMADE:
        return handmade(what)
    path = Path(what)
    if os.path.isdir(path):  # not path.is_dir(), which raises for a name that is too long
        path = RunFolder(path).genotype_file
    if os.path.isfile(path):
        return load(path)
    if isinstance(what, Path) or path.suffix in (".json", ".txt") or len(path.parts) != 1:
        raise ValueError(f"there is no genotype file {str(path)!r}.")
    named = {**dict.fromkeys(PUBLISHED, published), **dict.fromkeys(HANDMADE, handmade)}
    return lookup("genotype", what, named)(what)
