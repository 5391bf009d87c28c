"""Penalties, added to the loss that moves alpha.

A regularizer is called ``regularizer(at)`` with the ``Relaxation`` of this forward pass and returns a scalar, already
scaled; a reward is a negative one. It may read alpha, the mixing weights (a zero-one loss on sigmoids, say), the
probabilities of taking part, and the space (a cost for each operation, say); options are bound with
``functools.partial``, and any scale may be a schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from diffnas.components import contract
from diffnas.components.control import Control, growing
from diffnas.components.relaxation import Relaxation
from diffnas.components.schedule import Schedule, value
from diffnas.components.shares import of_nodes, shares
from diffnas.skeleton import skeleton_of
from diffnas.space import WEIGHTLESS_OPS, CellGraph, SearchSpace

Regularizer = Callable[[Relaxation], Tensor]

SKIP = "skip_connect"
POOLS = ("max_pool_3x3", "avg_pool_3x3")


def group_sparsity(at: Relaxation, *, skip: float | Schedule = 0.01, rest: float | Schedule = 0.005) -> Tensor:
    """``skip`` times the mean probability of skips to be open, plus ``rest`` times that of all other operations.

    The group-structured sparsity of Path-regularized DARTS (Zhou et al., 2020), lambda 1 and 2 being the scales. A
    skip's gate costs more, by ``skip / rest`` and by its group being the smaller one. ``none`` is one of the rest, as
    printed: its gate feels nothing but this. The means run over all operations that the space offers, pruned ones
    counting as shut, so that a removal leaves the gradients of the others as they were.

    Args:
        at: the relaxation of this forward pass.
        skip, rest: the scales of the two groups.

    Returns:
        A scalar.
    """
    others = [op for op in at.space.ops if op != SKIP]
    moment = at.moment
    return value(skip, moment) * _mean(at, [SKIP]) + value(rest, moment) * _mean(at, others)


def hinged_groups(
    at: Relaxation, *, skip: float | Schedule = 0.01, rest: float | Schedule = 0.005, margin: float = 0.2
) -> Tensor:
    """The group sparsity of the released code: three groups, each free below a margin, over what takes part only.

    The groups are skips, pools, and all others, ``none`` among them; pools and others have the scale ``rest``. A
    group's activity is the mean probability of being open over those of its operations whose mixing weight in this
    forward pass is not 0, first over a kind of cell (0 if there are none), then over the kinds.

    Args:
        at: the relaxation of this forward pass.
        skip, rest: the scales.
        margin: the activity that costs nothing.

    Returns:
        A scalar.
    """
    others = [op for op in at.space.ops if op != SKIP and op not in POOLS]
    scales = [(value(skip, at.moment), [SKIP]), (value(rest, at.moment), POOLS), (value(rest, at.moment), others)]
    return torch.stack([scale * (_mean_taking_part(at, ops) - margin).clamp_min(0.0) for scale, ops in scales]).sum()


def path_depth(
    at: Relaxation, *, weight: float | Schedule = 0.005, joined: Literal["mean", "sum", "any"] = "mean"
) -> Tensor:
    """The negative of ``weight`` times how likely the longest chain of a cell is to consist of operations that learn.

    The path-depth regularizer of Path-regularized DARTS (Zhou et al., 2020), lambda 3 being the weight: a shallow
    cell trains faster, so a search prefers it, unless depth is rewarded. The probability is the product, over the
    edges of the chain (``longest_chain``), of how likely two neighbouring nodes are joined by an operation with
    weights of its own; it is averaged over the kinds of cell.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale.
        joined: what stands for the probability that an edge joins its nodes. "mean": the mean over those operations,
            pruned ones counting as shut; with gates, the product is then how likely a chain is that takes one of
            these operations of every edge by chance. "sum": as printed in the paper, up to 4 on an edge of the DARTS
            space; for weights that compete and sum to one, this is the probability itself. "any": that at least one
            is open, the probability itself for gates.

    Returns:
        A scalar.

    Raises:
        ValueError: if the space has no operation with weights on any chain.
    """
    columns = torch.tensor([op not in WEIGHTLESS_OPS for op in at.space.ops], device=at.open.device)
    offered = torch.tensor(at.space.offered, device=at.open.device) & columns
    paths = []
    for rows in chains(at.space).values():
        open_EO = at.open[rows] * offered[rows]
        if joined == "any":
            likely = 1 - (1 - open_EO).prod(dim=1)
        else:
            likely = open_EO.sum(dim=1) / (offered[rows].sum(dim=1) if joined == "mean" else 1)
        paths.append(likely.prod())
    return -value(weight, at.moment) * torch.stack(paths).mean()


def path_of_chosen(at: Relaxation, *, weight: float | Schedule = 0.005) -> Tensor:
    """The path term of the released code: as ``path_depth``, but over what takes part in this forward pass only.

    An edge counts with the mean over those of its learning operations whose mixing weight is not 0, and drops out of
    the product if there are none, so that missing one there raises the term; it is 0 if all edges drop out.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale.

    Returns:
        A scalar.
    """
    columns = torch.tensor([op not in WEIGHTLESS_OPS for op in at.space.ops], device=at.open.device)
    part = (at.mix != 0) & columns
    paths = []
    for rows in chains(at.space).values():
        counts = part[rows].sum(dim=1)
        likely = (at.open[rows] * part[rows]).sum(dim=1) / counts.clamp_min(1)
        paths.append(likely.masked_fill(counts == 0, 1.0).prod() * (counts > 0).any())
    return -value(weight, at.moment) * torch.stack(paths).mean()


def zero_one(at: Relaxation, *, weight: float | Schedule = 10.0, power: int = 2) -> Tensor:
    """The negative of ``weight`` times the mean of ``|open - 1/2| ** power``: drives every operation to 0 or 1.

    The zero-one loss of FairDARTS (Chu et al., 2020) in both its forms. The mean runs over all that the space offers
    but ``none``; pruned operations count as settled on 1/2, so that a removal leaves the
    gradients of the others as they were. At exactly 1/2 it has no gradient: the other loss has to break the tie.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale.
        power: 2, or 1 for a push that is as hard near 1/2 as elsewhere.

    Returns:
        A scalar.
    """
    columns = _columns(at, [op for op in at.space.ops if op != "none"])
    offered = sum(row[column] for row in at.space.offered for column in columns)
    distance = (at.open - 0.5).abs()[:, columns] * at.keep[:, columns]
    return -value(weight, at.moment) * distance.pow(power).sum() / max(offered, 1)


def resources(at: Relaxation, *, weight: float | Control = growing, mu: float = 0.0) -> Tensor:
    """The resource penalty of GOLD-NAS (Bi et al., 2020): ``weight`` times the sum of ``ln(1 + N r) (1 + mu cost)``.

    r is an operation's share of all that enters its node, and N how many operations enter there. Even shares cost
    most, so the penalty rather makes a few operations strong than all of them weak.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale, lambda; or what it follows from.
        mu: how much the multiply-adds of an operation count beside the operation itself, for each million.

    Returns:
        A scalar.
    """
    share_EO = shares(at.open, at.keep, at.space)
    entering_E = of_nodes((share_EO > 0).sum(dim=1).to(share_EO.dtype), at.space)
    scale = contract.number(contract.CONTROL, weight, at.history, at.space) if callable(weight) else weight
    return scale * ((entering_E.unsqueeze(1) * share_EO).log1p() * (1 + mu * at.costs)).sum()


CONSTRAINTS = {"mild": 0.0015, "moderate": 0.01, "aggressive": 0.05}
"""Strengths of ``expected_cost`` by the names of SNAS' constraints: our choice, for none were published."""


