"""How a network does on a split, without any training."""

from __future__ import annotations

import torch

from diffnas.data import DataSet, Split, Stream, fetched
from diffnas.engine import passes
from diffnas.engine.ranks import Ranks
from diffnas.engine.totals import Totals
from diffnas.nets.carried import afresh
from diffnas.nets.network import Network
from diffnas.task import Task

_COLUMNS, _WINDOW = 10, 100
"""The columns in which a stream judges a network, and the steps that a network with a state reads at once."""


@torch.no_grad()
def test(
    network: Network,
    split: Split,
    data: DataSet,
    task: Task,
    *,
    batch: int,
    device: torch.device,
    ranks: Ranks,
) -> Totals:
    """Loss and metrics of a network on all pictures of a split of ``data``. The network is set to evaluation mode.

    A stream is read in few columns, because each begins without a state.
    """
    network.eval()
    totals = Totals(task)
    if isinstance(split, Stream):
        columns = max(ranks.count, min(_COLUMNS, len(split) // 2))
        chunks = passes.in_turn(split, torch.arange(len(split)), columns, network.frame.window or _WINDOW, ranks)
    else:
        chunks = list(torch.split(ranks.part(torch.arange(len(split))), batch))
    with afresh(network, passes.JUDGED):
        for pictures, labels in fetched(split, chunks, device):
            logits = network(data.prepare(pictures)).logits
            totals.add(task.loss(logits, labels), logits, labels)
    totals.sums = ranks.total(totals.sums)
    return totals
