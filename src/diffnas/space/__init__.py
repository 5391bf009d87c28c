"""Search spaces: which operations each edge of each cell offers. Plain data, no torch.

The rows of alpha, keep and mix are all edges of all kinds of cell, one kind after the other
(``SearchSpace.rows``). Their columns are ``SearchSpace.ops``. Where an edge does not offer an
operation, keep is False from the start. So edges may offer different operations in one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffnas import skeleton as skeletons
from diffnas.convolutions import CONVOLUTIONS, DARTS_LIKE, DEPTH_RESTRICTED, Convolution
from diffnas.skeleton import (
    NAS_BENCH_201,
    RECURRENT,
    TRANSFORMER_GRAPH,
    Shortcut,
    Stage,
)
from diffnas.skeleton.transformer import Norm, Pool
from diffnas.space.graph import CellGraph, Edge, dense_cell
from diffnas.space.record import SearchSpace, with_own_cells, without

__all__ = [
    "CHAIN_OPS",
    "CHANNEL_OPS",
    "DARTS_OPS",
    "MIXER_OPS",
    "NAS_BENCH_201_OPS",
    "SPACES",
    "WEIGHTLESS_OPS",
    "CellGraph",
    "Edge",
    "SearchSpace",
    "chain",
    "chain_space",
    "darts",
    "dense_cell",
    "gold_nas",
    "nas_bench_201",
    "prune_and_replace_dl",
    "prune_and_replace_dr",
    "s1",
    "s2",
    "s3",
    "s4",
    "transformer",
    "transformer_graph",
    "transformer_space",
    "with_own_cells",
    "without",
]

DARTS_OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
CHAIN_OPS = ("none", "res_3", "mb_3_3", "mb_3_6", "next_7")
MIXER_OPS = ("none", "attn_2", "attn_4", "attn_half", "window_4", "sepconv_3", "sepconv_7", "pool_3")
CHANNEL_OPS = ("none", "mlp_1", "mlp_4", "glu_2")
RECURRENT_OPS = ("none", "tanh", "relu", "sigmoid", "identity")
NAS_BENCH_201_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

# Operations without network weights. All others, users' operations included, count as operations that learn.
WEIGHTLESS_OPS = frozenset({"none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "noise", "pool_3"})


def _darts_like(name: str, normal: Sequence[Any], reduce: Sequence[Any]) -> SearchSpace:
    cells = {
        "normal": dense_cell(inputs=2, nodes=4, ops=normal),
        "reduce": dense_cell(inputs=2, nodes=4, ops=reduce),
    }
    offered = {op for cell in cells.values() for names in cell.ops for op in names}
    order = dict.fromkeys([*DARTS_OPS, "noise", *CONVOLUTIONS])
    return SearchSpace(name=name, cells=cells, ops=tuple(op for op in order if op in offered), in_degree=2)


_SHORT = {
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "sk": "skip_connect",
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
}


def _edges(text: str) -> list[list[str]]:
    return [[_SHORT[short] for short in edge.split()] for edge in text.split("|")]


darts = _darts_like("darts", DARTS_OPS, DARTS_OPS)
"""The DARTS space (Liu et al., 2019): two kinds of cell, 14 edges each, 8 operations."""

s1 = _darts_like(
    "s1",
    _edges(
        "sk d3 | sk d5 | sk d5 | sk s3 | sk d3 | mp sk | sk s3 | sk s3 | sk d3 | sk s3 | mp sk | sk d3 | d3 d5 | d3 d5"
    ),
    _edges(
        "mp ap | mp d3 | mp ap | mp ap | sk d5 | mp ap | mp s3 | sk d3 | sk d5 | mp ap | mp ap | sk d5 | sk d5 | sk d5"
    ),
)
"""S1 of RobustDARTS (Zela et al., 2020): each edge has two operations, which the authors chose."""

s2 = _darts_like("s2", ("skip_connect", "sep_conv_3x3"), ("skip_connect", "sep_conv_3x3"))
"""S2 of RobustDARTS: each edge has a skip and a separable convolution."""

s3 = _darts_like("s3", ("none", "skip_connect", "sep_conv_3x3"), ("none", "skip_connect", "sep_conv_3x3"))
"""S3 of RobustDARTS: the operations of S2, and ``none``."""

s4 = _darts_like("s4", ("noise", "sep_conv_3x3"), ("noise", "sep_conv_3x3"))
"""S4 of RobustDARTS: each edge has noise and a separable convolution."""

gold_nas = replace(s2, name="gold-nas", channels=36, depth=14, in_degree=None)
"""The space of GOLD-NAS (Bi et al., 2020): skips and separable convolutions, and any number of inputs of a node."""

nas_bench_201 = SearchSpace(
    name="nas-bench-201",
    cells={"normal": dense_cell(inputs=1, nodes=3, ops=NAS_BENCH_201_OPS, output="last")},
    ops=NAS_BENCH_201_OPS,
    skeleton=NAS_BENCH_201.name,
    depth=17,
)
"""The NAS-Bench-201 space (Dong & Yang, 2020): one kind of cell, 6 edges, 5 operations, 15,625 cells."""


def _convolving(name: str, convolutions: Sequence[Convolution]) -> SearchSpace:
    ops = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", *(each.name for each in convolutions))
    return _darts_like(name, ops, ops)


prune_and_replace_dl = _convolving("prune-and-replace-dl", DARTS_LIKE)
"""DL of Prune and Replace NAS (Laube & Zell, 2019): pools, skips and separable convolutions, 15 operations."""

prune_and_replace_dr = _convolving("prune-and-replace-dr", DEPTH_RESTRICTED)
"""DR of Laube & Zell (2019): DL with 1x1 kernels and more channels between two layers, 45 operations.

