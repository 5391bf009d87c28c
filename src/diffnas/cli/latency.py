"""The command ``diffnas latency``, which measures how long the networks of a space take on this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from diffnas.cli import options as o


def latency(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="See: diffnas spaces.")],
    recipe: o.RecipeName = None,
    channels: Annotated[int | None, typer.Option(help="Channels of the networks. Default: the recipe's.")] = None,
    depth: Annotated[
        int | None, typer.Option("--depth", "--cells", help="Depth of the networks. Default: the recipe's.")
    ] = None,
    side: Annotated[int, typer.Option(help="Height and width of the pictures.")] = 32,
    colors: Annotated[int, typer.Option(help="Channels of the pictures.")] = 3,
    classes: Annotated[int, typer.Option(help="How many classes there are.")] = 10,
    runtime: o.Runtime = None,
    as_json: o.Json = False,
) -> None:
    """Time the operations of SPACE and some of its networks, for targets such as latency=5ms."""
    from diffnas import api
    from diffnas.cli import show
    from diffnas.cli.progress import Display
    from diffnas.deploy.latency import rows

    with Display(Console(stderr=True)) as display:
        found = api.latency(
            space,
            recipe=recipe,
            picture=(colors, side, side),
            classes=classes,
            runtime=runtime,
            listener=display,
            **o.given(channels=channels, depth=depth),
        )
    if as_json:
        print(json.dumps({"latency": {**found.record(), "networks": sorted(found.known.values())}}))
        return
    show.lines(Console(), [(escape(name), escape(words)) for name, words in rows(found)])
