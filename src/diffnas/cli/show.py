"""The results that commands print at their end."""

from __future__ import annotations

import json
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffnas.names import showable
from diffnas.report.words import duration
from diffnas.sources import units

if TYPE_CHECKING:
    from diffnas.engine.cost import Cost
    from diffnas.engine.evaluate import EvaluateResult
    from diffnas.engine.search import SearchResult
    from diffnas.genotype import Genotype
    from diffnas.report.verdict import Verdict
    from diffnas.space import SearchSpace


def cells(console: Console, genotype: Genotype) -> None:
    """Print the cells, with a line for each node, and mark dead nodes. A chain has a line for each layer."""
    from diffnas.genotype.chain import is_chain
    from diffnas.skeleton import skeleton_of

    if is_chain(genotype):
        names = {kind: " + ".join(op for op, _, _ in cell.connections) for kind, cell in genotype.cells.items()}
        lines(console, [(kind, ops or "[dim]nothing beside the shortcut[/]") for kind, ops in names.items()])
        console.print()
        return
    for kind, cell in genotype.cells.items():
        table = Table(box=SIMPLE_HEAD, title=f"{kind} cell", title_justify="left", title_style="bold", pad_edge=False)
        table.add_column("node", justify="right")
        table.add_column("is the mean of" if skeleton_of(genotype.skeleton).averages else "is the sum of")
        for node in range(cell.inputs, cell.nodes):
            terms = [f"{op}({source})" for op, source, _ in cell.incoming(node)]
            dead = "" if node in cell.live else "  [dim](dead)[/dim]"
            table.add_row(str(node), ("  ".join(terms) or "nothing") + dead)
        console.print(table)
    inputs = max(cell.inputs for cell in genotype.cells.values())
    meaning = "0 and 1 are the outputs of the two cells before" if inputs == 2 else "0 is the output of the cell before"
    console.print(f"[dim]op(k): the operation applied to node k; {meaning}.[/dim]\n", highlight=False)


def search_numbers(found: SearchResult) -> dict[str, Any]:
    """The result of a search, as plain data."""
    from diffnas.genotype import to_json, to_text

    first, last = found.trace[0], found.trace[-1]
    indicators = last["indicators"]
    # Those of the result, whose cells may be of another epoch than the last, or read off under a target.
    connections = [connection for cell in found.genotype.cells.values() for connection in cell.connections]
    return {
        "genotype": json.loads(to_json(found.genotype)),
        "text": to_text(found.genotype),
        "epochs": len(found.trace),
        "seconds": sum(line["seconds"] for line in found.trace),
        "stopped": found.stopped,
        "train": last["train"],
        "connections": len(connections),
        "edges": len(last["keep"]),
        "skips": sum(connection.op == "skip_connect" for connection in connections),
        "none_share": indicators["none_share"],
        "discarded": sum(found.discarded) / len(found.discarded),
        "live_ops": indicators["live_ops"],
        "offered_ops": round(indicators["live_ops"] / indicators["live_share"]),
        "supernet_parameters": {"first_epoch": first["parameters"], "last_epoch": last["parameters"]},
        "family": [
            {
                "epoch": member.epoch,
                "macs": member.macs,
                "file": None if member.path is None else str(member.path),
                **({} if member.landing is None else {"landing": member.landing.record()}),
            }
            for member in found.family
        ],
        "problems": list(found.problems),
        **({} if found.landing is None else {"landing": found.landing.record()}),
    }


