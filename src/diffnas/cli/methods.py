"""The command ``diffnas methods``, which lists the methods or shows the page of one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from diffnas.catalog import CATALOG
from diffnas.cli import show


def methods(
    name: Annotated[str | None, typer.Argument(help="Show all of one method.")] = None,
    table: Annotated[
        bool, typer.Option("--table", help="All methods and components as a Markdown table; = means as in DARTS.")
    ] = False,
) -> None:
    """List the methods, or show one: equations, components, defaults, published results, doubts."""
    if name is not None and table:
        raise ValueError(f"--table shows all methods. Leave out --table or the name {name!r}.")
    if table:
        from diffnas.method.pages import table as whole_table

        print(whole_table(), end="")
    elif name is not None:
        from diffnas.method.pages import page

        Console().print(Markdown(page(name)))
    else:
        show.listing(Console(), list(CATALOG.items()))
