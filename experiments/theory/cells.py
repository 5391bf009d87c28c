"""The network of the theory: one cell whose edges mix none, skip and conv (or pool) with fixed weights.

Zhou et al. (2020) analyze this network: a node is the sum of ``a * skip(s) + b * conv(s)`` over all nodes ``s`` before
it, and a linear layer reads all computed nodes. There are two settings; see ``SETTINGS``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.engine import seeds
from diffnas.engine.seeds import fixed_random
from diffnas.nets.ops import build
from diffnas.nets.slot import Slot

Edge = tuple[int, int]
Gates = Mapping[Edge, Mapping[str, float]]
"""The weight of each operation ("skip", "conv", "pool") of each edge; what is missing has weight 0."""

# 1 / sqrt(E[gelu(z)^2]) for standard normal z: signals keep their size from node to node.
GELU_GAIN = 1.5335


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a cell is built and trained.

    Attributes:
        name: "analyzed", the setting of the theory, or "practical", the setting of a search.
        analyzed: whether to use smooth activations, no batch norm, and squared loss; else diffnas' own operations
            with batch norm, and cross-entropy.
        lr, momentum, weight_decay: of SGD, at a constant learning rate.
        epochs: for how many epochs the loss is recorded.
    """

    name: Literal["analyzed", "practical"]
    analyzed: bool
    lr: float
    momentum: float
    weight_decay: float
    epochs: int


SETTINGS = {
    "analyzed": Setting(name="analyzed", analyzed=True, lr=0.25, momentum=0.0, weight_decay=0.0, epochs=5),
    "practical": Setting(name="practical", analyzed=False, lr=0.025, momentum=0.9, weight_decay=3e-4, epochs=5),
}


def dense(nodes: int) -> list[Edge]:
    """All edges among ``nodes`` nodes, the first of which is the stem.

    >>> dense(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return [(source, target) for target in range(1, nodes) for source in range(target)]


def alike(edges: Iterable[Edge], **weights: float) -> dict[Edge, dict[str, float]]:
    """The same weights on all of ``edges``."""
    return {edge: dict(weights) for edge in edges}


def raised(op: str, weight: float) -> dict[str, float]:
    """The weights of an edge on which ``op`` has ``weight``, and the rest is shared evenly, as softmax would share it.

    Every edge offers none, conv and one of skip and pool.

    >>> raised("skip", 0.5)
    {'skip': 0.5, 'conv': 0.25}
    """
    rest = (1 - weight) / 2
    pair = {"skip": rest, "conv": rest}
    return {
        "none": pair,
        "skip": {**pair, "skip": weight},
        "conv": {**pair, "conv": weight},
        "pool": {"pool": weight, "conv": rest},
    }[op]


def rate(gates: Gates, nodes: int, path: Literal["inputs", "chain"] = "inputs") -> float:
    """The rate of convergence that the theory gives, up to a factor that is the same for all cells of a data set.

    ``sum_s conv(s, last)^2 * prod_{t < s} skip^2`` (Zhou et al., 2020, as quoted by Heuillet et al.), where the skips
    are those of the edges ``t -> s`` that lead into node ``s`` (path "inputs", the formula to the letter), or those of
    the chain ``t -> t + 1`` up to ``s`` (path "chain").

    >>> rate(alike(dense(3), skip=0.5, conv=0.5), 3)
    0.3125
    """

    def weight(op: str, source: int, target: int) -> float:
        return gates.get((source, target), {}).get(op, 0.0)

    total = 0.0
    for s in range(nodes - 1):
        skips = [weight("skip", t, s if path == "inputs" else t + 1) for t in range(s)]
        total += weight("conv", s, nodes - 1) ** 2 * math.prod(skips) ** 2
    return total


class GaussianConv(nn.Module):
    """The theory's convolution: standard normal weights, a constant factor on the result, then a smooth activation."""

    def __init__(self, before: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, before, 3, 3))
        self.scale, self.stride = 1 / math.sqrt(9 * before), stride

    def forward(self, x: Tensor) -> Tensor:
        """The activations, ``(B, channels, ceil(H / stride), ceil(W / stride))``."""
        out = F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=1)
        return GELU_GAIN * F.gelu(out)


class Readout(nn.Module):
    """A linear layer with the scaling of ``GaussianConv``."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features))
        self.scale = 1 / math.sqrt(features)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs, ``(B, classes)``."""
        return F.linear(x, self.weight * self.scale)


class GatedCell(nn.Module):
    """A network of a stem, one cell with fixed weights on its edges, and a linear readout of all computed nodes.

    Cells of the same seed have the same initial weights on the operations that they share.

    Args:
        gates: the weights; operations of weight 0 are not built.
        nodes: the stem's output and the computed nodes.
        channels: of every node.
        setting: how convolutions, pools and the readout are made.
        seed: decides the initial weights.
        classes: outputs.
    """

    def __init__(
        self, gates: Gates, nodes: int, *, channels: int, setting: Setting, seed: int, classes: int = 10
    ) -> None:
        super().__init__()
        self.nodes = nodes
        self.gates = {(e, op): w for e, weights in sorted(gates.items()) for op, w in weights.items() if w > 0}
        with fixed_random(seeds.derive(seed, "stem")):
            self.stem = _stem(channels, setting)
        self.ops = nn.ModuleDict()
        for (source, target), op in self.gates:
            with fixed_random(seeds.derive(seed, op, source, target)):
                self.ops[_key((source, target), op)] = _op(op, channels, setting)
        # The analyzed readout gets four averages for each channel; one mean would hardly distinguish pictures.
        self.side = 2 if setting.analyzed else 1
        features = self.side**2 * channels * (nodes - 1)
        with fixed_random(seeds.derive(seed, "readout")):
            self.readout = Readout(features, classes) if setting.analyzed else _zero(nn.Linear(features, classes))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs, ``(B, classes)``, of normalized pictures ``(B, 3, 32, 32)``."""
        out: Tensor = self.readout(self.features(x))
        return out

    def features(self, x: Tensor) -> Tensor:
        """The inputs of the readout, ``(B, features)``."""
        nodes = [self.stem(x)]
        for target in range(1, self.nodes):
            terms = [
                weight * self.ops[_key(edge, op)](nodes[edge[0]])
                for (edge, op), weight in self.gates.items()
                if edge[1] == target
            ]
            nodes.append(torch.stack(terms).sum(0) if terms else torch.zeros_like(nodes[0]))
        return F.adaptive_avg_pool2d(torch.cat(nodes[1:], dim=1), self.side).flatten(1)


def _zero(linear: nn.Linear) -> nn.Linear:
    """Set the readout to zero, so that the output starts at 0.

    To subtract the first output later would not work, because batch norm makes it differ from batch to batch.
    """
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    return linear


def _key(edge: Edge, op: str) -> str:
    return f"{op}-{edge[0]}-{edge[1]}"


def _stem(channels: int, setting: Setting) -> nn.Module:
    """The stem, from 32x32 to 8x8: a convolution of stride 2, and a pool."""
    if setting.analyzed:
        return nn.Sequential(GaussianConv(3, channels, stride=2), nn.AvgPool2d(2))
    conv = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.AvgPool2d(2))


def _op(op: str, channels: int, setting: Setting) -> nn.Module:
    if op == "skip":
        return nn.Identity()
    if op == "pool":
        return build("avg_pool_3x3", Slot(width=channels, pool_norm=not setting.analyzed))
    assert op == "conv"
    return GaussianConv(channels, channels) if setting.analyzed else build("nor_conv_3x3", Slot(width=channels))
