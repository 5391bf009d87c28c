"""Reading a cell off: from scores and keep to a genotype.

A rule is called ``rule(scores, keep, space)`` with how likely each operation is to take part as scores: for
most methods the mixing weights, for gates the probability of being open.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffnas.components.traits import traits
from diffnas.genotype import Cell, Connection, Genotype
from diffnas.space import CellGraph, Edge, SearchSpace

Discretize = Callable[[Tensor, Tensor, SearchSpace], Genotype]


@traits(none_wins=lambda none=True: "always" if none else "never")
def winners(scores: Tensor, keep: Tensor, space: SearchSpace, *, none: bool = True) -> Genotype:
    """Every edge gets its strongest operation; an edge won by ``none`` is absent. Any in-degree.

    The reading of the sparse method (Bezirganyan & Akarmazyan, 2022) and of NAS-Bench-201 (Dong & Yang, 2020).

    Args:
        scores: ``(edges, ops)``, the mixing weights.
        keep: ``(edges, ops)``, bool; only what is kept can win.
        space: the space that gave the rows and columns their meaning.
        none: False lets the best other operation win wherever one is kept, even if ``none`` leads.

    Exact ties go to the operation that the space lists first.
    """
    best = _best(scores, keep, space, none=none)
    return _genotype(space, lambda graph, rows: [best[row] for row in rows])


@traits(needs_pruning=True)
def survivors(scores: Tensor, keep: Tensor, space: SearchSpace) -> Genotype:
    """All that is still in play but ``none``: any in-degree, and several operations from one node into another.

    The reading of GOLD-NAS (Bi et al., 2020), whose final network is the plain sum of what was not removed. The
    scores are not looked at.
    """
    listed = _pairs(scores, keep, space)
    return _genotype(space, lambda graph, rows: [pair for row in rows for pair in listed[row]])


@traits(none_wins=lambda absent_below=None: "without an in-degree" if absent_below is None else "never")
def strongest_inputs(
    scores: Tensor, keep: Tensor, space: SearchSpace, *, absent_below: float | None = None
) -> Genotype:
    """Every node keeps its strongest inputs, ``none`` left out of the ranking: DARTS (Liu et al., 2019), section 2.4.

    An input is as strong as its best operation other than ``none``; each node keeps ``space.in_degree`` of them,
    strongest first, ties to the lower source. In a space without an in-degree (NAS-Bench-201) every edge takes its
    strongest operation, ``none`` included, as that benchmark prescribes.

    Args:
        scores: ``(edges, ops)``.
        keep: ``(edges, ops)``, bool.
        space: the space that gave the rows and columns their meaning.
        absent_below: in a space without an in-degree, the least score that makes an edge, in place of ``none``: for
            gates, of which that of ``none`` says nothing.
    """
    if space.in_degree is None:
        if absent_below is None:
            return winners(scores, keep, space)
        return winners(scores, keep & (scores >= absent_below), space, none=False)
    best = _best(scores, keep, space, none=False)

    def choose(graph: CellGraph, rows: range) -> list[tuple[float, Connection] | None]:
        chosen: list[tuple[float, Connection] | None] = []
        for node in range(graph.inputs, graph.nodes):
            found = [edge for edge in (best[rows[row]] for row in graph.incoming(node)) if edge is not None]
            chosen += sorted(found, key=lambda edge: -edge[0])[: space.in_degree]
        return chosen

    return _genotype(space, choose)


@traits(needs_probabilities=True)
def sure_inputs(scores: Tensor, keep: Tensor, space: SearchSpace, *, at_least: float = 0.85) -> Genotype:
    """As ``strongest_inputs``, but only operations that score ``at_least`` so much, and never ``none``.

    FairDARTS (Chu et al., 2020): a node may have fewer inputs than the space allows, or none at all.
    """
    return strongest_inputs(scores, keep & (scores >= at_least), space, absent_below=at_least)


@traits(none_wins="without an in-degree")
def few_skips(scores: Tensor, keep: Tensor, space: SearchSpace, *, most: int = 2) -> Genotype:
    """As ``strongest_inputs``, but with at most so many skip connections in each normal cell.

    P-DARTS (Chen et al., 2019): as long as a normal cell has more, its weakest skip connection scores 0, and all is
    read off again. A cell that offers too little else keeps the skips it needs.
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
    """Every node keeps its strongest pairs of operation and input; two operations from one input may be among them.

    The reading of Zhou et al. (2020), whose scores are the probabilities of the gates to be open; ``none`` is left
    out, for a gate of ``none`` multiplies zeros. Each node keeps ``space.in_degree`` pairs, strongest first, ties to
    the lower source and the operation listed first. In a space without an in-degree (NAS-Bench-201) every edge takes
    its strongest operation other than ``none``, or stays absent if even that one scores too low.

    Args:
        scores: ``(edges, ops)``, from 0 to 1.
        keep: ``(edges, ops)``, bool.
        space: the space that gave the rows and columns their meaning.
        shares: rank by the odds ``p / (1 - p)`` as shares of all odds on the edge. For gates that is the softmax of
            alpha, by which the released code ranks: an operation whose rivals on the edge are strong counts less.
        absent_below: in a space without an in-degree, the least score that makes an edge: for gates, at 1/2 an edge
            is absent if all its gates are more likely shut than open.
    """
    strength = _odds_shares(scores, keep) if shares else scores
    if space.in_degree is None:
        return winners(strength, keep & (scores >= absent_below), space, none=False)
    listed = _pairs(strength, keep, space)

    def choose(graph: CellGraph, rows: range) -> list[tuple[float, Connection] | None]:
        chosen: list[tuple[float, Connection] | None] = []
        for node in range(graph.inputs, graph.nodes):
            found = [pair for row in graph.incoming(node) for pair in listed[rows[row]]]
            chosen += sorted(found, key=lambda pair: -pair[0])[: space.in_degree]
        return chosen

    return _genotype(space, choose)


