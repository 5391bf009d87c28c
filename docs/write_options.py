"""Write the page of the options again, from the records that declare them.

python docs/write_options.py
"""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from diffnas.engine.settings import (
    ALPHA,
    DATA,
    MACHINE,
    SEQUENCES,
    SIZES,
    WEIGHTS,
    EvaluateSettings,
    Machine,
    SearchSettings,
    Source,
    Wanted,
)
from diffnas.roles import ROLES
from diffnas.values import Heading, helps, kinds, plain, wanted

PAGE = Path(__file__).parent / "options.md"
HEAD = """# All options

These are the options of `diffnas search` and `diffnas evaluate`, and of `diffnas.search` and `diffnas.evaluate` in
Python, where `--alpha-lr` is called `alpha_lr`. `diffnas run` takes the settings of its phases as
`--set search.KEY=VALUE` and `--set evaluate.KEY=VALUE`, and `diffnas.run` as `search_settings={"KEY": VALUE}` and
`evaluate_settings={"KEY": VALUE}`. `--no-FLAG` turns a flag off.

A value that you give counts first. Else it comes from the run that is resumed, else from the recipe, else from the
method, else from the papers. The last two columns are the papers' values, for a search and for an evaluation. A dash
means that the phase does not have the option. `None` means that the value depends on something else.
"""
ROLES_HEAD = """
## Components

These options replace components of a search's method. `diffnas methods NAME` shows the components of a method, and a
wrong name of a component lists all names.

| option | such as |
|---|---|
"""


def written() -> str:
    """The page."""
    parts = [_section(heading) for heading in (DATA, SIZES, WEIGHTS, SEQUENCES, ALPHA, MACHINE)]
    roles = [f"| `--{role}` | {text} |" for role, text in ROLES.items()]
    return "\n".join([HEAD, *parts]) + ROLES_HEAD + "\n".join(roles) + "\n"


def _section(heading: Heading) -> str:
    head = f"## {heading.text}\n\n| option | what it is for | may be | search | evaluate |\n|---|---|---|---|---|"
    records = Source, Wanted, SearchSettings, EvaluateSettings, Machine
    rows = dict(row for record in records for row in _rows(record, heading))
    return "\n".join([head, *rows.values(), ""])


def _rows(record: type, heading: Heading) -> Iterator[tuple[str, str]]:
    for name, told in helps(record).items():
        if told.heading == heading:
            kind = kinds(record)[name]
            may_be = "a flag" if plain(kind) is bool else wanted(kind)
            # An evaluation takes all training pictures, and the network at the size where it landed.
            evaluated = "-" if name == "train" or record is Wanted else _default(name, EvaluateSettings)
            words = [f"`--{name.replace('_', '-')}`", told.text, may_be, _default(name, SearchSettings), evaluated]
            yield name, f"| {' | '.join(words)} |"


def _default(name: str, settings: type) -> str:
    """The default of an option, in a phase with these settings, as Markdown."""
    found: list[Any] = [
        each.default for record in (settings, Source, Wanted, Machine) for each in fields(record) if each.name == name
    ]
    return f"`{found[0]}`" if found else "-"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
