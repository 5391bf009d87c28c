"""Initializers: how the weights of a supernet begin.

An initializer gets the built net, one training batch and a generator, and changes the weights in place. It draws only
from the generator and visits the layers in the order of their definition, so a seed decides all of it. It leaves norms
and alpha as they are. It may return a sentence that the search tells the user.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor, nn

from diffnas.components.level import Batch

Initial = Callable[[nn.Module, Batch, torch.Generator], str | None]
"""A net that maps pictures to logits, a training batch on its device, and a generator on the host, to a sentence to
tell, or None."""

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear

TRUNCATED = 0.02
"""The standard deviation of ``trunc`` before its normal distribution is cut at two of them."""

DEAD = 1e-6
"""A layer whose output has a smaller standard deviation is left alone by ``lsuv``."""


def pytorch(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """The weights as PyTorch draws them when the net is built: uniform, with variance ``1 / (3 fan_in)``."""


def he(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """Normal weights with variance ``2 / fan_in`` (He et al., 2015), which keeps the variance behind a ReLU."""
    _each(net, lambda layer: _normal(layer, math.sqrt(2 / fan_in(layer)), generator))


def he_out(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """Normal weights with variance ``2 / fan_out`` (He et al., 2015), the default of ProxylessNAS."""
    _each(net, lambda layer: _normal(layer, math.sqrt(2 / fan_out(layer)), generator))


def xavier(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """Uniform weights with variance ``2 / (fan_in + fan_out)`` (Glorot & Bengio, 2010)."""
    _each(net, lambda layer: _uniform(layer, math.sqrt(6 / (fan_in(layer) + fan_out(layer))), generator))


def small(net: nn.Module, batch: Batch, generator: torch.Generator, *, bound: float = 0.04) -> None:
    """Uniform weights from ``-bound`` to ``bound``, as in the recurrent cells of DARTS (Liu et al., 2019)."""
    _each(net, lambda layer: _uniform(layer, bound, generator))


def trunc(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """Normal weights of standard deviation 0.02, cut at two of them, as in transformers."""

    def drawn(layer: Layer) -> Tensor:
        weight = torch.empty(layer.weight.shape)
        cut = 2 * TRUNCATED
        return nn.init.trunc_normal_(weight, std=TRUNCATED, a=-cut, b=cut, generator=generator)

    _each(net, drawn)


def constant_sign(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """The weights of ``he`` with their signs, of one magnitude in each layer: a control for magnitudes."""

    def drawn(layer: Layer) -> Tensor:
        std = math.sqrt(2 / fan_in(layer))
        return std * torch.where(_normal(layer, std, generator) < 0, -1.0, 1.0)

    _each(net, drawn)


def orthogonal(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """Orthogonal rows (Saxe et al., 2014), or columns if there are more rows, in each group of a layer.

    The gain is the root of 2 in convolutions, which stand behind a ReLU, and 1 in linear layers. The kernels of a
    depthwise convolution have one row each, so they are only normalized.
    """
    _each(net, lambda layer: _orthogonal(layer, generator))


def delta_orthogonal(net: nn.Module, batch: Batch, generator: torch.Generator) -> None:
    """``orthogonal`` in the middle of each kernel, with zeros around it (Xiao et al., 2018)."""

    def drawn(layer: Layer) -> Tensor:
        weight = torch.zeros(layer.weight.shape)
        places = weight.flatten(2) if weight.dim() > 2 else weight.unsqueeze(2)
        places[:, :, places.shape[2] // 2] = _blocks(weight.shape[:2], groups(layer), _gain(layer), generator)
        return weight

    _each(net, drawn)


def lsuv(
    net: nn.Module, batch: Batch, generator: torch.Generator, *, tolerance: float = 0.1, most: int = 10
) -> str | None:
    """``orthogonal``, scaled layer by layer until the outputs on the batch have variance 1 (Mishkin & Matas, 2016).

    Layers are scaled in the order in which the net runs them, in training mode, all in one pass: each passes on the
    output of its new weights. Unlike the released code, it draws from the generator, subtracts no mean, and leaves a
    layer alone whose output has no variance. A batch norm behind a layer cancels the scale; then only the orthogonality
    and the effective learning rate are left.

    Args:
        net: the net.
        batch: pictures and labels.
        generator: draws the orthogonal weights.
        tolerance: how far the standard deviation may be from 1.
        most: how often a layer is scaled at most.

    Returns:
        A sentence about layers that were left alone; None if there are none.

    Raises:
        ValueError: if the pictures of the batch are constant.
    """
    if float(batch[0].std()) < DEAD:
        raise ValueError("lsuv measures a batch, and its pictures are constant. Use --initial orthogonal.")
    orthogonal(net, batch, generator)
    done: set[nn.Module] = set()
    dead: list[nn.Module] = []

    def scale(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        if layer in done:
            return out
        done.add(layer)
        for _ in range(most):
            std = float(out.std())
            if std < DEAD:
                dead.append(layer)
            if std < DEAD or abs(std - 1) < tolerance:
                break
            layer.weight.div_(std)  # type: ignore[operator]
            out = layer.forward(*given)
        return out

    _run_hooked(net, batch[0], scale)
    return f"lsuv left {len(dead)} layer(s) alone, whose outputs are constant on the batch." if dead else None


@torch.no_grad()
def _run_hooked(net: nn.Module, pictures: Tensor, hook: Callable[..., Tensor]) -> None:
    """Run a net once in training mode, with a hook behind each layer. Its running statistics stay as they were."""
    hooks = [layer.register_forward_hook(hook) for layer in layers(net)]
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        net.train()(pictures)
    finally:
        for each in hooks:
            each.remove()
        for buffer, before in buffers:
            buffer.copy_(before)


def layers(net: nn.Module) -> Iterator[Layer]:
    """The convolutions and linear layers of a net, in the order of their definition."""
    return (each for each in net.modules() if isinstance(each, Layer))


def groups(layer: Layer) -> int:
    """The groups of a convolution; 1 for a linear layer."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def fan_in(layer: Layer) -> int:
    """How many inputs an output of a layer sums.

    >>> fan_in(nn.Conv2d(8, 8, 3, groups=8)), fan_out(nn.Conv2d(8, 16, 1)), fan_in(nn.Linear(5, 2))
    (9, 16, 5)
    """
    return prod(layer.weight.shape[1:])