def _odds_shares(scores: Tensor, keep: Tensor) -> Tensor:
    """The odds of each score as shares of its row: the softmax of alpha, if scores are sigmoids of alpha shifted."""
    logits_EO = torch.logit(scores.detach().double(), eps=1e-15).masked_fill(~keep, -torch.inf)
    return logits_EO.softmax(dim=-1).nan_to_num()


def _pairs(scores: Tensor, keep: Tensor, space: SearchSpace) -> list[list[tuple[float, Connection]]]:
    """Score and connection of all kept operations of each edge but ``none``."""
    return [
        [
            (score, Connection(op, edge.source, edge.target))
            for op, score, kept in zip(space.ops, row, mask, strict=True)
            if kept and op != "none"
        ]
        for (_, edge), row, mask in zip(space.edges, scores.tolist(), keep.tolist(), strict=True)
    ]


def _best(scores: Tensor, keep: Tensor, space: SearchSpace, *, none: bool) -> list[tuple[float, Connection] | None]:
    """Score and connection of the operation that wins each edge; None where ``none``, or nothing, wins."""
    absent = space.column("none")
    scores_EO = scores.detach().double().cpu().masked_fill(~keep.cpu(), -torch.inf)
    if absent is not None and not none:
        scores_EO[:, absent] = -torch.inf
    best: list[tuple[float, Connection] | None] = []
    for (_, edge), row in zip(space.edges, scores_EO.tolist(), strict=True):
        score = max(row)
        column = row.index(score)
        lost = column == absent or score == -torch.inf
        best.append(None if lost else (score, Connection(space.ops[column], edge.source, edge.target)))
    return best


def _genotype(
    space: SearchSpace, choose: Callable[[CellGraph, range], list[tuple[float, Connection] | None]]
) -> Genotype:
    cells = {}
    for kind, graph in space.cells.items():
        rows = range(space.rows[kind].start, space.rows[kind].stop)
        found = [edge[1] for edge in choose(graph, rows) if edge is not None]
        cells[kind] = Cell(inputs=graph.inputs, nodes=graph.nodes, connections=tuple(found), output=graph.output)
    return Genotype(skeleton=space.skeleton, cells=cells)


def discarded(mix: Tensor, keep: Tensor) -> Tensor:
    """The share of an edge's weight that reading off one operation throws away, ``(edges,)``: 0 where it is decided."""
    kept = mix.masked_fill(~keep, 0.0)
    total = kept.sum(dim=-1)
    return (total - kept.amax(dim=-1)) / total.clamp_min(1e-12)
