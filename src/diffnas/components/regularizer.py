"""Regularizers: penalties that are added to the loss that moves alpha.

A regularizer is called as ``regularizer(at)`` with the ``Relaxation`` of this forward pass. It returns a scalar that
includes its scale; a reward is negative. It may read alpha, the mixing weights, the probabilities of taking part, and
the space. Options are bound with ``functools.partial``, and any scale may be a schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from diffnas.components import contract
from diffnas.components.control import Control, growing
from diffnas.components.relaxation import Relaxation
from diffnas.components.schedule import Schedule, value
from diffnas.components.shares import of_nodes, shares
from diffnas.components.traits import traits
from diffnas.skeleton import skeleton_of
from diffnas.space import WEIGHTLESS_OPS, CellGraph, SearchSpace

Regularizer = Callable[[Relaxation], Tensor]

SKIP = "skip_connect"
POOLS = ("max_pool_3x3", "avg_pool_3x3")


def group_sparsity(at: Relaxation, *, skip: float | Schedule = 0.01, rest: float | Schedule = 0.005) -> Tensor:
    """``skip`` times the mean probability that skips are open, plus ``rest`` times that of all other operations.

    The group-structured sparsity of Path-regularized DARTS (Zhou et al., 2020); the scales are its lambda 1 and 2. The
    gate of a skip costs more, by the factor ``skip / rest`` and because its group is smaller. ``none`` belongs to the
    rest, as in the paper; its gate gets no other gradient. The means run over all offered operations, and pruned ones
    count as shut. So a removal does not change the gradients of the other operations.

    In a transformer the stream bypasses every branch, and in a chain the shortcut bypasses every layer, so there
    ``none`` is the skip. In a recurrent cell it is ``identity``, the only linear operation.

    Args:
        at: the relaxation of this forward pass.
        skip, rest: the scales of the two groups, lambda 1 and 2 in the paper.

    Returns:
        A scalar.
    """
    skips, moment = _skips(at.space), at.moment
    others = [op for op in at.space.ops if op not in skips]
    return value(skip, moment) * _mean(at, skips) + value(rest, moment) * _mean(at, others)


def _skips(space: SearchSpace) -> list[str]:
    return [SKIP if SKIP in space.ops else skeleton_of(space.skeleton).skip]


def hinged_groups(
    at: Relaxation, *, skip: float | Schedule = 0.01, rest: float | Schedule = 0.005, margin: float = 0.2
) -> Tensor:
    """The group sparsity of the released code: a penalty on three groups, each if its activity exceeds a margin.

    The groups are skips (as in ``group_sparsity``), pools, and all others. Pools and others have the scale ``rest``.
    The activity of a group is a mean over its operations with a mixing weight other than 0 in this forward pass: that
    of their probabilities of being open. It is averaged over each kind of cell (0 without such operations), then over
    the kinds.

    Args:
        at: the relaxation of this forward pass.
        skip, rest: the scales.
        margin: the largest activity that costs nothing.

    Returns:
        A scalar.
    """
    skips = _skips(at.space)
    others = [op for op in at.space.ops if op not in (*skips, *POOLS)]
    scales = [(value(skip, at.moment), skips), (value(rest, at.moment), POOLS), (value(rest, at.moment), others)]
    return torch.stack([scale * (_mean_taking_part(at, ops) - margin).clamp_min(0.0) for scale, ops in scales]).sum()


def path_depth(
    at: Relaxation, *, weight: float | Schedule = 0.005, joined: Literal["mean", "sum", "any", "log"] = "mean"
) -> Tensor:
    """``-weight`` times the probability that a cell's longest chain consists of operations with network weights.

    The path-depth regularizer of Path-regularized DARTS (Zhou et al., 2020). A shallow cell trains faster, so a search
    prefers it unless depth is rewarded. The probability is a product over the edges of the chain (``longest_chain``).
    Each factor is the probability that an operation with network weights joins the edge's two nodes. The product is
    averaged over the kinds of cell.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale, lambda 3 in the paper.
        joined: how to compute the factor of an edge from the probabilities of its operations with network weights.
            "mean" is their mean, where pruned operations count as shut. With gates, the product is then the probability
            that a chain of randomly chosen operations, one for each edge, is open. "sum" is their sum, as in the paper.
            It may be up to 4 on an edge of the DARTS space; for weights that compete and sum to one, it is exact. "any"
            is the probability that at least one is open, which is exact for gates. "log" is for chains of more than
            eight edges, whose product is tiny: the mean of the logarithms replaces it. There the factor of an edge is
            the sum over all operations but ``none``, because those without weights join the nodes too; at most 1.

    Returns:
        A scalar.

    Raises:
        ValueError: if the space has no operation with weights on any chain.
    """
    counts = [op != "none" if joined == "log" else op not in WEIGHTLESS_OPS for op in at.space.ops]
    columns = torch.tensor(counts, device=at.open.device)
    offered = torch.tensor(at.space.offered, device=at.open.device) & columns
    paths = []
    for rows in chains(at.space).values():
        open_EO = at.open[rows] * offered[rows]
        if joined == "log":
            # Not below a millionth, so that an edge whose branch is gone has a finite logarithm, and no gradient.
            paths.append(open_EO.sum(dim=1).clamp(1e-6, 1.0).log().mean())
            continue
        if joined == "any":
            likely = 1 - (1 - open_EO).prod(dim=1)
        else:
            likely = open_EO.sum(dim=1) / (offered[rows].sum(dim=1) if joined == "mean" else 1)
        paths.append(likely.prod())
    return -value(weight, at.moment) * torch.stack(paths).mean()


def path_of_chosen(at: Relaxation, *, weight: float | Schedule = 0.005) -> Tensor:
    """The path term of the released code: as ``path_depth``, but without operations whose mixing weight is 0.

    The factor of an edge is the mean over its operations with network weights and a mixing weight other than 0. An edge
    without any drops out of the product, which raises the product. The term is 0 if all edges drop out.

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


