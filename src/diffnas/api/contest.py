"""Contenders: networks that a user could take without a search, trained in the same way as the found network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from diffnas import files
from diffnas.api.notes import Data, Notes, load_noted, read_notes
from diffnas.api.processes import Call
from diffnas.api.targets import usual_size
from diffnas.components.chance import drawn
from diffnas.data import DataSet, Split, Stream, batches, set_aside
from diffnas.deploy.check import outputs
from diffnas.engine import seeds
from diffnas.engine.aim import Aim, sized, sized_for
from diffnas.engine.evaluate import EvaluateResult
from diffnas.engine.passes import JUDGED, in_turn
from diffnas.engine.ranks import ALONE
from diffnas.engine.scaling import nearest
from diffnas.engine.search import SearchResult
from diffnas.engine.settings import EvaluateSettings, Source, merge_settings
from diffnas.engine.target import Target
from diffnas.genotype import Genotype, read, to_json
from diffnas.genotype.own_space import own_space
from diffnas.lookup import lookup
from diffnas.nets.carried import afresh
from diffnas.nets.network import Network
from diffnas.nets.sized import Count
from diffnas.nets.trained import Trained
from diffnas.nets.trained import load as load_trained
from diffnas.report.contest import FOUND, Answers, Entry, judged, places, read_contest
from diffnas.report.reading import read_result
from diffnas.report.verdict import Verdict
from diffnas.run_files import ANSWERS, CONTEST, EVALUATION, VERDICT
from diffnas.run_folder import RunFolder, as_json
from diffnas.space import SPACES, SearchSpace, with_own_cells
from diffnas.task import classification
from diffnas.values import whole

ASIDE = 0.1
"""The share of the training pictures that is set aside: no network learns from it, and it chooses among networks."""

RANDOM = "random"
_COLUMNS, _WINDOW = 16, 64  # how networks read the text whose tokens they predict
_COUNT, REPEATS = whole(1, 100), whole(1, 100)

Sized: TypeAlias = Callable[[Genotype], Mapping[str, Any]]
"""A function from cells to the settings of an evaluation (channels, ...) that give their network the wanted cost."""


class Asked(NamedTuple):
    """An entry of ``--against``: what ``read`` takes, or ``random`` with the number of networks."""

    what: str
    times: int = 1

    @property
    def name(self) -> str:
        """What reports and folders call it: of a file or folder its name alone."""
        return re.sub(r"[^\w.-]+", "-", Path(self.what).stem if "/" in self.what else self.what).strip("-.") or "cells"


def asked(text: str) -> tuple[Asked, ...]:
    """The contenders that a text names.

    Raises:
        ValueError: if the text cannot be read, or a name stands for no network.

    >>> asked("random:3, DARTS_V2")
    (Asked(what='random', times=3), Asked(what='DARTS_V2', times=1))
    """
    found = tuple(_asked(part.strip()) for part in text.split(","))
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise ValueError(f"against {text!r} names a contender twice. For several random networks, write random:3.")
    return found


def _asked(part: str) -> Asked:
    name, colon, count = part.partition(":")
    if name == RANDOM:
        return Asked(name, int(_COUNT.check("the number after random:", _COUNT.read(count) if colon else 1)))
    if not part:
        raise ValueError("a contender has no name. Write names as in --against random:3,resnet,mobilenet.")
    read(part, sequences=True)
    return Asked(part)


def entries(
    contenders: Sequence[Asked],
    found: Genotype,
    built: Mapping[str, Any],
    space: SearchSpace,
    seed: int,
    sized: Sized,
    *,
    sequences: bool = False,
) -> Iterator[Entry]:
    """The networks of a contest, the found one first.

    Args:
        contenders: what ``asked`` gave.
        found: the cells that the search found.
        built: the settings of an evaluation with which their network is built.
        space: the space of the random networks.
        seed: the seed of the random networks.
        sized: the settings with which another network has the cost of the found one.
        sequences: whether the data are sequences, on which ``DARTS_V2`` is a recurrent cell.
    """
    yield Entry(name=FOUND, kind="found", genotype=found, built=dict(built))
    # Where the search gave each place a cell of its own, random networks have them too.
    own = found.depth is not None and space.own_depth is None
    unchosen = randoms(with_own_cells(space, found.depth) if own else space, seed)
    for each in contenders:
        if each.what == RANDOM:
            for number in range(1, each.times + 1):
                cells = next(unchosen)
                yield Entry(name=f"{RANDOM}-{number}", kind="random", genotype=cells, built=dict(sized(cells)))
        else:
            cells = read(each.what, sequences=sequences)
            yield Entry(name=each.name, kind="hand", genotype=cells, built=dict(sized(cells)))


def randoms(space: SearchSpace, seed: int) -> Iterator[Genotype]:
    """Networks of a space that nobody chose, without end; the seed decides them."""
    generator = seeds.generator(seed, "contenders")
    while True:
        yield drawn(space, generator)


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a contest: its network, its seed and its folder."""

    entry: Entry
    seed: int
    place: Path


