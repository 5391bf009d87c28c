"""Write the page of the options anew, from the records that declare them.

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

Of `diffnas search` and `diffnas evaluate`, and of `diffnas.search` and `diffnas.evaluate` in Python, where `--alpha-lr`
is called `alpha_lr`. `diffnas run` takes the settings of its phases as `--set search.KEY=VALUE` and
`--set evaluate.KEY=VALUE`. A flag is turned off by `--no-FLAG`.

A value comes from what was said; else from the run that goes on; else from the recipe, the method, and the papers,
whose values are the defaults below: the first of a search, the second of an evaluation. A dash says that there is no
such option; `None`, that something else decides.
"""
ROLES_HEAD = """
## Components

Texts that put a component in place of the method's own, of a search. `diffnas methods NAME` tells those of a method;
a wrong name lists what there is.

| option | such as |
|---|---|
"""


def written() -> str:
    """The page."""
    parts = [_section(heading) for heading in (DATA, SIZES, WEIGHTS, ALPHA, MACHINE)]
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
            # An evaluation takes all training pictures, and the network as it landed.
            evaluated = "-" if name == "train" or record is Wanted else _default(name, EvaluateSettings)
            words = [f"`--{name.replace('_', '-')}`", told.text, may_be, _default(name, SearchSettings), evaluated]
            yield name, f"| {' | '.join(words)} |"


def _default(name: str, settings: type) -> str:
    """The default of an option of a phase with these settings, as a page shows it."""
    found: list[Any] = [
        each.default for record in (settings, Source, Wanted, Machine) for each in fields(record) if each.name == name
    ]
    return f"`{found[0]}`" if found else "-"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
