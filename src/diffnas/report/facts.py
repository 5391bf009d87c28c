"""The facts of a run in its report, in numbers and words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from diffnas.report import measure
from diffnas.report.reading import Evaluation, Run, Search
from diffnas.report.records import Record
from diffnas.report.words import COST_WORDS, binary, brief, count, duration

# How a record writes a role without a component.
_NOTHING = {"()": "none", "None": "none"}


class Number(NamedTuple):
    """A number for large type: its name, its value, and a note."""

    name: str
    value: str
    note: str


class Score(NamedTuple):
    """A value of the metric that decides: of which net, on which pictures, in words, and as a share if it is one."""

    whose: str
    on: str
    said: str
    share: float | None


class Phase(NamedTuple):
    """How a phase was made: the typed command (None if a user's program made it), and tables by title."""

    name: str
    command: str | None
    tables: dict[str, dict[str, str]]


def status(run: Run) -> str:
    """How far a run is, in words. A report cannot know whether an unfinished run is still running."""
    search, evaluation = run.search, run.evaluation
    if search and search.genotype is None:
        return f"Search not finished: {_of(len(search.lines), search.record.epochs)} are over"
    if evaluation and evaluation.result is None:
        return f"Searched; evaluation not finished: {_of(len(evaluation.lines), evaluation.record.epochs)} are over"
    if search is None:
        return "Evaluated"
    early = len(search.lines) < search.record.epochs
    searched = f"Search stopped after {_of(len(search.lines), search.record.epochs)}" if early else "Searched"
    return f"{searched}; {'evaluated' if evaluation else 'not evaluated'}"


def subtitle(run: Run) -> str:
    """The method, data, space and seed of a run, in one line."""
    search, evaluation = run.search, run.evaluation
    if search:
        assert search.record.space is not None
        method, seed = search.record.method.get("name", "a method without a name"), search.record.settings.get("seed")
        return f"{method} on {search.record.data.name}, space {search.record.space.name}, seed {seed}"
    assert evaluation is not None
    return f"a network on {evaluation.record.data.name}, seed {evaluation.record.settings.get('seed')}"


def numbers(run: Run) -> list[Number]:
    """The most important numbers of a run."""
    search, evaluation = run.search, run.evaluation
    said: list[Number] = []
    if evaluation and evaluation.result:
        result = evaluation.result
        one, many = evaluation.record.data.units
        right = f"of {result.test_pictures:,} test {many}, trained from scratch"
        name = run.task.deciding
        said.append(Number(f"Test {name}", run.task.metric.say(result.test[name]), right))
        said.append(Number("Parameters", count(result.parameters), "of the network that was trained"))
        said.append(Number("Multiply-adds", count(result.macs), f"of that network, for one {one}"))
    elif search and search.landing and search.landing.costs:
        said += [_landed(name, cost) for name, cost in search.landing.costs.items()]
    elif search and search.chosen is not None and (found := search.lines[search.chosen].found_parameters):
        said.append(Number("Parameters", count(found), "of the network at its published size"))
    if run.int8:
        kibibytes = [f"{size / 1024:.0f}" for size in run.int8.bytes]
        times = [f"{time:.2f}" for time in run.int8.milliseconds]
        beside = f"{kibibytes[1]} KiB, {times[1]} ms a picture; in float32 {kibibytes[0]} KiB, {times[0]} ms"
        said.append(Number("In 8 bits", f"{run.int8.accuracy[1]:.2%}", beside))
    if search and search.lines:
        first, last = measure.offered(search), measure.live(search)[-1]
        said.append(Number("Operations alive", f"{last}", f"of {first} at the start"))
    time = [(name, sum(line.seconds for line in phase.lines)) for name, phase in _phases(run) if phase.lines]
    if search and search.pretext:
        time = [(search.pretext[0].pretext or "pretext", sum(line.seconds for line in search.pretext)), *time]
    if time:
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in time)
        note = parts if len(time) > 1 else f"of the {time[0][0]}"
        said.append(Number("Time", duration(sum(seconds for _, seconds in time)), note))
    return said


_SAID = {"count": count, "binary": binary, "brief": brief}


def _landed(name: str, cost: float) -> Number:
    """A cost of the network at which a search with targets landed."""
    title, say = COST_WORDS[name]
    return Number(title, _SAID[say](cost), "of the network at the size for its target")