def noted(folder: Path | None, against: str | None, repeats: int | None, *, resume: bool) -> dict[str, Any] | None:
    """The notes of a run about its contenders; None if there are none, or if they are noted already.

    Raises:
        ValueError: if contenders cannot be read, if there is no folder for them, or if a resumed run has noted others.
    """
    if against is None:
        if repeats is not None and not resume:
            raise ValueError("repeats is the number of trainings of each contender; name some: against='random:3'.")
        return None
    asked(against)
    count = int(REPEATS.check("repeats", 1 if repeats is None else repeats))
    if folder is None:
        raise ValueError("contenders need a run folder, which holds their networks: pass out.")
    if resume:
        kept, _ = read_notes(folder, "search")
        if (kept.against, kept.repeats) != (against, count):
            raise ValueError(
                f"{folder} was begun with --against {kept.against} --repeats {kept.repeats}. Resume it with these, or "
                "start anew with another --out."
            )
        return None
    return {"against": against, "repeats": count, "aside": ASIDE}


def verdict(
    found: SearchResult,
    train: Callable[..., EvaluateResult],
    settings: Mapping[str, Any],
    data: Data,
    source: Source,
    space: str | SearchSpace | None,
    call: Call,
) -> Verdict | None:
    """The verdict on the found network, after the run's contenders are trained; None if the run has no contenders.

    Args:
        found: the result of the search.
        train: ``evaluate``, with all arguments except the network, its folder and its settings.
        settings: the settings of the evaluation that the user gave.
        data, source, space: as the user gave them to the run.
        call: the call of the run: its listener hears which network is trained.
    """
    folder = found.folder
    notes = Notes() if folder is None else read_notes(folder, "search")[0]
    if folder is None or notes.against is None:
        return None
    space = space or notes.space
    assert space is not None, "a search without a noted space was given one"
    own = space if isinstance(space, SearchSpace) else lookup("space", space, SPACES)

    def train_entry(training: Training, started: bool) -> None:
        built = {**settings, **training.entry.built, "seed": training.seed}
        train(replace(found, genotype=training.entry.genotype), out=training.place, resume=started, **built)

    return hold(folder, found.genotype, load_noted(notes.data, data, source), own, train_entry, call)


def hold(
    folder: Path,
    found: Genotype,
    whole: DataSet,
    space: SearchSpace,
    train: Callable[[Training, bool], object],
    call: Call,
) -> Verdict:
    """The verdict of a contest, after all networks that are not trained yet are trained.

    Args:
        folder: the run folder, in which the search and the first training of the found network are over.
        found: the cells that the search found.
        whole: the data, before a part of it is set aside.
        space: the space of the random networks.
        train: trains a network into its folder; its second argument says whether to resume that training.
        call: the call of the run: its listener hears which network is trained.
    """
    notes, record = read_notes(folder, "search")
    _, first = read_notes(folder / EVALUATION, "evaluate")
    less, aside = set_aside(whole, notes.aside)
    settings = merge_settings(EvaluateSettings, first["settings"])

    def made() -> Iterator[Entry]:
        wanted, seed = asked(notes.against or ""), record["settings"]["seed"]
        like = _like(found, settings, less, space)
        return entries(wanted, found, settings.sizes, space, seed, like, sequences=less.in_steps)

    ranks, repeats = call.ranks, range(settings.seed, settings.seed + notes.repeats)
    # The first process reads and writes; the others take part in the trainings.
    trainings = ranks.broadcast(begun(folder, made, repeats) if ranks.first else [])
    for number, training in enumerate(trainings, start=1):
        started, over = ranks.broadcast(_how_far(training) if ranks.first else (False, False))
        if not over:
            told = f"training {number} of {len(trainings)}: {training.entry.name}, seed {training.seed}"
            call.listener.note(told)
            train(training, started)
        if ranks.first:
            answered(training, aside, less.test, space)
    said = ranks.broadcast(judged(folder) if ranks.first else None)
    assert said is not None, "the first process has judged"
    if ranks.first:
        files.write_checked(folder / VERDICT, as_json(said.as_record()))
    return said


