"""Indicators that a search is collapsing, measured each epoch, and the warnings that they cause."""

from __future__ import annotations

from torch import Tensor

from diffnas.genotype import Genotype, collapse
from diffnas.space import SearchSpace


def measure(mix: Tensor, keep: Tensor, genotype: Genotype, space: SearchSpace) -> dict[str, float | int]:
    """The collapse indicators of one epoch.

    Args:
        mix: mixing weights, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        genotype: the cells that would be read off now.
        space: the space of the rows and columns.

    Returns:
        These numbers by name:

        - ``skips`` and ``connections``: how many skips, and how many connections, the cells read off have.
        - ``KIND_depth``, for each kind of cell: the most operations with network weights on one path through the cell.
        - ``none_share``: the mean share of ``none`` in the weight of an edge; 0 if the space has no ``none``.
        - ``entropy``: the mean entropy of the shares of an edge's weight, in nats; that of a decided edge is 0.
        - ``live_ops`` and ``live_share``: how many operations are in play, and their share of those offered.
    """
    connections = [connection for cell in genotype.cells.values() for connection in cell.connections]
    none = space.column(collapse.NONE)
    offered = sum(sum(row) for row in space.offered)
    live = int(keep.sum())
    normalized_EO = mix / mix.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    entropy_E = -(normalized_EO * normalized_EO.clamp_min(1e-12).log()).sum(dim=-1)
    return {
        "skips": sum(connection.op == collapse.SKIP for connection in connections),
        "connections": len(connections),
        **{f"{kind}_depth": cell.learned_depth for kind, cell in genotype.cells.items()},
        "none_share": 0.0 if none is None else float(normalized_EO[:, none].mean()),
        "entropy": abs(float(entropy_E.mean())),
        "live_ops": live,
        "live_share": live / offered,
    }


def warnings(indicators: dict[str, float | int], genotype: Genotype) -> list[str]:
    """Warnings for the user, one sentence each; empty for a healthy search.

    ``genotype/collapse.py`` holds the thresholds and their sources.
    """
    told = list(genotype.problems())
    if collapse.too_many_skips(indicators["skips"], indicators["connections"]):
        told.append(
            f"{indicators['skips']} of {indicators['connections']} connections are skips: the search collapses."
        )
    if collapse.switched_off(indicators["none_share"]):
        told.append(f"'none' holds {indicators['none_share']:.0%} of the weight: the search switches the cell off.")
    return told
