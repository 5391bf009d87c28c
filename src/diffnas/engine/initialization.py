"""The initial weights of a supernet, and what is measured of them before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffnas.components.level import Batch
from diffnas.data import DataSet, fetched
from diffnas.engine import contract, passes, seeds, warm_alpha
from diffnas.engine.lookahead import buffers_kept
from diffnas.engine.ranks import ALONE
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.method import Method
from diffnas.nets.ops import draw_noise_from, drawing

if TYPE_CHECKING:
    from diffnas.engine.search_state import SearchState


def initialize(
    state: SearchState, *, data: DataSet, indices: Tensor, method: Method, settings: SearchSettings, stage: int
) -> None:
    """Give a new supernet its initial weights; ``state.start`` then says what they are like.

    The batch and all random numbers follow from ``weights_seed``. Nothing else of the state changes, except alpha if
    it comes from another run.

    Args:
        state: the state with the new supernet.
        data, method, settings: those of the search.
        indices: the pictures that may move the weights.
        stage: the number of the method's stage that built the supernet.

    Raises:
        ValueError: if the initializer, or the run of alpha, cannot be used.
    """
    net, seed = state.supernet, settings.seed_for("initial")
    drawn = seeds.generator(seed, "initial", stage)
    batch = _batch(data, indices, settings, drawn, state.alpha.device)
    draw_noise_from(drawing(net), seeds.generator(seed, "initial noise", stage, device=state.alpha.device))
    with fixed_random(seeds.derive(seed, "initial", stage)):
        # The running statistics begin with the search, unless the initializer takes those of another run.
        said = contract.initialize(method.initial, net, batch, drawn)
        with torch.no_grad(), buffers_kept(net):
            variances = net.train().node_variances(batch[0], net.even(state.keep))
    draw_noise_from(drawing(net), None)
    state.start = {"initial": said, "variances": variances}
    if settings.alpha_from is not None and not stage:
        state.start["alpha"] = warm_alpha.take_(state, settings)


def _batch(
    data: DataSet, indices: Tensor, settings: SearchSettings, drawn: torch.Generator, device: torch.device
) -> Batch:
    """A random training batch, as training prepares it; of a stream, its first window."""
    if data.in_order:
        chosen = passes.in_turn(data.train, indices, settings.batch, settings.window, ALONE)[0]
    else:
        chosen = indices[torch.randperm(len(indices), generator=drawn)[: settings.batch]]
    pictures, labels = next(fetched(data.train, [chosen], device))
    augmentation = seeds.generator(settings.seed, "initial batch", device=device)
    return data.prepare(pictures, augmentation, cutout=settings.cutout, flip=settings.flip), labels
