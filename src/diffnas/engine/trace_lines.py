"""The lines in the trace of a search, one for each epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffnas.components import indicators
from diffnas.engine.curvature import eigenvalue
from diffnas.engine.devices import peak_memory
from diffnas.engine.passes import inputs_of
from diffnas.engine.running_search import RunningSearch
from diffnas.genotype import Genotype, to_json
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.sites import unseen


class TraceLines:
    """Makes the lines of a trace, and warns the listener of what is wrong in them.

    Attributes:
        told: the warnings so far; each is given once.
    """

    def __init__(self, running: RunningSearch) -> None:
        self.running = running
        self.told: set[str] = set()

    def line(self) -> dict[str, Any]:
        """The line of the epoch that is over, with the cells that would be read off now.

        First it removes what is removed between epochs, and frees the modules of what was removed before.
        """
        running, state = self.running, self.running.state
        if running.settings.prune_every == "epoch":
            running.prune()
        running.free(state.keep.cpu())
        at = running.at_rest()
        mix, keep = at.mix.cpu(), at.keep.cpu()
        found = running.read_off(at)
        with torch.no_grad():
            strengths = running.strengths(at.moment)
        measured = indicators.measure(mix, keep, found, running.space)
        self._warn(indicators.warnings(measured, found))
        steered = state.controller if state.pretraining is None else None
        costs = {} if steered is None else {"cost": steered.close(at, found)}
        return {
            "stage": running.stage.name,
            "events": state.events,
            "held_out": state.held_out.line(),
            "parameters": parameters_of(state.supernet),
            "found_parameters": self._size_of(found),
            "macs": running.measure_macs(),
            "macs_left": _share(running.costs.cpu(), keep),
            "eigenvalue": self._eigenvalue(),
            "peak_memory": peak_memory(running.fabric.device),
            "indicators": measured,
            "genotype": json.loads(to_json(found)),
            "alpha": state.alpha.detach().cpu().tolist(),
            "mix": mix.tolist(),
            "keep": keep.tolist(),
            "strengths": None if strengths is None else strengths.tolist(),
            **costs,
            **({"start": state.start} if state.start else {}),
            **({"pretext": state.pretraining.pretext.name} if state.pretraining else {}),
        }

    def _eigenvalue(self) -> float | None:
        """The largest eigenvalue of the Hessian for alpha; None if it is not due in this epoch, or not finite."""
        every = self.running.settings.eigenvalue_every
        if not every or self.running.epoch % every or self.running.state.pretraining is not None:
            return None
        found = eigenvalue(self.running)
        return found if math.isfinite(found) else None  # JSON has no infinity and no nan

    def _size_of(self, found: Genotype) -> int | None:
        """Parameters of a genotype's network at its published size; None if its cells pass nothing on."""
        data = self.running.data
        classes, channels = len(data.classes), data.channels
        try:
            own = self.running.space.own
            with unseen(own=any(own.values())):
                inputs = inputs_of(data, self.running.settings)
                return parameters_of(Network(found, classes=classes, in_channels=channels, **own, **inputs))
        except ValueError:
            return None

    def _warn(self, warnings: Sequence[str]) -> None:
        """Give the listener those warnings that it has not got yet."""
        for warning in warnings:
            if warning not in self.told:
                self.told.add(warning)
                self.running.loop.listener.warn(f"epoch {self.running.state.epoch + 1}: {warning}")


def _share(costs: Tensor, keep: Tensor) -> float:
    """The multiply-adds of the kept operations, as a share of those of all operations; 1 if none has any."""
    total = float(costs.sum())
    return float((costs * keep).sum()) / total if total else 1.0