@traits(needs_skips=True)
def zero_one(at: Relaxation, *, weight: float | Schedule = 10.0, power: int = 2) -> Tensor:
    """``-weight`` times the mean of ``|open - 1/2| ** power``, which drives each probability to 0 or 1.

    The zero-one loss of FairDARTS (Chu et al., 2020), in both its forms. The mean runs over all offered operations
    except ``none``, and pruned ones add 0 to its sum. So a removal does not change the gradients of the others. At
    exactly 1/2 the gradient is 0, and only the other losses move the operation.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale.
        power: 2, or 1 for a gradient of the same size at any distance from 1/2.

    Returns:
        A scalar.
    """
    columns = _columns(at, [op for op in at.space.ops if op != "none"])
    offered = sum(row[column] for row in at.space.offered for column in columns)
    distance = (at.open - 0.5).abs()[:, columns] * at.keep[:, columns]
    return -value(weight, at.moment) * distance.pow(power).sum() / max(offered, 1)


def resources(at: Relaxation, *, weight: float | Control = growing, mu: float = 0.0) -> Tensor:
    """The resource penalty of GOLD-NAS (Bi et al., 2020): ``weight`` times the sum of ``ln(1 + N r) (1 + mu cost)``.

    r is an operation's share of the sum into its node, and N is how many operations lead into that node. Even shares
    cost most, so the penalty makes a few operations strong, and not all of them weak.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale, lambda in the paper; a number or a control.
        mu: the factor of an operation's cost in millions of multiply-adds.

    Returns:
        A scalar.
    """
    share_EO = shares(at.open, at.keep, at.space)
    entering_E = of_nodes((share_EO > 0).sum(dim=1).to(share_EO.dtype), at.space)
    scale = contract.number(contract.CONTROL, weight, at.history, at.space) if callable(weight) else weight
    return scale * ((entering_E.unsqueeze(1) * share_EO).log1p() * (1 + mu * at.costs)).sum()


CONSTRAINTS = {"mild": 0.0015, "moderate": 0.01, "aggressive": 0.05}
"""Weights of ``expected_cost`` by the names of SNAS' constraints. The values are our choice; none were published."""


