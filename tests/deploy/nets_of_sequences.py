"""Networks of sequences with random weights, for the tests of their formats."""

from typing import Any

import torch
from torch import nn

from diffnas.data.tokens import Tokens
from diffnas.genotype import Genotype
from diffnas.nets.network import Network
from diffnas.nets.trained import Trained

VOCABULARY = tuple("abc\n'é")


def net_of(genotype: Genotype, kind: Any = "text", *, channels: int, window: int = 1, **more: Any) -> Trained:
    """A network that reads a text, or vectors of three numbers."""
    torch.manual_seed(0)
    text = kind == "text"
    inputs = len(VOCABULARY) if text else 3
    shape: Any = {"tokens": text, "forecast": kind == "forecast", "picture": (window,)}
    net = Network(genotype, classes=inputs, in_channels=inputs, channels=channels, **shape, **more).eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5)
    return Trained(
        network=net,
        genotype=genotype,
        classes=tuple(map(repr, VOCABULARY)) if text else ("x", "y", "z"),
        channels=inputs,
        size=(window,),
        mean=() if text else (0.0, 0.0, 0.0),
        std=() if text else (1.0, 1.0, 1.0),
        built={"channels": channels, "depth": None, "stem": "cifar"},
        kind=kind,
        tokens=Tokens(kind="characters", lower=False, vocabulary=VOCABULARY) if text else None,
    )