Their third space, UR, stacks any number of layers. It is no finite set of operations, and it gave the worst cells."""


def chain_space(
    layers: Sequence[int | Stage] = (2, 3, 3),
    *,
    ops: Sequence[str] = CHAIN_OPS,
    channels: int = 24,
    shortcut: Shortcut = "pool",
    head: int = 0,
    stem: int = 1,
    none_at_transitions: bool = False,
    name: str = "chain",
) -> SearchSpace:
    """A space of residual chains: a search chooses the operation of each layer. Many hand-made networks are members.

    Args:
        layers: how many layers each stage has, or the stages (:func:`diffnas.skeleton.chain`).
        ops: the operations that each layer offers.
        channels: the channels of the first layers.
        shortcut, head, stem: as in :func:`diffnas.skeleton.chain`.
        none_at_transitions: whether layers that change the width or the resolution offer ``none`` too.
        name: the name of the space.

    >>> space = chain_space((1, 1, 1))
    >>> [graph.ops[0][0] for graph in space.cells.values()]
    ['none', 'res_3', 'res_3']
    """
    skeleton = skeletons.chain(layers, shortcut=shortcut, head=head, stem=stem)
    cells, before = {}, stem
    for kind, layer in zip(skeleton.kinds, skeleton.layers, strict=True):
        changes = layer.stride > 1 or layer.width != before
        offered = [op for op in ops if op != "none" or not changes or none_at_transitions]
        cells[kind] = dense_cell(inputs=1, nodes=1, ops=offered, output="last")
        before = layer.width
    return SearchSpace(
        name=name, cells=cells, ops=tuple(ops), skeleton=skeleton.name, channels=channels, depth=len(cells)
    )


chain = chain_space()
"""A residual chain of eight layers in three stages (2, 3, 3): none, and blocks of ResNets, MobileNets, ConvNeXts."""


def transformer_space(
    *,
    mixers: Sequence[str] = MIXER_OPS,
    channel_ops: Sequence[str] = CHANNEL_OPS,
    width: int = 96,
    depth: int = 6,
    norm: Norm = "layer",
    pool: Pool = "mean",
    name: str = "transformer",
) -> SearchSpace:
    """A space of transformers: a search chooses how each layer mixes tokens, and how it mixes channels.

    Args:
        mixers: the operations of the first branch of each layer, which mixes tokens.
        channel_ops: the operations of the second branch, which mixes the channels of each token.
        width: the width of a token.
        depth: the number of layers.
        norm, pool: as in :func:`diffnas.skeleton.transformer`.
        name: the name of the space.

    >>> space = transformer_space(mixers=("none", "attn_4"), channel_ops=("none", "mlp_4"))
    >>> space.cells["mixer"].ops, space.ops
    ((('none', 'attn_4'),), ('none', 'attn_4', 'mlp_4'))
    """
    skeleton = skeletons.transformer(norm=norm, pool=pool)
    cells = {
        kind: dense_cell(inputs=1, nodes=1, ops=ops, output="last")
        for kind, ops in zip(skeleton.kinds, (mixers, channel_ops), strict=True)
    }
    every = tuple(dict.fromkeys([*mixers, *channel_ops]))
    return SearchSpace(name=name, cells=cells, ops=every, skeleton=skeleton.name, channels=width, depth=depth)


transformer = transformer_space()
"""Layers of transformers: attention, convolution, pooling or nothing, then an MLP or nothing."""

transformer_graph = SearchSpace(
    name="transformer-graph",
    cells={
        "layer": dense_cell(inputs=1, nodes=3, ops=(*MIXER_OPS, *CHANNEL_OPS[1:], "skip_connect"), output="last"),
    },
    ops=(*MIXER_OPS, *CHANNEL_OPS[1:], "skip_connect"),
    skeleton=TRANSFORMER_GRAPH.name,
    channels=96,
    depth=6,
)
"""Layers that are graphs of three nodes, as in DARTS for translation (Zhao et al., 2021): 6 edges, 12 operations."""


def recurrent_space(
    *,
    nodes: int = 8,
    ops: Sequence[str] = RECURRENT_OPS,
    channels: int = 300,
    factories: Mapping[str, Callable[[Any], Any]] | None = None,
) -> SearchSpace:
    """A space of recurrent cells: a search chooses the input of each node, and its activation.

    Args:
        nodes: how many searched nodes a cell has.
        ops: the activations that each edge offers; ``none`` means that there is no edge.
        channels: features of every node.
        factories: the user's own activations by name; ``diffnas.nets.ops.gated`` makes each.

    >>> [tuple(edge) for _, edge in recurrent_space(nodes=2).edges]
    [(0, 1), (0, 2), (1, 2)]
    """
    cells = {"recurrent": dense_cell(inputs=1, nodes=nodes, ops=ops)}
    named: dict[str, Any] = {"name": "recurrent", "skeleton": RECURRENT.name, "factories": factories or {}}
    return SearchSpace(cells=cells, ops=tuple(ops), channels=channels, depth=1, in_degree=1, **named)


recurrent = recurrent_space()
"""The recurrent space of DARTS (Liu et al., 2019): one kind of cell, 36 edges, 5 activations, 2,642,411,520 cells."""

SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        darts, nas_bench_201, s1, s2, s3, s4, gold_nas, prune_and_replace_dl, prune_and_replace_dr, chain,
        transformer, transformer_graph, recurrent,
    )
}  # fmt: skip
