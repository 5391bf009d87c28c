"""The penalties of a net's outputs on a sequence, which keep them small and slow (Merity et al., 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from diffnas.engine.settings import Training
from diffnas.nets.frames.sequences import Sequences


def output_penalty(frame: nn.Module, settings: Training) -> Tensor | float:
    """What is added to the training loss for the outputs of the last window; 0 for other nets.

    ``activation`` times the mean square of the outputs after their dropout, and ``temporal`` times that of their change
    from one step to the next, before the dropout.
    """
    if not (settings.activation or settings.temporal) or not isinstance(frame, Sequences) or frame.hidden is None:
        return 0.0
    whole: Tensor = frame.hidden.whole
    large = settings.activation * frame.hidden.dropped.square().mean()
    if whole.shape[1] == 1:
        return large
    return large + settings.temporal * (whole[:, 1:] - whole[:, :-1]).square().mean()
