"""What a search has only while its supernet learns a pretext."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from diffnas.components.pretext import Pretext
from diffnas.engine import seeds
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.nets.pretext_head import classifier_of, has_classifier
from diffnas.nets.supernet import Supernet
from diffnas.task import Task


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What a search has only while its supernet learns a pretext.

    Attributes:
        pretext: what is learned.
        head: the module in place of the supernet's classifier, which stays as it was drawn.
        task: what the search will learn.
        settings: the settings of the stage.
    """

    pretext: Pretext
    head: nn.Module
    task: Task
    settings: SearchSettings


def pretraining(
    supernet: Supernet, pretext: Pretext, *, channels: int, task: Task, settings: SearchSettings
) -> Pretraining:
    """The pretraining of a new supernet, with a new head.

    Args:
        supernet: the supernet.
        pretext: what it will learn.
        channels: those of the pictures.
        task: what the search will learn.
        settings: the settings of the stage.

    Raises:
        ValueError: if the supernet has a frame without a classifier that can be replaced.
    """
    if not has_classifier(supernet):
        raise ValueError(
            f"a pretext takes the place of a linear classifier behind a pool, and the frame of space "
            f"{supernet.space.name!r} has none at the end of its head. Search without --pretext."
        )
    weight = classifier_of(supernet).weight
    with fixed_random(seeds.derive(settings.seed_for("weights"), "pretext")):
        head = pretext.head(weight.shape[1], channels)
    if not isinstance(head, nn.Module):
        raise ValueError(f"the head of the pretext {pretext.name} must be a module, not {type(head).__name__}.")
    made = head.to(weight.device, weight.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Pretraining(pretext=pretext, head=made, task=task, settings=settings)
