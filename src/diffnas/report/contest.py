"""A contest in a run folder: the found network, the networks that were trained to compare with it, and all results.

No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffnas.genotype import Genotype
from diffnas.genotype.json_form import from_record
from diffnas.report.reading import read_result
from diffnas.report.verdict import Contender, Kind, Verdict, verdict
from diffnas.run_files import ANSWERS, CONTENDERS, CONTEST, EVALUATION, VERDICT
from diffnas.run_folder import RunFolder

FOUND = "found"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A network of a contest.

    Attributes:
        name: ``found``, ``random-1``, ``resnet``, ...
        kind: whether the network was found by the search, drawn at random, or made by hand.
        genotype: its cells.
        built: the settings of an evaluation with which it is built: ``channels``, ``depth``, ...
    """

    name: str
    kind: Kind
    genotype: Genotype
    built: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The networks of a contest, and the seeds; each network is trained once from each seed."""

    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]


class Answers(BaseModel):
    """Which pictures a network has right, packed: two hexadecimal digits stand for eight pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    held_out_pictures: Annotated[int, Field(ge=1)]
    held_out: str
    test_pictures: Annotated[int, Field(ge=1)]
    test: str

    @classmethod
    def of(cls, held_out: list[bool], test: list[bool]) -> Answers:
        """The answers from lists with a flag for each picture: whether the network has it right."""
        return cls(
            held_out_pictures=len(held_out),
            held_out=np.packbits(held_out).tobytes().hex(),
            test_pictures=len(test),
            test=np.packbits(test).tobytes().hex(),
        )

    def as_record(self) -> dict[str, Any]:
        """The answers as plain data."""
        return self.model_dump()

    def right(self, split: Literal["held_out", "test"]) -> NDArray[np.bool_]:
        """Which pictures of a split are right, ``(pictures,)``, bool.

        Raises:
            ValueError: if the number of digits does not match the number of pictures.
        """
        count = getattr(self, f"{split}_pictures")
        packed = np.frombuffer(bytes.fromhex(getattr(self, split)), dtype=np.uint8)
        if len(packed) != -(-count // 8):
            raise ValueError(f"{len(packed)} bytes do not hold the answers for {count} pictures")
        return np.unpackbits(packed, count=count).astype(bool)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=80)]
    kind: Kind
    genotype: dict[str, Any]
    built: dict[str, int | str | None]


class _Contest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_: Literal["diffnas/contest"] = Field(alias="schema")
    version: Literal[1]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    entries: Annotated[list[_Entry], Field(min_length=2)]


def read_contest(folder: Path) -> Contest:
    """The contest in a run folder.

    Raises:
        ValueError: if there is none, or its file is damaged; the error names the file.
    """
    where = folder / CONTEST
    try:
        read = _Contest.model_validate(RunFolder(folder).read_json(CONTEST))
        entries = [
            Entry(name=each.name, kind=each.kind, genotype=from_record(each.genotype), built=each.built)
            for each in read.entries
        ]
    except ValidationError as error:
        raise ValueError(f"{where} is damaged or of another version: {error.errors()[0]['msg']}.") from None
    return Contest(entries=tuple(entries), seeds=tuple(read.seeds))


def places(folder: Path, contest: Contest) -> Iterator[tuple[Entry, int, Path]]:
    """Each training of a contest with its folder: all networks with the first seed, then all with the next one."""
    for seed in contest.seeds:
        for entry in contest.entries:
            first = entry.kind == "found" and seed == contest.seeds[0]
            yield entry, seed, folder / EVALUATION if first else folder / CONTENDERS / f"{entry.name}-seed{seed}"


def read_verdict(folder: Path) -> Verdict | None:
    """The verdict in a run folder; None if there is none yet.

    Raises:
        ValueError: if a file is damaged; the error names it.
    """
    return judged(folder) if (folder / VERDICT).exists() else None


def judged(folder: Path) -> Verdict:
    """The verdict on a contest whose trainings are all over.

    Raises:
        ValueError: if a training is not over, or a file is damaged; the error names it.
    """
    searched = sum(line["seconds"] for line in RunFolder(folder).trace())
    contest = read_contest(folder)
    trained: dict[str, list[tuple[RunFolder, Answers]]] = {}
    for entry, _, place in places(folder, contest):
        trained.setdefault(entry.name, []).append((RunFolder.open(place), _answers(place)))
    return verdict([_contender(entry, trained[entry.name]) for entry in contest.entries], search_seconds=searched)


def _contender(entry: Entry, trained: list[tuple[RunFolder, Answers]]) -> Contender:
    results = [read_result(place) for place, _ in trained]
    first = results[0]
    if first is None:
        raise ValueError(f"{trained[0][0].path} holds no result yet; resume the run with --resume.")
    size = trained[0][0].record["data"]["size"]
    # The cost is for one step of a sequence, because some networks read one at once, and others many.
    steps: int = size[0] if len(size) == 1 else 1
    return Contender(
        name=entry.name,
        kind=entry.kind,
        macs=first.macs // steps,
        parameters=first.parameters,
        held_out=tuple(float(answers.right("held_out").mean()) for _, answers in trained),
        right=np.stack([answers.right("test") for _, answers in trained]),
        seconds=float(np.mean([result.seconds for result in results if result])),
    )


def _answers(place: Path) -> Answers:
    try:
        found = Answers.model_validate(RunFolder(place).read_json(ANSWERS))
        found.right("held_out"), found.right("test")
    except (ValidationError, ValueError) as error:
        raise ValueError(f"{place / ANSWERS} is damaged: {str(error).splitlines()[0]}.") from None
    return found


def handed(folder: Path) -> Path | None:
    """The folder of the trained network that the user is handed after a contest; None if there is no verdict yet.

    The network is the best one on held-out pictures, averaged over its trainings. Of these trainings, the folder is
    that of the best one on the same pictures.

    Raises:
        ValueError: if the verdict is damaged.
    """
    if not (folder / VERDICT).exists():
        return None
    name = RunFolder(folder).read_json(VERDICT).get("handed")
    own = [place for entry, _, place in places(folder, read_contest(folder)) if entry.name == name]
    if not own:
        raise ValueError(
            f"{folder / VERDICT} is damaged: it names {str(name)[:80]!r}, which is not a network of the contest."
        )
    return max(own, key=lambda place: float(_answers(place).right("held_out").mean()))