def _how_far(training: Training) -> tuple[bool, bool]:
    """Whether a training has begun, and whether it is over."""
    folder = RunFolder(training.place)
    return folder.begun, folder.begun and read_result(folder) is not None


def _like(found: Genotype, settings: EvaluateSettings, data: DataSet, space: SearchSpace) -> Sized:
    """A function that gives other networks the cost of the found one."""
    own = own_space(found, **space.own)
    at = sized(own, data, usual_size(own, settings), settings.window)
    # A large part of a net of sequences is its decoder, which counts no multiply-adds.
    cost: Count = "params" if data.in_steps else "macs"
    same = Target(cost=cost, value=at.cost(found, cost))
    return partial(_sized, like=Aim(targets=(same,), size=at.size, window=settings.window), data=data, space=space)


def _sized(genotype: Genotype, like: Aim, data: DataSet, space: SearchSpace) -> dict[str, Any]:
    """The settings with the number of channels at which a network's cost is nearest to that of an aim.

    Cells that have their own places keep their own depth.
    """
    at = sized_for(like, own_space(genotype, **space.own), data)
    return nearest(like, at, genotype).size._asdict()


def begun(folder: Path, made: Callable[[], Iterator[Entry]], repeats: Sequence[int]) -> list[Training]:
    """The trainings of a contest, seed by seed. Its networks are written to the run folder once, and then read again.

    Args:
        folder: the run folder.
        made: makes the networks, if they are not in the folder yet.
        repeats: the seeds.
    """
    if not (folder / CONTEST).exists():
        record = {
            "schema": "diffnas/contest",
            "version": 1,
            "seeds": list(repeats),
            "entries": [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "genotype": json.loads(to_json(each.genotype)),
                    "built": dict(each.built),
                }
                for each in made()
            ],
        }
        files.write_checked(folder / CONTEST, as_json(record))
    known = read_contest(folder)
    return [Training(entry=entry, seed=seed, place=place) for entry, seed, place in places(folder, known)]


@torch.no_grad()
def answered(training: Training, aside: Split, test: Split, space: SearchSpace) -> None:
    """Write to the folder of a training which held-out pictures and which test pictures its network has right."""
    place = training.place / ANSWERS
    if place.exists():
        return
    trained = load_trained(training.place, **space.own)
    answers = {name: _right(trained, split) for name, split in (("held_out", aside), ("test", test))}
    files.write_checked(place, as_json(Answers.of(**answers).as_record()))


def _right(trained: Trained, split: Split) -> list[bool]:
    """Whether a network has each picture or sequence of a split right, or each next token of a text."""
    if isinstance(split, Stream):
        return _predicted(trained.network, split)
    told = [
        classification.each(outputs(trained, samples), labels).bool()
        for samples, labels in batches(split, torch.arange(len(split)), 256, device="cpu")
    ]
    return torch.cat(told).tolist()


def _predicted(net: Network, text: Stream) -> list[bool]:
    """Whether a network predicts each next token of a text, column by column and window by window."""
    told, columns, steps = [], min(_COLUMNS, len(text) // 2), net.frame.window or _WINDOW
    with afresh(net, JUDGED):
        for window in in_turn(text, torch.arange(len(text)), columns, steps, ALONE):
            tokens, after = text.take(window)
            told.append((net(tokens).logits.argmax(dim=-1) == after).flatten())
    return torch.cat(told).tolist()
