"""Reading a cell off: from scores and keep to a genotype.

A rule is called as ``rule(scores, keep, space)``. A score says how likely an operation is to take part. For most
methods the scores are the mixing weights; for gates they are the probabilities of being open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from diffnas.components.traits import traits
from diffnas.genotype import Cell, Connection, Genotype
from diffnas.skeleton import skeleton_of
from diffnas.space import CellGraph, Edge, SearchSpace

Discretize = Callable[[Tensor, Tensor, SearchSpace], Genotype]
_Scored: TypeAlias = "tuple[float, Connection] | None"


@traits(none_wins=lambda none=True: "always" if none else "never")
def winners(scores: Tensor, keep: Tensor, space: SearchSpace, *, none: bool = True) -> Genotype:
    """The genotype in which each edge has its strongest operation, or is absent if ``none`` is the strongest.

    The sparse method (Bezirganyan & Akarmazyan, 2022) and NAS-Bench-201 (Dong & Yang, 2020) read off in this way.
    Nodes have any in-degree.

    A recurrent cell normalizes each node, which cancels a factor that all its edges share. So if ``none`` is the
    strongest on all edges into a node, this says nothing of the node, and the edge with the strongest other operation
    stays.

    Args:
        scores: ``(edges, ops)``, the mixing weights.
        keep: ``(edges, ops)``, bool; only operations that are kept can win.
        space: the space of the rows and columns.
        none: whether ``none`` can win. If False, the best other operation wins; an edge that keeps no other is absent.

    If scores are equal, the operation that the space lists first wins.
    """
    best = _best(scores, keep, space, none=none)
    if skeleton_of(space.skeleton).gated:
        best = _fed(best, _best(scores, keep, space, none=False), space)
    return _genotype(space, lambda graph, rows: [best[row] for row in rows])


def _fed(best: list[_Scored], others: list[_Scored], space: SearchSpace) -> list[_Scored]:
    """``best``, where each node without any edge takes the strongest one of ``others``."""
    found = list(best)
    for kind, graph in space.cells.items():
        for node in range(graph.inputs, graph.nodes):
            into = [space.rows[kind].start + row for row in graph.incoming(node)]
            if not any(best[row] for row in into):
                strongest = max(into, key=lambda row: (others[row] or (-torch.inf,))[0])
                found[strongest] = others[strongest]
    return found


@traits(needs_pruning=True)
def survivors(scores: Tensor, keep: Tensor, space: SearchSpace) -> Genotype:
    """The genotype with all operations that are still in play, except ``none``. An edge may have several operations.

    GOLD-NAS (Bi et al., 2020) reads off in this way: its final network sums what was not removed, without weights.
    Nodes have any in-degree, and the scores are ignored.
    """
    listed = _pairs(scores, keep, space)
    return _genotype(space, lambda graph, rows: [pair for row in rows for pair in listed[row]])


@traits(none_wins=lambda absent_below=None: "without an in-degree" if absent_below is None else "never")
def strongest_inputs(
    scores: Tensor, keep: Tensor, space: SearchSpace, *, absent_below: float | None = None
) -> Genotype:
    """The genotype in which each node keeps its strongest inputs: DARTS (Liu et al., 2019), section 2.4.

    An input is as strong as its best operation other than ``none``. Each node keeps ``space.in_degree`` inputs, the
    strongest first; of equally strong inputs, the one with the lower source comes first. A space without an in-degree,
    such as NAS-Bench-201, has another rule, which that benchmark prescribes: each edge takes its strongest operation,
    and ``none`` can win.

    Args:
        scores: ``(edges, ops)``.
        keep: ``(edges, ops)``, bool.
        space: the space of the rows and columns.
        absent_below: in a space without an in-degree, an edge is absent if all its operations score less than this.
            ``none`` is then ignored. This is for gates, because the gate of ``none`` says nothing about the others.
    """
    if space.in_degree is None:
        if absent_below is None:
            return winners(scores, keep, space)
        return winners(scores, keep & (scores >= absent_below), space, none=False)
    best = _best(scores, keep, space, none=False)

    def choose(graph: CellGraph, rows: range) -> list[_Scored]:
        chosen: list[_Scored] = []
        for node in range(graph.inputs, graph.nodes):
            found = [edge for edge in (best[rows[row]] for row in graph.incoming(node)) if edge is not None]
            chosen += sorted(found, key=lambda edge: -edge[0])[: space.in_degree]
        return chosen

    return _genotype(space, choose)


@traits(needs_probabilities=True)
def sure_inputs(scores: Tensor, keep: Tensor, space: SearchSpace, *, at_least: float = 0.85) -> Genotype:
    """As ``strongest_inputs``, but only with operations that score ``at_least`` or more, and never with ``none``.

    FairDARTS (Chu et al., 2020). A node may have fewer inputs than the space allows, or no input.
    """
    return strongest_inputs(scores, keep & (scores >= at_least), space, absent_below=at_least)


@traits(none_wins="without an in-degree", needs_skips=True)
def few_skips(scores: Tensor, keep: Tensor, space: SearchSpace, *, most: int = 2) -> Genotype:
    """As ``strongest_inputs``, but with at most ``most`` skip connections in each normal cell.

    P-DARTS (Chen et al., 2019). While a normal cell has more, the score of its weakest skip connection becomes 0, and
    the cells are read off again. A cell that offers too few other operations keeps the skips that it needs.
    """
    scores, skip = scores.detach().clone(), space.column("skip_connect")
    while True:
        found = strongest_inputs(scores, keep, space)
        cells = [_skips(found, kind, space) for kind in space.normal_cells]
        rows = [row for cell in cells if len(cell) > most for row in cell if scores[row, skip] > 0]
        if not rows:
            return found
        scores[min(rows, key=lambda row: float(scores[row, skip])), skip] = 0


def _skips(found: Genotype, kind: str, space: SearchSpace) -> list[int]:
    """The rows of alpha of the skip connections of a cell."""
    places = {edge: row for row, edge in enumerate(space.cells[kind].edges, space.rows[kind].start)}
    connections = found.cells[kind].connections
    return [places[Edge(each.source, each.target)] for each in connections if each.op == "skip_connect"]


@traits(needs_probabilities=lambda shares=False: shares)
def strongest_pairs(
    scores: Tensor, keep: Tensor, space: SearchSpace, *, shares: bool = False, absent_below: float = 0.0
) -> Genotype:
    """The genotype in which each node keeps its strongest pairs of operation and input. Two pairs may share an input.

    Zhou et al. (2020) read off in this way; their scores are the probabilities that gates are open. ``none`` is left
    out, because its gate multiplies zeros. Each node keeps ``space.in_degree`` pairs, the strongest first. Of equally
    strong pairs, the lower source comes first, then the operation that the space lists first. In a space without an
    in-degree, such as NAS-Bench-201, each edge takes its strongest operation other than ``none``.

    Args:
        scores: ``(edges, ops)``, from 0 to 1.
        keep: ``(edges, ops)``, bool.
        space: the space of the rows and columns.
        shares: whether to rank by the odds ``p / (1 - p)``, divided by the sum of all odds on the edge. For gates this
            is the softmax of alpha, by which the released code ranks. An operation with strong rivals then ranks lower.
        absent_below: in a space without an in-degree, an edge is absent if all its operations score less than this.
            For gates and 1/2, that is an edge whose gates are all more likely shut than open.
    """
    strength = _odds_shares(scores, keep) if shares else scores
    if space.in_degree is None:
        return winners(strength, keep & (scores >= absent_below), space, none=False)
    listed = _pairs(strength, keep, space)

    def choose(graph: CellGraph, rows: range) -> list[_Scored]:
        chosen: list[_Scored] = []
        for node in range(graph.inputs, graph.nodes):
            found = [pair for row in graph.incoming(node) for pair in listed[rows[row]]]
            chosen += sorted(found, key=lambda pair: -pair[0])[: space.in_degree]
        return chosen

    return _genotype(space, choose)


def _odds_shares(scores: Tensor, keep: Tensor) -> Tensor:
    """The odds of each score, divided by the sum of the odds in its row.

    This is the softmax of alpha if the scores are ``sigmoid(alpha + shift)``.
    """
    logits_EO = torch.logit(scores.detach().double(), eps=1e-15).masked_fill(~keep, -torch.inf)
    return logits_EO.softmax(dim=-1).nan_to_num()


def _pairs(scores: Tensor, keep: Tensor, space: SearchSpace) -> list[list[tuple[float, Connection]]]:
    """For each edge, the score and the connection of all kept operations except ``none``."""
    return [
        [
            (score, Connection(op, edge.source, edge.target))
            for op, score, kept in zip(space.ops, row, mask, strict=True)
            if kept and op != "none"
        ]
        for (_, edge), row, mask in zip(space.edges, scores.tolist(), keep.tolist(), strict=True)
    ]


def _best(scores: Tensor, keep: Tensor, space: SearchSpace, *, none: bool) -> list[_Scored]:
    """For each edge, the score and the connection of the operation that wins; None if ``none`` or nothing wins."""
    absent = space.column("none")
    scores_EO = scores.detach().double().cpu().masked_fill(~keep.cpu(), -torch.inf)
    if absent is not None and not none:
        scores_EO[:, absent] = -torch.inf
    best: list[_Scored] = []
    for (_, edge), row in zip(space.edges, scores_EO.tolist(), strict=True):
        score = max(row)
        column = row.index(score)
        lost = column == absent or score == -torch.inf
        best.append(None if lost else (score, Connection(space.ops[column], edge.source, edge.target)))
    return best


def _genotype(space: SearchSpace, choose: Callable[[CellGraph, range], list[_Scored]]) -> Genotype:
    cells = {}
    for kind, graph in space.cells.items():
        rows = range(space.rows[kind].start, space.rows[kind].stop)
        found = [edge[1] for edge in choose(graph, rows) if edge is not None]
        cells[kind] = Cell(inputs=graph.inputs, nodes=graph.nodes, connections=tuple(found), output=graph.output)
    return Genotype(skeleton=space.skeleton, cells=cells)


def discarded(mix: Tensor, keep: Tensor) -> Tensor:
    """The share of each edge's weight that is lost if one operation is read off, ``(edges,)``; 0 on a decided edge."""
    kept = mix.masked_fill(~keep, 0.0)
    total = kept.sum(dim=-1)
    return (total - kept.amax(dim=-1)) / total.clamp_min(1e-12)
