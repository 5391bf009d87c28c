"""A search between two epochs: what a stage works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffnas.components.relaxation import Relaxation
from diffnas.components.stages import HeldOutScore
from diffnas.data import batches
from diffnas.engine import contract, seeds
from diffnas.engine.course import Course
from diffnas.engine.optimizers import sgd
from diffnas.engine.probe import buffers_kept
from diffnas.engine.seeds import fixed_random
from diffnas.engine.totals import Totals
from diffnas.space import SearchSpace


class SearchPause:
    """A search before an epoch; see ``components.stages.Pause`` for what a stage may ask of it.

    Args:
        course: the search.
        check: called again and again while something long is measured; it may raise to end the search.
    """

    def __init__(self, course: Course, check: Callable[[], None]) -> None:
        self.course, self.check = course, check

    @property
    def epoch(self) -> int:
        """Of the stage, from 0."""
        return self.course.epoch

    @property
    def keep(self) -> Tensor:
        """Operations still in play, on the host."""
        return self.course.state.keep.cpu().clone()  # the caller's own: what is in play changes by the verbs alone

    @property
    def space(self) -> SearchSpace:
        """What the rows and columns mean."""
        return self.course.space

    def at_rest(self) -> Relaxation:
        """The relaxation now, on the host."""
        at = self.course.at_rest()
        return replace(at, **{name: getattr(at, name).cpu() for name in ("alpha", "mix", "open", "keep", "costs")})

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers of this pause."""
        return self.course.drive.generator(purpose, "cpu")

    @torch.no_grad()
    def measure(self, mix: Tensor) -> HeldOutScore:
        """On all held-out pictures, under ``mix``."""
        course, state, device = self.course, self.course.state, self.course.fabric.device
        drive, size, indices = course.drive, course.settings.batch, course.held_out_indices
        if len(indices) > size and len(indices) % size == 1:
            indices = indices[:-1]  # a single picture has no batch statistics
        augmentation, noise = drive.generator("measured"), drive.generator("measured noise")
        place = seeds.derive(course.settings.seed, "measured", state.epoch)
        mix = contract.given_mix(course.stage.name, mix, course.space)
        mix = course.add_columns(mix.to(device=device, dtype=state.alpha.dtype), drive.moment())
        totals = Totals(state.task)
        course.draw_noise_from(noise)
        state.supernet.train()
        with buffers_kept(state.supernet), fixed_random(place):
            for batch in batches(drive.split, indices, size, start=0, device=device):
                self.check()
                pictures, labels = course.prepare(batch, augmentation)
                logits = course.outputs(pictures, mix).logits
                totals.add(state.task.loss(logits, labels), logits, labels)
        return HeldOutScore(totals.loss, totals.score)

    def decide(self, keep: Tensor) -> None:
        """Keep only what ``keep`` says, for good."""
        keep = contract.given_keep(self.course.stage.name, "decide", keep, self.space)
        self.course.remove(keep.to(self.course.fabric.device))

    def rebuild(self, keep: Tensor) -> None:
        """Everything new, with only ``keep``."""
        keep = contract.given_keep(self.course.stage.name, "rebuild", keep, self.space)
        state = self.course.state
        state.become_(state.build(state.stage))
        state.prune_(keep.to(self.course.fabric.device))
        self.course.adopt()

    def replace(self, keep: Tensor, parents: Mapping[tuple[int, int], int]) -> None:
        """Exactly what ``keep`` says from now on; new operations inherit from their parents."""
        course, state = self.course, self.course.state
        keep = contract.given_keep(course.stage.name, "replace", keep, self.space, offered=True)
        parents = contract.given_parents(course.stage.name, parents, keep, state.keep.cpu(), self.space)
        with fixed_random(seeds.derive(course.settings.seed, "replaced", state.epoch)):
            state.replace_(keep.to(course.fabric.device), parents)
        course.rescan()

    def renew_alpha(self) -> None:
        """Alpha begins anew."""
        self.course.state.renew_alpha_()

    def renew_weight_optimizer(self) -> None:
        """The optimizer of the weights forgets everything."""
        state = self.course.state
        state.weight_optimizer = sgd(state.supernet, self.course.settings)

    def note(self, **event: Any) -> None:
        """Plain data for the next line of the trace."""
        self.course.state.events.append(event)
