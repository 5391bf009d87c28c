"""The slow twin of two processes: one process that takes the halves of a batch one after the other, and averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from diffnas.components.level import Batch
from diffnas.engine import curvature, seeds
from diffnas.engine.running_search import RunningSearch
from diffnas.engine.search_step import SearchStep
from diffnas.engine.training_loop import TrainingLoop

VERBS = ("alpha_gradient", "probe_alpha", "probe_weights", "gradients")


class Pair:
    """The random numbers of both halves."""

    def __init__(self, loop: TrainingLoop, purpose: str) -> None:
        place = purpose, loop.state.epoch, loop.state.step, "rank"
        self.of = [seeds.generator(loop.settings.seed, *place, number) for number in range(2)]


class Halves:
    """Has a search take every batch in two halves, each with the random numbers of its process.

    With ``whole``, the halves are only prepared one after the other, and computed together.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, whole: bool = False) -> None:
        self.number, self.measuring = 0, False
        self.draw_noise_from = RunningSearch.draw_noise_from
        self.prepare = RunningSearch.prepare
        self.loss_of_alpha = curvature._loss_of_alpha
        monkeypatch.setattr(RunningSearch, "draw_noise_from", lambda running, pair: self.draw(running, pair))
        monkeypatch.setattr(TrainingLoop, "own_generator", lambda loop, purpose: Pair(loop, purpose))
        monkeypatch.setattr(RunningSearch, "prepare", lambda running, batch, pair: self.prepared(running, batch, pair))
        if whole:
            return
        for name in VERBS:
            monkeypatch.setattr(SearchStep, name, self.averaged(getattr(SearchStep, name)))
        for name in ("weight_gradient", "both_gradients"):
            monkeypatch.setattr(SearchStep, name, self.collected(getattr(SearchStep, name)))
        monkeypatch.setattr(curvature, "_loss_of_alpha", self.loss)

    def draw(self, running: RunningSearch, pair: Pair) -> None:
        self.draw_noise_from(running, pair.of[self.number])

    def prepared(self, running: RunningSearch, batch: Batch, pair: Pair) -> Batch:
        if self.measuring:
            return self.prepare(running, batch, pair.of[self.number])
        parts = [self.prepare(running, half, pair.of[number]) for number, half in enumerate(halves(batch))]
        return torch.cat([pictures for pictures, _ in parts]), torch.cat([labels for _, labels in parts])

    def each(self, step: SearchStep, verb: Callable[..., Any], batch: Batch) -> list[Any]:
        """What a verb says of each half; both halves have the same mixing weights, which may be drawn."""
        before, found = step.now.generator.get_state(), []
        for self.number, half in enumerate(halves(batch)):
            step.now.generator.set_state(before)
            self.draw(step.running, step.noise)
            found.append(verb(step, half))
        self.number = 0
        return found

    def averaged(self, verb: Callable[..., Any]) -> Callable[[SearchStep, Batch], Any]:
        def verb_in_halves(step: SearchStep, batch: Batch) -> Any:
            found, sizes = self.each(step, verb, batch), [len(labels) for _, labels in halves(batch)]
            if isinstance(found[0], tuple):
                return tuple(mean(parts, sizes) for parts in zip(*found, strict=True))
            return mean(found, sizes)

        return verb_in_halves

    def collected(self, verb: Callable[..., Any]) -> Callable[[SearchStep, Batch], Any]:
        """The same for a verb that leaves gradients in the weights."""

        def verb_in_halves(step: SearchStep, batch: Batch) -> Any:
            left: list[list[Tensor | None]] = []

            def taken(step: SearchStep, half: Batch) -> Any:
                found = verb(step, half)
                left.append([weight.grad for weight in step.weights])
                for weight in step.weights:
                    weight.grad = None
                return found

            found, sizes = self.each(step, taken, batch), [len(labels) for _, labels in halves(batch)]
            for weight, one, other in zip(step.weights, *left, strict=True):
                assert (one is None) == (other is None)
                if one is not None and other is not None:
                    weight.grad = torch.empty_like(weight).copy_(mean([[one], [other]], sizes)[0])
            return None if found[0] is None else mean(found, sizes)

        return verb_in_halves

    def loss(self, running: RunningSearch, batch: Batch) -> Callable[[Tensor], Tensor]:
        """The loss for the curvature: the mean of those of both halves."""
        sizes = [len(labels) for _, labels in halves(batch)]
        losses = []
        self.measuring = True
        for self.number, half in enumerate(halves(batch)):
            losses.append(self.loss_of_alpha(running, half))
        self.measuring = False

        def both(alpha: Tensor) -> Tensor:
            total = torch.zeros_like(alpha).sum()
            for self.number, (size, loss) in enumerate(zip(sizes, losses, strict=True)):
                total = total + size * loss(alpha)
            self.number = 0
            return total / sum(sizes)

        return both


def halves(batch: Batch) -> list[Batch]:
    """The first and the second half; of an odd number, the first has one picture more."""
    pictures, labels = batch
    return list(zip(pictures.tensor_split(2), labels.tensor_split(2), strict=True))


def mean(found: Sequence[Sequence[Tensor]], sizes: Sequence[int]) -> list[Tensor]:
    return [
        sum(size * part for size, part in zip(sizes, parts, strict=True)) / sum(sizes)
        for parts in zip(*found, strict=True)
    ]
