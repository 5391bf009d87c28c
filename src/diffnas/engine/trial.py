"""The beginning of a search that is never finished, for measuring what a step costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffnas.backends.gpu.graphs import Graphed
from diffnas.data import DataSet, fetched
from diffnas.engine import passes
from diffnas.engine.checks import with_cells_per_place
from diffnas.engine.devices import dtype_of, make_fabric
from diffnas.engine.learned import task_of
from diffnas.engine.listen import Silent
from diffnas.engine.pause import SearchPause
from diffnas.engine.ranks import ALONE
from diffnas.engine.search import StagedSearch
from diffnas.engine.search_state import SearchState, begin, pretexts_in
from diffnas.engine.settings import SearchSettings
from diffnas.method import Method
from diffnas.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The beginning of a search that is never finished, for measuring what a step costs.

    Attributes:
        state: what a step changes.
        macs: multiply-adds of the supernet for one picture.
        step: takes a step, always on the same pictures.
        warmup_steps: how many steps to take before one takes its usual time.
    """

    state: SearchState
    macs: int
    step: Callable[[], None]
    warmup_steps: int


def trial(
    data: DataSet,
    *,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    device: str = "auto",
    precision: str = "32-true",
    keep: Tensor | None = None,
) -> Trial:
    """The beginning of a search that is never finished, for measuring what a step costs.

    The arguments are those of ``search``, and ``keep``, ``(edges, ops)``, bool: the operations in play, all if None.
    """
    space = with_cells_per_place(space, settings)
    fabric = make_fabric(device, precision)
    state = begin(data, space, method, settings, fabric.device, dtype_of(precision), task_of(data))
    under_way = StagedSearch(data, space, method, settings, state, fabric, None, Silent(), [])
    under_way.begin_stage(pretexts_in(under_way.stages), SearchPause(under_way.running, lambda: None))
    if keep is not None:
        under_way.running.remove(keep.to(fabric.device))
    first = passes.in_turn(data.train, torch.arange(len(data.train)), settings.batch, settings.window, ALONE)[:1]
    batch = next(fetched(under_way.loop.split, first, fabric.device))
    # The first step chooses kernels and gets memory. With graphs, several such steps come before one that captures.
    net = under_way.running.net
    warmup_steps = net.warmup_steps + 1 if isinstance(net, Graphed) else 1
    step = partial(under_way.take_step, batch)
    return Trial(state=state, macs=under_way.running.measure_macs(), step=step, warmup_steps=warmup_steps)
