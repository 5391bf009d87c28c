"""Signs that a search is collapsing, measured each epoch and turned into plain warnings."""

from __future__ import annotations

from torch import Tensor

from diffnas.genotype import Genotype, collapse
from diffnas.space import SearchSpace


def measure(mix: Tensor, keep: Tensor, genotype: Genotype, space: SearchSpace) -> dict[str, float | int]:
    """The collapse indicators of one epoch.

    Args:
        mix: mixing weights, ``(edges, ops)``.
        keep: which operations are still in play, ``(edges, ops)``, bool.
        genotype: the cell as it would be read off now.
        space: the space that names the columns.

    Returns:
        ``skips`` and ``connections``: counts over the cells read off; ``KIND_depth``, for each kind of cell: the
        most operations with weights of their own on one path through it; ``none_share``: the mean share of ``none``
        in the weight of an edge, 0 where the space has none; ``entropy``: the mean entropy of these shares in nats,
        0 once an edge is decided; ``live_ops`` and ``live_share``: operations still in play, and their share of
        those the space offers.
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
    """What a user should be told about these indicators, a sentence each; empty for a healthy search.

    The numbers from which they are told, and who set these, are in ``genotype/collapse.py``.
    """
    told = list(genotype.problems())
    if collapse.too_many_skips(indicators["skips"], indicators["connections"]):
        told.append(
            f"{indicators['skips']} of {indicators['connections']} connections are skips: the search collapses."
        )
    if collapse.switched_off(indicators["none_share"]):
        told.append(f"'none' holds {indicators['none_share']:.0%} of the weight: the search switches the cell off.")
    return told