def expected_cost(at: Relaxation, *, weight: float | Schedule = 0.01, logarithm: bool = True) -> Tensor:
    """The resource constraint of SNAS (Xie et al., 2019): ``weight`` times what the edges are expected to cost.

    An edge's expected cost is the sum, over its operations, of how likely each is times its multiply-adds for one
    picture, in all cells of its kind. An operation of probability p and cost c moves it by ``p (c - expected)`` for
    its entry of alpha, where softmax gives the probabilities, and its logarithm by that over ``expected``.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale, lambda in its released code.
        logarithm: whether the logarithms of the edges' costs are added, as its released commands have it; an edge of
            less than one multiply-add counts as one. If not, the costs themselves, in millions, as in the paper.

    Returns:
        A scalar.
    """
    cost_E = (at.open * at.costs).sum(dim=1)
    if logarithm:
        cost_E = (cost_E * 1e6).clamp_min(1.0).log()
    return value(weight, at.moment) * cost_E.sum()


def chains(space: SearchSpace) -> dict[str, list[int]]:
    """The rows of alpha that make the longest chain of each kind of cell, in the order of the chain.

    Where a shortcut stands beside every cell, the one chain is that of all cells, and called "net".

    Raises:
        ValueError: if a kind of cell has none, because no operation of it has weights.
    """
    if skeleton_of(space.skeleton).residual:
        learning = [row for row, ops in enumerate(space.offered) if _learns(ops, space)]
        if not learning:
            raise ValueError(f"no operation in space {space.name!r} has weights: paths have no depth.")
        return {"net": learning}
    found = {kind: longest_chain(graph) for kind, graph in space.cells.items()}
    for kind, rows in found.items():
        if not rows:
            raise ValueError(f"no operation of {kind} cells in space {space.name!r} has weights: paths have no depth.")
    return {kind: [space.rows[kind].start + row for row in rows] for kind, rows in found.items()}


