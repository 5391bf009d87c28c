"""How the cells of a net are stacked, as plain data. No torch."""

from __future__ import annotations

from functools import cache

from diffnas.lookup import lookup
from diffnas.skeleton.chain import Chain, Shortcut, Stage, chain, chain_of
from diffnas.skeleton.record import DARTS, NAS_BENCH_201, Join, Own, Place, Skeleton, StemKind, own_of
from diffnas.skeleton.recurrent import GRU, LSTM, RECURRENT, Recurrent
from diffnas.skeleton.transformer import TRANSFORMER, TRANSFORMER_GRAPH, Transformer, transformer, transformer_of

__all__ = [
    "DARTS",
    "GRU",
    "LSTM",
    "NAS_BENCH_201",
    "RECURRENT",
    "SKELETONS",
    "TRANSFORMER",
    "TRANSFORMER_GRAPH",
    "Chain",
    "Join",
    "Own",
    "Place",
    "Recurrent",
    "Shortcut",
    "Skeleton",
    "Stage",
    "StemKind",
    "Transformer",
    "chain",
    "skeleton_of",
    "transformer",
]

SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (DARTS, NAS_BENCH_201, chain(), TRANSFORMER, TRANSFORMER_GRAPH, RECURRENT, LSTM, GRU)
}

_MADE = {"own": own_of, "chain": chain_of, "transformer": transformer_of, "transformer-graph": transformer_of}


@cache
def skeleton_of(name: str) -> Skeleton:
    """The skeleton with this name.

    Raises:
        ValueError: if there is none.

    >>> skeleton_of("chain:1-1-1:conv").own_depth(["cell0", "cell1", "cell2"])
    3
    >>> skeleton_of("own:unrolled:mean").join
    'mean'
    """
    family, colon, _ = name.partition(":")
    return _MADE[family](name) if colon and family in _MADE else lookup("skeleton", name, SKELETONS)
