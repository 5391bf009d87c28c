"""The command ``diffnas export``, which writes a trained network in forms that work without diffnas."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from diffnas.cli import options as o
from diffnas.names import showable


def export(
    trained: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder with an evaluation, the evaluation, or hub:OWNER/NAME.")
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="onnx (the default), int8 (ONNX of 8 bits), exported (torch.export), source (plain PyTorch) or torch "
            "(safetensors and JSON); may be repeated.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Or hub:OWNER/NAME, to upload. Default: RUN/export.")
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(help="Files or folders of pictures for the check; may be repeated. Default: test pictures."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="On the hub, only its owner can see it.")] = False,
    as_json: o.Json = False,
) -> None:
    """Export the network of RUN; each file is checked against the network on 100 real pictures."""
    from diffnas import api

    exported = api.export(trained, formats or ("onnx",), out=out, pictures=pictures or (), private=private)
    if as_json:
        files = [{**asdict(found), "path": str(found.path)} for found in exported.agreements]
        small = exported.quantized and {**asdict(exported.quantized), "path": str(exported.quantized.path)}
        print(json.dumps({"place": exported.place, "files": files, "int8": small}))
        return
    console = Console()
    if exported.quantized is not None:
        told = f"{showable(str(exported.quantized.path))}\n    {exported.quantized}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    for found in exported.agreements:
        console.print(f"{showable(str(found.path))}\n    {found}", highlight=False, markup=False, soft_wrap=True)
    if exported.place.startswith("http"):
        console.print(f"uploaded: {exported.place}", highlight=False, markup=False, soft_wrap=True)
