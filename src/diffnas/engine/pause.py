"""A search between two epochs, as a stage sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffnas.components.relaxation import Relaxation
from diffnas.components.stages import HeldOutScore
from diffnas.data import fetched
from diffnas.engine import contract, passes, seeds
from diffnas.engine.lookahead import buffers_kept
from diffnas.engine.optimizers import optimizer_of
from diffnas.engine.running_search import RunningSearch
from diffnas.engine.seeds import fixed_random
from diffnas.engine.totals import Totals
from diffnas.nets.carried import afresh
from diffnas.space import SearchSpace


class SearchPause:
    """A search before an epoch. ``components.stages.Pause`` says what a stage may ask of it.

    Args:
        running: the search.
        check: called before each batch of a long measurement; it may raise an error to end the search.
    """

    def __init__(self, running: RunningSearch, check: Callable[[], None]) -> None:
        self.running, self.check = running, check

    @property
    def epoch(self) -> int:
        """The epoch that is about to begin, counted from 0 within the stage."""
        return self.running.epoch

    @property
    def keep(self) -> Tensor:
        """Operations still in play, on the host."""
        return self.running.state.keep.cpu().clone()  # a copy, so that only the methods of the pause change the search

    @property
    def space(self) -> SearchSpace:
        """The space of the rows and columns."""
        return self.running.space

    def at_rest(self) -> Relaxation:
        """The present relaxation, in float64, on the host and without sampling."""
        at = self.running.at_rest()
        return replace(at, **{name: getattr(at, name).cpu() for name in ("alpha", "mix", "open", "keep", "costs")})

    def generator(self, purpose: str) -> torch.Generator:
        """A generator on the host that only this pause uses, and only for this purpose."""
        return self.running.loop.generator(purpose, "cpu")

    @torch.no_grad()
    def measure(self, mix: Tensor) -> HeldOutScore:
        """Loss and score of the supernet on all held-out pictures, under ``mix``. Changes nothing."""
        running, state, device = self.running, self.running.state, self.running.fabric.device
        loop, size, indices = running.loop, running.settings.batch, running.held_out_indices
        augmentation, noise = loop.own_generator("measured"), loop.own_generator("measured noise")
        place = seeds.derive(running.settings.seed, "measured", state.epoch, *loop.ranks.place)
        mix = contract.given_mix(running.stage.name, mix, running.space)
        weights = running.edge_weights(mix.to(device=device, dtype=state.alpha.dtype), loop.moment())
        totals = Totals(state.task)
        running.draw_noise_from(noise)
        state.supernet.train()
        batches = passes.in_turn(loop.split, indices, size, running.settings.window, loop.ranks)
        with buffers_kept(state.supernet), fixed_random(place), afresh(state.supernet, passes.JUDGED):
            for batch in fetched(loop.split, batches, device):
                self.check()
                pictures, labels = running.prepare(batch, augmentation)
                logits = running.outputs(pictures, weights).logits
                totals.add(state.task.loss(logits, labels), logits, labels)
        totals.sums = loop.ranks.total(totals.sums)
        return HeldOutScore(totals.loss, totals.score)

    def decide(self, keep: Tensor) -> None:
        """Remove all operations that are not in ``keep``, for good."""
        keep = contract.given_keep(self.running.stage.name, "decide", keep, self.space)
        self.running.remove(keep.to(self.running.fabric.device))

    def rebuild(self, keep: Tensor) -> None:
        """Build a new supernet, alpha and optimizers, with only the operations in ``keep``."""
        keep = contract.given_keep(self.running.stage.name, "rebuild", keep, self.space)
        state = self.running.state
        state.become_(state.build(state.stage))
        state.initialize(state)
        state.prune_(keep.to(self.running.fabric.device))
        self.running.adopt()

    def replace(self, keep: Tensor, parents: Mapping[tuple[int, int], int]) -> None:
        """Change the operations in play to those in ``keep``; new operations inherit from their parents."""
        running, state = self.running, self.running.state
        keep = contract.given_keep(running.stage.name, "replace", keep, self.space, offered=True)
        parents = contract.given_parents(running.stage.name, parents, keep, state.keep.cpu(), self.space)
        with fixed_random(seeds.derive(running.settings.seed_for("replaced"), "replaced", state.epoch)):
            state.replace_(keep.to(running.fabric.device), parents)
        running.rescan()

    def renew_alpha(self) -> None:
        """Begin alpha, and all that moves with it, anew."""
        self.running.state.renew_alpha_()

    def renew_weight_optimizer(self) -> None:
        """Begin the optimizer of the weights anew, with the settings of the stage."""
        state = self.running.state
        state.weight_optimizer = optimizer_of(state.supernet, self.running.settings)

    def note(self, **event: Any) -> None:
        """Add plain data to the ``events`` in the next line of the trace."""
        self.running.state.events.append(event)
