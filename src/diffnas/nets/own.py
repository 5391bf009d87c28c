"""Trials of a user's own operations: each is called once in every slot that it will have, before a net trains.

Results of operations are added, so each must have the promised size. A wrong size would cause an error deep inside a
net, or none at all, because PyTorch adds a result of one channel to all channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

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
from diffnas.genotype import Genotype
from diffnas.nets import ops
from diffnas.nets.sites import Site, sites
from diffnas.nets.sizes import sizes_of_genotype, sizes_of_space
from diffnas.nets.slot import OpFactory, Slot
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace

# The least number of pictures that has batch statistics.
_PICTURES = 2


@contextmanager
def unseen(*, own: bool) -> Iterator[None]:
    """A context for making modules only to look at them. Torch's random numbers are afterwards as before.

    Modules are on the device "meta": they have no numbers, and cost nothing. Those of a user (``own``) are on the usual
    device, because they may need numbers to be made or run.
    """
    with torch.random.fork_rng(devices=[]) if own else torch.device("meta"):
        yield


def try_in_space(
    space: SearchSpace,
    picture: tuple[int, int, int],
    *,
    channels: int | None,
    depth: int | None,
    stem: StemKind,
    one_in: int,
) -> None:
    """Try a user's own operations in the supernet of ``space``. See ``nets.costs.operation_macs`` for the arguments.

    Raises:
        ValueError: for an operation that breaks its contract.
    """
    if not space.factories:
        return
    sizes = sizes_of_space(space, 1, picture[0], channels=channels, depth=depth, stem=stem)
    _try_all(space.factories, sites(sizes, offered(space), picture, one_in=one_in))


def offered(space: SearchSpace) -> dict[str, list[tuple[str, bool]]]:
    """For each kind of cell, the operations that its edges offer, and whether each reads an input of the cell."""
    return {
        kind: [
            (op, edge.source < graph.inputs) for edge, names in zip(graph.edges, graph.ops, strict=True) for op in names
        ]
        for kind, graph in space.cells.items()
    }


def try_in_network(
    genotype: Genotype,
    factories: Mapping[str, OpFactory] | None,
    picture: tuple[int, int, int],
    *,
    channels: int | None = None,
    depth: int | None = None,
    stem: StemKind = "cifar",
) -> None:
    """Try a user's own operations in the network of a genotype.

    Args:
        genotype: the cells.
        factories: the user's own operations; those that the cells do not have are not tried.
        picture: channels, height and width.
        channels, depth, stem: the arguments of ``Network``.

    Raises:
        ValueError: for an operation that breaks its contract.
    """
    if not factories:
        return
    listed = {
        kind: [(op, source < cell.inputs) for op, source, _ in cell.connections]
        for kind, cell in genotype.cells.items()
    }
    sizes = sizes_of_genotype(genotype, 1, picture[0], channels=channels, depth=depth, stem=stem)
    _try_all(factories, sites(sizes, listed, picture))


def _try_all(factories: Mapping[str, OpFactory], found: Iterable[Site]) -> None:
    """Try each operation once in each different slot and size."""
    alike = dict.fromkeys((site.op, site.slot, site.size) for site in found)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for op, slot, size in alike:
            if op in factories:
                torch.manual_seed(0)
                module = ops.build(op, slot, factories=factories)
                x = torch.randn(_PICTURES, slot.width, *size)
                for training in (True, False):
                    _try(op, factories[op], module.train(training), x, slot)


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
