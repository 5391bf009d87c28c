"""Votes of seeds: a cell that is read off from the mean mixing weights of several searches. Nothing is trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffnas.api.notes import read_notes
from diffnas.components.traits import traits_of
from diffnas.engine import contract
from diffnas.engine.checks import with_cells_per_place
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.genotype import Genotype, save
from diffnas.lookup import lookup
from diffnas.method import Method, compose
from diffnas.report.compare import grouped, read_found
from diffnas.report.compare.likeness import Edge, by_edge
from diffnas.report.reading import Search, read_run
from diffnas.run_files import VOTES
from diffnas.space import SPACES, SearchSpace


@dataclass(frozen=True, kw_only=True)
class Vote:
    """The vote of several searches that differ only in their seeds.

    Attributes:
        label: the method, and what else names the group.
        genotype: the cells that are read off from the mean of the mixing weights.
        runs: the folders of the searches.
        edges: for each edge, what the vote has there, and the share of the searches whose own cells have the same.
        seconds: how long all searches took together. The vote itself trains nothing.
        path: the file of the genotype; None if none was written.
    """

    label: str
    genotype: Genotype
    runs: tuple[Path, ...]
    edges: Mapping[Edge, tuple[str, float]]
    seconds: float
    path: Path | None = None

    @property
    def agreement(self) -> float:
        """The share of ``edges``, averaged over all edges."""
        return sum(share for _, share in self.edges.values()) / len(self.edges)


def vote(
    runs: Iterable[str | Path],
    out: str | Path | None = None,
    *,
    method: Method | None = None,
    space: SearchSpace | None = None,
) -> Vote:
    """The cells for which several seeds of one search vote. Each seed has one vote, its mixing weights.

    The weights of each search are those of the epoch whose cells are its result, and 0 for what it removed. The
    method's own rule reads the cells off from their mean. An operation is in play if one search kept it; for a rule
    that takes all operations that are left, more than half of the searches must have kept it.

    Args:
        runs: the run folders of two searches or more, all finished, that differ only in their seeds.
        out: the file for the genotype, which ``evaluate`` takes; None writes none.
        method, space: those of the searches, if they were given as objects.

    Raises:
        ValueError: if the searches are fewer than two, or differ in more than their seeds, or if one is not finished;
            or if the method's rule reads cells off from more than the mixing weights.
    """
    folders = [Path(run) for run in runs]
    if len(folders) < 2:
        raise ValueError(f"a vote needs two runs or more, and {len(folders)} were given. Name the seeds of one search.")
    groups = _groups(folders)
    if len(groups) > 1:
        raise ValueError(
            f"only runs that differ in nothing but their seeds can vote, and these are {len(groups)} groups: "
            f"{'; '.join(groups)}. Name the runs of one group."
        )
    ((label, together),) = groups.items()
    return _voted(label, together, None if out is None else Path(out), method, space)


def votes(runs: Iterable[Path], out: Path) -> tuple[list[Vote], list[str]]:
    """The votes of all groups of two runs or more that differ only in their seeds, with their files in ``out/votes``.

    The second list says, in a sentence each, which groups cannot vote, and why.
    """
    found: list[Vote] = []
    refused: list[str] = []
    for label, folders in _groups(list(runs)).items():
        if len(folders) < 2:
            continue
        try:
            found.append(_voted(label, folders, out / VOTES / f"{_file_name(label)}.json", None, None))
        except ValueError as error:
            refused.append(f"{label} has no vote: {error}")
    return found, refused


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "-", label).strip("-.")[:100]


def _groups(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Runs by the label of their group. How the cells were evaluated does not matter."""
    found = [replace(read_found(folder), evaluation={}, tested={}) for folder in folders]
    places = {id(run): folder for run, folder in zip(found, folders, strict=True)}
    return {group.label: [places[id(run)] for run in group.runs] for group in grouped(found)}


def _voted(
    label: str, folders: Sequence[Path], out: Path | None, method: Method | None, space: SearchSpace | None
) -> Vote:
    """The vote of runs that differ only in their seeds."""
    rule, graph = _rule(folders[0], method, space)
    searches = [_search(folder) for folder in folders]
    scores = [_scores(folder, search, rule, graph) for folder, search in zip(folders, searches, strict=True)]
    kept = torch.stack([keep for _, keep in scores]).double().mean(dim=0)
    keep = kept > 0.5 if traits_of(rule.discretize).needs_pruning else kept > 0
    mean = torch.stack([mix for mix, _ in scores]).mean(dim=0)
    genotype = contract.read_off(rule.discretize, mean, keep, graph)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        save(genotype, out)
    own = [by_edge(search.genotype) for search in searches if search.genotype is not None]
    edges = {
        edge: (op, sum(cells.get(edge, "none") == op for cells in own) / len(own))
        for edge, op in by_edge(genotype).items()
    }
    seconds = sum(line.seconds for search in searches for line in search.lines)
    return Vote(label=label, genotype=genotype, runs=tuple(folders), edges=edges, seconds=seconds, path=out)


def _rule(folder: Path, method: Method | None, space: SearchSpace | None) -> tuple[Method, SearchSpace]:
    """The method and the space of a search, from its notes unless they are given."""
    notes, record = read_notes(folder, "search")
    if (method is None and notes.method is None) or (space is None and notes.space is None):
        raise ValueError(f"{folder} was begun with a method or space made in Python; pass it: vote(runs, method=...).")
    found = method or compose(str(notes.method), notes.components)
    graph = space or lookup("space", str(notes.space), SPACES)
    return found, with_cells_per_place(graph, merge_settings(SearchSettings, record["settings"]))


def _search(folder: Path) -> Search:
    search = read_run(folder).search
    if search is None or search.genotype is None:
        raise ValueError(f"the search in {folder} is not finished. Go on with it first: --resume {folder}.")
    return search


def _scores(folder: Path, search: Search, method: Method, space: SearchSpace) -> tuple[Tensor, Tensor]:
    """The scores of a search, and what it kept, both ``(edges, ops)``, in the epoch whose cells are its result."""
    assert search.chosen is not None
    line: Any = search.lines[search.chosen]
    mix, keep = torch.tensor(line.mix, dtype=torch.float64), torch.tensor(line.keep)
    strengths = (line.model_extra or {}).get("strengths")
    if strengths is not None and space.in_degree is not None:
        mix = mix * torch.tensor(strengths, dtype=torch.float64).unsqueeze(1)
    scores = mix.masked_fill(~keep, 0.0)
    if contract.read_off(method.discretize, scores, keep, space) != search.genotype:
        raise ValueError(
            f"the mixing weights in {folder} do not give the cells that its search found, because {method.name} reads "
            "them off from more than these. A vote on the weights would say nothing; evaluate the runs one by one."
        )
    return scores, keep
