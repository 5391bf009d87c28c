"""One step in which the weights of a supernet learn a pretext, and alpha stands still."""

from __future__ import annotations

from diffnas.components.level import Batch
from diffnas.engine import contract
from diffnas.engine.search_step import SearchStep
from diffnas.nets.pretext_head import headed


class PretextStep:
    """The steps of a pretext, one at a time.

    All operations in play have the same weight, whatever alpha is: so they learn alike.
    """

    def __init__(self, step: SearchStep) -> None:
        self.step, self.running, self.state = step, step.running, step.state

    def take(self, batch: Batch) -> None:
        """Take one step of the weights, on the pictures of a batch without their labels."""
        running, state, loop = self.running, self.state, self.running.loop
        assert state.pretraining is not None
        pretext, supernet = state.pretraining.pretext, state.supernet
        pictures, _ = running.prepare(batch, loop.own_generator("train"))
        shown, targets = contract.pretext_batch(pretext, pictures, loop.own_generator("pretext"))
        running.draw_noise_from(loop.own_generator("noise"))
        supernet.train()
        with headed(supernet, state.pretraining.head, of_map=pretext.of_map):
            outputs = running.outputs(shown, supernet.even(state.keep)).logits
        loss = pretext.task.loss(outputs, targets)
        state.train.add(loss.detach(), outputs.detach(), targets)
        running.fabric.backward(loss)
        running.loop.ranks.mean_gradients_(self.step.weights, len(pictures))
        self.step.move_weights()
