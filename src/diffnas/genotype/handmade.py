"""Networks that people made by hand. A search in a space with the same parts has to beat them.

The residual chains are ResNets (He et al., 2016), MobileNets (Sandler et al., 2018) and ConvNeXts (Liu et al., 2022).
ResNets and MobileNets have exactly the sizes of the originals; ConvNeXts lack the biases. All differ in three points:
no ReLU after the sum, ReLU in place of ReLU6 and GELU, batch norm in place of layer norm. ``resnet``, ``mobilenet`` and
``convnext`` have the layers of the space ``chain``, so they differ from what a search finds only in their operations.
``lstm`` and ``gru`` are for sequences.

Transformers have the same two branches in each layer, and any number of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from diffnas.genotype.chain import of_layers
from diffnas.genotype.record import Genotype
from diffnas.lookup import lookup
from diffnas.skeleton import GRU, LSTM, Stage, chain


class Handmade(NamedTuple):
    """A hand-made network.

    Attributes:
        skeleton: the name of its skeleton.
        ops: the operation of each layer; ``none`` for a layer that is only a shortcut. In a transformer, those of both
            branches of a layer. A recurrent layer has none.
        source: who published it.
    """

    skeleton: str
    ops: tuple[str, ...]
    source: str


def handmade(name: str) -> Genotype:
    """The genotype of the hand-made network called ``name``, one of ``HANDMADE``.

    Raises:
        ValueError: for another name.
    """
    found = lookup("hand-made network", name, HANDMADE)
    return of_layers(found.skeleton, found.ops) if found.ops else Genotype(skeleton=found.skeleton, cells={})


_RESNET = "He et al., 2016, Deep Residual Learning for Image Recognition"
_MOBILENET = "Sandler et al., 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks"
_CONVNEXT = "Liu et al., 2022, A ConvNet for the 2020s"


def _resnet(layers: Sequence[int], width: int) -> Handmade:
    skeleton = chain(layers, shortcut="conv", normed_head=False, width=width)
    return Handmade(skeleton.name, ("res_3",) * sum(layers), _RESNET)


def _mobilenet(strides: Sequence[int], widths: Sequence[int], stem: int) -> Handmade:
    stages = [Stage(*each) for each in zip(widths, strides, (1, 2, 3, 4, 3, 3, 1), strict=True)]
    skeleton = chain(stages, shortcut="none", head=1280, stem=stem, width=8)
    return Handmade(skeleton.name, ("mb_3_1",) + ("mb_3_6",) * 16, _MOBILENET)


def _convnext(layers: Sequence[int], width: int) -> Handmade:
    """A ConvNeXt. Between two stages it has a layer that is only a shortcut."""
    first, *rest = layers
    ops = ("next_7",) * first
    for count in rest:
        ops += ("none", *("next_7",) * count)
    return Handmade(chain([first, *(n + 1 for n in rest)], shortcut="patch", width=width).name, ops, _CONVNEXT)


def _of_space(*ops: str) -> Handmade:
    sources = {"res_3": _RESNET, "mb_3_3": _MOBILENET, "next_7": _CONVNEXT}
    return Handmade(chain().name, ops, f"blocks of {sources[ops[0]]}")


_DEIT = "Touvron et al., 2021, Training Data-Efficient Image Transformers"
_METAFORMER = "Yu et al., 2022, MetaFormer Is Actually What You Need for Vision"
_CONVFORMER = "Yu et al., 2022, MetaFormer Baselines for Vision"

_WIDE, _NARROW = (2, 3, 4, 8, 12, 20, 40), (1, 2, 2, 4, 6, 10, 20)

HANDMADE: dict[str, Handmade] = {
    "resnet": _of_space("res_3", "none", "res_3", "none", "none", "res_3", "res_3", "none"),
    "mobilenet": _of_space("mb_3_3", "mb_3_3", "mb_3_6", "mb_3_6", "mb_3_3", "mb_3_6", "mb_3_3", "mb_3_3"),
    "convnext": _of_space(*("next_7",) * 8),
    "RESNET8": _resnet((1, 1, 1), 16),
    "RESNET20": _resnet((3, 3, 3), 16),
    "RESNET18": _resnet((2, 2, 2, 2), 64),
    "MOBILENET_V2": _mobilenet((1, 2, 2, 2, 1, 2, 1), _WIDE, 4),
    "MOBILENET_V2_CIFAR": _mobilenet((1, 1, 2, 2, 1, 2, 1), _WIDE, 4),
    "MOBILENET_V2_CIFAR_HALF": _mobilenet((1, 1, 2, 2, 1, 2, 1), _NARROW, 2),
    "CONVNEXT_ATTO": _convnext((2, 2, 6, 2), 40),
    "CONVNEXT_FEMTO": _convnext((2, 2, 6, 2), 48),
    "deit-like": Handmade("transformer", ("attn_4", "mlp_4"), f"layers of {_DEIT}"),
    "poolformer-like": Handmade("transformer", ("pool_3", "mlp_4"), f"layers of {_METAFORMER}"),
    "convformer-like": Handmade("transformer", ("sepconv_7", "mlp_4"), f"layers of {_CONVFORMER}"),
    "lstm": Handmade(LSTM.name, (), "Hochreiter & Schmidhuber, 1997, Long Short-Term Memory"),
    "gru": Handmade(GRU.name, (), "Cho et al., 2014, Learning Phrase Representations using RNN Encoder-Decoder"),
}
"""The hand-made networks by name; ``resnet``, ``mobilenet`` and ``convnext`` have the layers of the space ``chain``."""