def scores(run: Run) -> list[Score]:
    """The metric that decides, of the supernet and of the trained network, on all pictures where it is known."""
    known: list[tuple[str, str, Mapping[str, float] | None]] = []
    many = _many(run)
    if run.search and run.search.lines:
        last = run.search.lines[-1]
        known += [("Supernet", f"training {many}", last.train), ("Supernet", f"held-out {many}", last.held_out)]
    if run.evaluation and run.evaluation.lines:
        known.append(("Network", f"training {many}", run.evaluation.lines[-1].train))
    if run.evaluation and run.evaluation.result:
        known.append(("Network", f"test {many}", run.evaluation.result.test))
    metric, name = run.task.metric, run.task.deciding
    values = [(whose, on, numbers[name]) for whose, on, numbers in known if numbers and name in numbers]
    return [Score(whose, on, metric.say(v), v if metric.is_share else None) for whose, on, v in values]


def _many(run: Run) -> str:
    """What the samples of a run are called."""
    return next((phase.record.data.units[1] for _, phase in _phases(run)), "pictures")


def gap(run: Run) -> str:
    """The difference between the supernet and the network in the metric that decides, in words."""
    search, evaluation = run.search, run.evaluation
    if search is None or not search.lines:
        return "There is no search in this folder to compare the network with."
    last = search.lines[-1]
    metric, name = run.task.metric, run.task.deciding
    promised = (last.held_out or last.train)[name]
    pictures = "held-out" if last.held_out else "training"
    text = f"At the end of the search the supernet had {name} {metric.say(promised)} on its {pictures} {_many(run)}. "
    if evaluation is None or evaluation.result is None:
        return text + "Only a network of the cells, trained alone and tested, shows what the cells are worth."
    tested = evaluation.result.test.get(name)
    if tested is None:
        return text + "The network of its cells learned another task."
    text += f"The network of its cells, trained alone, has {name} {metric.say(tested)} on the test {_many(run)}: "
    text += f"{metric.apart(tested, promised)}. "
    sizes = [f"{_size(phase.record)}" for phase in (search, evaluation)]
    if sizes[0] != sizes[1]:
        text += f"One reason is size: the supernet has {sizes[0]}, and the network has {sizes[1]}. "
    return text + (
        f"A supernet is trained on other {_many(run)}, for another time, with all operations at once. Its numbers do "
        "not rank cells. Compare runs by their trained networks."
    )


def phases(run: Run) -> list[Phase]:
    """How the search and the evaluation were made."""
    return [_phase(name, phase.record) for name, phase in _phases(run)]


def command(made_with: Mapping[str, Any]) -> str | None:
    """The command that made a run, quoted for a shell; None if a user's program made the run.

    >>> command({"command": ["/usr/bin/diffnas", "search", "my pictures", "--seed", "1"]})
    "diffnas search 'my pictures' --seed 1"
    """
    typed = [str(word) for word in made_with.get("command") or [] if word]
    name = Path(typed[0]).name if typed else ""
    if name == "diffnas":
        return shlex.join(["diffnas", *typed[1:]])
    if name == "__main__.py":
        return shlex.join(["python", "-m", "diffnas", *typed[1:]])
    return shlex.join(["python", *typed]) if name.endswith(".py") else None


def _phases(run: Run) -> list[tuple[str, Search | Evaluation]]:
    both: list[tuple[str, Search | Evaluation | None]] = [("search", run.search), ("evaluation", run.evaluation)]
    return [(name, phase) for name, phase in both if phase is not None]


def _phase(name: str, record: Record) -> Phase:
    data = record.data
    _, many = data.units
    height, width = data.size if len(data.size) == 2 else (0, 0)
    tables = {
        "Method": {key: _NOTHING.get(value, value) for key, value in record.method.items()},
        "Settings": {key: _spoken(value) for key, value in record.settings.items()},
        "Data": {
            "name": data.name,
            f"training {many}": f"{data.train:,}",
            f"test {many}": "not known" if data.test is None else f"{data.test:,}",
            "classes": f"{len(data.classes)}",
            **({"size": f"{width} × {height}"} if len(data.size) == 2 else {}),
            "fingerprint": data.fingerprint,
        },
        "Made with": {
            **{key: str(value) for key, value in record.made_with.items() if key != "command"},
            "precision": record.precision,
            **({"computed": "; ".join(record.computed)} if record.computed else {}),
        },
    }
    return Phase(name, command(record.made_with), {title: rows for title, rows in tables.items() if rows})


def _of(done: int, planned: int) -> str:
    return f"{done} of {planned} epochs"


def _size(record: Record) -> str:
    settings = record.settings
    return f"{settings.get('channels')} channels and {settings.get('depth')} cells"


def _spoken(value: object) -> str:
    words = {True: "yes", False: "no", None: "none"}
    return words[value] if isinstance(value, bool) or value is None else str(value)