def search_lines(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """The result of a search, as names and words."""
    parameters = numbers["supernet_parameters"]
    time = _time(numbers)
    rows = [
        ("search", f"{time}, stopped because {numbers['stopped']}" if numbers["stopped"] else time),
        ("connections", f"{numbers['connections']} on {numbers['edges']} edges, {numbers['skips']} of them skips"),
        ("none", f"{numbers['none_share']:.1%} of the weight, averaged over all edges"),
        ("live operations", f"{numbers['offered_ops']} -> {numbers['live_ops']}"),
        ("supernet", f"{parameters['last_epoch']:,} parameters at the end"),
        ("discarded", f"{numbers['discarded']:.1%} of an edge's weight, on average, when one operation is read off"),
    ]
    for member in numbers["family"]:
        file = escape(showable(str(member["file"])))
        cost = member["landing"]["text"] if "landing" in member else f"{member['macs'] / 1e6:.1f} M multiply-adds"
        words = f"{file}, of epoch {member['epoch'] + 1}, {cost}"
        rows.append(("also kept", words))
    if "landing" in numbers:
        rows.append(("target", escape(numbers["landing"]["text"])))
    return rows + [("[yellow]problem[/]", f"[yellow]{problem}[/]") for problem in numbers["problems"]]


_JUDGED = {"text": "--prompt TEXT", "forecast": "FILE.csv", "labelled": "FILE.csv..."}
"""What ``diffnas predict`` takes, by the kind of data."""


def evaluation_numbers(result: EvaluateResult, record: dict[str, Any]) -> dict[str, Any]:
    """The result of an evaluation, as plain data; ``record`` is the folder's ``run.json``."""
    measured = {name: getattr(result, name) for name in ("test", "parameters", "macs", "seconds")}
    about = {"task": record["task"], "data": record["data"]["name"], "test_pictures": record["data"]["test"]}
    kind = {name: record["data"][name] for name in ("kind", "size")} if "kind" in record["data"] else {}
    return {**about, **kind, "epochs": len(result.trace), **measured}


def evaluation_lines(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """The result of an evaluation, as names and words."""
    (first, *others) = _measured(numbers)
    one, many = units(numbers.get("kind", "pictures"), numbers.get("size", ()))
    return [
        ("evaluation", _time(numbers)),
        ("network", f"{numbers['parameters']:,} parameters, {numbers['macs'] / 1e6:.1f} M multiply-adds a {one}"),
        (escape(first[0]), f"[bold green]{first[1]}[/] on {numbers['test_pictures']} {many}"),
        *((escape(name), said) for name, said in others),
    ]


def _measured(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    """The metrics on the test pictures, in words; the one that decides comes first."""
    metrics = numbers["task"]["metrics"]
    return [(f"test {name}", format(numbers["test"][name], metric["form"])) for name, metric in metrics.items()]


def cost(console: Console, told: Cost, *, as_json: bool) -> None:
    """Print what a search will cost."""
    if as_json:
        also = {"fits": told.fits, "epoch_seconds": told.epoch_seconds}
        print(json.dumps({"cost": {**asdict(told), **also}}))
        return
    lines(console, cost_lines(told))


def cost_lines(told: Cost) -> list[tuple[str, str]]:
    """What a search will cost, as names and words."""
    from diffnas.engine.memory import in_gigabytes

    scaled = "" if told.timed_on == told.batch else f", scaled from a step of {told.timed_on} pictures"
    free = "free memory is unknown here" if told.available is None else f"{in_gigabytes(told.available)} free"
    before = f", {told.pretext_epochs} of them of the pretext" if told.pretext_epochs else ""
    rows = [
        ("edges", f"{told.edges} in all kinds of cells"),
        ("operations", f"{told.operations} live of {told.offered} offered"),
        ("supernet", f"{told.parameters:,} parameters, {told.macs / 1e6:.1f} M multiply-adds a {told.unit}"),
        ("memory", f"about {in_gigabytes(told.memory)} for a step of {told.batch} pictures; {free}"),
        ("computed", "; ".join(told.computed)),
        ("time a step", f"{duration(told.step_seconds)}, measured{scaled}"),
        ("time an epoch", f"{duration(told.epoch_seconds)} for {told.steps} steps, before anything is pruned"),
        ("in all", f"{duration(told.epochs * told.epoch_seconds)} for {told.epochs} epochs{before}"),
    ]
    rows += [("target", escape(sentence)) for sentence in told.reachable]
    if told.largest_batch is not None and told.fits:
        rows.insert(4, ("largest batch", f"about {told.largest_batch}"))
    return rows + [("[yellow]does not fit[/]", f"[yellow]{advice} would[/]") for advice in told.advice]


def lines(console: Console, rows: list[tuple[str, str]]) -> None:
    """Print names and words in two columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=15)
    for name, words in rows:
        table.add_row(f"[bold]{name}[/]", words)
    console.print(table, highlight=False)


def listing(console: Console, rows: list[tuple[str, str]]) -> None:
    """Print names and words in two columns, with names in the color of things to type."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for name, words in rows:
        table.add_row(f"[cyan]{name}[/]", words)
    console.print(table, highlight=False)


def space_rows(space: SearchSpace) -> list[tuple[str, str]]:
    """A space, as names and words."""
    if space.own_depth is None:
        rows = [
            (kind, f"{len(graph.edges)} edges, {graph.nodes - graph.inputs} nodes")
            for kind, graph in space.cells.items()
        ]
    else:
        rows = [("cells", f"{len(space.cells)}, each of its own, with {len(space.edges)} edges together")]
    rows += [("operations", ", ".join(space.ops)), ("skeleton", space.skeleton)]
    return [*rows, ("supernet", f"{space.channels} channels, {space.depth} cells unless a search says otherwise")]


def space_line(space: SearchSpace) -> str:
    """A space in one line."""
    if space.own_depth is not None:
        return f"{len(space.cells)} cells, each of its own, with {len(space.edges)} edges; {len(space.ops)} operations"
    kinds = ", ".join(f"{len(graph.edges)} edges in its {kind} cell" for kind, graph in space.cells.items())
    return f"{kinds}; {len(space.ops)} operations"


def summary(
    console: Console,
    found: SearchResult | None,
    numbers: dict[str, Any],
    files: list[tuple[str, str]],
    verdict: Verdict | None = None,
) -> None:
    """Print the cells, the numbers, the files, and the next command."""
    rows = []
    if found is not None:
        cells(console, found.genotype)
        rows += search_lines(numbers["search"])
    if "evaluation" in numbers:
        rows += evaluation_lines(numbers["evaluation"])
    lines(console, rows)
    if verdict is not None:
        contest(console, verdict)
    # Paths are printed unchanged and never wrapped, so that they can be copied.
    for name, path in files:
        console.print(f"{name:<15}  {showable(path)}", highlight=False, markup=False, soft_wrap=True)
    folder = quote(showable(numbers["folder"]))
    what = _JUDGED.get(numbers.get("evaluation", {}).get("kind"), "PICTURE...")
    following = f"diffnas predict {folder} {what}" if "evaluation" in numbers else f"diffnas evaluate {folder}"
    console.print(f"\nNext: {following}", highlight=False, markup=False, soft_wrap=True)


def contest(console: Console, said: Verdict) -> None:
    """Print the networks of a contest, the best on held-out pictures first, and the verdict."""
    from diffnas.report.contest_plot import rows

    table = Table(box=SIMPLE_HEAD, title="all trained in the same way", title_justify="left", pad_edge=False)
    names = ("network", "test accuracy", "held-out", "multiply-adds", "parameters", "a training")
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left")
    for row in rows(said):
        table.add_row(*map(escape, row.cells), style="bold" if row.handed else "")
    console.print(table)
    for sentence in said.sentences:
        console.print(sentence, highlight=False, markup=False)
    console.print()


def one_line(numbers: dict[str, Any]) -> str:
    """The result of a run in one line.

    >>> task = {"metrics": {"accuracy": {"better": "higher", "form": ".2%"}}}
    >>> one_line({"folder": "runs/a", "evaluation": {"task": task, "test": {"accuracy": 0.98}}})
    'runs/a: test accuracy 98.00%'
    """
    if "evaluation" in numbers:
        name, said = _measured(numbers["evaluation"])[0]
        return f"{showable(numbers['folder'])}: {showable(name)} {said}"
    return f"{showable(numbers['folder'])}: {numbers['search']['text']}"


def _time(numbers: dict[str, Any]) -> str:
    epochs = numbers["epochs"]
    return f"{duration(numbers['seconds'])} for {epochs} epoch{'s' * (epochs != 1)}"
