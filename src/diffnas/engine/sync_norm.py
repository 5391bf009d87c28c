"""Batch norm over the pictures of all ranks, in PyTorch's operations, so that it can be differentiated twice.

``torch.nn.SyncBatchNorm`` works on GPUs only, and replaces modules, which a search makes anew. Here one context changes
the function that all of them call.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffnas.backends import Asked
from diffnas.backends.choose import Choice, choose
from diffnas.engine.ranks import Ranks
from diffnas.engine.settings import Training
from diffnas.nets.replaced import Replaced

_WHY = "batch norm takes the pictures of all processes"


def choose_in(
    ranks: Ranks, settings: Training, asked: Asked, device: torch.device, precision: str, *, graph: bool = False
) -> Choice:
    """The backend of a run, as ``choose`` finds it; the plain way if batch norm is over several ranks.

    Raises:
        ValueError: for a backend that cannot be used here, with the reason.
    """
    if not (settings.sync_norm and ranks.several):
        return choose(asked, device, precision, graph=graph)
    if asked not in ("auto", "plain"):
        raise ValueError(
            f"the backend {asked!r} cannot be used: {_WHY}. Take --backend plain, or leave --sync-norm out."
        )
    if device.type != "cpu" and getattr(settings, "cuda_graph", False) is not False:
        raise ValueError(f"passes cannot be replayed from CUDA graphs if {_WHY}. Add --no-cuda-graph.")
    return Choice(None, _WHY)


def synchronized(ranks: Ranks, settings: Training) -> AbstractContextManager[object]:
    """A context in which batch norms in training take the pictures of all ranks, if the settings say so."""
    if not (settings.sync_norm and ranks.several):
        return nullcontext()

    def normalized(*args: Any, training: bool = False, **named: Any) -> Tensor:
        return batch_norm(ranks, *args, **named) if training else F.batch_norm(*args, **named)

    return Replaced({F.batch_norm: normalized})


def batch_norm(
    ranks: Ranks,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``x``, normalized with mean and variance over the pictures of all ranks; the running statistics follow.

    Each rank gets the gradient that, averaged over the ranks with the numbers of their pictures as weights, is that of
    the mean loss over all pictures.

    Args:
        ranks: the processes.
        x: the map of this rank, ``(B, C, H, W)``.
        running_mean, running_var: changed in place, ``(C,)``.
        weight, bias: ``(C,)``.
        momentum: how fast the running statistics follow.
        eps: added to the variance.
    """
    shape = (1, -1, *[1] * (x.dim() - 2))
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    pictures, along = float(len(x)), [n for n in range(x.dim()) if n != 1]
    own = wide.new_full((1,), x.numel() // x.shape[1])
    total, count = _total(torch.cat([wide.sum(along), own]), pictures, ranks).tensor_split([x.shape[1]])
    mean = total / count
    centered = wide - mean.view(shape)
    variance = _total(centered.square().sum(along), pictures, ranks) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1).clamp(min=1))).to(running_var.dtype), momentum)
    result = centered * (variance + eps).rsqrt().view(shape)
    result = result if weight is None else result * weight.view(shape)
    result = result if bias is None else result + bias.view(shape)
    return result.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the ranks, whose gradient follows the rule of ``batch_norm``: weights are numbers of pictures."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pictures: float, ranks: Ranks) -> Tensor:
        ctx.pictures, ctx.ranks = pictures, ranks
        return ranks.total(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # Itself such a sum, so that it can be differentiated again.
        return _total(gradient * ctx.pictures, ctx.pictures, ctx.ranks) / ctx.pictures, None, None


def _total(x: Tensor, pictures: float, ranks: Ranks) -> Tensor:
    found: Tensor = _Sum.apply(x, pictures, ranks)  # type: ignore[no-untyped-call]
    return found
