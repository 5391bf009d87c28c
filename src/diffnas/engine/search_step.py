"""One step of a search, as a level sees it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.components import schedule, update
from diffnas.components.contract import UPDATE, may_look, name_of, naming
from diffnas.components.edge_weights import EdgeWeights
from diffnas.components.level import Batch
from diffnas.components.relaxation import weigh
from diffnas.components.traits import traits_of
from diffnas.engine import contract, passes, seeds
from diffnas.engine.listen import NotFinite
from diffnas.engine.lookahead import buffers_kept, descent, moved
from diffnas.engine.nested import all_finite
from diffnas.engine.optimizers import begin_momentum, weights_fixed, weights_of
from diffnas.engine.penalties import output_penalty
from diffnas.engine.running_search import RunningSearch
from diffnas.engine.seeds import fixed_random
from diffnas.engine.totals import Totals
from diffnas.nets.carried import carried, reading, restore
from diffnas.nets.ops import drop_skips


class Mix(NamedTuple):
    """The mixing weights of a pass.

    Attributes:
        ops: the mixing weights of the operations, ``(edges, ops)``.
        edges: the weights of the supernet's edges.
    """

    ops: Tensor
    edges: EdgeWeights


class SearchStep:
    """The steps of a search, one at a time. ``components.level.Step`` says what a level may ask of a step."""

    def __init__(self, running: RunningSearch) -> None:
        self.running = running
        self.state, self.loop, self.method = running.state, running.loop, running.method
        self.ranks = running.loop.ranks
        self._held_out: Batch | None = None
        self._stream: Generator[Batch, None, None] | None = None
        self._next: tuple[int, int] | None = None
        self._carried: dict[str, list[Tensor]] = {}

    def take(self, batch: Batch) -> None:
        """Take one step of alpha and the weights, as the level orders it."""
        running, loop = self.running, self.loop
        self.now = loop.moment()
        self.train = running.prepare(batch, loop.own_generator("train"))
        # Each pass of a step begins with the states from before the step; the last one leaves its own.
        self._carried = carried(self.state.supernet) if running.data.in_order else {}
        drawn = running.holds_out and not self.frozen
        self._held_out = running.prepare(self._draw_held_out(), loop.own_generator("held-out")) if drawn else None
        self.noise = loop.own_generator("noise")
        running.draw_noise_from(self.noise)
        if self.method.supernet.dropout is not None:
            drop_skips(self.state.supernet, schedule.value(self.method.supernet.dropout, self.now))
        if not self.state.supernet.training:
            self.state.supernet.train()
        self._balance()
        contract.take_step(self.method.level, self)
        if running.settings.prune_every == "step":
            running.prune()
        running.steer()

    def _balance(self) -> None:
        """Weigh the loss against the penalties of targets while alpha warms up, if they begin by balance."""
        controller = self.state.controller
        if controller is None or controller.ratios is None:
            return
        if self.running.steers if self.frozen else not all(controller.ratios.values()):
            at = self.running.relaxed(self.state.alpha.detach(), self.now)
            controller.weigh(at, self._probe_mix())
        if not self.frozen:
            controller.balance()

    @property
    def frozen(self) -> bool:
        """Whether alpha is warming up."""
        return self.running.frozen

    @property
    def held_out(self) -> Batch:
        """A batch of the pictures that the weights never see.

        Raises:
            ValueError: if there is none, because the level asks for none or alpha is warming up.
        """
        if self._held_out is None:
            way = 'data="halves"' if not self.running.holds_out else "if not step.frozen: ..., as alpha is warming up"
            raise ValueError(
                f"the step of the level {name_of(self.method.level.step)} reads held-out pictures, but this step has "
                f"none. Write {way}."
            )
        return self._held_out

    def alpha_gradient(self, batch: Batch) -> list[Tensor]:
        """The gradients for alpha and for the weighting's own parameters, penalties included."""
        with weights_fixed(self.weights):
            mix = self.mix()
            loss = self._loss(batch, mix, self.state.held_out) + self._penalty(mix)
            # Zeros where nothing depends on alpha: weights that ignore it, or cells that are all ``none``.
            if not loss.requires_grad:
                return [torch.zeros_like(tensor) for tensor in self.state.arch]
            return self._mean(torch.autograd.grad(loss, self.state.arch, materialize_grads=True), batch)

    def weight_gradient(self, batch: Batch) -> None:
        """Add the gradients for the weights to their ``grad``."""
        with torch.no_grad():
            mix = self.mix()
        self.running.fabric.backward(self._loss(batch, mix, self.state.train) + self._output_penalty())
        self.ranks.mean_gradients_(self.weights, len(batch[1]))

    def both_gradients(self, batch: Batch) -> list[Tensor]:
        """``alpha_gradient`` of the training loss, and ``weight_gradient``, both from one pass."""
        mix = self.mix()
        loss = self._loss(batch, mix, self.state.train) + self._output_penalty()
        self.running.fabric.backward(loss + self._penalty(mix))
        arch = self.state.arch
        gradients = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in arch]
        for tensor in arch:
            tensor.grad = None
        return self.ranks.mean_gradients_(self.weights, len(batch[1]), also=gradients)

    def move_alpha(self, gradients: Sequence[Tensor]) -> None:
        """Step alpha, unless it is frozen."""
        arch = self.state.arch
        gradients = contract.tensors(self.method.level, "move_alpha", gradients, arch)
        if not self.frozen:
            competing = traits_of(self.state.weighting).competes
            gradients = _clipped(gradients, self.running.settings.alpha_clip)
            with naming(UPDATE, self.method.update):
                update.move(self.state.alpha_optimizer, arch, gradients, self.state.keep, competing=competing)
            if may_look(self.state.alpha.device, self.state.step) and not all_finite(arch):
                self._blame(gradients)

    def _blame(self, gradients: Sequence[Tensor]) -> None:
        """Raise the error that says why alpha, or a parameter of the weighting, became infinite or nan.

        Raises:
            NotFinite: if the loss or the gradients were not finite.
            ValueError: if they were finite, so that the update is to blame.
        """
        where = f"step {self.state.step} of epoch {self.state.epoch}"
        for totals in (self.state.held_out, self.state.train):
            self.loop.check(totals.loss, where)
        if all_finite(list(gradients)):
            raise ValueError(
                f"the update {name_of(self.method.update)} must leave alpha finite; in {where} it made infinity or nan "
                "of finite gradients. A lower rate (--alpha-lr) may help."
            )
        raise NotFinite(
            f"the gradients of alpha became infinity or nan in {where}, though the loss did not: look for roots and "
            f"logarithms of 0 in {', '.join(map(name_of, (self.method.weighting, *self.method.regularizers)))}."
        )

    def move_weights(self) -> None:
        """Clip the weights' gradients and step the weights."""
        if self.running.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.weights, self.running.settings.clip)
        begin_momentum(self.state.weight_optimizer)
        self.state.weight_optimizer.step()
        self.state.weight_optimizer.zero_grad()

    @property
    def rate(self) -> float:
        """The learning rate of the weights."""
        (group, *_) = self.state.weight_optimizer.param_groups
        return float(group["lr"])

    @property
    def weights(self) -> list[Tensor]:
        """The weights that their optimizer moves."""
        return weights_of(self.state.weight_optimizer)

    def gradients(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """The gradients of ``alpha_gradient``, and those of the same loss for the weights."""
        mix = self.mix()
        loss = self._loss(batch, mix, self.state.held_out, flow=True) + self._penalty(mix)
        arch = self.state.arch
        found = self._gradients_of(loss, [*arch, *self.weights], batch)
        return found[: len(arch)], found[len(arch) :]

    def probe_alpha(self, batch: Batch) -> list[Tensor]:
        """Gradients for alpha, without penalties. Nothing of the search changes."""
        with self._probing(), weights_fixed(self.weights):
            return self._gradients_of(self._loss(batch, self.mix(), Totals(self.state.task)), self.state.arch, batch)

    def probe_weights(self, batch: Batch) -> list[Tensor]:
        """Gradients for the weights. Nothing of the search changes."""
        with self._probing():
            with torch.no_grad():
                mix = self.mix()
            return self._gradients_of(self._loss(batch, mix, Totals(self.state.task), flow=True), self.weights, batch)

    def _probe_mix(self) -> Tensor:
        """The gradient of the loss on the training batch for the mixing weights, ``(edges, ops)``, without a trace."""
        with self._probing(), weights_fixed(self.weights):
            ops = self.mix().ops.detach().requires_grad_()
            mix = Mix(ops, self.running.edge_weights(ops, self.now))
            return self._gradients_of(self._loss(self.train, mix, Totals(self.state.task)), [ops], self.train)[0]

    def descent(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The direction whose opposite the weights would take with these gradients."""
        gradients = contract.tensors(self.method.level, "descent", gradients, self.weights)
        return descent(self.state.weight_optimizer, gradients)

    def elsewhere(self, away: Sequence[Tensor]) -> AbstractContextManager[None]:
        """A context in which ``away`` is added to the weights."""
        return moved(self.weights, contract.tensors(self.method.level, "elsewhere", away, self.weights))

    # The parts of a step.

    def _gradients_of(self, loss: Tensor, tensors: Sequence[Tensor], batch: Batch) -> list[Tensor]:
        found = torch.autograd.grad(loss, tensors, materialize_grads=True)
        # The next pass may overwrite the memory of these gradients: a replayed graph does.
        return self._mean([gradient.clone() for gradient in found], batch)

    def _mean(self, gradients: Sequence[Tensor], batch: Batch) -> list[Tensor]:
        """Gradients of the mean loss on a batch, averaged over the ranks, each of which has a part of it."""
        return self.ranks.mean(gradients, len(batch[1]))

    @contextmanager
    def _probing(self) -> Iterator[None]:
        """A context in which passes change nothing of the search, and draw the same numbers whenever in this step."""
        loop, net, now = self.loop, self.state.supernet, self.now
        self.now = replace(now, generator=loop.generator("probe mix"))
        self.running.draw_noise_from(loop.own_generator("probe noise"))
        place = seeds.derive(self.running.settings.seed, "probe", self.state.epoch, self.state.step, *self.ranks.place)
        states = carried(net)
        try:
            with buffers_kept(net), fixed_random(place):
                yield
        finally:
            restore(net, states)
            self.now = now
            self.running.draw_noise_from(self.noise)

    def _draw_held_out(self) -> Batch:
        """An independent random batch of the held-out half, as in DARTS' code. The next ones are read ahead."""
        state, loop = self.state, self.loop
        place = state.epoch, state.step
        if place != self._next:
            # A stream reads ahead within its epoch. Each epoch begins a new one, and so does a resumed run.
            if self._stream is not None:
                self._stream.close()
            ahead = range(state.step, loop.steps)
            self._stream = loop.draws(self.running.held_out_indices, "held-out order", ahead)
        assert self._stream is not None
        self._next = state.epoch, state.step + 1
        return next(self._stream)

    def mix(self) -> Mix:
        """The mixing weights of a pass."""
        ops = weigh(self.state.weighting, self.state.alpha, self.state.keep, self.now)
        return Mix(ops, self.running.edge_weights(ops, self.now))

    def _loss(self, batch: Batch, mix: Mix, totals: Totals, *, flow: bool = False) -> Tensor:
        if batch is not self.train and batch is not self._held_out:
            batch = contract.batch(self.method.level, batch, self.train)
        stream = passes.HELD_OUT if batch is self._held_out else passes.TRAIN
        if self.running.data.in_order:
            passes.rewind(self.state.supernet, stream, self._carried)
        with self._reading(stream):
            logits, auxiliary = self.running.outputs(batch[0], mix.edges, flow=flow)
        measure = self.state.task.loss
        loss = measure(logits, batch[1])
        totals.add(loss.detach(), logits.detach(), batch[1])
        if auxiliary is None:
            return loss
        return loss + self.running.settings.auxiliary * measure(auxiliary, batch[1])

    def _reading(self, stream: str) -> AbstractContextManager[None]:
        """A context in which passes read a window of a stream; nothing for other data."""
        return reading(self.state.supernet, stream) if self.running.data.in_order else nullcontext()

    def _output_penalty(self) -> Tensor | float:
        """The penalty of the outputs of the last pass, which only the weights' step has."""
        return output_penalty(self.state.supernet.frame, self.running.settings)

    def _penalty(self, mix: Mix) -> Tensor | float:
        controller = self.state.controller
        if not self.method.regularizers and controller is None:
            return 0.0
        at = self.running.relaxed(self.state.alpha, self.now, mix.ops)
        parts = [contract.penalty(rule, at) for rule in self.method.regularizers]
        return torch.stack([*parts, controller.penalty(at)] if controller else parts).sum()


def _clipped(gradients: Sequence[Tensor], longest: float) -> Sequence[Tensor]:
    """Gradients scaled down so that their common norm is at most ``longest``, as in torch; 0 is no limit."""
    if not longest:
        return gradients
    length = torch.stack([gradient.norm() for gradient in gradients]).norm()
    scale = (longest / (length + 1e-6)).clamp_max(1.0)
    return [gradient * scale for gradient in gradients]