def _learns(offered: Sequence[bool], space: SearchSpace) -> bool:
    return any(does and op not in WEIGHTLESS_OPS for op, does in zip(space.ops, offered, strict=True))


def longest_chain(graph: CellGraph) -> list[int]:
    """The rows, within this kind of cell, of its longest chain of edges that can learn, from an input to the output.

    Only edges that offer an operation with weights count: with one that never can, the chain would be shut whatever
    alpha says. Of several chains of one length, the one whose sources stand latest: so in a dense cell each node is
    joined to its neighbour, the first one to the latest input, as in the released code for the DARTS space. Depth
    asks for one chain, not for all: where no chain is longer, one that is certain to be whole is as deep as it gets.

    >>> from diffnas.space import darts, nas_bench_201
    >>> [tuple(nas_bench_201.cells["normal"].edges[row]) for row in longest_chain(nas_bench_201.cells["normal"])]
    [(0, 1), (1, 2), (2, 3)]
    >>> [tuple(darts.cells["normal"].edges[row]) for row in longest_chain(darts.cells["normal"])]
    [(1, 2), (2, 3), (3, 4), (4, 5)]
    """
    chain: dict[int, list[int]] = {node: [] for node in range(graph.inputs)}
    # By target and by source: what leads to a source is settled, and the latest source wins among equals.
    for row, (edge, ops) in enumerate(zip(graph.edges, graph.ops, strict=True)):
        if edge.source in chain and not set(ops) <= WEIGHTLESS_OPS:
            longer = [*chain[edge.source], row]
            if len(longer) >= len(chain.get(edge.target, [])):
                chain[edge.target] = longer
    return max((chain.get(node, []) for node in sorted(graph.output, reverse=True)), key=len)


def _mean(at: Relaxation, ops: Iterable[str]) -> Tensor:
    """The mean probability of being open over all that the space offers of some operations; 0 if it offers none."""
    columns = _columns(at, ops)
    offered = sum(row[column] for row in at.space.offered for column in columns)
    return at.open[:, columns].sum() / max(offered, 1)


def _mean_taking_part(at: Relaxation, ops: Iterable[str]) -> Tensor:
    """The same over what has a mixing weight in this forward pass, averaged over the kinds of cell."""
    columns = _columns(at, ops)
    means = []
    for rows in at.space.rows.values():
        part = at.mix[rows, columns] != 0
        means.append((at.open[rows, columns] * part).sum() / part.sum().clamp_min(1))
    return torch.stack(means).mean()


def _columns(at: Relaxation, ops: Iterable[str]) -> list[int]:
    return [column for op in ops if (column := at.space.column(op)) is not None]
