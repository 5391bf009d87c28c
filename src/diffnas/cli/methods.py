"""The command ``diffnas methods``: what methods there are, and all that is to be said of one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from diffnas.catalog import CATALOG
from diffnas.cli import show


def methods(
    name: Annotated[str | None, typer.Argument(help="Show one, whole.")] = None,
    table: Annotated[
        bool, typer.Option("--table", help="All methods against all axes, as a Markdown table; = is as in DARTS.")
    ] = False,
) -> None:
    """List the methods, or tell all of one: equations, components, defaults, published results, doubts."""
    if name is not None and table:
        raise ValueError("--table is of all methods; leave the name out, or the option.")
    if table:
        from diffnas.method.pages import table as whole_table

        print(whole_table(), end="")
    elif name is not None:
        from diffnas.method.pages import page

        Console().print(Markdown(page(name)))
    else:
        show.listing(Console(), list(CATALOG.items()))
