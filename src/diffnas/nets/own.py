"""Trials of a user's own frame and operations: each is called once in every form that it will have, before training.

Results of operations are added, so each must have the promised size. A wrong size would cause an error deep inside a
net, or none at all, because PyTorch adds a result of one channel to all channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffnas.components.contract import (
    Role,
    is_like,
    name_of,
    naming,
    refuse,
    refuse_numbers,
    told,
)
from diffnas.nets import ops
from diffnas.nets.auxiliary import Output
from diffnas.nets.frames import FRAME, FrameFactory, Sizes
from diffnas.nets.sites import EmptyNet, Listed, unseen
from diffnas.nets.slot import OpFactory, Slot

# The least number of pictures that has batch statistics.
_PICTURES = 2


def try_parts(
    sizes: Sizes,
    listed: Listed,
    factories: Mapping[str, OpFactory] | None,
    picture: tuple[int, ...],
    *,
    one_in: int = 1,
) -> None:
    """Try a user's own frame, and each of a user's own operations once in each different slot and size.

    Args:
        sizes: the sizes of the net.
        listed: its operations.
        factories: the user's own operations; those that the cells do not have are not tried.
        picture: channels, height and width.
        one_in: 1 of ``one_in`` channels goes through the operations.

    Raises:
        ValueError: for an operation or a frame that breaks its contract, or a frame that is missing.
    """
    if sizes.frame is None and not factories:
        return
    with unseen(own=sizes.frame is not None), torch.no_grad():
        net = EmptyNet(sizes).eval()
        found = net(torch.zeros(_PICTURES, *picture))
    if sizes.frame is not None:
        _check_frame(sizes.frame, net, found)
    spots = dict.fromkeys(site.spot for site in net.sites(listed, one_in=one_in))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for op, slot, size in spots:
            if factories and op in factories:
                torch.manual_seed(0)
                module = ops.build(op, slot, factories=factories)
                x = torch.randn(_PICTURES, slot.width, *size)
                for training in (True, False):
                    _try(op, factories[op], module.train(training), x, slot)


def _check_frame(frame: FrameFactory, net: EmptyNet, found: object) -> None:
    """Refuse a frame that leaves out a kind of cell, or that returns something other than logits."""
    kinds = {cell.place.kind for cell in net.seen}
    if missing := [kind for kind in net.sizes.joined if kind not in kinds]:
        raise ValueError(
            f"the {FRAME.name} {name_of(frame)} runs no cell of the kind {missing[0]!r}, which the space has."
        )
    if not isinstance(found, Output):
        refuse(FRAME, frame, "a frame whose forward returns Output(logits, None)", found)
    expected = (_PICTURES, net.sizes.outputs)
    if tuple(found.logits.shape) != expected:
        refuse(FRAME, frame, f"a frame whose logits are {expected} for {_PICTURES} pictures", found.logits)


def _try(op: str, factory: OpFactory, module: nn.Module, x: Tensor, slot: Slot) -> None:
    """Call an operation, and check that it leaves its input alone and gives finite numbers of the promised size."""
    mode = "training" if module.training else "evaluation"
    role = Role(f"operation {op!r} of", (f"{told(x)}, stride {slot.stride}, in {mode} mode",))
    before = x.clone()
    with naming(role, factory):
        found = module(x)
    if not x.equal(before):
        raise ValueError(
            f"the {role.name} {name_of(factory)} changes its input, which other operations read too. It must not work "
            "in place (no inplace=True in its first layer)."
        )
    like = x.new_empty(len(x), slot.out, *(-(-side // slot.stride) for side in x.shape[2:]))
    if not is_like(found, like):
        refuse(role, factory, f"{told(like)} for {role.takes[0]}", found)
    if not bool(found.isfinite().all()):
        refuse_numbers(role, factory, f"finite numbers for {role.takes[0]}", found, ~found.isfinite())
