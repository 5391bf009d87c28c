"""What of a run's state is a rank's own in the middle of an epoch, and how it becomes one.

Weights, alpha and all decisions are the same in all ranks at every step. Totals of the running epoch, running
statistics of batch norm and carried states are a rank's own: those of the pictures or columns that it took.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from diffnas.engine.nested import to_cpu
from diffnas.engine.ranks import Ranks
from diffnas.nets.carried import carried, restore

if TYPE_CHECKING:
    from diffnas.engine.training_loop import State

# Under this name a checkpoint of several ranks holds what each of them had of its own.
_RANKS = "ranks"

# Parts of a state that may differ between ranks: the clock's, and what is noted for the trace.
_MEASURED = ("seconds", "events", "start")


def bring_together(state: State, ranks: Ranks) -> None:
    """Give all ranks the totals of all, and the mean of their running statistics."""
    for totals in state.totals:
        totals.sums = ranks.total(totals.sums)
    ranks.mean_buffers_(state.net.buffers())


def set_apart(state: State, ranks: Ranks) -> dict[str, Any]:
    """What a checkpoint holds of each rank; empty if there is one. In the middle of an epoch, ``state`` becomes one."""
    if not ranks.several:
        return {}
    own = ranks.gather(_own(state) if state.step else {})
    if state.step:
        bring_together(state, ranks)
    return {_RANKS: own}


def ranks_of(saved: Mapping[str, Any]) -> int:
    """How many ranks wrote a checkpoint."""
    return len(saved.get(_RANKS, [{}]))


@torch.no_grad()
def take_own(state: State, saved: Mapping[str, Any], ranks: Ranks) -> None:
    """Give this rank its own part of a checkpoint, whose state ``state`` has already.

    If as many ranks go on as wrote it, each has what it had, to the bit. Otherwise all have the mean of the running
    statistics, and the first one has the totals of all.
    """
    if ranks_of(saved) != ranks.count:
        for totals in () if ranks.first else state.totals:
            totals.sums = torch.zeros_like(totals.sums)
        restore(state.net, {})  # the columns of a stream are others now
        return
    own = saved[_RANKS][ranks.number] if ranks.several else {}
    if not own:
        return
    for totals, sums in zip(state.totals, own["totals"], strict=True):
        totals.sums = sums.clone()
    for buffer, kept in zip(state.net.buffers(), own["buffers"], strict=True):
        buffer.copy_(kept)
    restore(state.net, own.get("carried", {}))


def check_same(state: State, ranks: Ranks, when: str) -> None:
    """Compare the state over the ranks after an epoch; ``when`` names the epoch in an error.

    Raises:
        Diverged: if it is not the same in all of them, to the bit.
    """
    if ranks.several:
        parts = {name: part for name, part in state.state_dict().items() if name not in _MEASURED}
        ranks.check_same(parts, when)


def _own(state: State) -> dict[str, Any]:
    return {
        "totals": [totals.sums.cpu() for totals in state.totals],
        "buffers": [buffer.cpu() for buffer in state.net.buffers()],
        "carried": to_cpu(carried(state.net)),
    }