def fan_out(layer: Layer) -> int:
    """How many outputs an input of a layer reaches, at stride 1."""
    return layer.weight.shape[0] // groups(layer) * prod(layer.weight.shape[2:])


@torch.no_grad()
def _each(net: nn.Module, drawn: Callable[[Layer], Tensor]) -> None:
    """Give each layer the weights that ``drawn`` makes for it, and a bias of 0."""
    for layer in layers(net):
        layer.weight.copy_(drawn(layer))
        if layer.bias is not None:
            layer.bias.zero_()


def _normal(layer: Layer, std: float, generator: torch.Generator) -> Tensor:
    return std * torch.randn(layer.weight.shape, generator=generator)


def _uniform(layer: Layer, bound: float, generator: torch.Generator) -> Tensor:
    return bound * (2 * torch.rand(layer.weight.shape, generator=generator) - 1)


def _gain(layer: Layer) -> float:
    return 1.0 if isinstance(layer, nn.Linear) else math.sqrt(2)


def _orthogonal(layer: Layer, generator: torch.Generator) -> Tensor:
    return _blocks(layer.weight.shape, groups(layer), _gain(layer), generator)


def _blocks(shape: torch.Size, count: int, gain: float, generator: torch.Generator) -> Tensor:
    """Weights of a shape, whose groups, ``count`` blocks of rows, are orthogonal matrices times a gain.

    Groups of one row, of which a depthwise convolution has many, are normalized all at once.
    """
    blocks = torch.randn(count, shape[0] // count, prod(shape[1:]), generator=generator)
    wide = blocks.shape[1] <= blocks.shape[2]
    q, r = torch.linalg.qr(blocks.mT if wide else blocks)
    # The sign of R's diagonal is fixed, so that the matrices are uniformly distributed.
    q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    found: Tensor = gain * (q.mT if wide else q).reshape(shape)
    return found