def expected_cost(at: Relaxation, *, weight: float | Schedule = 0.01, logarithm: bool = True) -> Tensor:
    """The resource constraint of SNAS (Xie et al., 2019): ``weight`` times the sum of the edges' expected costs.

    The expected cost of an edge is a sum over its operations: the probability of each, times its multiply-adds for one
    picture in all cells of its kind. Where softmax gives the probabilities, alpha's entry of an operation with
    probability p and cost c gets the gradient ``p (c - expected)``. The logarithm divides this by ``expected``.

    Args:
        at: the relaxation of this forward pass.
        weight: the scale, lambda in the released code.
        logarithm: whether to add the logarithms of the edges' costs, as the released commands do. An edge with less
            than one multiply-add then counts as one. If False, the costs are added in millions, as in the paper.

    Returns:
        A scalar.
    """
    cost_E = (at.open * at.costs).sum(dim=1)
    if logarithm:
        cost_E = (cost_E * 1e6).clamp_min(1.0).log()
    return value(weight, at.moment) * cost_E.sum()


def chains(space: SearchSpace) -> dict[str, list[int]]:
    """The rows of alpha of the longest chain of each kind of cell, by kind, in the order of the chain.

    In a space with residual connections around its cells there is one chain, "net", through all cells.

    Raises:
        ValueError: if a kind of cell has no chain, because none of its operations has network weights.
    """
    found = {kind: longest_chain(graph) for kind, graph in space.cells.items()}
    if skeleton_of(space.skeleton).residual:
        learning = [space.rows[kind].start + row for kind, rows in found.items() for row in rows]
        if not learning:
            raise ValueError(f"no operation in space {space.name!r} has weights: paths have no depth.")
        return {"net": learning}
    for kind, rows in found.items():
        if not rows:
            raise ValueError(f"no operation of {kind} cells in space {space.name!r} has weights: paths have no depth.")
    return {kind: [space.rows[kind].start + row for row in rows] for kind, rows in found.items()}


def longest_chain(graph: CellGraph) -> list[int]:
    """The rows, counted within this kind of cell, of the longest chain of learning edges from an input to the output.

    A learning edge offers an operation with network weights; an edge without any would make the product of a chain 0.
    Of equally long chains, the one with the latest sources is taken. So in a dense cell the chain joins the latest
    input to the first node, and each node to the next, as in the released code for the DARTS space. One chain is
    enough: a cell in which this chain is certain has the greatest possible depth.

    >>> from diffnas.space import darts, nas_bench_201
    >>> [tuple(nas_bench_201.cells["normal"].edges[row]) for row in longest_chain(nas_bench_201.cells["normal"])]
    [(0, 1), (1, 2), (2, 3)]
    >>> [tuple(darts.cells["normal"].edges[row]) for row in longest_chain(darts.cells["normal"])]
    [(1, 2), (2, 3), (3, 4), (4, 5)]
    """
    chain: dict[int, list[int]] = {node: [] for node in range(graph.inputs)}
    # Edges are sorted by target, then source. So the chain to a source is known, and the latest source wins if equal.
    for row, (edge, ops) in enumerate(zip(graph.edges, graph.ops, strict=True)):
        if edge.source in chain and not set(ops) <= WEIGHTLESS_OPS:
            longer = [*chain[edge.source], row]
            if len(longer) >= len(chain.get(edge.target, [])):
                chain[edge.target] = longer
    return max((chain.get(node, []) for node in sorted(graph.output, reverse=True)), key=len)


def _mean(at: Relaxation, ops: Iterable[str]) -> Tensor:
    """The mean probability that some operations are open, over all edges that offer them; 0 if no edge does."""
    columns = _columns(at, ops)
    offered = sum(row[column] for row in at.space.offered for column in columns)
    return at.open[:, columns].sum() / max(offered, 1)


def _mean_taking_part(at: Relaxation, ops: Iterable[str]) -> Tensor:
    """The mean probability that some operations are open, over those with a mixing weight other than 0.

    It is taken for each kind of cell (0 without such operations), and averaged over the kinds.
    """
    columns = _columns(at, ops)
    means = []
    for rows in at.space.rows.values():
        part = at.mix[rows, columns] != 0
        means.append((at.open[rows, columns] * part).sum() / part.sum().clamp_min(1))
    return torch.stack(means).mean()


def _columns(at: Relaxation, ops: Iterable[str]) -> list[int]:
    return [column for op in ops if (column := at.space.column(op)) is not None]
