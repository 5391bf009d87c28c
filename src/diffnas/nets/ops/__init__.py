"""Candidate operations, in a table from their names to their factories, and functions that build and count them.

A file here has the operations for one kind of net; its table is a part of ``OPS``.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.components.contract import Role, call, check_callable, name_of, refuse, takes
from diffnas.lookup import nearest
from diffnas.nets.ops.attention import Attention
from diffnas.nets.ops.chain import CHAIN
from diffnas.nets.ops.pictures import (
    PICTURES,
    Depthwise,
    DroppedSkip,
    FactorizedReduce,
    Noise,
    Separable,
    Zero,
    draw_noise_from,
    drawing,
    drop_skips,
    relu_conv_norm,
)
from diffnas.nets.ops.recurrent import RECURRENT, gated
from diffnas.nets.ops.transformer import TRANSFORMER, on_stream
from diffnas.nets.slot import OpFactory, Slot

__all__ = [
    "OPS",
    "Depthwise",
    "DroppedSkip",
    "FactorizedReduce",
    "Noise",
    "Separable",
    "Zero",
    "build",
    "check_factory",
    "count_macs",
    "draw_noise_from",
    "drawing",
    "drop_skips",
    "factory_of",
    "gated",
    "relu_conv_norm",
]

OPS: dict[str, OpFactory] = {**PICTURES, **CHAIN, **TRANSFORMER}
"""The factory of each operation, by name. Recurrent cells have a table of their own, ``RECURRENT``."""

_BEFORE = Role("", ("channels", "stride", "affine"))


def factory_of(op: str) -> Role:
    """The role of an operation's factory, for messages."""
    return Role(f"factory of operation {op!r},", ("slot",))


def check_factory(op: str, factory: object, *, known: Container[str] = OPS) -> None:
    """Refuse a user's factory that has the name of an operation of diffnas, or that cannot be called with a slot.

    What reads a genotype without the factory would take such a name for the operation of diffnas.

    Raises:
        ValueError: with what to write. Factories took channels, stride and affine before; the message says so.
    """
    if op in known:
        raise ValueError(f"{op!r} is the name of an operation of diffnas; choose another name in factories.")
    role = factory_of(op)
    if callable(factory) and takes(_BEFORE, factory) and not takes(role, factory):
        raise ValueError(
            f"the {role.name} {name_of(factory)} takes (channels, stride, affine), but it is called with one Slot. "
            "Write def factory(slot), and read slot.width, slot.out, slot.stride and slot.affine."
        )
    if isinstance(factory, nn.Module):  # it can be called with anything
        raise ValueError(f"a {role.name} must be a function of (slot), not a module. Write lambda slot: ...")
    check_callable(role, factory, classes=True)


def build(op: str, slot: Slot, *, factories: Mapping[str, OpFactory] | None = None) -> nn.Module:
    """The module of one operation, in a transformer with the norms around it.

    Args:
        op: its name, in ``factories`` or else in ``OPS``; of a gated slot in ``RECURRENT``.
        slot: where it stands.
        factories: the factories of a user's own operations.

    Raises:
        ValueError: for an unknown operation, or if a user's own factory has the name of an operation of diffnas, takes
            no slot or makes no module.

    >>> build("max_pool_3x3", Slot(width=4, stride=2))(torch.zeros(1, 4, 9, 9)).shape
    torch.Size([1, 4, 5, 5])
    """
    own = factories or {}
    known = {**(RECURRENT if slot.gated else OPS), **own}
    if op not in known:
        raise ValueError(
            f"the operation {op[:80]!r} is none of diffnas.{nearest(op, known)} If it is your own, give it in Python: "
            f"factories={{{op[:80]!r}: ...}}."
        )
    factory = known[op]
    if op in TRANSFORMER and op not in own and slot.stream is None:
        raise ValueError(f"the operation {op!r} reads tokens, which only transformers have: see transformer_space().")
    if op in own:
        check_factory(op, factory, known=RECURRENT if slot.gated else OPS)
    module: nn.Module = call(factory_of(op), factory, slot)
    if not isinstance(module, nn.Module):
        refuse(factory_of(op), factory, "a torch.nn.Module", module)
    return on_stream(module, slot)


def count_macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of convolutions, linear and recurrent layers and attention for one input. Others are not counted.

    Args:
        module: a module of one tensor. It is run once, in evaluation mode, on its own device, which may be "meta".
            Nothing of it changes.
        shape: channels, height and width of the input.

    >>> count_macs(nn.Conv2d(3, 8, 3, padding=1), (3, 4, 4)) == 8 * 3 * 9 * 16
    True
    """
    total = 0

    def add(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        total += _macs(layer, output[0] if isinstance(output, tuple) else output)

    counts = (nn.Conv2d, nn.Linear, nn.RNNBase, Depthwise, Attention)
    layers = [layer for layer in module.modules() if isinstance(layer, counts)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        _run_once(module, shape)
    finally:
        for handle in handles:
            handle.remove()
    return total


def _macs(layer: nn.Module, result: Tensor) -> int:
    """Multiply-adds of a layer, without those of layers inside it, for its result for a batch of one input."""
    if isinstance(layer, Attention):
        return layer.products((result.shape[2], result.shape[3]))
    if isinstance(layer, nn.RNNBase):  # at each step it multiplies by all of its matrices
        return sum(weight.numel() for weight in layer.parameters() if weight.dim() == 2) * result.shape[-2]
    assert isinstance(layer.weight, Tensor)
    # Each number of the result is a product with one row of weights, in a linear layer and in a convolution.
    return layer.weight.numel() * result.numel() // len(layer.weight)


def _run_once(module: nn.Module, shape: tuple[int, ...]) -> None:
    tensor = next(module.parameters(), torch.empty(0))
    modes = [(part, part.training) for part in module.modules()]
    sources = [(part, part.generator) for part in drawing(module)]
    module.eval()
    # A separate generator, so that counting changes no random numbers of a run. "meta" draws none.
    own = sources and tensor.device.type != "meta"
    draw_noise_from([part for part, _ in sources], torch.Generator(tensor.device) if own else None)
    try:
        with torch.no_grad():
            module(torch.zeros((1, *shape), device=tensor.device, dtype=tensor.dtype))
    finally:
        for part, training in modes:
            part.training = training
        for noise, generator in sources:
            noise.generator = generator
